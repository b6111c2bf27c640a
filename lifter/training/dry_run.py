"""`train --dry-run`: synthetic data in the layouts of real datasets, and shrunk recipes to train on them."""

import pickle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from lifter.data import mpi3dhp
from lifter.data.h36m import JOINTS, TEST, TRAIN
from lifter.training.recipe import Recipe, Stage

_BATCH = 2
_FRAMES = 12  # of a video; windows are padded
_HEAD_WIDTH = 8  # channels per attention head of a shrunk network
# Metres, z up. The right side is at -x, so the figure faces -y.
_REST_POSE = (
    (0, 0, 0), (-0.12, 0, 0), (-0.13, -0.02, -0.42), (-0.13, 0, -0.85), (0.12, 0, 0), (0.13, -0.02, -0.42),
    (0.13, 0, -0.85), (0, 0, 0.24), (0, 0, 0.5), (0, -0.08, 0.6), (0, -0.03, 0.75), (0.18, 0, 0.48),
    (0.24, -0.02, 0.2), (0.25, -0.12, -0.03), (-0.18, 0, 0.48), (-0.24, -0.02, 0.2), (-0.25, -0.12, -0.03),
)  # fmt: skip


def shrink(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with a narrow network and two steps; writes synthetic data for it into `folder`."""
    WRITERS[recipe.data["type"]](folder, recipe.data, _FRAMES)
    config = dict(recipe.lifter.config)
    config["width"] = _HEAD_WIDTH * int(config.get("heads", 8))
    if recipe.lifter.arch == "mhformer":
        config["width"] = _HEAD_WIDTH * 9
    if recipe.lifter.arch in ("d3dp", "diffpose"):
        config |= {"hypotheses": 1, "steps": 1}
    stages = [msgspec.structs.replace(stage, steps=1, batch=_BATCH) for stage in recipe.stages[-2:]]
    return msgspec.structs.replace(
        recipe,
        lifter=msgspec.structs.replace(recipe.lifter, config=config),
        stages=tuple(stages) or (Stage(steps=2, batch=_BATCH),),
        epochs=0,
        batch=_BATCH,
        workers=0,
        log_steps=1,
        start_from="",
        out=str(folder / "runs"),
    )


def motion(frames: int, seed: int = 0) -> NDArray[np.float64]:
    """A walking figure (F, 17, 3) that swings its limbs, metres, z up."""
    random = np.random.default_rng(seed)
    time = np.arange(frames)[:, None, None] / 50
    swing = 0.1 * np.sin(2 * np.pi * (time + random.random((1, 17, 3))))
    path = np.array([0.3, 0.2, 0.0]) * time + np.array([0.0, 0.0, 0.9])
    xyz: NDArray[np.float64] = np.array(_REST_POSE, dtype=np.float64) + swing + path
    return xyz


def _pixels(frames: int, seed: int) -> NDArray[np.float32]:
    """Keypoints (F, 17, 2) px of the figure seen from the front."""
    xyz = motion(frames, seed)
    return (500 + 250 * (xyz - xyz[:, :1])[..., [0, 2]] * [1, -1]).astype(np.float32)


def _h36m(folder: Path, settings: dict[str, Any], frames: int) -> None:
    actions = ("Walking 1",)
    joints = {s: {a: np.zeros((frames, 32, 3), np.float32) for a in actions} for s in TRAIN + TEST}
    for subject, videos in joints.items():
        for action in actions:
            videos[action][:, list(JOINTS)] = motion(frames, len(subject))
    pixels = {s: {a: [_pixels(frames, camera) for camera in range(4)] for a in actions} for s in joints}
    detector = settings.get("detector", "cpn_ft_h36m_dbb")
    _save(folder / "data_3d_h36m.npz", positions_3d=joints)
    _save(folder / f"data_2d_h36m_{detector}.npz", positions_2d=pixels)


def _mpi3dhp(folder: Path, settings: dict[str, Any], frames: int) -> None:
    order = np.argsort(mpi3dhp.JOINTS)

    def video(seed: int) -> dict[str, NDArray[Any]]:
        return {"data_2d": _pixels(frames, seed)[:, order], "data_3d": 1000 * motion(frames, seed)[:, order]}

    train = {f"S{i} Seq1": [{"0": video(i), "8": video(i + 10)}] for i in (1, 2)}
    test = {f"TS{i}": video(i) | {"valid": np.ones(frames)} for i in (1, 5)}
    _save(folder / "data_train_3dhp.npz", data=train)
    _save(folder / "data_test_3dhp.npz", data=test)


def _motionbert(folder: Path, settings: dict[str, Any], frames: int) -> None:
    def split() -> dict[str, Any]:
        xyz = motion(2 * frames)
        return {
            "joint_2d": np.concatenate([_pixels(frames, 0), _pixels(frames, 1)]),
            "confidence": np.ones((2 * frames, 17, 1), np.float32),
            "joint3d_image": (500 + 250 * xyz).astype(np.float32),
            "camera_name": np.repeat(["54138969", "55011271"], frames),
            "source": np.repeat(["video_a", "video_b"], frames),
            "2.5d_factor": np.full(2 * frames, 4.0),
            "action": np.repeat(["02", "16"], frames),
        }

    with (folder / settings["file"]).open("wb") as file:
        pickle.dump({"train": split(), "test": split()}, file)


def _mocap(folder: Path, settings: dict[str, Any], frames: int) -> None:
    for name in {settings["file"], settings.get("test_file", settings["file"])}:
        clips = {f"clip/walk/{i}": motion(frames, i).astype(np.float32) for i in range(4)}
        np.savez(folder / name, allow_pickle=False, fps=np.float32(50), **clips)


def _save(path: Path, **objects: Any) -> None:
    """Write an `.npz` of pickled Python objects, as these datasets are distributed."""
    arrays = {name: np.array(value, dtype=object) for name, value in objects.items()}
    np.savez_compressed(path, allow_pickle=True, **arrays)


WRITERS = {"h36m": _h36m, "mpi3dhp": _mpi3dhp, "motionbert": _motionbert, "motion": _mocap}
