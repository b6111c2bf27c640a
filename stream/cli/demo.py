"""The demo: a packaged recording goes through the whole pipeline, a second process subscribes and draws."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from stream.cli import gif as picture
from stream.config.load import load
from stream.errors import PoseliftError
from stream.health import health_line
from stream.messages import PoseFrame
from stream.runtime.pipeline import Pipeline
from stream.runtime.service import endpoints, stopped_by_signals, supervise
from stream.wire.codec import decode

_LISTENER_ENDS_S = 5.0


def demo(output: Path, say: Callable[[str], None]) -> None:
    """Run configs/demo.yaml, let a second process subscribe and record, draw what it received to `output`."""
    config = load("demo")
    say("Loading the lifter and warming it up ...")
    pipeline = Pipeline(config)
    with tempfile.TemporaryDirectory() as folder, stopped_by_signals(pipeline.stop):
        received = Path(folder) / "received.jsonl"
        with pipeline:
            for line in endpoints(pipeline):
                say(f"poses at {line}")
            say("A second process subscribes; these are its lines:")
            listener = _listen(pipeline.sink_threads["zeromq"].endpoint, received)
            try:
                supervise(pipeline, lambda line: say(f"  daemon    {line}"))
            finally:
                _end(listener)
        if pipeline.error is not None:
            raise pipeline.error
        frames = [message for line in received.open("rb") if isinstance(message := decode(line), PoseFrame)]
    picture.animate(frames, output)
    say(f"daemon, in all: {health_line(pipeline.status().report)}")
    say(f"The subscriber received {len(frames)} frames. The lifted motion: {output.resolve()}")


def _listen(endpoint: str, received: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "stream.cli", "listen", endpoint, "--record", str(received)]
    return subprocess.Popen([*command, "--prefix", "  subscriber"])


def _end(listener: subprocess.Popen[bytes]) -> None:
    listener.send_signal(signal.SIGINT)
    try:
        code = listener.wait(_LISTENER_ENDS_S)
    except subprocess.TimeoutExpired:
        listener.kill()
        raise PoseliftError("the demo's subscriber did not end when asked to") from None
    if code:
        raise PoseliftError(f"the demo's subscriber failed (exit code {code})")
