"""What known cameras see, as the camera would see it that a lifter takes every camera for.

A lifter of the "person" convention turns what it sees towards the person and assumes a focal length for
that; with a wrong one, people at the side of an image come out turned. Where the true one is known, its
pixels are moved to where the assumed camera would have them, and nothing needs to be assumed. What is
published keeps the true pixels. A lens's distortion is left as it is: small, and wild outside the image.
"""

from dataclasses import replace

import numpy as np

from stream.camera import Camera
from stream.messages import Window
from stream.space import Space, lens


class Lenses:
    """Cameras by source, as far as `space` knows them.

    focal: the length that the lifter assumes, in longer image sides; None where it assumes none.
    """

    def __init__(self, space: Space.Settings, focal: float | None) -> None:
        self._space = space
        self._focal = focal
        self._known = space.cameras.keys()
        self._every = space.fov_deg != Space.Settings().fov_deg  # the default is the lifters' assumption
        self._cameras: dict[tuple[str, tuple[int, int]], Camera] = {}

    def assumed(self, source: str, window: Window) -> Window:
        """The window of a camera called `source`, as the assumed camera would have seen it."""
        if self._focal is None or not (self._every or source in self._known):
            return window
        key = source, window.size_wh
        if key not in self._cameras:
            self._cameras[key] = lens(self._space, source, window.size_wh)
        camera, size = self._cameras[key], np.array(window.size_wh)
        keypoints = window.keypoints.copy()
        rays = (window.keypoints[..., :2] - camera.centre) / camera.focal
        keypoints[..., :2] = rays * (self._focal * max(window.size_wh)) + size / 2
        return replace(window, keypoints=keypoints)
