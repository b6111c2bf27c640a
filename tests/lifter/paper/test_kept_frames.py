"""Which frames a lifter keeps of a recording."""

import numpy as np
import pytest
import torch

from lifter import weights
from lifter.h2ot.prune import uniform
from lifter.paper.kept_frames import cut, opened, selection, sequence, with_pruner
from lifter.runner import Runner
from lifter.spec import LifterSpec, Schedule
from stream.errors import CheckpointError, ConfigError
from stream.files import keypoints as keypoint_files
from stream.files.keypoints import PACKAGED_RECORDING
from stream.messages import Header, KeypointFrame, Keypoints

F = 27
STAGES = Schedule((13, 9), (0, 1))
SMALL = {"width": 16, "depth": 2, "heads": 2}
NAN = float("nan")


def runner(schedule=STAGES, arch="mixste", in_channels=2, **config):
    torch.manual_seed(0)
    spec = LifterSpec(
        name="tiny", arch=arch, frames=F, in_channels=in_channels, schedule=schedule, config=SMALL | config
    )
    return Runner(weights.build(spec), spec, device="cpu", threads=1)


@pytest.fixture(scope="module")
def windows():
    seen = sequence(PACKAGED_RECORDING, "h36m17")
    return [cut(seen, start, F) for start in range(100, 104)]


def arriving(lifter, window):
    """Which frames there are when a whole pass comes to its head, (F,) bool."""
    places = []
    hook = lifter.model.hourglass.recoverer.register_forward_pre_hook(lambda _, args: places.append(args[1]))
    lifter.lift([window])
    hook.remove()
    return np.isin(np.arange(F), places[0])


def test_the_sampler_keeps_uniform_samples_of_uniform_samples(windows):
    places = np.arange(F)[uniform(F, 13)][uniform(13, 9)]
    assert (selection(runner(), windows) == np.isin(np.arange(F), places)).all()


@pytest.mark.parametrize("pruner", ["tpc", "tpa", "tpmo", "tps"])
def test_what_is_selected_is_what_arrives_at_the_head(windows, pruner):
    lifter = with_pruner(runner(), pruner)
    kept = selection(lifter, windows)
    assert (kept == [arriving(lifter, window) for window in windows]).all()
    assert (kept.sum(axis=1) == 9).all()
    assert (selection(lifter, windows) == kept).all()


def test_the_frame_that_moved_most_is_one_place_further_left_in_every_next_window(windows):
    seen = sequence(PACKAGED_RECORDING, "h36m17")
    motion = np.abs(np.diff(seen.keypoints[..., :2], axis=0)).sum(axis=(1, 2))
    start = int(motion.argmax()) - F // 2
    slices = [cut(seen, start + step, F) for step in range(3)]
    kept = selection(with_pruner(runner(Schedule((1,), (0,))), "tpmo"), slices)
    assert kept.argmax(axis=1).tolist() == [F // 2 + 1, F // 2, F // 2 - 1]


@pytest.mark.parametrize("pruner", ["tpc", "tps"])
@pytest.mark.parametrize(
    ("arch", "recoverer", "options"),
    [
        ("mhformer", "centre", {"hidden": 16, "depth": 3}),
        ("motionbert", "tra", {"in_channels": 3, "rep_width": 16}),
        ("motionagformer", "tri", {"in_channels": 3, "rep_width": 16}),
        ("d3dp", "tri", {"hypotheses": 2, "steps": 2}),
        ("diffpose", "tri", {}),
    ],
)
def test_every_architecture_can_be_asked(windows, arch, recoverer, options, pruner):
    lifter = runner(Schedule((13, 9), (0, 1), pruner, recoverer), arch, **options)
    assert (selection(lifter, windows[:2]).sum(axis=1) == 9).all()


def test_asking_leaves_the_lifter_as_it_was(windows):
    lifter = runner()
    before = lifter.lift(windows)
    selection(lifter, windows)
    assert (lifter.lift(windows) == before).all()


def test_a_lifter_without_stages_keeps_every_frame(windows):
    assert selection(runner(None), windows).all()


def test_another_pruner_works_with_the_same_weights():
    lifter = runner()
    other = with_pruner(lifter, "tpc")
    assert other.spec.schedule == Schedule((13, 9), (0, 1), "tpc")
    for name, value in lifter.model.state_dict().items():
        assert torch.equal(other.model.state_dict()[name], value)


def test_another_pruner_needs_stages():
    with pytest.raises(ConfigError, match="tiny prunes nothing; say how many frames to keep"):
        with_pruner(runner(None), "tpc")


def test_an_architecture_is_opened_with_the_schedule_of_the_paper_and_the_same_random_weights():
    state = torch.random.get_rng_state()
    first, second = opened("motionagformer"), opened("motionagformer", Schedule((81,), (3,)))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.spec.schedule == Schedule((121, 81), (0, 7))
    assert second.spec.schedule == Schedule((81,), (3,))
    assert first.spec.name == "motionagformer, random weights"
    assert torch.equal(first.model.joints_embed.weight, second.model.joints_embed.weight)


def test_weights_are_opened_with_other_stages_if_their_parameters_allow_it(tmp_path):
    lifter = runner()
    weights.save(tmp_path / "tiny.safetensors", lifter.model, lifter.spec)
    assert opened(tmp_path / "tiny.safetensors").spec.schedule == STAGES
    assert opened(tmp_path / "tiny.safetensors", Schedule((5,), (1,))).spec.schedule == Schedule((5,), (1,))
    with pytest.raises(CheckpointError, match=r"tiny with another schedule: .* is missing"):
        opened(tmp_path / "tiny.safetensors", Schedule((5,), (1,), "tpc", "tra"))


def frame(seq, *persons, source="cam0"):
    """persons: (id, x of all joints), NaN for one that is not seen."""
    people = tuple(
        Keypoints(np.full((17, 2), x, np.float32), np.ones(17, np.float32), id) for id, x in persons
    )
    time_ns = seq * 20_000_000
    return KeypointFrame(Header(source, seq, time_ns, time_ns), (640, 480), "h36m17", people, time_ns)


def recorded(path, *frames):
    keypoint_files.write(path, frames)
    return path


def test_a_recording_gives_the_person_seen_most_with_gaps_filled(tmp_path):
    path = recorded(
        tmp_path / "two.npz",
        frame(0, ("anna", 10.0), ("ben", 200.0)),
        frame(1, ("ben", 210.0)),
        frame(2, ("anna", 30.0)),
        frame(3, ("anna", 40.0), ("ben", NAN)),
    )
    seen = sequence(path, "h36m17")
    assert seen.keypoints[:, 0].tolist() == [[10, 10, 1], [20, 20, 0], [30, 30, 1], [40, 40, 1]]
    assert (seen.captured_ns.tolist(), seen.size_wh) == ([0, 20_000_000, 40_000_000, 60_000_000], (640, 480))


def test_a_recording_of_several_cameras_gives_the_first(tmp_path):
    path = recorded(
        tmp_path / "two.jsonl",
        frame(0, (None, 10.0)),
        frame(0, (None, 90.0), source="cam1"),
        frame(1, (None, 20.0)),
    )
    assert sequence(path, "h36m17").keypoints[:, 0, 0].tolist() == [10, 20]


def test_a_recording_of_nobody_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected somebody to be seen in the recording, found nobody"):
        sequence(recorded(tmp_path / "empty.jsonl", frame(0), frame(1)), "h36m17")
    with pytest.raises(ConfigError, match="found nobody"):
        sequence(recorded(tmp_path / "nan.jsonl", frame(0, ("anna", NAN))), "h36m17")


def test_persons_whom_nothing_tells_apart_are_refused(tmp_path):
    path = recorded(tmp_path / "two.npz", frame(7, (None, 10.0), (None, 20.0)))
    with pytest.raises(ConfigError, match="frame 0 shows 2 persons whom no ids tell apart"):
        sequence(path, "h36m17")
