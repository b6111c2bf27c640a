"""The lag curve scores the poses that the live pipeline publishes."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import lifter
from lifter.data.sequence import LabelledSequence
from lifter.evaluation.lag_curve import LagCurveSettings, measure_lag_curve
from lifter.evaluation.published_poses import poses_by_history, published_poses
from lifter.evaluation.score import sequences
from lifter.spec import LifterSpec
from lifter.training import dry_run as dry
from stream.clock import FakeClock
from stream.errors import ConfigError
from stream.health import Health
from stream.messages import Header, KeypointFrame, Keypoints, ModelInfo, PoseFrame
from stream.postprocess.assemble import FrameAssembler, Publisher
from stream.postprocess.blend import default_blend_frames
from stream.protocols import ComponentContext
from stream.runtime.batch_lifter import BatchLifter
from stream.tracking.lifecycle import Lifecycle
from stream.tracking.tracker import Tracker
from stream.windows.camera_buffer import CameraBuffer

LAGS_AND_HOPS = [(lag, hop) for lag in (0, 1, 8) for hop in (1, 5)]


@dataclass
class FrameNumbers:
    """A lifter whose poses are the frame's number, its row in the window, and the newest frame's number."""

    spec: LifterSpec = field(default_factory=lambda: LifterSpec(name="rows", frames=13))

    def lift(self, windows, last=13):
        poses = np.zeros((len(windows), 13, 17, 3), np.float32)
        for pose, window in zip(poses, windows, strict=True):
            numbers = window.keypoints[:, 0, 0]
            pose[...] = np.stack([numbers, np.arange(13), np.full(13, numbers[-1])], axis=-1)[:, None]
        return poses[:, -last:]


@dataclass
class ErrorByAge:
    """A lifter whose poses are the keypoints, in metres, moved by 10 mm per later frame of the window."""

    spec: LifterSpec = field(default_factory=lambda: LifterSpec(name="worse", frames=13, sha256="0" * 64))

    def lift(self, windows, last=13):
        poses = np.stack([window.keypoints for window in windows])
        poses = poses + 0.01 * np.arange(12, -1, -1)[None, :, None, None] * np.array([1, 0, 0])
        return poses[:, -last:]


def numbered(length: int) -> LabelledSequence:
    """A video in which x of all keypoints is the frame's number."""
    keypoints = np.ones((length, 17, 3), np.float32)
    keypoints[..., 0] = np.arange(length)[:, None]
    return LabelledSequence("numbered", keypoints, np.zeros((length, 17, 3), np.float32), (640, 480))


def swinging(length: int, **facts) -> LabelledSequence:
    """A video whose keypoints are its truth; all joints move by 2 mm per frame, forwards and backwards."""
    pose = np.random.default_rng(7).uniform(0.1, 0.9, (17, 3))
    pose = pose + 0.002 * (np.arange(length) % 2)[:, None, None] * np.array([0, 1, 0])
    return LabelledSequence("swinging", pose.astype(np.float32), pose.astype(np.float32), (640, 480), **facts)


def walking(length: int) -> LabelledSequence:
    """A video of a walking person with 10 % of the joints missing."""
    xyz = dry.motion(length)
    score = (np.random.default_rng(1).random((length, 17, 1)) > 0.1).astype(np.float32)
    keypoints = np.concatenate([300 + 150 * xyz[..., [0, 2]] * [1, -1], score], axis=-1).astype(np.float32)
    return LabelledSequence("walking", keypoints, (xyz - xyz[:, :1]).astype(np.float32), (640, 480))


def published_live(runner, video: LabelledSequence, lag: int, hop: int) -> np.ndarray:
    """Poses (L, J, 3) that the pipeline publishes of a replayed video."""
    clock, health, sent = FakeClock(), Health(), list[PoseFrame]()
    buffer = CameraBuffer("cam0", runner.spec.frames, True, 0.5, health)
    lifecycle = Lifecycle(Tracker(), predict_s=0.5)
    emitter = FrameAssembler("h36m17", ModelInfo("x", "0"), "s", "offline", lag)
    context = ComponentContext("lift", clock=clock, health=health)
    publisher = Publisher(emitter, [], sent.append, context)
    batches = BatchLifter(runner, publisher, hop, default_blend_frames(lag), context)
    for seq, keypoints in enumerate(video.keypoints):
        xy = np.where(keypoints[:, 2:] > 0, keypoints[:, :2], np.nan).astype(np.float32)
        person = Keypoints(xy, keypoints[:, 2].copy(), "anna1")
        header = Header("cam0", seq, clock.now_ns(), clock.unix_ns())
        frame = KeypointFrame(header, video.size_wh, "h36m17", (person,), clock.now_ns())
        buffer.push(frame, lifecycle.update(frame))
        clock.advance(0.02)
        while batches.lift_next_batch([buffer]):
            pass
    buffer.end()
    while batches.lift_next_batch([buffer]):
        pass
    assert [frame.header.seq for frame in sent] == list(range(len(video.keypoints)))
    return np.stack([frame.persons[0].xyz for frame in sent])


@pytest.mark.parametrize(("lag", "hop"), LAGS_AND_HOPS)
def test_a_pose_comes_from_the_first_pass_with_lag_newer_frames(lag, hop):
    frames = np.arange(14, 34)
    poses = published_poses(FrameNumbers(), numbered(40), frames, [(lag, hop)], blend=0)[lag, hop].poses
    newest = np.minimum((frames // hop + 1) * hop + lag, 40) - 1
    expected = np.stack([frames, 12 - (newest - frames), newest], axis=-1)
    np.testing.assert_array_equal(poses, np.repeat(expected[:, None], 17, axis=1))


@pytest.mark.parametrize(("lag", "hop"), LAGS_AND_HOPS)
def test_all_poses_of_a_video_equal_those_of_the_live_pipeline(lag, hop, tiny_weights):
    numbers, walk = numbered(30), walking(45)
    for runner, video in ((FrameNumbers(), numbers), (lifter.load(tiny_weights, device="cpu"), walk)):
        here = published_poses(runner, video, np.arange(len(video.truth)), [(lag, hop)])[lag, hop]
        np.testing.assert_allclose(here.poses, published_live(runner, video, lag, hop), atol=1e-5)


def test_every_lag_and_hop_has_its_own_errors():
    curve = measure_lag_curve(
        ErrorByAge(), [swinging(60, rate_hz=50.0)], LagCurveSettings((0, 2, 8), (1, 2, 5), 0), frames=40
    )
    assert curve.truth_acceleration == pytest.approx(4.0, abs=1e-3)
    assert (curve.clips, curve.frames, curve.warm, curve.ahead, curve.rate_hz) == (1, 40, 40, 40, 50.0)
    shift, still = pytest.approx([0, 20, 80], abs=1e-3), pytest.approx([0, 0, 0], abs=1e-3)
    assert [row.lag for row in curve.lags] == [0, 2, 8]
    assert [row.mpjpe for row in curve.lags] == shift
    assert [row.p_mpjpe for row in curve.lags] == still
    assert [row.mpjve for row in curve.lags] == still
    assert [row.acceleration for row in curve.lags] == pytest.approx([4, 4, 4], abs=1e-3)
    # Inside a pass the truth's jitter of 4 remains; at seams of later passes the poses step back.
    assert [row.pass_acceleration for row in curve.hops] == pytest.approx([4, 4, 4], abs=1e-3)
    # Within a pass the error falls by 10 mm per frame to 0; the next pass begins with the largest again.
    assert [row.hop for row in curve.hops] == [1, 2, 5]
    assert [row.mpjpe for row in curve.hops] == pytest.approx([0, 5, 20], abs=1e-3)
    steps = [0, 10, (31 * 10 + 8 * 40) / 39]  # frames 12 to 51: 39 steps, 8 of them from pass to pass
    assert [row.mpjve for row in curve.hops] == pytest.approx(steps, abs=1e-3)
    assert [row.mpjve_per_s for row in curve.hops] == pytest.approx([50 * step for step in steps], abs=0.1)


def test_passes_are_blended_as_live_by_default():
    rows = [
        measure_lag_curve(ErrorByAge(), [swinging(60)], LagCurveSettings((0,), (5,), blend), frames=40).hops[
            0
        ]
        for blend in (None, 5, 0)
    ]
    assert rows[0] == rows[1]
    assert rows[0].acceleration < 0.7 * rows[2].acceleration


def test_only_joints_with_a_truth_count_in_metres():
    video = swinging(60)
    truth = video.truth.copy()
    truth[:, 5:] = 9
    some = LabelledSequence(
        "some", video.keypoints, truth / 2, (640, 480), joints=(0, 1, 2, 3, 4), unit_m=np.full(60, 2)
    )
    row = measure_lag_curve(ErrorByAge(), [some], LagCurveSettings((3,), (1,), 0), frames=10).lags[0]
    assert (row.mpjpe, row.mpjve_per_s) == (pytest.approx(30, abs=1e-3), None)


def test_clips_are_evenly_chosen_from_the_long_videos():
    progress: list[tuple[int, int]] = []
    videos = [swinging(length) for length in (10, 60, 20, 30, 12, 40)]
    settings = LagCurveSettings((0, 8), (1,))
    curve = measure_lag_curve(
        ErrorByAge(), videos, settings, 2, 12, lambda done, total: progress.append((done, total))
    )
    # 12 frames of history, 12 scored ones and 8 after them are enough: of the videos of 60 and 40 frames.
    assert (curve.clips, curve.frames, curve.warm, curve.ahead) == (2, 24, 24, 24)
    assert progress == [(1, 2), (2, 2)]
    assert curve == measure_lag_curve(ErrorByAge(), videos, settings, 2, 12)


def test_a_row_is_the_same_whichever_other_rows_are_measured():
    video = walking(60)

    def lag_0(*lags: int) -> object:
        return measure_lag_curve(ErrorByAge(), [video], LagCurveSettings(lags, (1,)), frames=10).lags[0]

    assert lag_0(0) == lag_0(0, 8) == lag_0(0, 3)


def test_a_short_history_begins_at_its_first_frame():
    poses = poses_by_history(FrameNumbers(), numbered(30), np.array([5, 20]), (1, 4, 13))
    assert {history: rows[:, 0].tolist() for history, rows in poses.items()} == {
        1: [[5, 12, 5], [20, 12, 20]],
        4: [[5, 12, 5], [20, 12, 20]],
        13: [[5, 12, 5], [20, 12, 20]],
    }
    windows = []

    class Recorded(FrameNumbers):
        def lift(self, lifted, last=13):
            windows.extend(lifted)
            return super().lift(lifted, last)

    poses_by_history(Recorded(), numbered(30), np.array([20]), (4, 13))
    firsts = [window.keypoints[:, 0, 0].tolist() for window in windows]
    assert firsts == [[17.0] * 9 + [17.0, 18.0, 19.0, 20.0], [float(x) for x in range(8, 21)]]


def test_errors_by_history_are_those_of_the_same_frames():
    curve = measure_lag_curve(ErrorByAge(), [swinging(60)], LagCurveSettings((0,), (1,)), frames=10)
    assert [row.history for row in curve.histories] == [1, 2, 5, 12, 13]
    assert [row.mpjpe for row in curve.histories] == pytest.approx([0] * 5, abs=1e-3)


def test_short_videos_count_with_all_their_frames():
    curve = measure_lag_curve(ErrorByAge(), [swinging(15)], LagCurveSettings((0, 8), (1,), 0), frames=12)
    assert (curve.frames, curve.warm, curve.ahead) == (12, 0, 7)
    assert curve.lags[1].mpjpe == pytest.approx((7 * 80 + 70 + 60 + 50 + 40 + 30) / 12, abs=1e-3)


def test_partly_labelled_videos_are_left_out():
    valid = np.ones(60, bool)
    valid[3] = False
    videos = [swinging(60, valid=valid), swinging(30)]
    assert measure_lag_curve(ErrorByAge(), videos, LagCurveSettings((0,), (1,)), frames=10).clips == 1
    with pytest.raises(ConfigError, match="with truth for each, found none"):
        measure_lag_curve(ErrorByAge(), videos[:1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (((13,), (1,)), r"expected lags from 0 to 12 for worse, got \[13\]"),
        (((-1,), (1,)), r"expected lags from 0 to 12"),
        (((0,), (14,)), r"expected hops from 1 to 13"),
        (((0,), (0,)), r"expected hops from 1 to 13"),
        (((0,), (1,), -1), "expected a number of frames to blend from 0, got -1"),
    ],
)
def test_lags_and_hops_outside_the_window_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        measure_lag_curve(ErrorByAge(), [swinging(60)], LagCurveSettings(*settings))


def test_a_lifter_of_the_centre_frame_has_no_lag_curve():
    with pytest.raises(ConfigError, match="only the pose in the middle of 9 frames"):
        measure_lag_curve(ErrorByAge(LifterSpec(name="mid", frames=9, output="centre")), [swinging(60)])


def test_lags_that_do_not_fit_a_short_window_are_left_out():
    curve = measure_lag_curve(ErrorByAge(), [swinging(60)], frames=10)
    assert [row.lag for row in curve.lags] == [0, 1, 2, 3, 4, 8]
    assert [row.hop for row in curve.hops] == [1, 5, 10]


def test_the_frame_rate_of_an_own_video_is_read(tmp_path: Path):
    video = walking(20)
    arrays = {"a/keypoints": video.keypoints, "a/truth": video.truth, "a/size_wh": np.array([640, 480])}
    for facts, rate_hz in (({}, None), ({"a/fps": np.float64(60)}, 60.0)):
        np.savez(tmp_path / "own.npz", allow_pickle=False, **arrays, **facts)
        assert [video.rate_hz for video in sequences(tmp_path / "own.npz")] == [rate_hz]
