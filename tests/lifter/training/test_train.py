"""Training runs end to end: they train, resume and are tested; every recipe of the paper can be read."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lifter import weights
from lifter.evaluation.score import ScoreSettings, score
from lifter.spec import LifterSpec, Schedule
from lifter.training import dry_run as dry
from lifter.training import loop, recipe, sources, train
from lifter.training.loop import Trainer
from lifter.training.optimiser import learning_rate
from lifter.training.progress import TrainingLog
from lifter.training.recipe import OptimiserSettings, Stage
from lifter.training.short_windows import ShortWindow
from lifter.training.symmetry import LeftRightSymmetry
from stream.errors import ConfigError

CONFIGS = Path(__file__).parents[3] / "configs"
TINY = {
    "lifter": {
        "name": "tiny",
        "frames": 27,
        "in_channels": 3,
        "normalise": "person",
        "schedule": {"keep": [14, 9], "at": [0, 1]},
        "config": {"width": 16, "depth": 2, "heads": 2, "drop_path": 0.1},
    },
    "data": {"type": "motion", "file": "train.npz", "test_file": "test.npz"},
    "loss": {"weighted_mpjpe": 1.0, "newest": 0.3, "velocity": 1.0},
    "optimiser": {"lr": 0.003, "decay": "plateau", "clip": 1.0, "ema": 0.9},
    "stages": [{"steps": 30, "batch": 8, "frames": 9, "keep": [5, 3]}, {"steps": 30, "batch": 8}],
    "log_steps": 10,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Motion capture and the recipe of a tiny lifter."""
    dry.WRITERS["motion"](tmp_path, TINY["data"], 40)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    return tmp_path


def _trainer(folder: Path, out: str, *overrides: str) -> Trainer:
    settings = recipe.load(folder / "tiny.yaml", (f"out={folder / out}", *overrides))
    torch.manual_seed(settings.seed)
    batches = sources.training_batches(settings, folder)
    return Trainer(train.initial_model(settings), settings, batches, folder / out)


def _fit(trainer: Trainer, steps: int) -> dict[str, torch.Tensor]:
    """Train up to step `steps`, save, and return the state of the checkpoint."""
    all_steps, trainer.source.steps = trainer.source.steps, steps
    rates = loop.learning_rate
    loop.learning_rate = lambda settings, step, _, epoch: rates(settings, step, all_steps, epoch)  # type: ignore[assignment]
    try:
        trainer.fit(TrainingLog(trainer.folder, 10, quiet=True), dict)
    finally:
        loop.learning_rate = rates
    state = torch.load(trainer.folder / loop.CHECKPOINT, weights_only=True)
    return {f"{part}.{name}": value for part in ("model", "ema") for name, value in state[part].items()}


def test_the_loss_falls_and_the_weights_can_be_used(folder: Path) -> None:
    path = train.train(folder / "tiny.yaml", folder, (f"out={folder / 'runs'}",))
    log = np.genfromtxt(path.parent / "log.csv", delimiter=",", names=True)
    assert log["loss"][-1] < 0.75 * log["loss"][0]
    model, spec = weights.load(path)
    assert spec.name == "tiny"
    assert model(torch.zeros(1, 27, 17, 3)).shape == (1, 27, 17, 3)
    assert (path.parent / "curves.png").stat().st_size > 1000
    assert "mpjpe" in (path.parent / "table.txt").read_text()


@pytest.mark.parametrize("overrides", [(), ("optimiser.kind=muon", "amp=true")])
def test_an_interrupted_run_resumes_bit_for_bit(folder: Path, overrides: tuple[str, ...]) -> None:
    straight = _fit(_trainer(folder, "straight", *overrides), 40)
    _fit(_trainer(folder, "stopped", *overrides), 17)
    second = _trainer(folder, "stopped", *overrides)
    assert second.resume()
    assert second.step == 17
    resumed = _fit(second, 40)
    assert straight.keys() == resumed.keys()
    for name, value in straight.items():
        assert torch.equal(value, resumed[name]), name


def test_two_processes_share_the_work(folder: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += ["-m", "stream.cli", "train", str(folder / "tiny.yaml"), "--data", str(folder)]
    command += ["--set", f"out={folder / 'two'}", "--set", "stages.0.steps=3", "--set", "stages.1.steps=3"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    path = folder / "two" / "tiny" / "tiny.safetensors"
    alone = train.train(
        folder / "tiny.yaml", folder, (f"out={folder / 'one'}", "stages.0.steps=3", "stages.1.steps=3")
    )
    two, one = weights.load(path)[0].state_dict(), weights.load(alone)[0].state_dict()
    assert not torch.equal(
        two["head.1.weight"], one["head.1.weight"]
    )  # the second process adds batches of its own


def test_another_seed_gives_other_weights(folder: Path) -> None:
    one, two = _fit(_trainer(folder, "one"), 3), _fit(_trainer(folder, "two", "seed=2"), 3)
    assert not torch.equal(one["model.head.1.weight"], two["model.head.1.weight"])


def test_a_checkpoint_of_another_model_is_refused(folder: Path) -> None:
    _fit(_trainer(folder, "run"), 2)
    with pytest.raises(ConfigError, match="one of another model"):
        _trainer(folder, "run", "lifter.config.width=32").resume()


def test_a_short_window_of_full_length_gives_the_poses_of_the_model() -> None:
    spec = LifterSpec(
        name="x", frames=27, schedule=Schedule(keep=(14, 9), at=(0, 1)),
        config={"width": 16, "depth": 3, "heads": 2},
    )  # fmt: skip
    torch.manual_seed(0)
    model = weights.build(spec)
    torch.nn.init.normal_(model.get_parameter("Temporal_pos_embed"))
    x = torch.randn(2, 27, 17, 2)
    short = ShortWindow(spec, Stage(steps=1, batch=1))
    with torch.no_grad():
        torch.testing.assert_close(short.poses(model, x, 0), model(x)[:, short.frame_indices])


def test_a_run_can_start_from_two_copies_of_a_network_of_half_the_width(folder: Path) -> None:
    narrow = train.initial_model(recipe.load(folder / "tiny.yaml"))
    settings = recipe.load(folder / "tiny.yaml")
    weights.save(folder / "narrow.safetensors", narrow, settings.lifter)
    paired = (f"start_from={folder / 'narrow.safetensors'}", "start_paired=true", "symmetric=true")
    wider = ("lifter.config.width=32", "lifter.config.heads=4")
    wide = train.initial_model(recipe.load(folder / "tiny.yaml", (*paired, *wider)))
    half = narrow.get_parameter("STEblocks.0.mlp.fc2.weight")
    torch.testing.assert_close(wide.get_parameter("STEblocks.0.mlp.fc2.weight")[16:, 32:], half)
    with pytest.raises(ConfigError, match="expected symmetric: true"):
        recipe.load(folder / "tiny.yaml", (*paired[:2], *wider))


def test_a_symmetric_run_stays_symmetric(folder: Path) -> None:
    path = train.train(folder / "tiny.yaml", folder, (f"out={folder / 'even'}", "symmetric=true"))
    model, spec = weights.load(path)
    joints = LeftRightSymmetry(spec, model).mirrored_joints
    x, sign = torch.randn(1, spec.frames, 17, 3), torch.tensor([-1.0, 1.0, 1.0])
    mirrored = model.eval()(x[:, :, joints] * sign)[:, :, joints] * sign
    torch.testing.assert_close(mirrored, model(x), atol=1e-5, rtol=1e-5)


def test_an_epoch_contains_every_window_once(folder: Path) -> None:
    dry.WRITERS["h36m"](folder, {}, 12)
    settings = recipe.load(CONFIGS / "paper" / "mixste.yaml", ("batch=5", "flip=false", "epochs=2"))
    source = sources.training_batches(settings, folder)
    assert (source.steps_per_epoch, source.steps) == (4, 8)  # 5 subjects, 4 cameras
    epoch = torch.cat([source.make(step).inputs for step in range(4)])
    again = torch.cat([source.make(step).inputs for step in range(4, 8)])
    assert not torch.equal(epoch, again)
    assert sorted(epoch.sum(dim=(1, 2, 3)).tolist()) == sorted(again.sum(dim=(1, 2, 3)).tolist())


def test_learning_rates_follow_their_schedules() -> None:
    paper = OptimiserSettings(lr=1.0, decay="epoch", gamma=0.99)
    assert learning_rate(paper, 25, 100, 10) == pytest.approx(0.99**2)
    mhformer = OptimiserSettings(lr=1.0, decay="epoch", gamma=0.95, gamma_fifth=0.5)
    assert learning_rate(mhformer, 70, 100, 10) == pytest.approx(0.95**6 * 0.5)
    plateau = OptimiserSettings(lr=1.0, decay="plateau", tail=0.5, warmup=10)
    rates = [learning_rate(plateau, step, 100, 1) for step in (0, 20, 50, 75, 99)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.5, 0.02])


@pytest.mark.parametrize(
    "name",
    ["mixste-3dhp", "mhformer-3dhp", "motionagformer-3dhp", "table10:hot-mixste", "table10:tpc-mhformer"],
)
def test_a_recipe_starts_steps_and_evaluates(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    file, _, row = name.partition(":")
    train.train(f"{CONFIGS / 'paper' / file}.yaml" + (f":{row}" if row else ""), dry_run=True)
    assert "mean of rows" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted((CONFIGS / "paper").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_paper_can_be_read_and_built(path: Path) -> None:
    rows = yaml.safe_load(path.read_text()).get("rows", [None])
    for row in rows:
        settings = recipe.load(path if row is None else f"{path}:{row}")
        if settings.lifter.schedule is not None:
            settings.lifter.schedule.check(settings.lifter.frames, int(settings.lifter.config["depth"]))


def test_errors_name_the_wrong_setting_of_a_recipe(folder: Path) -> None:
    config = folder / "tiny.yaml"
    with pytest.raises(ConfigError, match="unknown field `lr`"):
        recipe.load(config, ("lr=0.1",))
    with pytest.raises(ConfigError, match="expected a config file"):
        recipe.load(folder / "none.yaml")
    with pytest.raises(ConfigError, match="expected FILE:ROW with one of mixste"):
        recipe.load(f"{CONFIGS / 'paper' / 'table2.yaml'}:nothing")
    with pytest.raises(ConfigError, match="either `stages`"):
        recipe.load(config, ("epochs=3",))
    with pytest.raises(ConfigError, match=r"optimiser: lr: expected a number from 0, got -1\.0"):
        recipe.load(config, ("optimiser.lr=-1",))
    with pytest.raises(ConfigError, match="optimiser: lr: expected a number from 0, got nan"):
        recipe.load(config, ("optimiser.lr=.nan",))
    with pytest.raises(ConfigError, match="stages: batch: expected a number from 1, got 0"):
        recipe.load(config, ("stages.0.batch=0",))
    with pytest.raises(ConfigError, match="train: log_steps: expected a number from 1, got 0"):
        recipe.load(config, ("log_steps=0",))
    for wrong in ("stages.first.steps=3", "stages.99.steps=3", "lifter.name.x=3"):
        with pytest.raises(ConfigError, match=r"^--set .*: expected a key of the recipe and a YAML value"):
            recipe.load(config, (wrong,))
    with pytest.raises(ConfigError, match=r"^--set lifter=\[: not valid YAML"):
        recipe.load(config, ("lifter=[",))
    with pytest.raises(ConfigError, match="expected one of file, shares, test_file for motion"):
        sources.training_batches(recipe.load(config, ("data.files=x",)), folder)
    with pytest.raises(ConfigError, match="found none"):
        sources.training_batches(recipe.load(config, ("data.file=x.npz",)), folder)


def test_weights_are_scored_on_videos_with_a_known_truth(folder: Path, tiny_weights: Path) -> None:
    truth = dry.motion(40).astype(np.float32)
    keypoints = np.concatenate([300 + 100 * truth[..., :2], np.ones((40, 17, 1))], axis=-1)
    arrays = {"desk/keypoints": keypoints, "desk/truth": truth, "desk/size_wh": np.array([640, 480])}
    np.savez(folder / "real.npz", **arrays)
    rows = score(tiny_weights, folder / "real.npz").rows()
    assert list(rows) == ["desk"]
    live = score(tiny_weights, folder / "real.npz", ScoreSettings(mode="live")).rows()["desk"]
    assert set(live) == {"mpjpe", "p_mpjpe", "n_mpjpe", "pck", "auc"}
    filmed = score(tiny_weights, folder / "test.npz", ScoreSettings(keypoint_errors="clean")).rows()["clips"][
        "mpjpe"
    ]
    assert (
        filmed
        == score(tiny_weights, folder / "test.npz", ScoreSettings(keypoint_errors="clean")).rows()["clips"][
            "mpjpe"
        ]
    )
    with pytest.raises(ConfigError, match="expected a folder with"):
        score(tiny_weights, folder / "none.npz")
