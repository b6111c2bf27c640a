import signal
from pathlib import Path

import pytest

from stream.config.load import resolve
from stream.errors import PoseliftError
from stream.runtime.offline import config_for, lift


def test_an_interrupted_lift_raises(tiny_weights: Path, tmp_path: Path):
    config = resolve(
        {
            "sources": {"walk": {"type": "synthetic", "pace": "full"}},
            "lifter": {"weights": str(tiny_weights), "device": "cpu", "threads": 1},
            "sinks": {"out": {"type": "jsonl", "path": str(tmp_path / "out.jsonl")}},
        }
    )
    interruptions = iter([signal.SIGINT])

    def progress(frames: int) -> None:
        for number in interruptions if frames else ():
            signal.raise_signal(number)

    with pytest.raises(PoseliftError, match=r"stopped after \d+ frames"):
        lift(config, progress)


def test_lift_repairs_left_and_right_unless_the_setting_turns_it_off(tmp_path: Path):
    keypoints, poses = tmp_path / "keypoints.jsonl", tmp_path / "poses.npz"
    keypoints.touch()
    assert config_for(keypoints, poses, {}, []).tracking.fix_left_right
    changed = config_for(keypoints, poses, {}, ["tracking.fix_left_right=false"])
    assert not changed.tracking.fix_left_right
