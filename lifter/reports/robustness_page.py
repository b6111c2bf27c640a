"""The robustness sections of a report as Markdown tables, and the disturbance curves as a picture."""

from pathlib import Path

from lifter.reports.markdown import pair, percent, table, wrapped
from lifter.reports.report import RATES_HZ, ROLL_DEG, Robustness


def sections(robustness: Robustness, picture: str) -> list[str]:
    """Disturbances, body proportions, frame rates and invariance; picture: the file of the curves."""
    return [
        *_disturbances(robustness, picture),
        *_bodies(robustness),
        *_rates(robustness),
        "## Rolled camera, mirrored image, standing still",
        invariance(robustness),
    ]


def _disturbances(robustness: Robustness, picture: str) -> list[str]:
    columns = max(len(curve.levels) for curve in robustness.curves)
    rows = []
    for curve in robustness.curves:
        is_share = curve.unit == "%"
        levels = [f"{level:g} %" if is_share else f"x {level:g}" for level in curve.levels]
        padding = [""] * (columns - len(levels))
        rows.append((curve.name, *levels, *padding))
        rows.append(("", *(pair(errors) for errors in curve.errors), *padding))
    head = ("half of the body visible", "MPJPE of all joints", "of the visible, about their middle")
    halves = [(name, f"{all_mm:.1f}", f"{mm:.1f}") for name, (all_mm, mm) in robustness.half_occluded.items()]
    return [
        "## Disturbances",
        wrapped(
            f"{robustness.clips} clips, evenly chosen from all databases, one disturbance at a time. Missing "
            "joints, outliers (a wrong joint is 30 cm off, with a score of 1) and hidden halves of the body "
            f"disturb exact 2D, whose errors are {pair(robustness.with_exact_2d)} mm; the detector's "
            "position errors are scaled, its gaps and scores are kept. MPJPE / P-MPJPE in mm."
        ),
        table(("", *("" for _ in range(columns))), rows),
        f"![errors against the strength of each disturbance]({picture})",
        table(head, halves),
    ]


def _bodies(robustness: Robustness) -> list[str]:
    rows = [(body, pair(detector), pair(exact)) for body, (detector, exact) in robustness.bodies.items()]
    return [
        "## Bodies",
        wrapped(
            "The same motion with bodies of other proportions, all of the size of an average adult, which is "
            "the size that the lifter gives every person. MPJPE / P-MPJPE in mm."
        ),
        table(("", "with detector errors", "exact 2D"), rows),
    ]


def _rates(robustness: Robustness) -> list[str]:
    base, base_resampled = (
        errors[RATES_HZ.index(50)][0] for errors in (robustness.rates, robustness.resampled)
    )
    rows = [
        (f"{rate} Hz", pair(own), percent(own[0], base), pair(even), percent(even[0], base_resampled))
        for rate, own, even in zip(RATES_HZ, robustness.rates, robustness.resampled, strict=True)
    ]
    return [
        "## Frame rates",
        wrapped(
            "The same clips at other rates, with the detector errors of the same times. 'Native': the lifter "
            "reads the camera's frames; 'interpolated': keypoints are interpolated to 50 Hz and scored there."
        ),
        table(("", "native", "against 50 Hz", "interpolated", "against 50 Hz"), rows),
    ]


def invariance(robustness: Robustness) -> str:
    """Errors under changes that should have no effect, or almost none."""
    rows = [
        ("MPJPE / P-MPJPE, with detector errors", pair(robustness.with_detector)),
        (f"with the camera rolled by {ROLL_DEG:g} degrees", pair(robustness.rolled)),
        ("from the mirrored pose to the pose of the mirrored input", f"{robustness.mirror_gap_mm:.1f}"),
        ("movement per frame of a still person, exact 2D", f"{robustness.standing_jitter_mm:.2f}"),
        (
            "movement per frame of a still person, with detector errors",
            f"{robustness.standing_jitter_noisy_mm:.2f}",
        ),
    ]
    return table(("", "mm"), rows)


def plot(robustness: Robustness, name: str, png: Path) -> None:
    """Draw the disturbance curves of the lifter called `name` to a PNG."""
    from matplotlib.figure import Figure  # no window system

    curves = robustness.curves
    figure = Figure(figsize=(9, 3), dpi=90, layout="constrained")
    figure.suptitle(f"{name}: errors against the strength of each disturbance")
    for axes, curve in zip(figure.subplots(1, len(curves), sharey=True), curves, strict=True):
        mpjpe, p_mpjpe = zip(*curve.errors, strict=True)
        axes.plot(curve.levels, mpjpe, color="#2471a3", marker="o", markersize=4, label="MPJPE")
        axes.plot(curve.levels, p_mpjpe, color="#c0392b", marker="o", markersize=4, label="P-MPJPE")
        axes.set_xlabel(f"{curve.name}, {'%' if curve.unit == '%' else 'times'}")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("mm")
    figure.axes[0].set_ylim(0, 1.05 * max(mpjpe for curve in curves for mpjpe, _ in curve.errors))
    figure.axes[-1].legend(loc="lower right")
    figure.savefig(png)
