"""A dossier for people: the page with all its tables, the short form for a model card, the picture."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import fill

import numpy as np

from lifter.training.document import table
from lifter.training.dossier import RATES_HZ, ROLL_DEGREES, SIZES, Accuracy, Dossier, Film
from lifter.training.exam import Errors
from lifter.training.real import Marks

_NAMES = {"cmu": "CMU", "uiprmd": "UI-PRMD", "hdm05": "HDM05"}


def page(dossier: Dossier, command: str, picture: str) -> str:
    """All sections; command: what made it, picture: the file that `plot` wrote."""
    spec = dossier.spec
    about = (
        f"All figures on this page were made by one command, with fixed seeds, for {spec.name} "
        f"(sha256 of the weights {spec.sha256[:12]}):"
    )
    parts = [
        _wrapped(about),
        f"```sh\n{command}\n```",
        *_people(dossier),
        *_real(dossier),
        *_robust(dossier, picture),
        *_others(dossier),
    ]
    return "\n\n".join(parts)


def card(dossier: Dossier) -> str:
    """What a model card quotes: people, sources and real videos."""
    known = " and ".join(_title(group) for group in dossier.known)
    parts = [
        "MPJPE / P-MPJPE in mm; P-MPJPE is the error after the best turn, shift and scale.",
        f"**Motion capture of people who were not trained on** ({known}), seen by a model of a 2D detector:",
        _people_table(dossier),
        "By where the motion is from, every frame:",
        _sources_table(dossier),
    ]
    if dossier.film:
        parts += [_wrapped(_film_about(dossier.film)), _film_table(dossier.film)]
    return "\n\n".join(parts)


def _people(dossier: Dossier) -> list[str]:
    clips = "; ".join(f"{_title(g)}: {n} clips, {f} frames" for g, (n, f) in dossier.clips.items())
    known = " and ".join(_title(group) for group in dossier.known)
    return [
        "## People who were not trained on",
        _wrapped(
            "Motion capture, each clip filmed once by a random camera and seen by a model of a 2D detector: "
            f"errors, gaps, bodies cut by the border ({clips}). MPJPE / P-MPJPE in mm over 17 joints, from "
            "the pelvis, in true size, though the lifter gives everybody an average adult's. The first table "
            f"is over {known}. 'Every frame' lifts windows side by side, as a file is lifted; 'centre' and "
            f"'newest' are the same frames ({dossier.single} of all sources), with the frames after them and "
            "without. GFLOPs are for one window. The mean poses look at no picture; one is told the facing."
        ),
        _people_table(dossier),
        _wrapped("The same by where the motion is from, every frame, with a detector's errors:"),
        _sources_table(dossier),
    ]


def _people_table(dossier: Dossier) -> str:
    head = ("", "parameters M", "GFLOPs", "every frame", "centre", "newest", "newest to centre", "exact 2D")
    return table(head, [_person_row(model, dossier.known) for model in dossier.models])


def _person_row(model: Accuracy, groups: Sequence[str]) -> tuple[str, ...]:
    def cell(errors: Errors | None) -> str:
        return "" if errors is None else _pair(errors.mean(groups))

    later = ""
    if model.centre and model.newest:
        later = _percent(model.newest.mean(groups)[0], model.centre.mean(groups)[0])
    return (
        model.name,
        "" if model.parameters is None else f"{model.parameters / 1e6:.2f}",
        "" if model.gflops is None else f"{model.gflops:.2f}",
        *(cell(errors) for errors in (model.every, model.centre, model.newest)),
        later,
        cell(model.exact),
    )


def _sources_table(dossier: Dossier) -> str:
    groups = list(dossier.clips)
    head = ("", *(_title(group) for group in groups), *(f"{_title(group)}, exact 2D" for group in groups))
    rows = [
        (
            model.name,
            *(_pair(model.every.mean([group])) for group in groups),
            *("" if model.exact is None else _pair(model.exact.mean([group])) for group in groups),
        )
        for model in dossier.models
    ]
    return table(head, rows)


def _real(dossier: Dossier) -> list[str]:
    if dossier.film is None:
        return []
    return ["## Real video", _wrapped(_film_about(dossier.film)), _film_table(dossier.film)]


def _film_about(film: Film) -> str:
    frames = ", ".join(f"{name} {count} frames" for name, count in zip(film.videos, film.frames, strict=True))
    return (
        f"Real video ({frames}), 2D by MediaPipe's full model in every row, limb joints only, truth from "
        "several views. MPJPE / P-MPJPE in mm; by how much the lengths of thighs, shins and arms vary over "
        "time; mean second difference of the poses in mm per frame squared."
    )


def _film_table(film: Film) -> str:
    head = ("", *film.videos, "bones vary", "acceleration")
    own = next(iter(film.rows.values()))
    rows = [(name, *_marks(each)) for name, each in film.rows.items()]
    truth = (
        "truth",
        *("" for _ in film.videos),
        *_joined([t[0] for t in film.truth], [t[1] for t in film.truth]),
    )
    against = [
        (f"{name}: against {next(iter(film.rows))}", *_against(each, own))
        for name, each in list(film.rows.items())[1:3]
    ]
    return table(head, [*rows, truth, *against])


def _marks(each: Sequence[Marks]) -> tuple[str, ...]:
    errors = [f"{m.mpjpe:.0f} / {m.p_mpjpe:.0f}" for m in each]
    return (*errors, *_joined([m.bones for m in each], [m.acceleration for m in each]))


def _joined(bones: Sequence[float], acceleration: Sequence[float]) -> tuple[str, str]:
    return ", ".join(f"{b:.1f}" for b in bones) + " %", ", ".join(f"{a:.1f}" for a in acceleration)


def _against(each: Sequence[Marks], own: Sequence[Marks]) -> tuple[str, ...]:
    errors = [
        f"{_percent(m.mpjpe, o.mpjpe)} / {_percent(m.p_mpjpe, o.p_mpjpe)}"
        for m, o in zip(each, own, strict=True)
    ]
    bones = ", ".join(f"{o.bones / m.bones:.1f}" for m, o in zip(each, own, strict=True))
    jitter = ", ".join(f"{o.acceleration / m.acceleration:.1f}" for m, o in zip(each, own, strict=True))
    return (*errors, f"{bones} x steadier", f"{jitter} x lower")


def _robust(dossier: Dossier, picture: str) -> list[str]:
    some = dossier.disturbed
    widest = max(len(curve.levels) for curve in some.curves)
    rows = []
    for curve in some.curves:
        levels = [
            f"{level:g} {curve.unit}" if curve.unit == "%" else f"x {level:g}" for level in curve.levels
        ]
        filled = [""] * (widest - len(levels))
        rows.append((curve.name, *levels, *filled))
        rows.append(("", *(_pair(each) for each in curve.errors), *filled))
    half = ("half of the body visible", "MPJPE of all joints", "of the visible, about their middle")
    halves = [(name, f"{a:.1f}", f"{b:.1f}") for name, (a, b) in some.halves.items()]
    return [
        "## What disturbs it",
        _wrapped(
            f"{some.clips} clips, evenly chosen of all sources, one thing at a time. Joints missing, "
            "outliers (a wrong joint lies 30 cm off, with a score of 1) and half bodies are laid on exact "
            f"2D, with which the errors are {_pair(some.exact)} mm; the detector's errors of place are "
            "scaled with its gaps and scores as they are. MPJPE / P-MPJPE in mm."
        ),
        table(("", *("" for _ in range(widest))), rows),
        f"![errors against how much goes wrong]({picture})",
        table(half, halves),
    ]


def _others(dossier: Dossier) -> list[str]:
    some = dossier.disturbed
    base = some.rates[RATES_HZ.index(50)][0]
    grid = some.gridded[RATES_HZ.index(50)][0]
    rates = [
        (f"{rate} Hz", _pair(own), _percent(own[0], base), _pair(put), _percent(put[0], grid))
        for rate, own, put in zip(RATES_HZ, some.rates, some.gridded, strict=True)
    ]
    edges = [f"below {SIZES[0]:g}", *(f"{a:g} to {b:g}" for a, b in pairwise(SIZES))]
    sizes = [
        (edge, f"{error:.1f}", str(count))
        for edge, (error, count) in zip([*edges, f"over {SIZES[-1]:g}"], dossier.sizes, strict=True)
    ]
    return [
        "## Frame rates",
        _wrapped(
            "The same clips at other rates, the detector's errors as at the same moments. "
            "'As they come': the lifter reads the camera's frames; 'interpolated': keypoints at 50 Hz are "
            "made of them and scored at 50 Hz."
        ),
        table(("", "as they come", "against 50 Hz", "interpolated", "against 50 Hz"), rates),
        "## Turned, mirrored, still, small",
        table(
            ("", "mm"),
            [
                ("MPJPE / P-MPJPE, with a detector's errors", _pair(some.seen)),
                (f"the camera turned by {ROLL_DEGREES:g} degrees around its axis", _pair(some.rolled)),
                ("from the mirrored pose to that of the mirrored input", f"{some.mirror_gap:.1f}"),
                ("movement per frame of a still person, exact 2D", f"{some.still:.2f}"),
                ("movement per frame of a still person, with a detector's errors", f"{some.still_seen:.2f}"),
            ],
        ),
        "By how much of the image's height a person spans, all clips, with a detector's errors:",
        table(("share of the height", "MPJPE mm", "frames"), sizes),
    ]


def plot(dossier: Dossier, output: Path) -> None:
    """Draw the curves of what disturbs it to a PNG."""
    from matplotlib.figure import Figure  # no window system

    curves = dossier.disturbed.curves
    figure = Figure(figsize=(9, 3), dpi=90, layout="constrained")
    figure.suptitle(f"{dossier.spec.name}: errors against how much goes wrong")
    for axes, curve in zip(figure.subplots(1, len(curves), sharey=True), curves, strict=True):
        mpjpe, p_mpjpe = zip(*curve.errors, strict=True)
        axes.plot(curve.levels, mpjpe, color="#2471a3", marker="o", markersize=4, label="MPJPE")
        axes.plot(curve.levels, p_mpjpe, color="#c0392b", marker="o", markersize=4, label="P-MPJPE")
        axes.set_xlabel(f"{curve.name}, {'%' if curve.unit == '%' else 'times'}")
        axes.grid(alpha=0.3)
        axes.set_ylim(0, None)
    figure.axes[0].set_ylabel("mm")
    figure.axes[-1].legend(loc="lower right")
    figure.savefig(output)


def _title(group: str) -> str:
    return _NAMES.get(group, group)


def _pair(errors: tuple[float, float]) -> str:
    return "" if np.isnan(errors[0]) else f"{errors[0]:.1f} / {errors[1]:.1f}"


def _percent(value: float, base: float) -> str:
    return "" if np.isnan(value / base) else f"{100 * (value / base - 1):+.1f} %"


def _wrapped(text: str) -> str:
    return fill(text, width=110, break_on_hyphens=False, break_long_words=False)
