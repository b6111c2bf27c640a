import dataclasses
import threading
import time
from pathlib import Path
from unittest import mock

import msgspec
import numpy as np
import pytest

from sinks.memory import Memory
from sources.synthetic import Synthetic
from stream.cameras.intrinsics import Camera
from stream.config.load import resolve
from stream.errors import ConfigError
from stream.messages import JointOrigin, Message, Meta, PoseFrame, Status
from stream.protocols import ComponentContext
from stream.runtime.pipeline import Pipeline, load_lifter
from stream.runtime.source_thread import SourceThread
from stream.tracking.tracker import Tracker

WAIT_S = 60.0


def config(weights: Path, sources: dict | None = None, **lifter):
    walk = {"type": "synthetic", "pace": "full", "frames": 60, "persons": 2, "missing": 0.05}
    return resolve(
        {
            "sources": sources or {"walk": walk},
            "lifter": {"weights": str(weights), "device": "cpu", "threads": 1, **lifter},
            "sinks": {"out": {"type": "memory"}},
        }
    )


def run(pipeline: Pipeline) -> list[PoseFrame]:
    """Run to the end; the pose frames that the memory sink received."""
    with pipeline:
        assert pipeline.wait(WAIT_S)
        pipeline.announce()
        pipeline.status()
    assert pipeline.error is None
    return [message for message in messages(pipeline) if isinstance(message, PoseFrame)]


def messages(pipeline: Pipeline) -> list:
    return pipeline.sink_threads["out"].sink.messages


def test_every_frame_of_a_file_comes_out_once_and_in_order(tiny_weights: Path):
    frames = run(Pipeline(config(tiny_weights)))
    assert [frame.header.seq for frame in frames] == list(range(60))
    assert {len(frame.persons) for frame in frames} == {2}
    assert len({person.id for frame in frames for person in frame.persons}) == 2
    assert {frame.mode for frame in frames} == {"offline"}


def test_only_the_largest_person_is_published_with_persons_largest(tiny_weights: Path):
    largest = dataclasses.replace(config(tiny_weights), tracking=Tracker.Settings(persons="largest"))
    counts = [len(frame.persons) for frame in run(Pipeline(largest))]
    assert counts == [1] * 60  # from the first frame on, since it is a file


def test_a_replay_is_identical_bit_for_bit(tiny_weights: Path):
    first, second = (run(Pipeline(config(tiny_weights, lag="half"))) for _ in range(2))
    assert len(first) == len(second) == 60
    for frame, replayed in zip(first, second, strict=True):
        for person, same in zip(frame.persons, replayed.persons, strict=True):
            assert person.xyz.tobytes() == same.xyz.tobytes()


def test_the_root_is_the_origin_and_all_joints_have_positions(tiny_weights: Path):
    for frame in run(Pipeline(config(tiny_weights))):
        for person in frame.persons:
            assert np.isfinite(person.xyz).all()
            assert person.xyz[0].tolist() == [0.0, 0.0, 0.0]
            assert (person.origin[person.score == 0] != JointOrigin.OBSERVED).all()
            assert (person.origin[person.score > 0] == JointOrigin.OBSERVED).all()


def test_meta_and_status_messages_are_sent(tiny_weights: Path):
    pipeline = Pipeline(config(tiny_weights))
    run(pipeline)
    meta = next(message for message in messages(pipeline) if isinstance(message, Meta))
    assert (meta.source, meta.skeleton, meta.units, len(meta.joints)) == ("walk", "h36m17", "m", 17)
    assert meta.model.sha256 == pipeline.spec.sha256
    status = next(message for message in messages(pipeline) if isinstance(message, Status))
    assert status.report["counters"]["lift.frames"] == 60


def test_all_frames_of_several_sources_are_lifted_in_order(tiny_weights: Path):
    walk = {"type": "synthetic", "pace": "full", "frames": 40}
    frames = run(Pipeline(config(tiny_weights, {"a": walk, "b": {**walk, "seed": 1}})))
    for name in ("a", "b"):
        assert [frame.header.seq for frame in frames if frame.header.source == name] == list(range(40))


def test_a_source_that_cannot_be_opened_does_not_stop_the_others(tiny_weights: Path):
    walk = {"type": "synthetic", "frames": 10, "fps": 100.0}
    missing = {"type": "opencv", "url": "rtsp://127.0.0.1:9/none", "open_timeout_s": 1.0}
    pipeline = Pipeline(config(tiny_weights, {"walk": walk, "missing": missing}))
    with pipeline:
        never = threading.Event()
        for _ in range(600):
            if pipeline.health.counter("lift", "frames") == 11:
                break
            never.wait(0.05)
    frames = [message for message in messages(pipeline) if isinstance(message, PoseFrame)]
    assert [frame.header.seq for frame in frames] == [*range(10), 9]
    # A live source that ends loses its people, since the other sources go on.
    assert [person.state for person in frames[-1].persons] == ["lost"]
    assert pipeline.health.report()["states"]["missing"]["state"] != "ok"


def test_a_failed_sink_is_reported_at_the_end_and_other_sinks_get_all_frames(tiny_weights: Path):
    tree = config(tiny_weights).to_dict()
    tree["sinks"]["full"] = {"type": "jsonl", "path": "/dev/full.jsonl"}
    with mock.patch("sinks.jsonl.FileIO", side_effect=OSError("No space left on device")):
        pipeline = Pipeline(resolve(tree))
        with pipeline:
            assert pipeline.wait(WAIT_S)
    assert len([message for message in messages(pipeline) if isinstance(message, PoseFrame)]) == 60
    assert isinstance(pipeline.error, ConfigError)
    assert "No space left on device" in str(pipeline.error)


def test_the_run_ends_when_no_sink_is_left(tiny_weights: Path):
    tree = config(tiny_weights, {"walk": {"type": "synthetic"}}).to_dict()
    tree["sinks"] = {"full": {"type": "jsonl", "path": "/dev/full.jsonl"}}
    with mock.patch("sinks.jsonl.FileIO", side_effect=OSError("No space left on device")):
        pipeline = Pipeline(resolve(tree))
        with pipeline:
            assert pipeline.wait(WAIT_S)
    assert isinstance(pipeline.error, ConfigError)


def test_a_recording_into_a_missing_folder_is_refused_at_construction(tiny_weights: Path):
    tree = config(tiny_weights).to_dict()
    tree["sinks"] = {"out": {"type": "npz", "path": "/nowhere/poses.npz"}}
    with pytest.raises(ConfigError, match="the folder /nowhere does not exist"):
        Pipeline(resolve(tree))


def test_stopping_ends_an_endless_source_and_all_threads(tiny_weights: Path):
    pipeline = Pipeline(config(tiny_weights, {"walk": {"type": "synthetic"}}))
    with pipeline:
        assert not pipeline.wait(0.3)
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"source:walk", "lift", "sink:out"}


def test_stopping_publishes_the_frames_that_waited_for_look_ahead(tiny_weights: Path):
    pipeline = Pipeline(config(tiny_weights, {"walk": {"type": "synthetic"}}, lag=20))
    with pipeline:
        assert not pipeline.wait(0.5)
    published = [message.header.seq for message in messages(pipeline) if isinstance(message, PoseFrame)]
    assert published == list(range(pipeline.health.counter("walk", "frames")))


def test_stopping_between_two_batches_publishes_the_half_lifted_pass(tiny_weights: Path):
    crowd = {"type": "synthetic", "pace": "full", "frames": 3, "persons": 6}
    pipeline = Pipeline(config(tiny_weights, {"crowd": crowd}))
    lift, batches = pipeline.lifter.lift, []

    def stopped(windows, last):
        batches.append(len(windows))
        pipeline.source_threads[0].join(WAIT_S)
        pipeline.stop()
        return lift(windows, last)

    pipeline.lifter.warm_up()
    with mock.patch.multiple(pipeline.lifter, lift=stopped, warm_up=lambda: None):
        frames = run(pipeline)
    assert batches == [4, 2]
    assert [len(frame.persons) for frame in frames] == [6, 6, 6]


def test_a_lag_longer_than_the_window_is_refused(tiny_weights: Path):
    with pytest.raises(ConfigError, match=r"lifter.lag: expected less than the window of 27 frames, got 27"):
        Pipeline(config(tiny_weights, lag=27))


def test_a_hop_longer_than_the_window_is_refused(tiny_weights: Path):
    with pytest.raises(
        ConfigError, match=r"lifter.hop: expected at most 20 frames, .* of 27 .* of 7, got 21"
    ):
        Pipeline(config(tiny_weights, lag=7, hop=21))


def test_a_blend_longer_than_the_window_is_refused(tiny_weights: Path):
    with pytest.raises(ConfigError, match=r"lifter.blend: expected at most the window of 27 frames, got 28"):
        Pipeline(config(tiny_weights, blend=28))


def test_joints_below_min_score_count_as_missing(tiny_weights: Path):
    min_score = 0.9
    frames = run(Pipeline(config(tiny_weights, min_score=min_score)))
    people = [person for frame in frames for person in frame.persons]
    scores = np.stack([person.score for person in people])
    origins = np.stack([person.origin for person in people])
    assert set(np.unique(scores < min_score)) == {True, False}
    assert (scores[scores < min_score] == 0).all()
    assert ((origins == JointOrigin.OBSERVED) == (scores >= min_score)).all()


def test_joints_far_outside_the_image_count_as_missing(tiny_weights: Path, tmp_path: Path):
    standing = np.random.default_rng(0).uniform(100, 300, (1, 17, 2)).astype(np.float32)
    keypoints = np.repeat(standing, 60, axis=0)
    keypoints[::3, 16] = 3e38, -3e38
    np.save(tmp_path / "wild.npy", keypoints)
    wild = {"type": "recording", "path": str(tmp_path / "wild.npy"), "speed": "full"}
    wild |= {"fps": 50, "skeleton": "h36m17", "size_wh": [640, 480]}
    pipeline = Pipeline(config(tiny_weights, {"wild": wild}))
    people = [person for frame in run(pipeline) for person in frame.persons]
    assert len(people) == 60
    assert [person.origin[16] == JointOrigin.OBSERVED for person in people] == [
        bool(seq % 3) for seq in range(60)
    ]
    assert np.isfinite([person.xyz for person in people]).all()
    assert pipeline.health.counter("wild", "far_joints") == 20


@pytest.mark.parametrize("kp2d", [False, True])
def test_keypoints_are_published_with_kp2d(tiny_weights: Path, kp2d: bool):
    frames = run(Pipeline(config(tiny_weights, kp2d=kp2d)))
    assert {person.kp2d is not None for frame in frames for person in frame.persons} == {kp2d}


def test_the_root_position_is_published_unless_scene_is_disabled():
    walk = {"frames": 50, "pace": "full", "noise_px": 0.5}
    truth = Synthetic(Synthetic.Settings(**walk), ComponentContext("walk"))
    tree = config(Path("small"), {"walk": {"type": "synthetic", **walk}}).to_dict()
    tree["scene"] = {"height_m": truth.walks[0].height_m, "fov_deg": 65.2}
    people = [frame.persons[0] for frame in run(Pipeline(resolve(tree)))]
    assert {person.root_status for person in people} == {"height"}
    for seq, person in enumerate(people):
        root = truth.truth(seq)[0, 0]
        assert np.linalg.norm(person.root - root) < 0.15 * np.linalg.norm(root)
    tree["scene"] = {"enabled": False}
    frames = run(Pipeline(resolve(tree)))
    assert {person.root is None for frame in frames for person in frame.persons} == {True}


def test_calibration_changes_the_lifter_input_and_not_the_published_keypoints(tiny_weights: Path):
    assumed = config(tiny_weights, kp2d=True)
    frames, size_wh = run(Pipeline(assumed)), (1280, 720)
    wide = Camera.Settings(size_wh=size_wh, fx=600.0, fy=600.0, cx=640.0, cy=360.0)
    scene = msgspec.structs.replace(assumed.scene, cameras={"walk": wide})
    calibrated = run(Pipeline(dataclasses.replace(assumed, scene=scene)))
    for frame, again in zip(frames, calibrated, strict=True):
        for person, same in zip(frame.persons, again.persons, strict=True):
            np.testing.assert_array_equal(person.kp2d, same.kp2d)
            assert np.abs(person.xyz - same.xyz).max() > 1e-3


class SlowSink(Memory):
    """A sink that takes a millisecond per message."""

    def send(self, message: Message) -> None:
        time.sleep(0.001)
        super().send(message)


def test_the_repeated_metas_of_many_cameras_displace_no_messages(tiny_weights: Path):
    cameras = {f"cam{n}": (1280, 720) for n in range(256)}
    tree = config(tiny_weights, {"walk": {"type": "synthetic", "fps": 20.0}}).to_dict()
    tree["sinks"] = {"out": {"type": f"{__name__}:SlowSink"}}
    with (
        mock.patch.object(SourceThread, "sizes_wh", mock.PropertyMock(return_value=cameras)),
        Pipeline(resolve(tree)) as pipeline,
    ):
        pipeline.announce()
    announced = {message.source for message in messages(pipeline) if isinstance(message, Meta)}
    assert announced >= cameras.keys()
    assert pipeline.health.counter("out", "drop.sink_slow") == 0


class SlowLifter:
    """A lifter whose every batch takes `seconds`."""

    def __init__(self, lifter, seconds: float) -> None:
        self.spec = lifter.spec
        self.warm_up = lifter.warm_up
        self._lifter = lifter
        self._seconds = seconds

    def lift(self, windows, last=None):
        time.sleep(self._seconds)
        return self._lifter.lift(windows, last)


def test_poses_that_became_too_old_while_they_were_lifted_are_dropped_and_lost_people_are_not(
    tiny_weights: Path, caplog
):
    walk = {"walk": {"type": "synthetic", "frames": 60, "fps": 20.0}}
    settings = config(tiny_weights, walk, max_age_ms=1000.0)
    pipeline = Pipeline(settings, lifter=SlowLifter(load_lifter(settings.lifter), 1.2))
    frames = run(pipeline)
    assert [[person.state for person in frame.persons] for frame in frames if frame.persons] == [["lost"]]
    assert pipeline.health.counter("walk", "drop.too_old") > 0
    assert caplog.text.count("ms old once lifted, more than lifter.max_age_ms, and dropped") == 1
