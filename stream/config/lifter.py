"""What a config says of the lifter: which weights, what computes them, how often, how long it waits."""

from typing import Literal

import msgspec

from lifter.spec import LifterSpec
from stream.errors import ConfigError
from stream.postprocess.blend import default_blend_frames
from stream.windows.resample import Timing

_FASTEST_HZ = 1000  # more is a mistake
_MOST_THREADS = 256  # more than that, and the system's limit ends the process without a word


class LifterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """weights: a packaged name (`poselift models`) or a .safetensors file; device: auto, cpu, cuda, cuda:1;
    dtype: float32, bfloat16, float16; engine: what computes the lifter (lifter/engines.py), auto takes what
    `poselift bench --tune` found fastest; threads: of the CPU for lifting (null = half of the cores).

    hop: frames between lifts, or auto: as soon as the lifter is free; a machine too slow for it widens it.
    lag: frames of look-ahead; 0 publishes the newest frame at once, half waits for half a window, for
    context on both sides (files). blend: frames over which what a lift says fades into what the next one
    says, so that joints do not jump every hop; 0 does not blend, auto goes by the lag: short where there is
    none, for a long one costs accuracy. resample: frames per second of the lifter's windows, for which
    keypoints are interpolated in time; auto takes the rate that the weights were made for, native takes
    captured frames as they come. With a rate, frames of `lag` (and of a file's `hop`) are of that rate.
    output: a pose at the time of every captured frame, or on a steady grid: that rate (that of the
    weights for native), exactly, however the camera stutters. min_score: joints seen with less count
    as not seen. predict_s: how long a person no longer seen is predicted before being lost, in seconds;
    no longer gap is bridged. kp2d: publish the 2D keypoints with the poses.
    """

    weights: str = "small"
    device: str = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    engine: Literal["auto", "eager", "onednn", "compile", "onnx", "openvino", "graphs"] = "auto"
    threads: int | None = None
    hop: int | Literal["auto"] = "auto"
    lag: int | Literal["half"] = 0
    blend: int | Literal["auto"] = "auto"
    resample: float | Literal["auto", "native"] = "auto"
    output: Literal["captured", "grid"] = "captured"
    min_score: float = 0.05
    predict_s: float = 0.5
    kp2d: bool = False

    def __post_init__(self) -> None:
        if self.hop != "auto" and self.hop < 1:
            raise ConfigError(f"lifter.hop: expected a number of frames from 1, or auto, got {self.hop}")
        if self.lag != "half" and self.lag < 0:
            raise ConfigError(f"lifter.lag: expected a number of frames from 0, or half, got {self.lag}")
        if isinstance(self.resample, float) and not 1 <= self.resample <= _FASTEST_HZ:
            raise ConfigError(
                f"lifter.resample: expected 1 to {_FASTEST_HZ} frames per second, auto or native, "
                f"got {self.resample}"
            )
        if self.blend != "auto" and self.blend < 0:
            raise ConfigError(f"lifter.blend: expected a number of frames from 0, or auto, got {self.blend}")
        if self.predict_s < 0 or not 0 <= self.min_score <= 1:
            raise ConfigError(
                "lifter: expected predict_s from 0 and min_score in 0..1, "
                f"got predict_s {self.predict_s}, min_score {self.min_score}"
            )
        if self.threads is not None and not 1 <= self.threads <= _MOST_THREADS:
            raise ConfigError(f"lifter.threads: expected 1 to {_MOST_THREADS}, or null, got {self.threads}")

    def timing(self, rate_hz: float) -> Timing:
        """The times of windows and poses, for weights made for `rate_hz`."""
        own = self.resample in ("auto", "native")
        tick_ns = round(1e9 / (rate_hz if own else float(self.resample)))
        return Timing(
            None if self.resample == "native" else tick_ns, tick_ns if self.output == "grid" else None
        )

    def lag_frames(self, frames: int) -> int:
        """How many frames after a pose are waited for, of a window of `frames`."""
        return frames // 2 if self.lag == "half" else self.lag

    def blend_frames(self, lag: int) -> int:
        """Over how many frames passes blend."""
        return default_blend_frames(lag) if self.blend == "auto" else self.blend

    def check(self, spec: LifterSpec) -> None:
        """Refuse weights that cannot be lifted live, and what does not fit their windows."""
        frames, lag = spec.frames, self.lag_frames(spec.frames)
        if spec.output != "sequence":
            raise ConfigError(
                f"lifter.weights: {spec.name} gives only the middle of {frames} frames, {frames // 2} frames "
                "late; live lifting needs weights that give the whole sequence (see `poselift models`)"
            )
        if lag >= frames:
            raise ConfigError(f"lifter.lag: expected less than the window of {frames} frames, got {lag}")
        if isinstance(self.blend, int) and self.blend > frames:
            raise ConfigError(
                f"lifter.blend: expected at most the window of {frames} frames, got {self.blend}"
            )
        if isinstance(self.hop, int) and self.hop > frames - lag:
            raise ConfigError(
                f"lifter.hop: expected at most {frames - lag} frames, the window of {frames} less the lag "
                f"of {lag}, got {self.hop}"
            )
