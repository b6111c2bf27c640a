"""Recordings begin new files, replace none, and survive SIGKILL and a full disk."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from sinks import SINKS
from sinks.jsonl import JSONL
from sinks.mcap import MCAP
from sinks.npz import NPZ
from stream.clock import FakeClock
from stream.config.load import import_component
from stream.files import mcap
from stream.files import poses as pose_files
from stream.messages import PoseFrame
from stream.protocols import ComponentContext, opened
from stream.wire.codec import decode
from tests.examples import meta, pose_frame
from tests.rig_examples import dance, joints, pose_frames

ROOT = Path(__file__).parents[2]
KINDS: dict[str, Any] = {"jsonl": JSONL, "npz": NPZ, "mcap": MCAP}


def seqs(path: Path) -> list[int]:
    """`seq` of the pose frames in a recording."""
    frames: Iterable[PoseFrame] = mcap.read(path) if path.suffix == ".mcap" else pose_files.read(path)
    return [frame.header.seq for frame in frames]


def record(kind: str, folder: Path, count: int, **settings: object) -> None:
    """Record `count` frames, one per second, to walk.KIND."""
    clock = FakeClock()
    sink = KINDS[kind](
        KINDS[kind].Settings(path=str(folder / f"walk.{kind}"), **settings),
        ComponentContext("record", clock=clock),
    )
    with opened(sink):
        sink.send(meta())
        for frame in pose_frames([joints()] * count):
            sink.send(frame)
            clock.advance(1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_file_begins_after_max_s(tmp_path: Path, kind: str):
    record(kind, tmp_path, 7, max_s=3.0)
    parts = {path.name: seqs(path) for path in tmp_path.iterdir()}
    assert parts == {
        f"walk.{kind}": [0, 1, 2],
        f"walk.2.{kind}": [3, 4, 5],
        f"walk.3.{kind}": [6],
    }


@pytest.mark.parametrize(("kind", "max_mb"), [("jsonl", 0.002), ("npz", 0.005), ("mcap", 0.02)])
def test_a_new_file_begins_after_max_mb(tmp_path: Path, kind: str, max_mb: float):
    record(kind, tmp_path, 40, max_mb=max_mb)
    parts = {path.name: seqs(path) for path in tmp_path.iterdir()}
    assert len(parts) > 2
    assert sorted(seq for part in parts.values() for seq in part) == list(range(40))


def test_every_file_of_a_recording_begins_with_the_metas(tmp_path: Path):
    record("jsonl", tmp_path, 7, max_s=3.0)
    firsts = [decode(path.read_bytes().splitlines()[0]) for path in tmp_path.iterdir()]
    assert firsts == [meta()] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_recording_replaces_no_file_unless_that_is_set(tmp_path: Path, kind: str):
    for name in (f"walk.{kind}", f"walk.2.{kind}"):
        (tmp_path / name).write_bytes(b"precious")
    record(kind, tmp_path, 2)
    assert (tmp_path / f"walk.{kind}").read_bytes() == b"precious"
    assert seqs(tmp_path / f"walk.3.{kind}") == [0, 1]
    record(kind, tmp_path, 3, overwrite=True)
    assert seqs(tmp_path / f"walk.{kind}") == [0, 1, 2]


def test_an_npz_file_that_appears_while_recording_is_kept(tmp_path: Path):
    sink = NPZ(NPZ.Settings(path=str(tmp_path / "walk.npz")), ComponentContext("record"))
    with opened(sink):
        sink.send(pose_frame(1))
        (tmp_path / "walk.npz").write_bytes(b"precious")
    assert (tmp_path / "walk.npz").read_bytes() == b"precious"
    assert {path.name for path in tmp_path.iterdir()} == {"walk.npz", "walk.2.npz"}


@pytest.mark.parametrize("kind", ["bvh", "gltf"])
@pytest.mark.parametrize("limit", [{"max_s": 3.0}, {"max_mb": 0.001 * 150 * 0.32}])
def test_a_long_stay_of_a_person_is_split(tmp_path: Path, kind: str, limit: dict[str, float]):
    if kind == "bvh" and "max_mb" in limit:
        limit = {"max_mb": 0.09}  # text is longer
    make = import_component(SINKS[kind])
    suffix = {"bvh": "bvh", "gltf": "glb"}[kind]
    path = tmp_path / f"walk.{suffix}"
    for run in range(2):
        with opened(make(make.Settings(path=str(path), **limit), ComponentContext("record"))) as sink:
            for frame in pose_frames(dance(7)):
                sink.send(frame)
        if not run:
            names = [f"walk.{suffix}", f"walk-a.{suffix}", f"walk-a-2.{suffix}"]
            assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)
            first = path.read_bytes()
    assert len(list(tmp_path.iterdir())) == 6
    assert path.read_bytes() == first


def survivors(kind: str, path: Path) -> list[int]:
    return seqs(path.with_name(f"{path.name}.journal.jsonl") if kind == "npz" else path)


SCRIPT = """
import sys, time
from sinks.{kind} import {name}
from stream.errors import ConfigError
from stream.protocols import ComponentContext
from tests.rig_examples import dance, joints, pose_frames
sink = {name}({name}.Settings(path={path!r}), ComponentContext("record"))
sink.open()
try:
    for seq, frame in enumerate(pose_frames([joints()] * 400)):
        sink.send(frame)
        print(seq, flush=True)
        time.sleep({pause_s})
    sink.close()
except ConfigError as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_recording_lacks_at_most_its_last_second(tmp_path: Path, kind: str):
    path = tmp_path / f"walk.{kind}"
    script = SCRIPT.format(kind=kind, name=KINDS[kind].__name__, path=str(path), pause_s=0.02)
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    sent = -1
    while sent < 120:
        sent = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = survivors(kind, path)
    assert kept == list(range(len(kept)))
    assert len(kept) > sent - 50  # 50 frames are at least a second


@pytest.mark.parametrize("kind", KINDS)
def test_a_recording_on_a_full_disk_ends_and_keeps_its_poses(tmp_path: Path, kind: str):
    path, limit = tmp_path / f"walk.{kind}", 50_000 if kind == "mcap" else 200_000

    def limit_files() -> None:  # The system refuses to write more, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    script = SCRIPT.format(kind=kind, name=KINDS[kind].__name__, path=str(path), pause_s=0)
    command = [sys.executable, "-c", script]
    ended = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=limit_files, timeout=60
    )
    *sent, error = ended.stdout.splitlines()
    assert (ended.returncode, "cannot be written" in error) == (2, True)
    kept = survivors(kind, path)
    assert kept == list(range(len(kept)))
    # MCAP writes in chunks of 64 kB, of which the last one is lost.
    assert len(kept) >= (len(sent) if kind != "mcap" else len(sent) // 2)
