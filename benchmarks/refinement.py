"""What `poselift lift --refine` brings: error, jitter, bones and time of lifted, averaged and refined poses.

    python benchmarks/refinement.py DATA [--every 12] [--videos FOLDER]

DATA holds motion_test.npz, whose clips are rendered with a simulated detector. FOLDER holds videos with a
known truth, as `poselift report --videos` reads them. jitter: mean second difference in mm per frame squared;
bones: standard deviation of the limb lengths over their mean. Prints a table, then one JSON line.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import lifter
from lifter import weights
from lifter.evaluation import metrics
from lifter.evaluation.labelled_video import bone_variation
from lifter.evaluation.offline_lifter import OfflineLifter
from lifter.machine import machine
from lifter.refinement import Recording, refine
from lifter.spec import ASSUMED_FOCAL
from lifter.synthesis.synthetic_clips import synthetic_clips
from stream.messages import F32
from stream.reports.real_videos import labelled_videos
from stream.skeletons import skeleton_named

SKELETON = skeleton_named("h36m17")
MODELS = ("small", "medium")


def main() -> None:
    options = parse()
    lifters = {name: OfflineLifter(*weights.load(lifter.weights_path(name))) for name in MODELS}
    rows: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    refining_s = frames = 0.0
    for group, keypoints, truth, size_wh, rate_hz, joints in recordings(options):
        lifted = {name: model.lift(keypoints, size_wh) for name, model in lifters.items()}
        lifted["mean of both"] = np.mean(list(lifted.values()), axis=0, dtype=np.float32)
        focal = ASSUMED_FOCAL * max(size_wh)
        for name in ("small", "mean of both"):
            centre = (size_wh[0] / 2, size_wh[1] / 2)
            recording = Recording(lifted[name], keypoints, rate_hz, (focal, focal), centre)
            started_s = time.process_time()
            lifted[f"{name}, refined"] = refine(recording, SKELETON)
            refining_s += time.process_time() - started_s
            frames += len(truth)
        for name, poses in lifted.items():
            rows[group, name].append([len(truth), *errors(poses, truth, joints)])
    columns = ("frames", "mpjpe_mm", "p_mpjpe_mm", "jitter_mm", "bones_percent")
    table = {key: [sum(row[0] for row in values), *mean(values)] for key, values in rows.items()}
    print(f"{'data':<12}{'poses':<24}" + "".join(f"{name:>15}" for name in columns))
    for (group, name), values in sorted(table.items()):
        print(f"{group:<12}{name:<24}" + "".join(f"{value:>15.2f}" for value in values))
    per_frame_ms = 1e3 * refining_s / max(1.0, frames)
    print(f"refining: {per_frame_ms:.1f} ms of processor time per frame")
    figures = {f"{group}, {name}": dict(zip(columns, v, strict=True)) for (group, name), v in table.items()}
    print(json.dumps({"machine": machine("cpu").text(), "refine_ms": per_frame_ms, "rows": figures}))


def recordings(
    options: argparse.Namespace,
) -> Iterator[tuple[str, F32, F32, tuple[int, int], float, tuple[int, ...]]]:
    """Name of the data, keypoints, truth, size, rate and measured joints of each recording."""
    everything = tuple(range(17))
    for clip in synthetic_clips(options.data / "motion_test.npz", options.every):
        group = clip.source.partition("_")[0]
        yield group, clip.keypoints, clip.truth, clip.size_wh, clip.rate_hz, everything
    for video in labelled_videos(options.videos) if options.videos else ():
        yield video.name, video.keypoints, video.truth, video.size_wh, video.rate_hz, video.joints


def errors(poses: F32, truth: F32, joints: tuple[int, ...]) -> list[float]:
    a, b = (values[:, list(joints)].astype(np.float64) for values in (poses, truth))
    per_frame = (metrics.mpjpe(a, b), metrics.p_mpjpe(a, b), metrics.acceleration(a, b))
    return [*(float(values.mean()) for values in per_frame), bone_variation(poses)]


def mean(rows: list[list[float]]) -> list[float]:
    """Means of the columns after the first, weighted by the first."""
    table = np.array(rows)
    means: list[float] = np.average(table[:, 1:], axis=0, weights=table[:, 0]).tolist()
    return means


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--every", type=int, default=12)
    parser.add_argument("--videos", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
