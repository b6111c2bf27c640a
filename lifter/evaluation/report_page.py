"""A dossier for people: the page with all its tables, the short form for a model card."""

from collections.abc import Sequence
from itertools import pairwise

from lifter.evaluation.footage import Marks
from lifter.evaluation.markdown import pair, percent, table, wrapped
from lifter.evaluation.report import SIZES, Accuracy, Dossier, Film
from lifter.evaluation.report_robustness import sections, unmoved
from lifter.evaluation.robustness import Errors

_NAMES = {"cmu": "CMU", "uiprmd": "UI-PRMD", "hdm05": "HDM05"}


def page(dossier: Dossier, command: str, picture: str) -> str:
    """All sections; command: what made it, picture: the file with the curves."""
    spec = dossier.spec
    about = (
        f"All figures on this page were made by one command, with fixed seeds, for {spec.name} "
        f"(sha256 of the weights {spec.sha256[:12]}):"
    )
    parts = [
        wrapped(about),
        f"```sh\n{command}\n```",
        *_people(dossier),
        *_sizes(dossier),
        *_real(dossier),
    ]
    if dossier.disturbed:
        parts += sections(dossier.disturbed, picture)
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
        parts += [wrapped(_film_about(dossier.film)), _film_table(dossier.film)]
    if dossier.disturbed:
        parts += [f"{dossier.disturbed.clips} of those clips:", unmoved(dossier.disturbed)]
    return "\n\n".join(parts)


def _people(dossier: Dossier) -> list[str]:
    clips = "; ".join(f"{_title(g)}: {n} clips, {f} frames" for g, (n, f) in dossier.clips.items())
    known = " and ".join(_title(group) for group in dossier.known)
    off, missed = dossier.detector
    return [
        "## People who were not trained on",
        wrapped(
            "Motion capture, each clip filmed once by a random camera and seen by a model of a 2D detector: "
            f"it is off by {off:.1f} mm at the person (median) and misses {missed:.1f} % of the joints, many "
            f"behind the border of the picture ({clips}). MPJPE / P-MPJPE in mm over 17 joints, from the "
            "pelvis, in true size, though the lifter gives everybody an average adult's. The first table "
            f"is over {known}. 'Every frame' lifts windows side by side, as a file is lifted; 'centre' and "
            f"'newest' are the same frames ({dossier.single} of all sources), with the frames after them and "
            "without. GFLOPs are for one window. The mean poses look at no picture; one is told the facing. "
            "Keypoints at true depth say what the detector's errors alone amount to."
        ),
        _people_table(dossier),
        wrapped("The same by where the motion is from, every frame, with a detector's errors:"),
        _sources_table(dossier),
        wrapped(
            "How steady the poses are, in mm per frame and mm per frame squared; bones: thighs, shins and "
            "arms, by how much their lengths vary within a clip and between a person's sides:"
        ),
        _steadiness_table(dossier),
    ]


def _people_table(dossier: Dossier) -> str:
    head = ("", "parameters M", "GFLOPs", "every frame", "centre", "newest", "newest to centre", "exact 2D")
    return table(head, [_person_row(model, dossier.known) for model in dossier.models])


def _person_row(model: Accuracy, groups: Sequence[str]) -> tuple[str, ...]:
    def cell(errors: Errors | None) -> str:
        return "" if errors is None else pair(errors.mean(groups))

    later = ""
    if model.centre and model.newest:
        later = percent(model.newest.mean(groups)[0], model.centre.mean(groups)[0])
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
            *(pair(model.every.mean([group])) for group in groups),
            *("" if model.exact is None else pair(model.exact.mean([group])) for group in groups),
        )
        for model in dossier.models
    ]
    return table(head, rows)


def _real(dossier: Dossier) -> list[str]:
    if dossier.film is None:
        return []
    return ["## Real video", wrapped(_film_about(dossier.film)), _film_table(dossier.film)]


def _film_about(film: Film) -> str:
    frames = ", ".join(f"{name} {count} frames" for name, count in zip(film.videos, film.frames, strict=True))
    return (
        f"Real video ({frames}), 2D by MediaPipe's full model in every row, limb joints only, truth from "
        "several views. MPJPE / P-MPJPE in mm; by how much the lengths of thighs, shins and arms vary over "
        "time; mean second difference of the poses in mm per frame squared. 'As sent live': what leaves the "
        "daemon with the settings of configs/webcam.yaml, every pose the newest of its window."
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
        for name, each in list(film.rows.items())[1:4]
    ]
    return table(head, [*rows, truth, *against])


def _marks(each: Sequence[Marks]) -> tuple[str, ...]:
    errors = [f"{m.mpjpe:.0f} / {m.p_mpjpe:.0f}" for m in each]
    return (*errors, *_joined([m.bones for m in each], [m.acceleration for m in each]))


def _joined(bones: Sequence[float], acceleration: Sequence[float]) -> tuple[str, str]:
    return ", ".join(f"{b:.1f}" for b in bones) + " %", ", ".join(f"{a:.1f}" for a in acceleration)


def _against(each: Sequence[Marks], own: Sequence[Marks]) -> tuple[str, ...]:
    errors = [
        f"{percent(m.mpjpe, o.mpjpe)} / {percent(m.p_mpjpe, o.p_mpjpe)}"
        for m, o in zip(each, own, strict=True)
    ]
    bones = ", ".join(f"{o.bones / m.bones:.1f}" for m, o in zip(each, own, strict=True))
    jitter = ", ".join(f"{o.acceleration / m.acceleration:.1f}" for m, o in zip(each, own, strict=True))
    return (*errors, f"{bones} x steadier", f"{jitter} x lower")


def _sizes(dossier: Dossier) -> list[str]:
    edges = [f"below {SIZES[0]:g}", *(f"{a:g} to {b:g}" for a, b in pairwise(SIZES)), f"over {SIZES[-1]:g}"]
    rows = [
        (edge, f"{error:.1f}", str(count)) for edge, (error, count) in zip(edges, dossier.sizes, strict=True)
    ]
    return [
        "## Small and large in the picture",
        "By how much of the image's height a person spans, all clips, with a detector's errors:",
        table(("share of the height", "MPJPE mm", "frames"), rows),
    ]


def _steadiness_table(dossier: Dossier) -> str:
    head = ("", "velocity error", "acceleration", "bones vary", "left and right differ by")
    rows, truth = [], 0.0
    for model in dossier.models:
        velocity, jitter, truth, bones, sides = model.every.mean_steadiness(dossier.known)
        rows.append((model.name, f"{velocity:.2f}", f"{jitter:.2f}", f"{bones:.1f} %", f"{sides:.1f} mm"))
    return table(head, [*rows, ("truth", "", f"{truth:.2f}", "", "")])


def _title(group: str) -> str:
    return _NAMES.get(group, group)
