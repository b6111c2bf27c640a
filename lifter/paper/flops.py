"""Count parameters and floating-point operations of a lifter on torch's meta device, without computing.

Two counts. The papers' rule (that of THOP): twice the multiply-accumulates of linear layers (in x out
elements), 1D convolutions (out elements x (in + 1)), batch norms (2 x elements) and average pooling (18 per
output). Layer norms, GELU, softmax and products of activations (attention, graphs) do not count. The
second count is of every matrix product, as the released code forms them.

Both are of the full computation of the papers; `count_live_update` also counts the shorter live one.
"""

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
from lifter.spec import LifterSpec
from lifter.weights import build
from stream.errors import ConfigError

_BACKBONES = {"d3dp": "pose_estimator", "diffpose": "pose"}


class FlopCount(NamedTuple):
    """Parameters of one part of a model (or of "total"), and its FLOPs for one window, as plain numbers."""

    part: str
    parameters: int
    paper_flops: int
    all_flops: int


def count(spec: LifterSpec) -> list[FlopCount]:
    """Counts of the whole model ("total") and then of its parts in order: each block, and the other layers.

    FLOPs of the diffusion lifters are those of one run of the pruned backbone, as in the papers: D3DP's
    denoiser for one hypothesis, DiffPose's frozen MixSTE.
    """
    model, x = _on_meta_device(spec)
    return count_model(model, x)


def count_live_update(spec: LifterSpec, new: int = 1, rows: int | None = None) -> list[FlopCount]:
    """Totals of one update of a stream with `new` frames, of which the newest `rows` poses are needed.

    rows: None for `new`. The first total is of the paper's computation. The second leaves out tokens that
    no pose depends on, the third tokens that the needed poses do not depend on. The fourth, of networks
    that support it, takes the per-frame features of earlier frames from the cache. ConfigError for
    numbers outside the window.
    """
    model, x = _on_meta_device(spec)
    F = x.shape[1]
    if not 1 <= new <= F or not 1 <= (rows or new) <= F:
        raise ConfigError(f"live: expected 1 to {F} new frames and poses, got {new} and {rows}")
    newest = slice(F - (rows or new), F)
    counts = {
        "paper's computation": count_model(model, x),
        "unneeded tokens skipped": _count_call(model, lambda: model(x)),
        "only the newest poses": _count_call(model, lambda: model(x, rows=newest)),
    }
    if model.supports_frame_cache:
        input_frames = next(part for part in model.modules() if isinstance(part, Hourglass)).input_frames
        cached = model.encode_frames(x[:, : len(input_frames)])

        def update() -> None:
            model.encode_frames(x[:, :new])
            model(x, rows=newest, cached=cached)

        counts["with the frame cache"] = _count_call(model, update)
    return [totals[0]._replace(part=name) for name, totals in counts.items()]


def _on_meta_device(spec: LifterSpec) -> tuple[LiftingNetwork, Tensor]:
    """The counted part of a model and a window (1, F, J, C) for it, both on the meta device."""
    with _SkipInitialisation():
        whole = build(spec).to("meta")
    model = whole.get_submodule(_BACKBONES[spec.arch]) if spec.arch in _BACKBONES else whole
    assert isinstance(model, LiftingNetwork)
    return model, torch.zeros(1, *model.shape, device="meta")


def count_model(model: nn.Module, *inputs: Tensor) -> list[FlopCount]:
    """Counts as `count` gives them, of any model on the meta device with these inputs."""
    hourglasses = [part for part in model.modules() if isinstance(part, Hourglass)]
    for hourglass in hourglasses:
        hourglass.skip_unneeded = False
    try:
        return _count_call(model, lambda: model(*inputs))
    finally:
        for hourglass in hourglasses:
            del hourglass.skip_unneeded


def _count_call(model: nn.Module, call: Callable[[], Any]) -> list[FlopCount]:
    """Counts of one call of a model on the meta device, the total first."""
    part_stack = [""]  # parts of the modules being called, innermost last
    paper, products = _PaperRule(part_stack), _MatrixProducts(part_stack)
    names = {module: _part(name) for name, module in model.named_modules()}

    def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
        part_stack.append(names[module])

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        part_stack.pop()
        paper.add(names[module], _multiplications(module, args, output))
        if isinstance(module, GraphConvolution):
            # The released code scales the adjacency by products with two diagonal matrices.
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
    rows = [FlopCount(part, parameters[part], paper.flops[part], products.flops[part]) for part in parts]
    columns = list(zip(*rows, strict=True))[1:]
    return [FlopCount("total", *map(sum, columns)), *(row for row in rows if any(row[1:]))]


class _MatrixProducts(TorchDispatchMode):
    """Adds up the FLOPs of all matrix products, by the part that computes them."""

    def __init__(self, part_stack: list[str]) -> None:
        TorchDispatchMode.__init__(self)
        self.part_stack = part_stack
        self.flops: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.flops[self.part_stack[-1]] += formula(*args, **kwargs, out_val=output)
        return output


class _PaperRule(TorchFunctionMode):
    """Adds up FLOPs by the papers' rule, by part: linear layers by itself, other modules through `add`."""

    def __init__(self, part_stack: list[str]) -> None:
        super().__init__()
        self.part_stack = part_stack
        self.flops: Counter[str] = Counter()

    def add(self, part: str, multiplications: int) -> None:
        # The papers do not count TPA's scores.
        if not any(".pruners." in f".{part}." for part in self.part_stack):
            self.flops[part] += 2 * multiplications

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func is nn.functional.linear:
            self.add(self.part_stack[-1], args[1].shape[-1] * output.numel())
        return output


def _multiplications(module: nn.Module, args: tuple[Any, ...], output: Any) -> int:
    """Multiply-accumulates of one call of a module other than a linear layer, by the papers' rule."""
    if isinstance(module, nn.Conv1d):
        return (module.in_channels * module.kernel_size[0] + 1) * int(output.numel())
    if isinstance(module, nn.BatchNorm1d):
        return 2 * int(output.numel())
    if isinstance(module, TPC):
        clues: PruningInput = args[0]
        B, K, J, D = clues.tokens.shape
        return (J + 1) * B * K * D if J > 1 else 0
    return 0


def _part(name: str) -> str:
    """The block of a module or parameter: "STEblocks.0" for "STEblocks.0.attn.qkv"."""
    words = name.split(".")
    digits = [i for i, word in enumerate(words) if word.isdigit()]
    return ".".join(words[: digits[0] + 1] if digits else words[:1])


class _SkipInitialisation(TorchFunctionMode):
    """Skips drawing random weights, which takes most of the time of building a model."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.uniform_, Tensor.normal_):
            return args[0]
        return func(*args, **(kwargs or {}))
