"""Training runs end to end: they train, resume and are tested; every recipe of the paper can be read."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lifter import weights
from lifter.data.sequence import LabelledSequence
from lifter.evaluation.score import ScoreSettings, score
from lifter.layers import Mirror
from lifter.spec import LifterSpec, Schedule
from lifter.training import dry_run as dry
from lifter.training import interim_tests, loop, recipe, sources, train
from lifter.training.batch import TrainingBatch
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
    """Train up to step `steps`, stop as a signal does, and return the state of the checkpoint."""
    make = trainer.source.make

    def make_and_stop(step: int, rank: int = 0) -> TrainingBatch:
        trainer.stop_requested = step == steps - 1
        return make(step, rank)

    trainer.source.make = make_and_stop  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        trainer.fit(TrainingLog(trainer.folder, 10, quiet=True), dict)
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
    with pytest.raises(ConfigError, match=r"another recipe: lifter\.config\.width was 16 and is 32; undo"):
        _trainer(folder, "run", "lifter.config.width=32").resume()


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("optimiser.lr=0.001", "optimiser.lr was 0.003 and is 0.001"),
        ("lifter.schedule.keep=[14, 8]", r"lifter.schedule.keep was \(14, 9\) and is \(14, 8\)"),
        ("seed=2", "seed was 1 and is 2"),
    ],
)
def test_a_run_is_not_resumed_with_another_recipe(folder: Path, change: str, difference: str) -> None:
    _fit(_trainer(folder, "run"), 2)
    with pytest.raises(ConfigError, match=difference):
        _trainer(folder, "run", change).resume()


def test_a_run_is_resumed_with_other_workers_and_another_interval_of_checkpoints(folder: Path) -> None:
    _fit(_trainer(folder, "run"), 2)
    assert _trainer(folder, "run", "workers=1", "checkpoint_minutes=1", "log_steps=7").resume()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut off", b"\x80\x02 junk"])
def test_a_damaged_checkpoint_is_one_clear_error(folder: Path, content: bytes) -> None:
    trainer = _trainer(folder, "run")
    (folder / "run" / loop.CHECKPOINT).write_bytes(content)
    with pytest.raises(ConfigError, match="the checkpoint is damaged"):
        trainer.resume()


def test_a_checkpoint_of_another_amount_of_data_is_refused(folder: Path) -> None:
    _fit(_trainer(folder, "run"), 2)
    other = _trainer(folder, "run")
    other.source.steps += 10
    with pytest.raises(ConfigError, match=r"belongs to a run of 60 steps, and this data .* takes 70"):
        other.resume()


def test_a_termination_signal_saves_a_checkpoint_after_the_current_step(folder: Path) -> None:
    trainer = _trainer(folder, "run")
    make = trainer.source.make

    def make_and_stop(step: int, rank: int = 0) -> TrainingBatch:
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return make(step, rank)

    trainer.source.make = make_and_stop  # type: ignore[method-assign]
    with pytest.raises(SystemExit) as stopped:
        trainer.fit(TrainingLog(trainer.folder, 10, quiet=True), dict)
    assert stopped.value.code == 143
    second = _trainer(folder, "run")
    assert second.resume()
    assert second.step == 5
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_the_weights_of_the_best_test_are_kept_beside_the_last(folder: Path) -> None:
    trainer = _trainer(folder, "run")
    trainer.source.steps, trainer.source.steps_per_epoch = 5, 1
    errors, kept = iter([50.0, 40.0, 45.0, 30.0, 60.0]), []
    trainer.fit(
        TrainingLog(trainer.folder, 10, quiet=True),
        lambda: {"mpjpe": next(errors)},
        lambda: kept.append(trainer.step),
    )
    assert kept == [1, 2, 4]
    assert trainer.best_mpjpe == 30.0


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


def test_an_epoch_with_both_flips_contains_every_window_plain_and_mirrored(folder: Path) -> None:
    dry.WRITERS["h36m"](folder, {}, 12)
    plain = sources.training_batches(
        recipe.load(CONFIGS / "paper" / "mixste.yaml", ("batch=20", "flip=false")), folder
    )
    both = sources.training_batches(recipe.load(CONFIGS / "paper" / "mixste.yaml", ("batch=40",)), folder)
    assert (plain.steps_per_epoch, both.steps_per_epoch) == (1, 1)
    windows, doubled = plain.make(0), both.make(0)
    mirror = Mirror("h36m17")
    for values, twice in ((windows.inputs, doubled.inputs), (windows.targets, doubled.targets)):
        expected = torch.cat([values, mirror(values)]).flatten(1)
        order, doubled_order = (rows.sum(dim=1).argsort() for rows in (expected, twice.flatten(1)))
        torch.testing.assert_close(twice.flatten(1)[doubled_order], expected[order])


def test_processes_take_different_windows_of_the_same_epoch(folder: Path) -> None:
    dry.WRITERS["h36m"](folder, {}, 12)
    settings = recipe.load(CONFIGS / "paper" / "mixste.yaml", ("batch=10", "flip=false"))
    source = sources.training_batches(settings, folder, processes=2)
    assert source.steps_per_epoch == 1
    first, second = (source.make(0, rank).inputs.sum(dim=(1, 2, 3)).tolist() for rank in (0, 1))
    alone = sources.training_batches(settings, folder)
    epoch = torch.cat([alone.make(step).inputs for step in range(2)]).sum(dim=(1, 2, 3)).tolist()
    assert sorted(first + second) == sorted(epoch)


def test_a_training_flip_mirrors_inputs_and_targets_alike(folder: Path) -> None:
    dry.WRITERS["h36m"](folder, {}, 12)
    overrides = ("batch=20", "flip=true")
    flipped = sources.training_batches(
        recipe.load(CONFIGS / "paper" / "mixste.yaml", overrides), folder
    ).make(0)
    plain = sources.training_batches(
        recipe.load(CONFIGS / "paper" / "mixste.yaml", ("batch=20", "flip=false")), folder
    ).make(0)
    swapped = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]
    mirrored = [not torch.equal(a, b) for a, b in zip(flipped.inputs, plain.inputs, strict=True)]
    assert 4 < sum(mirrored) < 16
    for index, is_mirrored in enumerate(mirrored):
        for values, original in ((flipped.inputs, plain.inputs), (flipped.targets, plain.targets)):
            expected = original[index].clone()
            if is_mirrored:
                expected = expected[:, swapped]
                expected[..., 0] *= -1
            torch.testing.assert_close(values[index], expected)


def test_motionberts_windows_lie_inside_their_video(folder: Path) -> None:
    dry.WRITERS["motionbert"](folder, {"file": "h36m.pkl"}, 20)
    overrides = ("lifter.frames=9", "data.file=h36m.pkl", "data.stride=3", "lifter.schedule=null", "batch=1")
    settings = recipe.load(CONFIGS / "paper" / "motionbert.yaml", overrides)
    assert sources.training_batches(settings, folder).steps_per_epoch == 2 * 4  # starts 0, 3, 6, 9
    last_fits = recipe.load(CONFIGS / "paper" / "motionbert.yaml", (*overrides, "data.stride=11"))
    assert (
        sources.training_batches(last_fits, folder).steps_per_epoch == 2 * 2
    )  # starts 0 and 11, 11 + 9 = 20
    short = recipe.load(CONFIGS / "paper" / "motionbert.yaml", ("data.file=h36m.pkl", "flip=false"))
    source = sources.training_batches(short, folder)
    inputs = source.make(0).inputs
    changes = (inputs[:, 1:] != inputs[:, :-1]).flatten(2).any(dim=2).sum(dim=1)
    assert changes.tolist() == [19, 19, 19, 19]  # 20 frames, each repeated


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("mixste", ()),
        ("mixste", ("pipeline=seq2frame",)),
        ("mhformer", ("lifter.frames=27",)),
        ("d3dp", ()),
    ],
)
def test_a_test_between_epochs_costs_less_than_a_tenth_of_the_epochs(
    name: str, overrides: tuple[str, ...]
) -> None:
    settings = recipe.load(CONFIGS / "paper" / f"{name}.yaml", ("batch=5", *overrides))
    keypoints = np.ones((1000, 17, 3), np.float32)
    videos = [LabelledSequence("walk", keypoints, keypoints, (1000, 1000)) for _ in range(120)]
    steps = 100
    chosen = interim_tests.thinned(videos, settings, steps)
    lengths = [len(v.keypoints) if v.valid is None else int(v.valid.sum()) for v in chosen]
    one_each = settings.pipeline == "seq2frame" or settings.lifter.output == "centre"
    lifted = sum(lengths) if one_each else sum(-(-n // settings.lifter.frames) for n in lengths)
    cost = lifted * interim_tests.passes_per_window(settings)
    assert chosen
    assert cost <= 0.1 * 3 * 5 * steps or len(chosen) == 1


def test_learning_rates_follow_their_schedules() -> None:
    steps = OptimiserSettings(lr=1.0, decay="epoch", gamma=0.9, gamma_epochs=60)
    assert [learning_rate(steps, step, 800, 10) for step in (0, 599, 600, 799)] == [1.0, 1.0, 0.9, 0.9]
    paper = OptimiserSettings(lr=1.0, decay="epoch", gamma=0.99)
    assert learning_rate(paper, 25, 100, 10) == pytest.approx(0.99**2)
    mhformer = OptimiserSettings(lr=1.0, decay="epoch", gamma=0.95, gamma_fifth=0.5)
    assert learning_rate(mhformer, 49, 100, 10) == pytest.approx(0.95**4)
    assert learning_rate(mhformer, 50, 100, 10) == pytest.approx(0.95**4 * 0.5)
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
    with pytest.raises(ConfigError, match="expected one of cold_starts, detector, file, shares, test_file"):
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
