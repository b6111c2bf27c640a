"""Commands that measure the errors of a lifter on data with known 3D poses."""

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from stream.cli.arguments import (
    DeviceOption,
    JsonOption,
    WeightsArgument,
    output_option,
    parse_integers,
    require_choice,
)
from stream.cli.output import print_line, progress_bar
from stream.errors import ConfigError

app = typer.Typer()
Data = Annotated[
    Path,
    typer.Option(
        help="Data with known 3D poses: the folder of a dataset (Human3.6M, MPI-INF-3DHP), MotionBERT's "
        "pickle or folder of clips, or an .npz of motion capture."
    ),
]
Clean = Annotated[
    bool, typer.Option("--clean", help="Project motion capture exactly, without simulated detector errors.")
]


@app.command()
def evaluate(
    weights: WeightsArgument,
    data: Data,
    reading: Annotated[
        str,
        typer.Option(
            help="Scored frames of a window: seq2seq (all), seq2frame (the centre), live (the newest)."
        ),
    ] = "seq2seq",
    clean: Clean = False,
    flip: Annotated[
        bool, typer.Option("--flip", help="Average the poses with those of the mirrored input.")
    ] = False,
    every: Annotated[int, typer.Option(help="Score every Nth sequence only.", metavar="N")] = 1,
    aggregate: Annotated[
        str,
        typer.Option(
            help="How D3DP's hypotheses become one pose: mean (P-Agg), jpma (J-Agg); or the best by the true "
            "pose: p-best, j-best."
        ),
    ] = "mean",
    hypotheses: Annotated[
        int | None, typer.Option(help="Hypotheses of a diffusion lifter (H); default: its own.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Denoising steps of a diffusion lifter (K); default: its own.")
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="paper (windows, root and joints as in the evaluation of the release) or ours (every frame "
            "once); default: paper for Human3.6M and MPI-INF-3DHP."
        ),
    ] = None,
    device: DeviceOption = "auto",
    detector: Annotated[
        str, typer.Option(help="Keypoints of Human3.6M: data_2d_h36m_DETECTOR.npz, such as gt.")
    ] = "cpn_ft_h36m_dbb",
    rate: Annotated[
        float | None,
        typer.Option(metavar="HZ", help="Frames per second of the videos; default: as trained."),
    ] = None,
    by_motion: Annotated[
        bool,
        typer.Option(
            "--by-motion", help="Also print the errors of slow and fast motion, in thirds of the frames."
        ),
    ] = False,
) -> None:
    """Measure errors on data with known 3D poses.

    Prints a row per action and a column per metric. docs/training.md describes the data and the protocols.
    """
    from lifter.evaluation.motion_complexity import MotionErrors
    from lifter.evaluation.score import ScoreSettings, score

    require_choice("--reading", reading, ("seq2seq", "seq2frame", "live"))
    require_choice("--aggregate", aggregate, ("mean", "jpma", "p-best", "j-best"))
    if flip and aggregate != "mean":
        raise ConfigError("--flip and --aggregate exclude each other: D3DP mirrors its hypotheses itself")
    if protocol is not None:
        require_choice("--protocol", protocol, ("paper", "ours"))
    settings = ScoreSettings(
        mode=cast(Any, reading),
        combination=cast(Any, "flip" if flip else aggregate),
        protocol=cast(Any, protocol),
        keypoint_errors="clean" if clean else "detector",
        detector=detector,
        rate_hz=rate,
        every=every,
        hypotheses=hypotheses,
        steps=steps,
        device=device,
    )
    motion = MotionErrors() if by_motion else None
    table = score(weights, data, settings, motion)
    print(table.text() if aggregate == "mean" else f"{table.text()}\nhypotheses: {aggregate}")
    if motion is not None:
        print(f"\n{motion.text()}")


@app.command("lag-curve")
def lag_curve(
    weights: WeightsArgument,
    data: Data,
    output: Annotated[Path | None, output_option("A .png file to draw the curve to.")] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--markdown",
            help="A document whose tables between <!-- lag-curve --> and <!-- /lag-curve --> are replaced.",
        ),
    ] = None,
    lags: Annotated[str | None, typer.Option(help="Frames of look-ahead to measure, e.g. 0,8,121.")] = None,
    hops: Annotated[str | None, typer.Option(help="Frames between passes to measure, e.g. 1,5.")] = None,
    clips: Annotated[
        int, typer.Option(help="Number of clips, spread evenly over the long enough ones.")
    ] = 40,
    frames: Annotated[int, typer.Option(help="Successive frames of each clip to score.")] = 40,
    blend: Annotated[
        int | None,
        typer.Option(help="Frames over which successive passes are blended; default: lifter.blend auto."),
    ] = None,
    clean: Clean = False,
    as_json: JsonOption = False,
) -> None:
    """Measure latency against accuracy.

    Prints error, velocity error and jitter by look-ahead (lag) and hop. Poses are lifted and blended as in a
    live stream.
    """
    import lifter
    from lifter.evaluation import score
    from lifter.evaluation.lag_curve import LagCurveSettings, measure_lag_curve
    from lifter.reports import lag_curve_page, markdown

    lag_curve_page.check_outputs(output, page)
    runner = lifter.load(weights)
    settings = LagCurveSettings(
        None if lags is None else parse_integers("--lags", lags),
        None if hops is None else parse_integers("--hops", hops),
        blend,
    )
    videos = score.sequences(data, "clean" if clean else "detector")
    with progress_bar("clips") as report_progress:
        curve = measure_lag_curve(runner, videos, settings, clips, frames, report_progress)
    text = lag_curve_page.tables(curve, runner.spec, data.name)
    if output:
        lag_curve_page.plot(curve, runner.spec, output)
    if page:
        markdown.write_section(page, lag_curve_page.SECTION, text)
    print(json.dumps(lag_curve_page.to_json(curve, runner.spec)) if as_json else text)


@app.command()
def report(
    weights: WeightsArgument,
    data: Annotated[
        Path, typer.Option(help="A folder with motion_test.npz and motion_train.npz (docs/training.md).")
    ],
    output: Annotated[
        Path,
        output_option("The Markdown document to write; a PNG is put beside it."),
    ],
    benchmark: Annotated[
        Path | None, typer.Option(help="A folder of videos with their measured 3D poses.")
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="Other weights to compare with. Can be repeated."),
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="A model card in which the first tables are replaced.")
    ] = None,
    brief: Annotated[
        bool, typer.Option("--brief", help="Leave out the tests of robustness against disturbed input.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Use few clips, to check that the command works (a minute).")
    ] = False,
) -> None:
    """Measure accuracy and robustness in full.

    Writes all tables into a document and the first ones into a model card. docs/training.md describes the
    data.
    """
    from stream.reports.report import ReportRequest, report

    extent: Any = "quick" if quick else "brief" if brief else "full"
    report(ReportRequest(weights, data, output, benchmark, tuple(beside or ()), card, extent), print_line)
