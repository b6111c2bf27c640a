"""The lag curve reads the poses that the live pipeline publishes, and says what they are worth."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import lifter
from lifter.data.sequence import LabelledSequence as Sequence
from lifter.evaluation import lag_report
from lifter.evaluation.lag_curve import Curve, Row, Settings, measure, published
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
from stream.runtime.lift_thread import LiftThread
from stream.windows.camera_buffer import CameraBuffer

SETTINGS = [(lag, hop) for lag in (0, 1, 8) for hop in (1, 5)]


@dataclass
class Rows:
    """Answers with what it is asked: the frame's number, its row in the window, the newest frame's number."""

    spec: LifterSpec = field(default_factory=lambda: LifterSpec(name="rows", frames=13))

    def lift(self, windows, last=13):
        poses = np.zeros((len(windows), 13, 17, 3), np.float32)
        for pose, window in zip(poses, windows, strict=True):
            seen = window.keypoints[:, 0, 0]
            pose[...] = np.stack([seen, np.arange(13), np.full(13, seen[-1])], axis=-1)[:, None]
        return poses[:, -last:]


@dataclass
class Worse:
    """The truth, which it reads from the keypoints, moved by 10 mm per frame that came after."""

    spec: LifterSpec = field(default_factory=lambda: LifterSpec(name="worse", frames=13, sha256="0" * 64))

    def lift(self, windows, last=13):
        poses = np.stack([window.keypoints for window in windows])
        poses = poses + 0.01 * np.arange(12, -1, -1)[None, :, None, None] * np.array([1, 0, 0])
        return poses[:, -last:]


def numbered(length: int) -> Sequence:
    """A video whose keypoints say which frame they are of."""
    keypoints = np.ones((length, 17, 3), np.float32)
    keypoints[..., 0] = np.arange(length)[:, None]
    return Sequence("numbered", keypoints, np.zeros((length, 17, 3), np.float32), (640, 480))


def swinging(length: int, **facts) -> Sequence:
    """A video that shows its own truth, its joints moving by 2 mm per frame, there and back."""
    pose = np.random.default_rng(7).uniform(0.1, 0.9, (17, 3))
    pose = pose + 0.002 * (np.arange(length) % 2)[:, None, None] * np.array([0, 1, 0])
    return Sequence("swinging", pose.astype(np.float32), pose.astype(np.float32), (640, 480), **facts)


def walking(length: int) -> Sequence:
    """A video of a person of whom joints are missing now and then."""
    xyz = dry.motion(length)
    score = (np.random.default_rng(1).random((length, 17, 1)) > 0.1).astype(np.float32)
    keypoints = np.concatenate([300 + 150 * xyz[..., [0, 2]] * [1, -1], score], axis=-1).astype(np.float32)
    return Sequence("walking", keypoints, (xyz - xyz[:, :1]).astype(np.float32), (640, 480))


def sent_live(runner, video: Sequence, lag: int, hop: int) -> np.ndarray:
    """Poses (L, J, 3) that the pipeline publishes of a replayed video."""
    clock, health, sent = FakeClock(), Health(), list[PoseFrame]()
    intake = CameraBuffer("cam0", runner.spec.frames, True, 0.5, health)
    emitter = FrameAssembler("h36m17", ModelInfo("x", "0"), "s", "offline", lag)
    context = ComponentContext("lift", clock=clock, health=health)
    publisher = Publisher(emitter, [], sent.append, context)
    lifting = LiftThread(runner, publisher, hop, default_blend_frames(lag), context)
    for seq, seen in enumerate(video.keypoints):
        xy = np.where(seen[:, 2:] > 0, seen[:, :2], np.nan).astype(np.float32)
        person = Keypoints(xy, seen[:, 2].copy(), "anna1")
        header = Header("cam0", seq, clock.now_ns(), clock.unix_ns())
        intake.accept(KeypointFrame(header, video.size_wh, "h36m17", (person,), clock.now_ns()))
        clock.advance(0.02)
        while lifting.once([intake]):
            pass
    intake.end()
    while lifting.once([intake]):
        pass
    assert [frame.header.seq for frame in sent] == list(range(len(video.keypoints)))
    return np.stack([frame.persons[0].xyz for frame in sent])


@pytest.mark.parametrize(("lag", "hop"), SETTINGS)
def test_a_pose_comes_from_the_first_pass_that_knows_as_many_newer_frames_as_the_lag_says(lag, hop):
    frames = np.arange(14, 34)
    poses = published(Rows(), numbered(40), frames, [(lag, hop)], blend=0)[lag, hop]
    newest = np.minimum((frames // hop + 1) * hop + lag, 40) - 1
    expected = np.stack([frames, 12 - (newest - frames), newest], axis=-1)
    np.testing.assert_array_equal(poses, np.repeat(expected[:, None], 17, axis=1))


@pytest.mark.parametrize(("lag", "hop"), SETTINGS)
def test_poses_are_those_of_the_live_pipeline_from_a_video_s_first_frame_to_its_last(lag, hop, tiny_weights):
    numbers, walk = numbered(30), walking(45)
    for runner, video in ((Rows(), numbers), (lifter.load(tiny_weights, device="cpu"), walk)):
        here = published(runner, video, np.arange(len(video.truth)), [(lag, hop)])[lag, hop]
        np.testing.assert_allclose(here, sent_live(runner, video, lag, hop), atol=1e-5)


def test_errors_are_those_of_each_lag_and_hop():
    curve = measure(Worse(), [swinging(60, rate_hz=50.0)], Settings((0, 2, 8), (1, 2, 5), 0), frames=40)
    assert curve.truth_acceleration == pytest.approx(4.0, abs=1e-3)
    assert (curve.clips, curve.frames, curve.full, curve.ahead, curve.rate_hz) == (1, 40, 40, 40, 50.0)
    shift, still = pytest.approx([0, 20, 80], abs=1e-3), pytest.approx([0, 0, 0], abs=1e-3)
    assert [row.lag for row in curve.lags] == [0, 2, 8]
    assert [row.mpjpe for row in curve.lags] == shift
    assert [row.p_mpjpe for row in curve.lags] == still
    assert [row.mpjve for row in curve.lags] == still
    assert [row.acceleration for row in curve.lags] == pytest.approx([4, 4, 4], abs=1e-3)
    # Within a pass the error falls by 10 mm a frame, to 0; then it jumps back up.
    assert [row.hop for row in curve.hops] == [1, 2, 5]
    assert [row.mpjpe for row in curve.hops] == pytest.approx([0, 5, 20], abs=1e-3)
    steps = [0, 10, (31 * 10 + 8 * 40) / 39]  # frames 12 to 51: 39 steps, 8 of them from pass to pass
    assert [row.mpjve for row in curve.hops] == pytest.approx(steps, abs=1e-3)
    assert [row.mpjve_per_s for row in curve.hops] == pytest.approx([50 * step for step in steps], abs=0.1)


def test_passes_are_blended_as_live_unless_asked_otherwise():
    rows = [
        measure(Worse(), [swinging(60)], Settings((0,), (5,), blend), frames=40).hops[0]
        for blend in (None, 5, 0)
    ]
    assert rows[0] == rows[1]
    assert rows[0].acceleration < 0.7 * rows[2].acceleration


def test_only_joints_with_a_truth_count_and_in_metres():
    video = swinging(60)
    truth = video.truth.copy()
    truth[:, 5:] = 9
    some = Sequence(
        "some", video.keypoints, truth / 2, (640, 480), joints=(0, 1, 2, 3, 4), unit_m=np.full(60, 2)
    )
    row = measure(Worse(), [some], Settings((3,), (1,), 0), frames=10).lags[0]
    assert (row.mpjpe, row.mpjve_per_s) == (pytest.approx(30, abs=1e-3), None)


def test_clips_are_spread_over_the_long_ones_and_never_change():
    seen: list[tuple[int, int]] = []
    videos = [swinging(length) for length in (10, 60, 20, 30, 12, 40)]
    settings = Settings((0, 8), (1,))
    curve = measure(Worse(), videos, settings, 2, 12, lambda done, of: seen.append((done, of)))
    # 20 frames and more are long enough; of 60, 20, 30, 40 the first and the last are taken.
    assert (curve.clips, curve.frames, curve.full, curve.ahead) == (2, 24, 24, 24)
    assert seen == [(1, 2), (2, 2)]
    assert curve == measure(Worse(), videos, settings, 2, 12)


def test_where_all_videos_are_short_their_frames_count_as_far_as_they_go():
    curve = measure(Worse(), [swinging(15)], Settings((0, 8), (1,), 0), frames=12)
    assert (curve.frames, curve.full, curve.ahead) == (12, 0, 7)
    assert curve.lags[1].mpjpe == pytest.approx((7 * 80 + 70 + 60 + 50 + 40 + 30) / 12, abs=1e-3)


def test_videos_with_frames_without_truth_are_left_out():
    known = np.ones(60, bool)
    known[3] = False
    videos = [swinging(60, valid=known), swinging(30)]
    assert measure(Worse(), videos, Settings((0,), (1,)), frames=10).clips == 1
    with pytest.raises(ConfigError, match="with truth for each, found none"):
        measure(Worse(), videos[:1])


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (((13,), (1,)), r"expected lags from 0 to 12 for worse, got \[13\]"),
        (((-1,), (1,)), r"expected lags from 0 to 12"),
        (((0,), (14,)), r"expected hops from 1 to 13"),
        (((0,), (0,)), r"expected hops from 1 to 13"),
        (((0,), (1,), -1), "expected a number of frames to blend from 0, got -1"),
    ],
)
def test_a_lag_that_no_window_has_is_refused(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        measure(Worse(), [swinging(60)], Settings(*settings))


def test_a_lifter_of_the_middle_has_no_lag_curve():
    with pytest.raises(ConfigError, match="only for the middle of 9 frames"):
        measure(Worse(LifterSpec(name="mid", frames=9, output="centre")), [swinging(60)])


def test_lags_that_do_not_fit_a_short_window_are_left_out():
    curve = measure(Worse(), [swinging(60)], frames=10)
    assert [row.lag for row in curve.lags] == [0, 1, 2, 4, 8]
    assert [row.hop for row in curve.hops] == [1, 5, 10]


ROWS = (Row(0, 1, 50.04, 40, 2, 100, 9), Row(8, 1, 45, 35.5, 1.5, 75, 3))
CURVE = Curve(ROWS, (Row(0, 1, 50.04, 40, 2, 100, 9),), 1.25, 2, 160, 100, 160, 50.0, None)
SPEC = LifterSpec(name="tiny", sha256="ab" * 32)
TABLES = """\
| lag, frames | later by | MPJPE mm | P-MPJPE mm | velocity error mm/frame | mm/s | jitter mm/frame² |
|-------------|---------:|---------:|-----------:|------------------------:|-----:|-----------------:|
| 0           |     0 ms |     50.0 |       40.0 |                    2.00 |  100 |             9.00 |
| 8           |   160 ms |     45.0 |       35.5 |                    1.50 |   75 |             3.00 |
| truth       |          |          |            |                         |      |             1.25 |

| hop, frames | later by up to | MPJPE mm | P-MPJPE mm | velocity error mm/frame | mm/s | jitter mm/frame² |
|-------------|---------------:|---------:|-----------:|------------------------:|-----:|-----------------:|
| 1           |           0 ms |     50.0 |       40.0 |                    2.00 |  100 |             9.00 |
| truth       |                |          |            |                         |      |             1.25 |

tiny (sha256 abababababab) on motion.npz: 160 frames of 2 clips at 50 Hz, the same for every row; 100 of them
have all 243 frames of the window behind them, the others begin with a padded one. Passes are blended as live.
Jitter: mean second difference."""


def test_the_tables_say_what_was_measured():
    assert lag_report.tables(CURVE, SPEC, "motion.npz") == TABLES


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path):
    (tmp_path / "doc.md").write_text("no marks")
    with pytest.raises(ConfigError, match="expected the lines <!-- lag-curve -->"):
        lag_report.check(None, tmp_path / "doc.md")
    with pytest.raises(ConfigError, match="cannot be read"):
        lag_report.check(None, tmp_path / "none.md")
    with pytest.raises(ConfigError, match="expected an output ending in"):
        lag_report.check(tmp_path / "plot.pdf", None)


def test_the_plot_is_a_small_png(tmp_path: Path):
    lag_report.plot(CURVE, SPEC, tmp_path / "plot.png")
    picture = (tmp_path / "plot.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 60_000


def test_a_video_of_one_s_own_says_its_rate(tmp_path: Path):
    video = walking(20)
    arrays = {"a/keypoints": video.keypoints, "a/truth": video.truth, "a/size_wh": np.array([640, 480])}
    for facts, rate in (({}, None), ({"a/fps": np.float64(60)}, 60.0)):
        np.savez(tmp_path / "own.npz", allow_pickle=False, **arrays, **facts)
        assert [each.rate_hz for each in sequences(tmp_path / "own.npz")] == [rate]
