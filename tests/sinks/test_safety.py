"""What receivers get when a person, a camera, the daemon or the network fails: the table in docs/robots.md.

Tests assert the order of messages and their absence, not times.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from sources.synthetic import Synthetic
from stream.config.load import resolve
from stream.protocols import ComponentContext, opened
from stream.runtime.pipeline import Pipeline
from stream.wire.codec import encode_keypoints
from tests.sinks.test_vmc import Receiver

REPOSITORY = Path(__file__).parents[2]
TRACKED, UNTRACKED, UNLOADED = (1, 3, 0, 1), (1, 3, 0, 0), (0,)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with ExitStack() as stack:
        yield Receiver(1, stack)


def states(receiver: Receiver) -> list[tuple]:
    """The /VMC/Ext/OK messages that have arrived, with repetitions left out."""
    return changes(receiver.messages())


def changes(messages: list[tuple]) -> list[tuple]:
    """The /VMC/Ext/OK messages among these, with repetitions left out."""
    found = [message[1:] for message in messages if message[0] == "/VMC/Ext/OK"]
    return [state for n, state in enumerate(found) if n == 0 or state != found[n - 1]]


def daemon(receiver: Receiver) -> subprocess.Popen:
    """`poselift run` with a walker, until the first poses have arrived."""
    settings = ["sinks.zeromq.port=0", f"sinks.vmc={{type: vmc, port: {receiver.port}}}", "lifter.threads=1"]
    options = [part for setting in settings for part in ("--set", setting)]
    process = subprocess.Popen(
        [sys.executable, "-m", "stream.cli", "run", "synthetic", *options], cwd=REPOSITORY
    )
    end = time.monotonic() + 60
    while TRACKED not in states(receiver):
        assert time.monotonic() < end
        assert process.poll() is None
    return process


def test_a_stopped_daemon_ends_the_avatar(receiver: Receiver):
    process = daemon(receiver)
    process.send_signal(signal.SIGTERM)
    messages = []
    while process.poll() is None:  # read all the time: the socket's buffer holds only a second
        messages += receiver.messages()
    messages += receiver.messages()
    assert changes(messages)[-2:] == [UNTRACKED, UNLOADED]


def test_a_killed_daemon_sends_nothing_more(receiver: Receiver):
    process = daemon(receiver)
    process.kill()
    process.wait(20)
    receiver.packets()
    assert receiver.packets() == []  # receivers must notice the silence themselves


def test_a_camera_that_dies_ends_the_avatar_while_the_daemon_runs(receiver: Receiver):
    with zmq.Context() as context, context.socket(zmq.PUB) as camera:
        port = camera.bind_to_random_port("tcp://127.0.0.1")
        running = Pipeline(
            resolve(
                {
                    "sources": {"cam0": {"type": "keypoints_zmq", "endpoint": f"tcp://127.0.0.1:{port}"}},
                    "lifter": {"device": "cpu", "threads": 1},
                    "sinks": {"out": {"type": "vmc", "port": receiver.port}},
                }
            )
        )
        seen: list[tuple] = []
        with running, opened(Synthetic(Synthetic.Settings(), ComponentContext("cam0"))) as walker:
            end = time.monotonic() + 30
            while TRACKED not in seen and time.monotonic() < end:
                for _ in range(10):
                    frame = walker.read(1.0)
                    assert frame is not None
                    header = replace(frame.header, source="cam0")
                    camera.send_multipart(
                        [b"keypoints2d/v1/cam0/", encode_keypoints(replace(frame, header=header), "msgpack")]
                    )
                seen += states(receiver)
            seen = []
            while UNLOADED not in seen and time.monotonic() < end:  # the camera sends no more
                seen += states(receiver)
            assert seen[-2:] == [UNTRACKED, UNLOADED]
            assert running.error is None
