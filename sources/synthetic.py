"""People walking on a circle in front of a virtual camera: keypoints whose true 3D is known."""

from typing import Literal

import msgspec
import numpy as np

from sources.playback import Playback
from sources.walking_figure import F64, VirtualCamera, Walk, figure
from stream.errors import ConfigError, EndOfStream
from stream.messages import KeypointFrame, Keypoints
from stream.protocols import ComponentContext

LAP_S = 12.0  # after which everybody is where they were, in mid-step
_MOST_PERSONS = 8
_UNIX_NS = 1_700_000_000_000_000_000  # of the first frame when frames come at once and not in real time


class Synthetic:
    """A source that needs no camera; the same settings always give the same keypoints.

    Frame `seq` shows the time seq / fps. It is made from `truth(seq)`, the true joints.
    """

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """fps: frames per second; frames: how many in all (null = endless); persons: 0 to 8.

        noise_px: standard deviation of a joint's position; missing: part of the joints not seen, 0 to 1.
        pace: "realtime" like a camera, or "full" as fast as frames are read. size_wh: of the image.
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
            for name, good, expected in (
                ("fps", self.fps > 0, "above 0"),
                ("frames", self.frames is None or self.frames >= 0, "0 or more, or null for no end"),
                ("persons", 0 <= self.persons <= _MOST_PERSONS, f"0 to {_MOST_PERSONS}"),
                ("noise_px", self.noise_px >= 0, "0 or more"),
                ("missing", 0 <= self.missing <= 1, "0 to 1"),
                ("seed", self.seed >= 0, "0 or more"),
                ("size_wh", min(self.size_wh) > 0, "a positive width and height"),
            ):
                if not good:
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
        """The next frame; none is left out when reading falls behind."""
        settings, seq = self._settings, self._seq
        if settings.frames is not None and seq >= settings.frames:
            raise EndOfStream(f"{self._context.name}: all {settings.frames} frames were read")
        offset_ns = round(seq * 1e9 / settings.fps)
        if not self._playback.due(offset_ns, timeout_s):
            return None
        self._seq += 1
        header = self._playback.header(self._context.name, seq, offset_ns, _UNIX_NS + offset_ns)
        known_ns = self._playback.known_ns(header)
        return KeypointFrame(header, settings.size_wh, "h36m17", self._seen(seq), known_ns)

    def truth(self, seq: int) -> F64:
        """True joints of frame `seq`: (P, 17, 3) float64 metres in camera axes, in the order of persons."""
        t_s = seq / self._settings.fps
        return self.camera.view(np.array([figure(t_s, walk) for walk in self.walks]).reshape(-1, 17, 3))

    def _seen(self, seq: int) -> tuple[Keypoints, ...]:
        settings = self._settings
        random = np.random.default_rng((settings.seed, seq))
        pixels = self.camera.project(self.truth(seq))
        pixels += random.normal(0.0, settings.noise_px, pixels.shape)
        score = random.uniform(0.7, 1.0, pixels.shape[:2])
        inside = ((pixels >= 0) & (pixels < np.array(settings.size_wh))).all(axis=2)
        hidden = ~inside | (random.random(inside.shape) < settings.missing)
        pixels[hidden], score[hidden] = np.nan, 0.0
        return tuple(
            Keypoints(xy.astype(np.float32), each.astype(np.float32))
            for xy, each in zip(pixels, score, strict=True)
        )


def _walks(persons: int, seed: int) -> list[Walk]:
    """Different people at the same speed on one circle, evenly spread, so that nobody runs into anybody."""
    random = np.random.default_rng(seed)
    start = random.uniform(0, 2 * np.pi)
    return [
        Walk(
            height_m=random.uniform(1.55, 1.90),
            speed_m_s=Walk().lap_m / LAP_S,
            start_rad=start + 2 * np.pi * person / persons,
            stride_phase=random.uniform(),
        )
        for person in range(persons)
    ]
