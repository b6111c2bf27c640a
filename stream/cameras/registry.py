"""The cameras of a run, by source: calibrated ones, and the assumed field of view of all others.

A lifter with the "person" normalisation assumes one focal length for every camera; with a wrong one, people
at the side of an image come out turned. `to_assumed` therefore re-projects the keypoints of a calibrated
camera into the virtual camera that the lifter assumes. Published keypoints stay as they were detected. Lens
distortion is not undone here: it is small, and its polynomial diverges outside the image.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from stream.cameras.intrinsics import Camera
from stream.messages import Window

ASSUMED_FOV_DEG = 61.0  # along the longer image side; the packaged weights were trained for it


class Cameras:
    """Cameras by source name: `settings` holds the calibrated ones, all others have a field of `fov_deg`."""

    def __init__(self, settings: Mapping[str, Camera.Settings], fov_deg: float = ASSUMED_FOV_DEG) -> None:
        self._settings = dict(settings)
        self._fov_deg = fov_deg
        self._cameras: dict[str, tuple[tuple[int, int], Camera]] = {}

    def set(self, source: str, settings: Camera.Settings | None) -> None:
        """Set or, with None, forget the calibration of a source that has no frames in progress."""
        others = {name: other for name, other in self._settings.items() if name != source}
        self._settings = others if settings is None else others | {source: settings}
        self._cameras.pop(source, None)

    def get(self, source: str, size_wh: tuple[int, int]) -> Camera:
        """The camera of a source whose images have this size.

        Raises ConfigError when it was calibrated for images of another aspect ratio.
        """
        cached = self._cameras.get(source)
        if cached is None or cached[0] != size_wh:
            settings = self._settings.get(source)
            if settings is None:
                camera = Camera.from_fov(self._fov_deg, size_wh)
            else:
                camera = Camera.from_calibration(settings, size_wh)
            cached = self._cameras[source] = size_wh, camera
        return cached[1]

    def to_assumed(self, source: str, window: Window, focal: float | None) -> Window:
        """The window as a camera of focal length `focal` (in longer image sides) would have seen it.

        It is returned unchanged when the lifter assumes no focal length (None), or when this camera has
        neither a calibration nor another field of view than the lifter assumes.
        """
        if focal is None or not (source in self._settings or self._fov_deg != ASSUMED_FOV_DEG):
            return window
        camera, size_wh = self.get(source, window.size_wh), np.array(window.size_wh)
        keypoints = window.keypoints.copy()
        rays = camera.pinhole_rays(window.keypoints[..., :2])
        keypoints[..., :2] = rays * (focal * max(window.size_wh)) + size_wh / 2
        return replace(window, keypoints=keypoints)
