"""Section `lifter` of a config: weights, engine, and the timing of windows and poses."""

import re
from typing import Literal

import msgspec

from lifter.spec import LifterSpec
from stream.errors import ConfigError
from stream.postprocess.blend import default_blend_frames
from stream.windows.resample import Timing

MAX_RESAMPLE_HZ = 1000
MAX_TIMEOUT_MS = 60_000.0
MAX_THREADS = 256  # with many more, the thread limit of the system ends the process without a message


class LifterSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Section `lifter` of a config: the weights, how they are computed, and the timing of windows and poses.

    weights: Name of packaged weights (`poselift models` lists them) or a .safetensors file.

    device: Where the lifter runs: auto, cpu, cuda, cuda:1.

    dtype: Precision of the computation.

    engine: Library that computes the network; auto uses the one that `poselift bench --tune` measured as
    fastest on this machine.

    threads: CPU threads for lifting; null uses half of the cores.

    hop: Frames between lifter passes. auto starts a pass as soon as the lifter is free. When the machine
    is too slow for the number set here, the hop grows.

    lag: Frames of look-ahead after the newest published pose. 0 publishes the newest frame at once; half
    waits for half a window, so that a pose has context on both sides (the default of `poselift lift`).

    blend: Frames over which the poses of a pass are blended into those of the next one, to avoid a jump at
    every hop. 0 disables blending; auto chooses by the lag, few frames for a lag of 0.

    resample: Frames per second of the lifter's windows; keypoints are interpolated in time to this rate. auto
    uses the rate of the weights, native uses captured frames without resampling. With a rate, `lag`, `hop` of
    a file and `blend` count frames of that rate.

    output: Times of published poses. captured publishes a pose per captured frame; grid publishes at exactly
    the rate of `resample` (for native: the rate of the weights), however irregular the camera is.

    max_age_ms: Frames of live sources captured longer ago, apart from the time of `lag`, are dropped; null
    lifts frames of any age.

    min_score: Joints with a lower score (0 to 1) count as missing.

    predict_s: Seconds for which a person who is no longer detected is predicted before the state becomes
    lost. Longer gaps are not interpolated.

    endpoint: Address of a lifter service (`poselift serve-lifter`), such as tcp://127.0.0.1:5560, that lifts
    in place of this process; it must have the same weights. null lifts in this process.

    timeout_ms: How long a batch waits for the lifter service before it counts as away.

    fallback: What happens while the lifter service is away: wait keeps the frames and lifts more of them at
    once later, local lifts in this process.

    curve_secret_file: This node's CURVE secret key (.key_secret) for the lifter service; null disables CURVE.

    curve_server_file: The lifter service's public key (.key); required with `curve_secret_file`.

    kp2d: Publish the 2D keypoints with the poses.
    rotations: Publish joint rotations with the poses; auto computes them when a sink needs them.
    """

    weights: str = "small"
    device: str = "auto"
    dtype: Literal["float32", "tf32", "bfloat16", "float16"] = "float32"
    engine: Literal["auto", "eager", "onednn", "compile", "onnx", "openvino", "graphs"] = "auto"
    threads: int | None = None
    hop: int | Literal["auto"] = "auto"
    lag: int | Literal["half"] = 0
    blend: int | Literal["auto"] = "auto"
    resample: float | Literal["auto", "native"] = "auto"
    output: Literal["captured", "grid"] = "captured"
    max_age_ms: float | None = 2000.0
    min_score: float = 0.05
    predict_s: float = 0.5
    endpoint: str | None = None
    timeout_ms: float = 250.0
    fallback: Literal["wait", "local"] = "wait"
    curve_secret_file: str | None = None
    curve_server_file: str | None = None
    kp2d: bool = False
    rotations: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.hop != "auto" and self.hop < 1:
            raise ConfigError(f"lifter.hop: expected a number of frames from 1, or auto, got {self.hop}")
        if self.lag != "half" and self.lag < 0:
            raise ConfigError(f"lifter.lag: expected a number of frames from 0, or half, got {self.lag}")
        if isinstance(self.resample, float) and not 1 <= self.resample <= MAX_RESAMPLE_HZ:
            raise ConfigError(
                f"lifter.resample: expected 1 to {MAX_RESAMPLE_HZ} frames per second, auto or native, "
                f"got {self.resample}"
            )
        if self.blend != "auto" and self.blend < 0:
            raise ConfigError(f"lifter.blend: expected a number of frames from 0, or auto, got {self.blend}")
        if self.predict_s < 0 or not 0 <= self.min_score <= 1:
            raise ConfigError(
                "lifter: expected predict_s from 0 and min_score in 0..1, "
                f"got predict_s {self.predict_s}, min_score {self.min_score}"
            )
        if self.max_age_ms is not None and not self.max_age_ms > 0:
            raise ConfigError(
                f"lifter.max_age_ms: expected milliseconds above 0, or null, got {self.max_age_ms}"
            )
        if self.threads is not None and not 1 <= self.threads <= MAX_THREADS:
            raise ConfigError(f"lifter.threads: expected 1 to {MAX_THREADS}, or null, got {self.threads}")

        self._check_service()

    def _check_service(self) -> None:
        if self.endpoint is not None and not re.fullmatch(r"(tcp://.+:\d{1,5}|ipc://.+)", self.endpoint):
            raise ConfigError(
                f"lifter.endpoint: expected an address like tcp://127.0.0.1:5560, got {self.endpoint!r}"
            )
        if not 1 <= self.timeout_ms <= MAX_TIMEOUT_MS:
            raise ConfigError(
                f"lifter.timeout_ms: expected 1 to {MAX_TIMEOUT_MS:g} ms, got {self.timeout_ms}"
            )
        if (self.curve_secret_file is None) != (self.curve_server_file is None):
            raise ConfigError("lifter: CURVE needs both curve_secret_file and curve_server_file; set both")

    def timing(self, rate_hz: float) -> Timing:
        """Steps of windows and of published poses in ns, for weights trained at `rate_hz`."""
        uses_rate_of_weights = self.resample in ("auto", "native")
        interval_ns = round(1e9 / (rate_hz if uses_rate_of_weights else float(self.resample)))
        return Timing(
            None if self.resample == "native" else interval_ns, interval_ns if self.output == "grid" else None
        )

    def lag_frames(self, frames: int) -> int:
        """Frames of look-ahead after a pose, for a window of `frames`."""
        return frames // 2 if self.lag == "half" else self.lag

    def blend_frames(self, lag: int) -> int:
        """Frames over which successive passes are blended."""
        return default_blend_frames(lag) if self.blend == "auto" else self.blend

    def check(self, spec: LifterSpec) -> None:
        """Raise ConfigError for weights that cannot lift live, and a lag, hop or blend above their window."""
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
