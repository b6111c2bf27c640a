"""The frames that a lifter keeps of the windows of a recording."""

import numpy as np
import pytest
import torch

from lifter import weights
from lifter.h2ot.prune import uniform
from lifter.paper.kept_frames import kept_frames, with_pruner
from lifter.runner import Runner
from lifter.samples import cut_window, recording_as_window
from lifter.spec import LifterSpec, Schedule
from stream.errors import ConfigError
from stream.files.keypoints import PACKAGED_RECORDING

F = 27
STAGES = Schedule((13, 9), (0, 1))
SMALL = {"width": 16, "depth": 2, "heads": 2}


def runner(schedule=STAGES, arch="mixste", in_channels=2, **config):
    torch.manual_seed(0)
    spec = LifterSpec(
        name="tiny", arch=arch, frames=F, in_channels=in_channels, schedule=schedule, config=SMALL | config
    )
    return Runner(weights.build(spec), spec, device="cpu", threads=1)


@pytest.fixture(scope="module")
def windows():
    recording = recording_as_window(PACKAGED_RECORDING, "h36m17")
    return [cut_window(recording, start, F) for start in range(100, 104)]


def frames_at_recoverer(lifter, window):
    """The frames whose tokens reach the recoverer in a full pass, (F,) bool."""
    indices = []
    hook = lifter.model.hourglass.recoverer.register_forward_pre_hook(lambda _, args: indices.append(args[1]))
    lifter.lift([window])
    hook.remove()
    return np.isin(np.arange(F), indices[0])


def test_two_stages_of_the_sampler_keep_uniform_samples_of_uniform_samples(windows):
    indices = np.arange(F)[uniform(F, 13)][uniform(13, 9)]
    assert (kept_frames(runner(), windows) == np.isin(np.arange(F), indices)).all()


@pytest.mark.parametrize("pruner", ["tpc", "tpa", "tpmo", "tps"])
def test_kept_frames_are_those_that_reach_the_recoverer(windows, pruner):
    lifter = with_pruner(runner(), pruner)
    kept = kept_frames(lifter, windows)
    assert (kept == [frames_at_recoverer(lifter, window) for window in windows]).all()
    assert (kept.sum(axis=1) == 9).all()
    assert (kept_frames(lifter, windows) == kept).all()


def test_the_frame_with_the_most_motion_moves_left_by_one_from_window_to_window(windows):
    recording = recording_as_window(PACKAGED_RECORDING, "h36m17")
    motion = np.abs(np.diff(recording.keypoints[..., :2], axis=0)).sum(axis=(1, 2))
    start = int(motion.argmax()) - F // 2
    slices = [cut_window(recording, start + step, F) for step in range(3)]
    kept = kept_frames(with_pruner(runner(Schedule((1,), (0,))), "tpmo"), slices)
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
def test_kept_frames_are_found_in_every_architecture(windows, arch, recoverer, options, pruner):
    lifter = runner(Schedule((13, 9), (0, 1), pruner, recoverer), arch, **options)
    assert (kept_frames(lifter, windows[:2]).sum(axis=1) == 9).all()


def test_finding_kept_frames_does_not_change_the_lifter(windows):
    lifter = runner()
    before = lifter.lift(windows)
    kept_frames(lifter, windows)
    assert (lifter.lift(windows) == before).all()


def test_a_lifter_that_does_not_prune_keeps_every_frame(windows):
    assert kept_frames(runner(None), windows).all()


def test_another_pruner_has_the_same_weights():
    lifter = runner()
    other = with_pruner(lifter, "tpc")
    assert other.spec.schedule == Schedule((13, 9), (0, 1), "tpc")
    for name, value in lifter.model.state_dict().items():
        assert torch.equal(other.model.state_dict()[name], value)


def test_a_lifter_that_does_not_prune_takes_no_pruner():
    with pytest.raises(ConfigError, match="tiny does not prune; pass the frame counts to keep"):
        with_pruner(runner(None), "tpc")
