"""`poselift view` and `--view` print the address of a server that sends the poses to pages."""

import io
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from websockets.sync.client import connect

from sinks.jsonl import JSONL
from sinks.mcap import MCAP
from sinks.npz import NPZ
from sinks.zeromq import ZeroMQ
from stream.cli.main import main
from stream.cli.view import play
from stream.clock import SystemClock
from stream.messages import Message, Meta, PoseFrame
from stream.protocols import ComponentContext, opened
from stream.wire.codec import decode
from tests.sinks.browser.walkers import Sender, frame, meta

UNIX_NS = 1_700_000_000_000_000_000


def frames(count: int, step_ns: int = 20_000_000) -> list[PoseFrame]:
    made = []
    for n in range(count):
        one, offset_ns = frame(0.02 * n), n * step_ns
        header = replace(one.header, seq=n, captured_ns=offset_ns, captured_unix_ns=UNIX_NS + offset_ns)
        made.append(replace(one, header=header))
    return made


@contextmanager
def command(*arguments: object) -> Iterator[str]:
    """Run `poselift ARGUMENTS` in a process; yields the address of the page that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "stream.cli", *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert isinstance(process.stdout, io.TextIOBase)
        for line in process.stdout:
            if address := re.search(r"http://127\.0\.0\.1:\d+/", line):
                yield address[0]
                break
        else:
            pytest.fail("the command ended without an address")
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 0


def received(address: str, kind: type, count: int) -> list:
    """The first messages of this kind that a page gets."""
    found: list[Message] = []
    with connect(
        address.replace("http", "ws") + "socket",
        origin=address.rstrip("/"),
        subprotocols=["poselift.v1"],
        max_size=None,
    ) as client:
        while len(found) < count:
            text = client.recv(timeout=20)
            if json.loads(text)["schema"] in ("pose3d", "meta"):
                message = decode(text.encode())
                found += [message] if isinstance(message, kind) else []  # type: ignore[list-item]
    return found


@pytest.mark.parametrize("make", [NPZ, JSONL, MCAP])
def test_a_recording_is_played_at_its_own_pace_as_if_captured_now(tmp_path: Path, make: type):
    path = tmp_path / f"walk.{make.__name__.lower()}"
    with opened(make(make.Settings(path=str(path)), ComponentContext("record"))) as sink:
        for message in (meta(world=True), *frames(500)):
            sink.send(message)
    with command("view", path, "--port", "0") as address:
        assert received(address, Meta, 1) == [meta(world=True)]
        played = received(address, PoseFrame, 12)
    times = [message.header.captured_unix_ns for message in played]
    assert times[0] > UNIX_NS + 10**16
    steps_ns = [later - earlier for earlier, later in pairwise(times)]
    assert steps_ns == pytest.approx([20_000_000] * 11, abs=1000)


def test_recordings_repeat_until_they_are_stopped_with_increasing_numbers():
    sent: list[Message] = []
    stop = threading.Event()

    def send(message: Message) -> None:
        sent.append(message)
        if len(sent) == 8:
            stop.set()

    class Quick(SystemClock):
        def wait(self, event: threading.Event, timeout_s: float | None = None) -> bool:
            return event.is_set()

    play(frames(3), [meta()], send, Quick(), stop)
    numbers = [message.header.seq for message in sent if isinstance(message, PoseFrame)]
    assert numbers == list(range(7))


def test_the_poses_of_a_running_node_are_forwarded():
    with (
        opened(ZeroMQ(ZeroMQ.Settings(port=0), ComponentContext("zeromq"))) as node,
        Sender(node) as sender,
        command("view", node.endpoint, "--port", "0") as address,
    ):
        shown = received(address, PoseFrame, 5)
        assert received(address, Meta, 1) == [meta()]
    sent = {message.header.seq: message for message in sender.sent}
    for message in shown:
        original = sent[message.header.seq]
        assert message.header.captured_unix_ns == original.header.captured_unix_ns
        assert message.persons[0].xyz.tolist() == original.persons[0].xyz.tolist()


@pytest.mark.timeout(120)
def test_run_with_view_serves_a_page_with_keypoints(tiny_weights: Path):
    changes = [f"lifter.weights={tiny_weights}", "sinks.zeromq.port=0", "sinks.browser.port=0"]
    options = [part for change in changes for part in ("--set", change)]
    with command("run", "synthetic", "--view", *options) as address:
        shown = received(address, PoseFrame, 30)
    assert {message.header.source for message in shown} == {"walkers"}
    persons = [person for message in shown for person in message.persons if person.state != "lost"]
    assert persons
    assert all(person.kp2d is not None for person in persons)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nothing.npz",), "nothing.npz: expected a file of poses"),
        (("walk.mp4",), "walk.mp4: expected recorded poses"),
        (("--host", "0.0.0.0"), "token"),
    ],
)
def test_targets_that_cannot_be_shown_are_explained(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], text: str
):
    with pytest.raises(SystemExit) as ended:
        main(["view", *arguments])
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


def test_an_empty_recording_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "empty.jsonl"
    path.write_bytes(b"")
    with pytest.raises(SystemExit) as ended:
        main(["view", str(path)])
    assert ended.value.code == 2
    assert "expected recorded poses, found none" in capsys.readouterr().err
