"""The part of a dossier that says what disturbs a lifter: tables, and the curves as a picture."""

from pathlib import Path

from lifter.evaluation.markdown import pair, percent, table, wrapped
from lifter.evaluation.report import RATES_HZ, ROLL_DEGREES, Disturbed


def sections(some: Disturbed, picture: str) -> list[str]:
    """What goes wrong with keypoints, frame rates, and what should change nothing."""
    still = ["## Turned, mirrored, still", unmoved(some)]
    return [*_robust(some, picture), *_bodies(some), *_rates(some), *still]


def _robust(some: Disturbed, picture: str) -> list[str]:
    widest = max(len(curve.levels) for curve in some.curves)
    rows = []
    for curve in some.curves:
        levels = [
            f"{level:g} {curve.unit}" if curve.unit == "%" else f"x {level:g}" for level in curve.levels
        ]
        filled = [""] * (widest - len(levels))
        rows.append((curve.name, *levels, *filled))
        rows.append(("", *(pair(each) for each in curve.errors), *filled))
    half = ("half of the body visible", "MPJPE of all joints", "of the visible, about their middle")
    halves = [(name, f"{a:.1f}", f"{b:.1f}") for name, (a, b) in some.halves.items()]
    return [
        "## What disturbs it",
        wrapped(
            f"{some.clips} clips, evenly chosen of all sources, one thing at a time. Joints missing, "
            "outliers (a wrong joint lies 30 cm off, with a score of 1) and half bodies are laid on exact "
            f"2D, with which the errors are {pair(some.exact)} mm; the detector's errors of place are "
            "scaled with its gaps and scores as they are. MPJPE / P-MPJPE in mm."
        ),
        table(("", *("" for _ in range(widest))), rows),
        f"![errors against how much goes wrong]({picture})",
        table(half, halves),
    ]


def _bodies(some: Disturbed) -> list[str]:
    rows = [(body, pair(seen), pair(exact)) for body, (seen, exact) in some.bodies.items()]
    return [
        "## Bodies",
        wrapped(
            "The same motion by bodies of other proportions, all of them at the size of an average adult, "
            "which is the one that the lifter gives to everybody. MPJPE / P-MPJPE in mm."
        ),
        table(("", "with a detector's errors", "exact 2D"), rows),
    ]


def _rates(some: Disturbed) -> list[str]:
    base = some.rates[RATES_HZ.index(50)][0]
    grid = some.gridded[RATES_HZ.index(50)][0]
    rates = [
        (f"{rate} Hz", pair(own), percent(own[0], base), pair(put), percent(put[0], grid))
        for rate, own, put in zip(RATES_HZ, some.rates, some.gridded, strict=True)
    ]
    return [
        "## Frame rates",
        wrapped(
            "The same clips at other rates, the detector's errors as at the same moments. "
            "'As they come': the lifter reads the camera's frames; 'interpolated': keypoints at 50 Hz are "
            "made of them and scored at 50 Hz."
        ),
        table(("", "as they come", "against 50 Hz", "interpolated", "against 50 Hz"), rates),
    ]


def unmoved(some: Disturbed) -> str:
    """What should change nothing, or hardly anything."""
    rows = [
        ("MPJPE / P-MPJPE, with a detector's errors", pair(some.seen)),
        (f"the camera turned by {ROLL_DEGREES:g} degrees around its axis", pair(some.rolled)),
        ("from the mirrored pose to that of the mirrored input", f"{some.mirror_gap:.1f}"),
        ("movement per frame of a still person, exact 2D", f"{some.still:.2f}"),
        ("movement per frame of a still person, with a detector's errors", f"{some.still_seen:.2f}"),
    ]
    return table(("", "mm"), rows)


def plot(some: Disturbed, name: str, output: Path) -> None:
    """Draw the curves of what disturbs it to a PNG."""
    from matplotlib.figure import Figure  # no window system

    curves = some.curves
    figure = Figure(figsize=(9, 3), dpi=90, layout="constrained")
    figure.suptitle(f"{name}: errors against how much goes wrong")
    for axes, curve in zip(figure.subplots(1, len(curves), sharey=True), curves, strict=True):
        mpjpe, p_mpjpe = zip(*curve.errors, strict=True)
        axes.plot(curve.levels, mpjpe, color="#2471a3", marker="o", markersize=4, label="MPJPE")
        axes.plot(curve.levels, p_mpjpe, color="#c0392b", marker="o", markersize=4, label="P-MPJPE")
        axes.set_xlabel(f"{curve.name}, {'%' if curve.unit == '%' else 'times'}")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("mm")
    figure.axes[0].set_ylim(0, 1.05 * max(mpjpe for curve in curves for mpjpe, _ in curve.errors))
    figure.axes[-1].legend(loc="lower right")
    figure.savefig(output)
