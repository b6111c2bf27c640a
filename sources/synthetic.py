"""Keypoints of simulated people who walk on a circle in front of a virtual camera; the true 3D is known."""

from typing import Literal

import msgspec
import numpy as np

from sources.playback import Playback
from sources.walking_figure import VirtualCamera, Walk, figure
from stream.errors import ConfigError, EndOfStream
from stream.messages import KeypointFrame, Keypoints
from stream.protocols import ComponentContext
from stream.rotations import F64

LAP_S = 12.0  # duration of a lap; after it all people are back at the same place and phase of the step
MAX_PERSONS = 8
FIRST_UNIX_NS = 1_700_000_000_000_000_000  # wall-clock time of the first frame at full pace


class Synthetic:
    """Keypoints of simulated people, without a camera; equal settings always give equal keypoints.

    Frame `seq` shows the people at time seq / fps: their true joints `truth(seq)`, projected into the image,
    with noise and missing joints.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of the synthetic walkers.

        fps: Frames per second.

        frames: Number of frames; null for no end.

        persons: Number of walkers, 0 to 8.

        noise_px: Standard deviation in pixels of a joint's position.

        missing: Fraction of joints that are not detected, 0 to 1.

        pace: Speed: realtime delivers frames as a camera does, full as fast as they are read.

        seed: Seed of the random noise and gaps.

        size_wh: Width and height of the virtual camera's image in pixels.
        """

        fps: float = 50.0
        frames: int | None = None
        persons: int = 1
        noise_px: float = 1.0
        missing: float = 0.0
        pace: Literal["realtime", "full"] = "realtime"
        seed: int = 0
        size_wh: tuple[int, int] = (1280, 720)

        def __post_init__(self) -> None:
            for name, valid, expected in (
                ("fps", self.fps > 0, "above 0"),
                ("frames", self.frames is None or self.frames >= 0, "0 or more, or null for no end"),
                ("persons", 0 <= self.persons <= MAX_PERSONS, f"0 to {MAX_PERSONS}"),
                ("noise_px", self.noise_px >= 0, "0 or more"),
                ("missing", 0 <= self.missing <= 1, "0 to 1"),
                ("seed", self.seed >= 0, "0 or more"),
                ("size_wh", min(self.size_wh) > 0, "a positive width and height"),
            ):
                if not valid:
                    raise ConfigError(f"synthetic {name}: expected {expected}, got {getattr(self, name)}")

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self.live = settings.pace == "realtime"
        self.camera = VirtualCamera(size_wh=settings.size_wh, focal_px=settings.size_wh[0] / 1.28)
        self.walks = _walks(settings.persons, settings.seed)
        self._settings = settings
        self._context = context
        self._playback = Playback(context.clock, speed=1.0 if self.live else None)
        self._seq = 0

    def open(self) -> None:
        self._seq = 0
        self._playback.start()

    def close(self) -> None:
        self._playback.stop()

    def read(self, timeout_s: float) -> KeypointFrame | None:
        """The next frame; a slow reader gets every frame, late."""
        settings, seq = self._settings, self._seq
        if settings.frames is not None and seq >= settings.frames:
            raise EndOfStream(f"{self._context.name}: all {settings.frames} frames were read")
        offset_ns = round(seq * 1e9 / settings.fps)
        if not self._playback.wait_until_due(offset_ns, timeout_s):
            return None
        self._seq += 1
        header = self._playback.header(self._context.name, seq, offset_ns, FIRST_UNIX_NS + offset_ns)
        detected_ns = self._playback.detected_ns(header)
        return KeypointFrame(header, settings.size_wh, "h36m17", self._persons(seq), detected_ns)

    def truth(self, seq: int) -> F64:
        """True joints of frame `seq`: (P, 17, 3) float64 metres in camera axes, in the order of `persons`."""
        t_s = seq / self._settings.fps
        return self.camera.view(np.array([figure(t_s, walk) for walk in self.walks]).reshape(-1, 17, 3))

    def _persons(self, seq: int) -> tuple[Keypoints, ...]:
        settings = self._settings
        random = np.random.default_rng((settings.seed, seq))
        pixels = self.camera.project(self.truth(seq))
        pixels += random.normal(0.0, settings.noise_px, pixels.shape)
        score = random.uniform(0.7, 1.0, pixels.shape[:2])
        inside = ((pixels >= 0) & (pixels < np.array(settings.size_wh))).all(axis=2)
        missing = ~inside | (random.random(inside.shape) < settings.missing)
        pixels[missing], score[missing] = np.nan, 0.0
        return tuple(
            Keypoints(person_xy.astype(np.float32), person_score.astype(np.float32))
            for person_xy, person_score in zip(pixels, score, strict=True)
        )


def _walks(persons: int, seed: int) -> list[Walk]:
    """People of different height on one circle, evenly spread and equally fast, so that none collide."""
    random = np.random.default_rng(seed)
    first_rad = random.uniform(0, 2 * np.pi)
    return [
        Walk(
            height_m=random.uniform(1.55, 1.90),
            speed_m_s=Walk().lap_m / LAP_S,
            start_rad=first_rad + 2 * np.pi * person / persons,
            stride_phase=random.uniform(),
        )
        for person in range(persons)
    ]
