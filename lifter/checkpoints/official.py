"""Maps released checkpoints of the six models, with HoT and TPC variants, to this package's networks.

    model = lifter.from_official("mixste", torch.load(file, weights_only=True), frames=243)

Missing and unexpected keys are both errors. `OFFICIAL` has one row per release.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from lifter.layers import LiftingNetwork
from lifter.spec import Schedule
from lifter.weights import ARCHS, as_config_error, import_object, load_strictly
from stream.errors import CheckpointError, ConfigError

State = dict[str, Tensor]


def _unchanged(state: State, model: nn.Module) -> State:
    return state


def _hot(state: State, model: nn.Module) -> State:
    """HoT has the parameters of its hourglass at the top level."""
    prefixes = {
        "pos_embed_token": "hourglass.positions.0",
        "x_token": "hourglass.recoverer.tokens",
        "cross_attention.": "hourglass.recoverer.attention.",
    }
    return {_replace_prefix(key, prefixes): value for key, value in state.items()}


def _d3dp(state: State, model: nn.Module) -> State:
    """A checkpoint holds the denoiser and its noise schedule; the denoiser alone is accepted too."""
    constants = {key: value for key, value in model.state_dict().items() if "." not in key}
    if not any(key.startswith("pose_estimator.") for key in state):
        return constants | {f"pose_estimator.{key}": value for key, value in state.items()}
    for key, value in constants.items():
        other = state.get(key, value)
        if other.shape == value.shape and not torch.allclose(other.to(value), value, rtol=1e-4):
            raise CheckpointError(
                f"d3dp checkpoint: expected {key} of the cosine noise schedule, got another; "
                "a denoiser works with the noise schedule of its training alone"
            )
    return state


def _replace_prefix(key: str, prefixes: dict[str, str]) -> str:
    for old, new in prefixes.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key


@dataclass(frozen=True, slots=True)
class Official:
    """How to read one release.

    build: name in `lifter.weights.ARCHS`, or "module:class". names: the authors' config names to
    arguments of that class. implied: arguments that every checkpoint of the release needs.
    required: config that the weights do not show and that differs between releases.
    pruning: pruner and recoverer of models that prune by `token_num` and `layer_index`; stage: the
    defaults of those two. remap: their state dict to the class's. normalise: see `lifter.normalise`.
    """

    build: str
    names: dict[str, str]
    implied: dict[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    pruning: tuple[str, str] | None = None
    stage: tuple[int, int] = (81, 3)
    remap: Callable[[State, nn.Module], State] = _unchanged
    normalise: str = "screen"


_SIZES = {
    "frames": "frames",
    "channel": "width",
    "depth": "depth",
    "heads": "heads",
    "mlp_ratio": "mlp_ratio",
}
# Not in the checkpoint: hypotheses H and denoising steps K, by the names of D3DP's options or by ours.
_SAMPLING = {
    "num_proposals": "hypotheses", "sampling_timesteps": "steps",
    "hypotheses": "hypotheses", "steps": "steps",
}  # fmt: skip
_MIXSTE = Official("mixste", _SIZES)
_MHFORMER = Official(
    "mhformer",
    {
        "frames": "frames", "channel": "width", "d_hid": "hidden", "layers": "depth",
        "heads_shr": "heads", "heads_mhg": "trajectory_heads",
    },
    implied={"output": "sequence"},
    stage=(117, 1),
)  # fmt: skip
_MOTIONBERT = Official(
    "motionbert",
    {
        "maxlen": "frames", "dim_feat": "width", "depth": "depth", "heads": "heads", "mlp_ratio": "mlp_ratio",
        "mlp_hidden": "hidden", "dim_rep": "rep_width", "norm_eps": "eps",
    },
    stage=(81, 1),
    normalise="image",
)  # fmt: skip
_MOTIONAGFORMER = Official(
    "motionagformer",
    {
        "n_frames": "frames", "maxlen": "frames", "dim_feat": "width", "n_layers": "depth",
        "num_heads": "heads", "neighbour_num": "neighbours", "mlp_ratio": "mlp_ratio", "dim_rep": "rep_width",
    },
    required=("num_heads", "neighbour_num"),
    stage=(81, 7),
    normalise="image",
)  # fmt: skip
_HOT: dict[str, Any] = {"pruning": ("tpc", "tra"), "remap": _hot}
_TPC: dict[str, Any] = {"pruning": ("tpc", "none")}

OFFICIAL = {
    "mixste": _MIXSTE,
    "hot_mixste": replace(_MIXSTE, **_HOT),
    "tpc_mixste": replace(_MIXSTE, **_TPC),
    "mhformer": _MHFORMER,
    "tpc_mhformer": replace(_MHFORMER, **_TPC),
    "motionbert": _MOTIONBERT,
    "hot_motionbert": replace(_MOTIONBERT, **_HOT),
    "motionagformer": _MOTIONAGFORMER,
    "hot_motionagformer": replace(_MOTIONAGFORMER, **_HOT),
    "d3dp": Official("d3dp", _SIZES | _SAMPLING, remap=_d3dp),
    # Two checkpoints in one state dict: MixSTE's with prefix "pose.", the graph network's with "denoiser."
    "diffpose": Official("diffpose", _SIZES | _SAMPLING),
    "diffpose_gcn": Official(
        "lifter.architectures.graph_denoiser:GraphDenoiser",
        {"hid_dim": "width", "num_layer": "layers", "n_head": "heads", "coords": "channels"},
    ),
}


def from_official(
    arch: str, state_dict: Any, schedule: Schedule | None = None, **config: Any
) -> LiftingNetwork:
    """A model with released weights, in inference mode.

    arch: a name in `OFFICIAL`. state_dict: bare, or as a released checkpoint wraps it.
    config: as the authors name it; missing names take the full-size values.
    schedule: H2OT pruning for weights that were released without pruning.
    Raises ConfigError for settings that do not fit, and CheckpointError, which names the first keys and
    shapes that differ.
    """
    row, settings = settings_of(arch, schedule, config)
    with as_config_error(arch, config):
        model: LiftingNetwork = import_object(ARCHS.get(row.build, row.build))(**settings, **row.implied)
    load_strictly(model, row.remap(unwrap(state_dict), model), f"{arch} checkpoint")
    for name, value in model.state_dict().items():
        if not value.isfinite().all():
            raise CheckpointError(
                f"{arch} checkpoint: expected finite weights, got NaN or infinity in {name}"
            )
    return model.eval()


def settings_of(
    arch: str, schedule: Schedule | None, config: dict[str, Any]
) -> tuple[Official, dict[str, Any]]:
    """The row of a release, and its config as arguments of the class that the row builds."""
    if arch not in OFFICIAL:
        raise ConfigError(f"arch: expected one of {', '.join(OFFICIAL)}, got {arch!r}")
    row = OFFICIAL[arch]
    config = {name: value for name, value in config.items() if name != "seed"}  # recorded configs contain it
    accepted = [*row.names, *(("token_num", "layer_index") if row.pruning else ())]
    for name in config:
        if name not in accepted:
            raise ConfigError(f"{arch}: expected settings among {', '.join(accepted)}, got {name!r}")
    for name in row.required:
        if name not in config:
            raise ConfigError(
                f"{arch}: expected a value for {name}; the weights do not show it, and it differs between "
                "releases (heads and neighbours are 8 and 2 in MotionAGFormer's, 4 and 4 in HoT's copy)"
            )
    if schedule is not None and not isinstance(schedule, Schedule):
        raise ConfigError(f"schedule: expected a lifter.Schedule, got {schedule!r}")
    has_own_recovery = row.pruning is not None and row.pruning[1] == "tra"
    if schedule is not None and (has_own_recovery or row.build not in ARCHS):
        raise ConfigError(f"schedule: expected none, since {arch} has the pruning of its release or none")
    if row.pruning is not None and schedule is None:
        keep, at = config.pop("token_num", row.stage[0]), config.pop("layer_index", row.stage[1])
        schedule = Schedule((keep,), (at,), *row.pruning)
    settings = {row.names[name]: value for name, value in config.items()}
    if settings.pop("eps", 1e-6) != 1e-6:
        raise ConfigError(
            f"{arch}: expected norm_eps 1e-6, as in every released model, got {config['norm_eps']}"
        )
    if "hidden" in settings and arch.endswith("motionbert"):  # HoT's copy sets the hidden width itself
        with as_config_error(arch, config):
            settings["mlp_ratio"] = settings.pop("hidden") / settings.get("width", 256)
    if "channels" in settings:
        coords = settings["channels"]
        if not isinstance(coords, list | tuple) or len(coords) != 2 or coords[0] != coords[1]:
            raise ConfigError(f"{arch}: expected as many coords in as out, such as [5, 5], got {coords}")
        settings["channels"] = coords[0]
    return row, settings | ({"schedule": schedule} if row.build in ARCHS else {})


def unwrap(checkpoint: Any) -> dict[str, Tensor]:
    """The state dict inside a released checkpoint, without the prefix "module." of torch's DataParallel.

    Raises CheckpointError if there is none.
    """
    if isinstance(checkpoint, list | tuple) and checkpoint:
        checkpoint = checkpoint[0]
    if isinstance(checkpoint, Mapping):
        for key in ("model_pos", "model"):
            if isinstance(checkpoint.get(key), Mapping):
                checkpoint = checkpoint[key]
    if not isinstance(checkpoint, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in checkpoint.items()
    ):
        raise CheckpointError(
            "checkpoint: expected names and tensors, bare or under 'model_pos' or 'model', "
            f"got {_describe(checkpoint)}"
        )
    if all(key.startswith("module.") for key in checkpoint):
        return {key.removeprefix("module."): value for key, value in checkpoint.items()}
    return dict(checkpoint)


def _describe(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"names {', '.join(map(str, list(value)[:5]))}"
    return type(value).__name__
