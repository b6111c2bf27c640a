"""A report as Markdown: the page with all its tables, and the short form for a model card."""

from collections.abc import Sequence
from itertools import pairwise

from lifter.evaluation.clip_errors import ClipErrors
from lifter.evaluation.labelled_video import VideoScores
from lifter.reports import robustness_page
from lifter.reports.markdown import pair, percent, table, wrapped
from lifter.reports.report import DRAWS, SIZE_EDGES, DrawMean, ModelErrors, Report, VideoErrors

_DATABASES = {"cmu": "CMU", "uiprmd": "UI-PRMD", "hdm05": "HDM05"}


def page(report: Report, command: str, picture: str) -> str:
    """All sections; command: the command that measured them, picture: the file of the curves."""
    spec = report.spec
    about = (
        f"All figures on this page were measured by one command, with fixed seeds, for {spec.name} "
        f"(sha256 of the weights {spec.sha256[:12]}):"
    )
    parts = [
        wrapped(about),
        f"```sh\n{command}\n```",
        *_people(report),
        *_sizes(report),
        *_motion(report),
        *_real_video(report),
    ]
    if report.robustness:
        parts += robustness_page.sections(report.robustness, picture)
    return "\n\n".join(parts)


def card(report: Report) -> str:
    """The tables that a model card quotes: people, databases, real video, invariance."""
    groups = _names(report.training_groups)
    parts = [
        "MPJPE / P-MPJPE in mm; P-MPJPE is the error after the best rotation, shift and scaling.",
        wrapped(
            f"**Motion capture of people who are not in the training data** ({groups}), seen by a simulated "
            "2D detector:"
        ),
        _people_table(report),
        wrapped(_about_draws()),
        _draw_table(report),
        "By database, every frame:",
        _database_table(report),
    ]
    if report.videos:
        parts += [wrapped(_about_videos(report.videos)), _video_table(report.videos)]
    if report.robustness:
        parts += [f"{report.robustness.clips} of those clips:", robustness_page.invariance(report.robustness)]
    return "\n\n".join(parts)


def _people(report: Report) -> list[str]:
    clips = "; ".join(f"{_name(g)}: {n} clips, {f} frames" for g, (n, f) in report.clips.items())
    error_mm, missing_percent = report.detector
    return [
        "## People who are not in the training data",
        wrapped(
            "Motion capture; each clip is rendered once with a random camera and seen by a simulated 2D "
            f"detector, whose median error is {error_mm:.1f} mm at the person and which misses "
            f"{missing_percent:.1f} % of the joints, many of them outside the image ({clips}). MPJPE / "
            "P-MPJPE in mm over 17 joints, from the pelvis, in true size, although the lifter gives every "
            f"person the size of an average adult. The first table covers {_names(report.training_groups)}. "
            "'Every frame' lifts windows side by side, as for a file; 'centre' and 'newest' are the same "
            f"{report.single_frames} frames of all databases, with and without the frames after them. GFLOPs "
            "are for one window. The mean poses ignore the image; one of them uses the true facing. The "
            "detector's keypoints at true depth show the error that 2D errors alone cause."
        ),
        _people_table(report),
        wrapped(_about_draws()),
        _draw_table(report),
        wrapped("The same by database, every frame, with detector errors:"),
        _database_table(report),
        wrapped(
            "Steadiness of the poses, in mm per frame and mm per frame squared; bones: how much the lengths "
            "of thighs, shins and arms vary within a clip and differ between a person's sides:"
        ),
        _steadiness_table(report),
    ]


def _people_table(report: Report) -> str:
    head = ("", "parameters M", "GFLOPs", "every frame", "centre", "newest", "newest to centre", "exact 2D")
    return table(head, [_people_row(model, report.training_groups) for model in report.models])


def _about_draws() -> str:
    return (
        f"Means over {DRAWS} draws of cameras and detectors, every frame, with the standard error of the "
        "mean; a single draw, as in the other tables, differs by some mm. MPJPE / P-MPJPE in mm:"
    )


def _draw_table(report: Report) -> str:
    rows = [(draw.name, _draw_cell(draw.with_detector), _draw_cell(draw.exact_2d)) for draw in report.draws]
    return table(("", "with detector errors", "exact 2D"), rows)


def _draw_cell(mean: DrawMean) -> str:
    return f"{mean.mpjpe:.1f} ± {mean.mpjpe_se:.1f} / {mean.p_mpjpe:.1f} ± {mean.p_mpjpe_se:.1f}"


def _people_row(model: ModelErrors, groups: Sequence[str]) -> tuple[str, ...]:
    def cell(errors: ClipErrors | None) -> str:
        return "" if errors is None else pair(errors.mean(groups))

    newest_to_centre = ""
    if model.centre and model.newest:
        newest_to_centre = percent(model.newest.mean(groups)[0], model.centre.mean(groups)[0])
    return (
        model.name,
        "" if model.parameters is None else f"{model.parameters / 1e6:.2f}",
        "" if model.gflops is None else f"{model.gflops:.2f}",
        *(cell(errors) for errors in (model.all_frames, model.centre, model.newest)),
        newest_to_centre,
        cell(model.exact_2d),
    )


def _database_table(report: Report) -> str:
    groups = list(report.clips)
    head = ("", *(_name(group) for group in groups), *(f"{_name(group)}, exact 2D" for group in groups))
    rows = [
        (
            model.name,
            *(pair(model.all_frames.mean([group])) for group in groups),
            *("" if model.exact_2d is None else pair(model.exact_2d.mean([group])) for group in groups),
        )
        for model in report.models
    ]
    return table(head, rows)


def _steadiness_table(report: Report) -> str:
    head = ("", "velocity error", "acceleration", "bones vary", "left and right differ by")
    rows, truth = [], 0.0
    for model in report.models:
        velocity, jitter, truth, bones, sides = model.all_frames.mean_steadiness(report.training_groups)
        rows.append((model.name, f"{velocity:.2f}", f"{jitter:.2f}", f"{bones:.1f} %", f"{sides:.1f} mm"))
    return table(head, [*rows, ("truth", "", f"{truth:.2f}", "", "")])


def _sizes(report: Report) -> list[str]:
    low, high = SIZE_EDGES[0], SIZE_EDGES[-1]
    bins = [f"below {low:g}", *(f"{a:g} to {b:g}" for a, b in pairwise(SIZE_EDGES)), f"over {high:g}"]
    rows = [(name, f"{error:.1f}", str(n)) for name, (error, n) in zip(bins, report.sizes, strict=True)]
    return [
        "## Small and large people in the image",
        "By the share of the image's height that a person spans, all clips, with detector errors:",
        table(("share of the height", "MPJPE mm", "frames"), rows),
    ]


def _motion(report: Report) -> list[str]:
    names = [third.name for third in report.motion[report.spec.name]]
    parts = ["## Slow and fast motion"]
    for first, measure in ((0, "mean speed"), (3, "mean acceleration")):
        head = ("", *(name.partition(" ")[2] for name in names[first : first + 3]))
        rows = [
            (model, *(f"{third.mpjpe:.1f} / {third.p_mpjpe:.1f}" for third in thirds[first : first + 3]))
            for model, thirds in report.motion.items()
        ]
        parts += [
            wrapped(
                f"By the {measure} of the true joints, a third of all frames a column, with detector errors:"
            ),
            table(head, rows),
        ]
    return parts


def _real_video(report: Report) -> list[str]:
    if report.videos is None:
        return []
    return ["## Real video", wrapped(_about_videos(report.videos)), _video_table(report.videos)]


def _about_videos(videos: VideoErrors) -> str:
    counts = zip(videos.videos, videos.frames, strict=True)
    frames = ", ".join(f"{name} {count} frames" for name, count in counts)
    return (
        f"Real video ({frames}), 2D by MediaPipe's full model in every row, limb joints only, truth from "
        "several views. MPJPE / P-MPJPE in mm; how much the lengths of thighs, shins and arms vary over "
        "time; mean second difference of the poses in mm per frame squared. 'As sent live': the poses that "
        "the daemon publishes with configs/webcam.yaml, each from the newest frame of its window."
    )


def _video_table(videos: VideoErrors) -> str:
    head = ("", *videos.videos, "bones vary", "acceleration")
    (base_name, base), *others = videos.rows.items()
    rows = [(name, *_video_cells(scores)) for name, scores in videos.rows.items()]
    steadiness = _steadiness_cells(
        [truth.bone_variation for truth in videos.truth], [truth.acceleration for truth in videos.truth]
    )
    truth = ("truth", *("" for _ in videos.videos), *steadiness)
    comparisons = [
        (f"{name}: against {base_name}", *_comparison_cells(scores, base)) for name, scores in others[:3]
    ]
    return table(head, [*rows, truth, *comparisons])


def _video_cells(scores: Sequence[VideoScores]) -> tuple[str, ...]:
    errors = [f"{score.mpjpe:.0f} / {score.p_mpjpe:.0f}" for score in scores]
    bones, accelerations = [s.bone_variation for s in scores], [s.acceleration for s in scores]
    return (*errors, *_steadiness_cells(bones, accelerations))


def _steadiness_cells(bones: Sequence[float], accelerations: Sequence[float]) -> tuple[str, str]:
    return ", ".join(f"{b:.1f}" for b in bones) + " %", ", ".join(f"{a:.1f}" for a in accelerations)


def _comparison_cells(scores: Sequence[VideoScores], base: Sequence[VideoScores]) -> tuple[str, ...]:
    videos = list(zip(scores, base, strict=True))
    errors = [f"{percent(s.mpjpe, b.mpjpe)} / {percent(s.p_mpjpe, b.p_mpjpe)}" for s, b in videos]
    bones = ", ".join(f"{b.bone_variation / s.bone_variation:.1f}" for s, b in videos)
    jitter = ", ".join(f"{b.acceleration / s.acceleration:.1f}" for s, b in videos)
    return (*errors, f"{bones} x steadier", f"{jitter} x lower")


def _names(groups: Sequence[str]) -> str:
    return " and ".join(_name(group) for group in groups)


def _name(group: str) -> str:
    return _DATABASES.get(group, group)
