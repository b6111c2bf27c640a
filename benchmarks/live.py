"""The whole live pipeline of one camera on this machine: MediaPipe, lifter and publishing of every frame.

    python benchmarks/live.py [--video FILE] [--seconds 20] [--variant full] [--weights small] [--hop auto]

Plays a video at its recorded speed as a camera would deliver it (without --video: an image of a person, moved
around at 30 fps). Prints percentiles per stage, the hop that the machine reached, and the age of the poses
when they are published; then one JSON line.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lifter.machine import machine
from stream.config.load import resolve
from stream.messages import PoseFrame
from stream.runtime.pipeline import Pipeline

SIZE_WH, FPS = (640, 480), 30


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        video = arguments.video or moving_person(Path(folder) / "person.mp4", arguments.seconds)
        pipeline = Pipeline(
            resolve(
                {
                    "sources": {
                        "cam0": {
                            "type": "opencv",
                            "url": str(video),
                            "detector": {"type": "mediapipe", "variant": arguments.variant},
                        }
                    },
                    "lifter": {"weights": arguments.weights, "hop": arguments.hop},
                    "sinks": {"memory": {"type": "memory"}},
                }
            )
        )
        with pipeline:
            pipeline.wait(arguments.seconds + 60.0)
            sink: Any = pipeline.sink_threads["memory"].sink
            frames = [message for message in sink.messages if isinstance(message, PoseFrame)]
            report(arguments, pipeline, frames[FPS:])  # the first second warms the detector up


def report(arguments: argparse.Namespace, pipeline: Pipeline, frames: list[PoseFrame]) -> None:
    if not frames:
        raise SystemExit("no frame was published")
    span_s = (frames[-1].header.captured_ns - frames[0].header.captured_ns) / 1e9
    rate_hz = (len(frames) - 1) / span_s
    persons = sum(bool(frame.persons) for frame in frames) / len(frames)
    rows = {
        "age": [frame.age_ms(frame.published_unix_ns) for frame in frames],
        "capture": [frame.latency_ms.capture for frame in frames],
        "detect": [frame.latency_ms.detect for frame in frames],
        "queue": [frame.latency_ms.queue for frame in frames],
        "lift": [frame.latency_ms.lift for frame in frames],
        "hop": [float(frame.hop) for frame in frames],
    }
    table = {name: percentiles(values) for name, values in rows.items()}
    print(f"{machine().text()}; MediaPipe {arguments.variant}, {arguments.weights}, hop {arguments.hop}")
    print(f"{rate_hz:.1f} frames/s published, {100 * persons:.0f} % with a person, "
          f"{pipeline.health.dropped('cam0')} dropped")  # fmt: skip
    for name, values in table.items():
        unit = "frames" if name == "hop" else "ms"
        print(f"{name:<8} {unit:<7}" + "  ".join(f"{key} {value:7.1f}" for key, value in values.items()))
    result = {"benchmark": "live", "machine": machine().text(), "fps": round(rate_hz, 2), **table}
    print(json.dumps(result))


def moving_person(path: Path, seconds: float) -> Path:
    """A video of a real person's picture, drifting and turning a little as if the camera did."""
    import cv2
    from skimage import data

    picture = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, SIZE_WH)
    for frame in range(round(seconds * FPS)):
        angle = 4 * np.sin(frame / 20)
        shift = (64 + 40 * np.sin(frame / 15), -16 + 20 * np.cos(frame / 11))
        turn = cv2.getRotationMatrix2D((256, 256), angle, 1.0)
        turn[:, 2] += shift
        writer.write(cv2.warpAffine(picture, turn, SIZE_WH))
    writer.release()
    return path


def percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(values, p)), 2) for p in (50, 95, 99)}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--video", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--variant", default="full")
    parser.add_argument("--weights", default="small")
    parser.add_argument("--hop", default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    main()
