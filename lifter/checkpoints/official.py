"""Released checkpoints of the six models, HoT and TPC variants included: the authors' names to ours.

    model = lifter.from_official("mixste", torch.load(file, weights_only=True), frames=243)

Loading is strict both ways. One row of `OFFICIAL` per release.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from lifter.spec import Schedule
from lifter.weights import ARCHS, imported, load_strictly, taking
from stream.errors import CheckpointError, ConfigError

State = dict[str, Tensor]


def _same(state: State, model: nn.Module) -> State:
    return state


def _hot(state: State, model: nn.Module) -> State:
    """HoT keeps its pruning and recovering parts at the top."""
    ours = {
        "pos_embed_token": "hourglass.positions.0",
        "x_token": "hourglass.recoverer.tokens",
        "cross_attention.": "hourglass.recoverer.attention.",
    }
    return {_begin_anew(key, ours): value for key, value in state.items()}


def _d3dp(state: State, model: nn.Module) -> State:
    """The denoiser lies in a checkpoint beside the noise schedule; here it may also come alone."""
    constants = {key: value for key, value in model.state_dict().items() if "." not in key}
    if not any(key.startswith("pose_estimator.") for key in state):
        return constants | {f"pose_estimator.{key}": value for key, value in state.items()}
    for key, value in constants.items():
        given = state.get(key, value)
        if given.shape == value.shape and not torch.allclose(given.to(value), value, rtol=1e-4):
            raise CheckpointError(
                f"d3dp checkpoint: expected {key} of the cosine noise schedule, got another; "
                "a denoiser answers only to the schedule it was trained with"
            )
    return state


def _begin_anew(key: str, ours: dict[str, str]) -> str:
    for begin, new in ours.items():
        if key.startswith(begin):
            return new + key.removeprefix(begin)
    return key


@dataclass(frozen=True, slots=True)
class Official:
    """How one release is read.

    build: our class; names: their config names and ours; implied: what the release means without
    saying; required: config that leaves no trace in the weights and differs between releases;
    pruning: pruner and recoverer of models that prune by `token_num` and `layer_index`, with their
    defaults in stage; remap: their state dict to ours; normalise: as in `lifter.normalise`.
    """

    build: str
    names: dict[str, str]
    implied: dict[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    pruning: tuple[str, str] | None = None
    stage: tuple[int, int] = (81, 3)
    remap: Callable[[State, nn.Module], State] = _same
    normalise: str = "screen"


_SIZES = {
    "frames": "frames",
    "channel": "width",
    "depth": "depth",
    "heads": "heads",
    "mlp_ratio": "mlp_ratio",
}
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
    "d3dp": Official("d3dp", _SIZES, remap=_d3dp),
    # The two checkpoints it is made of, as one: names of MixSTE after "pose.", of the other after "denoiser."
    "diffpose": Official("diffpose", _SIZES),
    "diffpose_gcn": Official(
        "lifter.architectures.diffpose:GraphDenoiser",
        {"hid_dim": "width", "num_layer": "layers", "n_head": "heads", "coords": "channels"},
    ),
}


def from_official(arch: str, state_dict: Any, schedule: Schedule | None = None, **config: Any) -> nn.Module:
    """A model with released weights, ready for inference.

    state_dict: bare, or as a released checkpoint wraps it; config as the authors name it, full-size
    where left out; schedule: H2OT pruning for weights that were released without.
    Raises CheckpointError with the first differing keys and shapes unless everything fits.
    """
    row, settings = settings_of(arch, schedule, config)
    with taking(arch, config):
        model: nn.Module = imported(ARCHS.get(row.build, row.build))(**settings, **row.implied)
    load_strictly(model, row.remap(unwrap(state_dict), model), f"{arch} checkpoint")
    for name, value in model.state_dict().items():
        if not value.isfinite().all():
            raise CheckpointError(f"{arch} checkpoint: expected numbers, but {name} holds NaN or infinity")
    return model.eval()


def settings_of(
    arch: str, schedule: Schedule | None, config: dict[str, Any]
) -> tuple[Official, dict[str, Any]]:
    """The row of a release and the arguments of our class that its config means."""
    if arch not in OFFICIAL:
        raise ConfigError(f"arch: expected one of {', '.join(OFFICIAL)}, got {arch!r}")
    row = OFFICIAL[arch]
    config = {name: value for name, value in config.items() if name != "seed"}  # of recorded configs
    known = [*row.names, *(("token_num", "layer_index") if row.pruning else ())]
    for name in config:
        if name not in known:
            raise ConfigError(f"{arch}: expected settings among {', '.join(known)}, got {name!r}")
    for name in row.required:
        if name not in config:
            raise ConfigError(
                f"{arch}: expected {name} to be given; the weights do not show it, and it differs between "
                "releases (heads and neighbours are 8 and 2 in MotionAGFormer's, 4 and 4 in HoT's copy)"
            )
    if schedule is not None and not isinstance(schedule, Schedule):
        raise ConfigError(f"schedule: expected a lifter.Schedule, got {schedule!r}")
    if schedule is not None and (row.pruning is not None or row.build not in ARCHS):
        raise ConfigError(f"schedule: {arch} prunes as it was released or not at all, expected none")
    if row.pruning is not None:
        keep, at = config.pop("token_num", row.stage[0]), config.pop("layer_index", row.stage[1])
        schedule = Schedule((keep,), (at,), *row.pruning)
    settings = {row.names[name]: value for name, value in config.items()}
    if settings.pop("eps", 1e-6) != 1e-6:
        raise ConfigError(
            f"{arch}: expected norm_eps 1e-6, as in every released model, got {config['norm_eps']}"
        )
    if "hidden" in settings and arch.endswith("motionbert"):  # HoT's copy gives the width itself
        with taking(arch, config):
            settings["mlp_ratio"] = settings.pop("hidden") / settings.get("width", 256)
    if "channels" in settings:
        coords = settings["channels"]
        if not isinstance(coords, list | tuple) or len(coords) != 2 or coords[0] != coords[1]:
            raise ConfigError(f"{arch}: expected as many coords in as out, such as [5, 5], got {coords}")
        settings["channels"] = coords[0]
    return row, settings | ({"schedule": schedule} if row.build in ARCHS else {})


def unwrap(checkpoint: Any) -> dict[str, Tensor]:
    """The state dict inside a released checkpoint, without the prefix of its parallel wrapper."""
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
            f"got {_described(checkpoint)}"
        )
    if all(key.startswith("module.") for key in checkpoint):
        return {key.removeprefix("module."): value for key, value in checkpoint.items()}
    return dict(checkpoint)


def _described(thing: Any) -> str:
    if isinstance(thing, Mapping):
        return f"names {', '.join(map(str, list(thing)[:5]))}"
    return type(thing).__name__
