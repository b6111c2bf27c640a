"""What pruning saves: ms per window of each model whole, with HoT and with H2OT, and what we save on top.

    python benchmarks/lifting.py [--arch mixste] [--quick] [--threads 2] [--device cpu]

Random weights, full-size models (--quick: narrow ones, to see that it runs; their ratios mean little).
"whole", "hot" and "h2ot" compute all that the papers write down. "all" is H2OT without what no pose is
made of; "live" is one update of a stream, for its newest pose, with what is remembered of all frames but
the newest (`lifter.memory`; what looking it up takes is in the time).

The variants take turns, so that a machine busy with other things slows all of them alike. D3DP is
timed as one pass of its denoiser; with H hypotheses and K steps, H * K passes make a pose. "own" is the
share of the time spent on pruning and recovering, the regression head not counted; the paper finds 0 %
for TPS + TRI. Prints a table, then one JSON line.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lifter.flops import live
from lifter.hourglass import Hourglass
from lifter.machine import machine
from lifter.memory import Memory
from lifter.recover import Head
from lifter.spec import LifterSpec, Schedule
from lifter.weights import build

VARIANTS = ("whole", "hot", "h2ot", "all", "live")
SEQUENCE = Schedule((81,), (3,), "tpc", "tra"), Schedule((121, 81), (0, 3))
_ROOM = 1 << 30  # bytes for what is remembered
ONE_PASS = {"hypotheses": 1, "steps": 1, "flip": False}
# Frames, input channels, HoT and H2OT (section 4.2), further settings.
MODELS: dict[str, tuple[int, int, tuple[Schedule, Schedule], dict[str, Any]]] = {
    "mixste": (243, 2, SEQUENCE, {}),
    "mhformer": (
        351,
        2,
        (Schedule((117,), (1,), "tpc", "centre"), Schedule((175, 117), (0, 1), "tps", "centre")),
        {},
    ),
    "motionbert": (243, 3, (Schedule((81,), (1,), "tpc", "tra"), Schedule((121, 81), (0, 1))), {}),
    "motionagformer": (243, 3, (Schedule((81,), (7,), "tpc", "tra"), Schedule((121, 81), (0, 7))), {}),
    "d3dp": (243, 2, SEQUENCE, ONE_PASS),
    "diffpose": (243, 2, SEQUENCE, {"flip": False}),
}
# Frames per second against the whole model, on an RTX 3090 (tables 3 and 8).
PAPER = {
    "mixste": {"hot": 14297 / 9982, "h2ot": 18745 / 9982},
    "motionbert": {"hot": 15289 / 12719, "h2ot": 18779 / 12719},
    "d3dp": {"h2ot": 1154 / 820},
    "diffpose": {"h2ot": 9426 / 6522},
}


class Clock:
    """Wall time in ms, or this process's own, after what was asked of the device is done."""

    def __init__(self, device: torch.device, own: bool) -> None:
        self.device, self.own = device, own

    def now_ms(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return (time.process_time() if self.own else time.perf_counter()) * 1e3


class Share:
    """Time a model's hourglass takes for itself, its call of the regression head left out."""

    def __init__(self, model: nn.Module, clock: Clock) -> None:
        self.clock, self.own_ms = clock, 0.0
        self.hourglass = next(part for part in model.modules() if isinstance(part, Hourglass))

    def __enter__(self) -> "Share":
        prune, recover = self.hourglass.prune, self.hourglass.recover
        self.hourglass.prune = self._timed(prune)  # type: ignore[method-assign]

        def without_head(tokens: Tensor, kept: Tensor, head: Head, asked: slice | None = None) -> Tensor:
            return self._timed(recover)(tokens, kept, self._timed(head, -1), asked)

        self.hourglass.recover = without_head  # type: ignore[method-assign]
        return self

    def __exit__(self, *exc: object) -> None:
        del self.hourglass.prune, self.hourglass.recover

    def _timed(self, call: Callable[..., Any], sign: int = 1) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            start = self.clock.now_ms()
            answer = call(*arguments)
            self.own_ms += sign * (self.clock.now_ms() - start)
            return answer

        return timed


def main() -> None:
    arguments = parse()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(f"{machine(arguments.device).text()}; {torch.get_num_threads()} threads")
    print(f"batch {arguments.batch}, {arguments.repeats} repeats")
    print(f"{'':<15}{'':<7}{'GFLOPs':>8}{'ms/window p50':>15}{'p95':>9}{'speed':>8}{'paper':>8}{'own':>8}")
    rows = [row for arch in arguments.arch or MODELS for row in measure(arch, arguments)]
    print(
        json.dumps(
            {
                "benchmark": "lifting", "machine": machine(arguments.device).text(), "batch": arguments.batch,
                "repeats": arguments.repeats, "quick": arguments.quick, "cpu_time": arguments.cpu_time,
                "rows": rows,
            }
        )
    )  # fmt: skip


def measure(arch: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per variant of an architecture, printed as soon as they are known."""
    frames, channels, _, _ = MODELS[arch]
    clock = Clock(torch.device(arguments.device), arguments.cpu_time)
    variants = [each for each in VARIANTS if each != "live" or arch != "mhformer"]  # which answers once
    models = {variant: built(arch, variant, arguments) for variant in variants}
    gflops = {variant: cost(arch, variant, arguments) for variant in variants}
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(arguments.batch, frames, 17, channels, generator=generator) * 2 - 1
    calls: dict[str, Callable[[Tensor], Tensor]] = dict(models)
    if "live" in calls:
        calls["live"] = Live(models["live"], channels)
    with torch.inference_mode():
        for call in calls.values():
            call(x.to(clock.device))  # warm-up
        shares = {
            each: share(model, calls[each], x.to(clock.device), clock) for each, model in models.items()
        }
        times: dict[str, list[float]] = {variant: [] for variant in variants}
        for _ in range(arguments.repeats):
            x = torch.cat([x[:, 1:], torch.rand(x[:, :1].shape, generator=generator) * 2 - 1], dim=1)
            for variant, call in calls.items():
                start = clock.now_ms()
                call(x.to(clock.device))
                times[variant].append((clock.now_ms() - start) / arguments.batch)
    whole = float(np.median(times["whole"]))
    rows = []
    for variant in variants:
        p50, p95 = (round(float(np.percentile(times[variant], p)), 2) for p in (50, 95))
        paper = PAPER.get(arch, {}).get(variant)
        row = {
            "arch": arch, "variant": variant, "gflops": round(gflops[variant], 2),
            "p50_ms": p50, "p95_ms": p95,
            "speed": round(whole / float(np.median(times[variant])), 3),
            "paper_speed": paper and round(paper, 3), "own_percent": round(100 * shares[variant], 3),
        }  # fmt: skip
        known = f"{paper:7.2f}x" if paper else f"{'-':>8}"
        own = f"{row['own_percent']:7.2f}%"
        print(
            f"{arch:<15}{variant:<7}{row['gflops']:8.2f}{p50:15.1f}{p95:9.1f}{row['speed']:7.2f}x{known}{own}"
        )
        rows.append(row)
    return rows


class Live:
    """One update of streams whose windows have slid on by a frame: the newest pose, the rest remembered."""

    def __init__(self, model: nn.Module, channels: int) -> None:
        self.model = model
        self.memory = Memory(model, channels, _ROOM) if getattr(model, "remembers", False) else None

    def __call__(self, x: Tensor) -> Tensor:
        F = x.shape[1]
        newest = slice(F - 1, F)
        if self.memory is None:
            return self.model(x, asked=newest)
        keys = self.memory.keys(x.cpu(), torch.ones(len(x), 2))
        return self.model(x, asked=newest, known=self.memory.recall(x, keys))


def described(arch: str, variant: str, arguments: argparse.Namespace) -> LifterSpec:
    """The model of a variant; --quick makes it narrow."""
    frames, channels, schedules, settings = MODELS[arch]
    if arguments.quick:
        settings = settings | {"width": 64 if arch != "motionagformer" else 32}
    schedule = {"whole": None, "hot": schedules[0]}.get(variant, schedules[1])
    return LifterSpec(
        name=arch, arch=arch, frames=frames, in_channels=channels, schedule=schedule, config=settings
    )


def built(arch: str, variant: str, arguments: argparse.Namespace) -> nn.Module:
    """A model with random weights."""
    torch.manual_seed(0)
    model = build(described(arch, variant, arguments)).to(arguments.device)
    for part in model.modules():
        if isinstance(part, Hourglass):
            part.frugal = variant in ("all", "live")
    return model


def cost(arch: str, variant: str, arguments: argparse.Namespace) -> float:
    """GFLOPs of a variant by the papers' rule; of a diffusion lifter, of one pass through its backbone."""
    counts = live(described(arch, variant, arguments))
    return {"all": counts[1], "live": counts[-1]}.get(variant, counts[0]).paper_flops / 1e9


def share(
    model: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor, clock: Clock, passes: int = 3
) -> float:
    """Part of a pass (0 to 1) that goes into pruning and recovering, the median of some."""
    found = []
    for _ in range(passes):
        with Share(model, clock) as own:
            start = clock.now_ms()
            call(x)
            found.append(own.own_ms / (clock.now_ms() - start))
    return float(np.median(found))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--arch", choices=MODELS, action="append", help="again for several; default: all")
    parser.add_argument("--quick", action="store_true", help="narrow models, two repeats")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; default: as torch decides")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--cpu-time", action="store_true", help="time of all threads, on a busy machine")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.repeats = 2
    return arguments


if __name__ == "__main__":
    main()
