"""Counts parameters and floating-point operations, as the papers do and in full; nothing is computed.

The papers' rule (that of THOP): twice the multiply-accumulates of linear layers (in x out elements),
1D convolutions (out elements x (in + 1)), batch norms (2 x elements) and average pooling (18 per
output). Layer norms, GELU, softmax and products of activations (attention, graphs) do not count.
"All" counts every matrix product instead, as the released formulation makes them.

Counts are of the computation that the papers write down, unless `live` says what is left of it.
"""

import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lifter.architectures.motionagformer import GraphConvolution
from lifter.h2ot.hourglass import Hourglass
from lifter.h2ot.prune import TPC, PruningInput
from lifter.layers import LiftingNetwork
from lifter.spec import LifterSpec, Schedule
from lifter.weights import ARCHS, build, import_object
from stream.errors import ConfigError

_BACKBONES = {"d3dp": "pose_estimator", "diffpose": "pose"}


class Count(NamedTuple):
    """What one part, or the whole, has and does for one window: numbers, not millions or billions."""

    part: str
    parameters: int
    paper_flops: int
    all_flops: int


def count(spec: LifterSpec) -> list[Count]:
    """The whole first ("total"), then its parts in order: blocks, and what lies outside blocks.

    Of the diffusion lifters FLOPs are those of one pass through the pruned backbone, as papers give
    them: D3DP's denoiser for one hypothesis, DiffPose's frozen MixSTE.
    """
    model, x = _built(spec)
    return count_model(model, x)


def live(spec: LifterSpec, new: int = 1, rows: int | None = None) -> list[Count]:
    """Totals of one update of a stream with `new` frames, asked for its newest `rows` poses (default: new).

    First as the paper computes; then without what no pose is made of; then without what none of the poses
    asked for is made of; and with what one frame tells by itself remembered from the updates before.
    """
    model, x = _built(spec)
    F = x.shape[1]
    if not 1 <= new <= F or not 1 <= (rows or new) <= F:
        raise ConfigError(f"live: expected 1 to {F} new frames and poses, got {new} and {rows}")
    newest = slice(F - (rows or new), F)
    counts = {
        "as the paper computes": count_model(model, x),
        "what no pose needs left out": _counted(model, lambda: model(x)),
        "the newest poses alone": _counted(model, lambda: model(x, rows=newest)),
    }
    if model.supports_frame_cache:
        input_frames = next(part for part in model.modules() if isinstance(part, Hourglass)).input_frames
        cached = model.encode_frames(x[:, : len(input_frames)])

        def update() -> None:
            model.encode_frames(x[:, :new])
            model(x, rows=newest, cached=cached)

        counts["frames remembered too"] = _counted(model, update)
    return [count[0]._replace(part=name) for name, count in counts.items()]


def _built(spec: LifterSpec) -> tuple[LiftingNetwork, Tensor]:
    """The part of a model that counts, and a window for it, both without memory."""
    with _NoInitialisation():
        whole = build(spec).to("meta")
    model = whole.get_submodule(_BACKBONES[spec.arch]) if spec.arch in _BACKBONES else whole
    assert isinstance(model, LiftingNetwork)
    return model, torch.zeros(1, *model.shape, device="meta")


def spec_of(arch: str, frames: int | None = None, schedule: Schedule | None = None) -> LifterSpec:
    """The full-size model of the paper, with another window or schedule if asked."""
    if arch not in ARCHS:
        raise ConfigError(f"arch: expected one of {', '.join(ARCHS)}, got {arch!r}")
    defaults = inspect.signature(import_object(ARCHS[arch])).parameters
    return LifterSpec(
        name=arch,
        arch=arch,
        frames=defaults["frames"].default if frames is None else frames,
        in_channels=defaults["in_channels"].default,
        schedule=schedule,
    )


def count_model(model: nn.Module, *inputs: Tensor) -> list[Count]:
    """As `count`, of any model on the meta device."""
    hourglasses = [part for part in model.modules() if isinstance(part, Hourglass)]
    for hourglass in hourglasses:
        hourglass.skip_unneeded = False
    try:
        return _counted(model, lambda: model(*inputs))
    finally:
        for hourglass in hourglasses:
            del hourglass.skip_unneeded


def _counted(model: nn.Module, call: Callable[[], Any]) -> list[Count]:
    """What a call of the model on the meta device costs, the total first."""
    inside = [""]
    paper, products = _Linears(inside), _Products(inside)
    names = {module: _part(name) for name, module in model.named_modules()}

    def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
        inside.append(names[module])

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        inside.pop()
        paper.add(names[module], _by_rule(module, args, output))
        if isinstance(module, GraphConvolution):
            # As released, adjacency is normalised by products with two diagonal matrices; here it is scaled.
            items, nodes, _ = args[0].shape
            products.flops[names[module]] += 2 * 2 * items * nodes**3

    hooks = [module.register_forward_pre_hook(enter) for module in names]
    hooks += [module.register_forward_hook(leave) for module in names]
    with torch.no_grad(), products, paper:
        call()
    for hook in hooks:
        hook.remove()
    parameters: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        parameters[_part(name)] += parameter.numel()
    parts = dict.fromkeys([*parameters, *paper.flops, *products.flops])
    rows = [Count(part, parameters[part], paper.flops[part], products.flops[part]) for part in parts]
    columns = list(zip(*rows, strict=True))[1:]
    return [Count("total", *map(sum, columns)), *(row for row in rows if any(row[1:]))]


class _Products(TorchDispatchMode):
    """Adds up the FLOPs of all matrix products, by the part that makes them."""

    def __init__(self, inside: list[str]) -> None:
        super().__init__()
        self.inside = inside
        self.flops: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.flops[self.inside[-1]] += formula(*args, **kwargs, out_val=output)
        return output


class _Linears(TorchFunctionMode):
    """Adds up FLOPs by the papers' rule, by the part that spends them: linear layers by itself."""

    def __init__(self, inside: list[str]) -> None:
        super().__init__()
        self.inside = inside
        self.flops: Counter[str] = Counter()

    def add(self, part: str, multiplications: int) -> None:
        if not any(".pruners." in f".{part}." for part in self.inside):  # TPA's scores come for free there
            self.flops[part] += 2 * multiplications

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is nn.functional.linear:
            self.add(self.inside[-1], args[1].shape[-1] * output.numel())
        return output


def _by_rule(module: nn.Module, args: tuple[Any, ...], output: Any) -> int:
    """Multiply-accumulates of one call of a module other than a linear layer, by the papers' rule."""
    if isinstance(module, nn.Conv1d):
        return (module.in_channels * module.kernel_size[0] + 1) * output.numel()
    if isinstance(module, nn.BatchNorm1d):
        return 2 * output.numel()
    if isinstance(module, TPC):
        clues: PruningInput = args[0]
        B, K, J, D = clues.tokens.shape
        return (J + 1) * B * K * D if J > 1 else 0
    return 0


def _part(name: str) -> str:
    """The block a module or parameter belongs to: "STEblocks.0" of "STEblocks.0.attn.qkv"."""
    words = name.split(".")
    digits = [i for i, word in enumerate(words) if word.isdigit()]
    return ".".join(words[: digits[0] + 1] if digits else words[:1])


class _NoInitialisation(TorchFunctionMode):
    """Leaves out drawing random weights, most of the time of building a model that is only counted."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.uniform_, Tensor.normal_):
            return args[0]
        return func(*args, **(kwargs or {}))
