"""`poselift demo`: lifts a packaged recording live and receives the poses in a second process."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from stream.cli.gif import write_gif
from stream.cli.output import print_line
from stream.config.load import load
from stream.errors import PoseliftError
from stream.health import health_line
from stream.messages import PoseFrame
from stream.runtime.pipeline import Pipeline
from stream.runtime.service import endpoints, supervise
from stream.runtime.signals import stopped_by_signals
from stream.wire.codec import decode

LISTENER_STOP_TIMEOUT_S = 5.0
MAX_GIF_FRAMES = 600  # the length of the recording; with --view it repeats


def demo(output: Path, changes: Iterable[str] = ()) -> None:
    """Run configs/demo.yaml and draw the poses that a second process received to the GIF file `output`.

    changes: of the config, as for `stream.config.load`. PoseliftError when the second process fails.
    """
    config = load("demo", changes)
    print_line("Loading the lifter and running it once ...")
    pipeline = Pipeline(config)
    with tempfile.TemporaryDirectory() as folder, stopped_by_signals(pipeline.stop):
        recording = Path(folder) / "received.jsonl"
        with pipeline:
            for line in endpoints(pipeline):
                print_line(f"poses at {line}")
            endpoint = pipeline.sink_threads["zeromq"].endpoint
            if "browser" in pipeline.sink_threads:
                print_line("Open the address of the browser to see them. The recording repeats until Ctrl-C.")
            print_line("A second process subscribes to the poses and prints a line every second:")
            listener = _start_listener(endpoint, recording)
            try:
                supervise(pipeline, lambda line: print_line(f"  publisher   {line}"))
            finally:
                _stop_listener(listener)
        if pipeline.error is not None:
            raise pipeline.error
        frames = list(islice(_pose_frames(recording), MAX_GIF_FRAMES))
    write_gif(frames, output)
    print_line(f"publisher, whole run: {health_line(pipeline.status().report)}")
    print_line(f"Drawing of {len(frames)} frames that the subscriber received: {output.resolve()}")


def _pose_frames(recording: Path) -> Iterator[PoseFrame]:
    with recording.open("rb") as lines:
        for line in lines:
            if isinstance(message := decode(line), PoseFrame):
                yield message


def _start_listener(endpoint: str, recording: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "stream.cli", "listen", endpoint, "--output", str(recording)]
    return subprocess.Popen([*command, "--prefix", "  subscriber "])


def _stop_listener(listener: subprocess.Popen[bytes]) -> None:
    listener.send_signal(signal.SIGINT)
    try:
        code = listener.wait(LISTENER_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        listener.kill()
        raise PoseliftError(
            f"the subscriber of the demo did not stop within {LISTENER_STOP_TIMEOUT_S:.0f} s"
        ) from None
    if code:
        raise PoseliftError(f"the subscriber of the demo failed (exit code {code})")
