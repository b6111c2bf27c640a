import dataclasses
import threading
from pathlib import Path
from unittest import mock

import msgspec
import numpy as np
import pytest

from sources.synthetic import Synthetic
from stream.cameras.intrinsics import Camera
from stream.config.load import resolve
from stream.errors import ConfigError
from stream.messages import JointOrigin, Meta, PoseFrame, Status
from stream.protocols import ComponentContext
from stream.runtime.pipeline import Pipeline
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
    """Run to the end; the pose frames that the memory sink got."""
    with pipeline:
        assert pipeline.wait(WAIT_S)
        pipeline.announce()
        pipeline.status()
    assert pipeline.error is None
    return [message for message in messages(pipeline) if isinstance(message, PoseFrame)]


def messages(pipeline: Pipeline) -> list:
    return pipeline.outlets["out"].sink.messages


def test_every_frame_of_a_file_comes_out_once_and_in_order(tiny_weights: Path):
    frames = run(Pipeline(config(tiny_weights)))
    assert [frame.header.seq for frame in frames] == list(range(60))
    assert {len(frame.persons) for frame in frames} == {2}
    assert len({person.id for frame in frames for person in frame.persons}) == 2
    assert {frame.mode for frame in frames} == {"offline"}


def test_only_the_largest_person_is_followed_when_asked_for(tiny_weights: Path):
    everybody = config(tiny_weights)
    largest = dataclasses.replace(everybody, tracking=Tracker.Settings(persons="largest"))
    counts = [len(frame.persons) for frame in run(Pipeline(largest))]
    assert counts == [1] * 60  # from the first frame on: a file's people are known from their beginning


def test_a_replay_is_identical_bit_for_bit(tiny_weights: Path):
    first, second = (run(Pipeline(config(tiny_weights, lag="half"))) for _ in range(2))
    assert len(first) == len(second) == 60
    for a, b in zip(first, second, strict=True):
        for one, other in zip(a.persons, b.persons, strict=True):
            assert one.xyz.tobytes() == other.xyz.tobytes()


def test_the_root_is_the_origin_and_nothing_is_missing(tiny_weights: Path):
    for frame in run(Pipeline(config(tiny_weights))):
        for person in frame.persons:
            assert np.isfinite(person.xyz).all()
            assert person.xyz[0].tolist() == [0.0, 0.0, 0.0]
            assert (person.origin[person.score == 0] != JointOrigin.OBSERVED).all()
            assert (person.origin[person.score > 0] == JointOrigin.OBSERVED).all()


def test_subscribers_learn_what_they_listen_to(tiny_weights: Path):
    pipeline = Pipeline(config(tiny_weights))
    run(pipeline)
    meta = next(message for message in messages(pipeline) if isinstance(message, Meta))
    assert (meta.source, meta.skeleton, meta.units, len(meta.joints)) == ("walk", "h36m17", "m", 17)
    assert meta.model.sha256 == pipeline.spec.sha256
    status = next(message for message in messages(pipeline) if isinstance(message, Status))
    assert status.report["counters"]["lift.frames"] == 60


def test_several_sources_are_lifted_side_by_side(tiny_weights: Path):
    walk = {"type": "synthetic", "pace": "full", "frames": 40}
    frames = run(Pipeline(config(tiny_weights, {"a": walk, "b": {**walk, "seed": 1}})))
    for name in ("a", "b"):
        assert [frame.header.seq for frame in frames if frame.header.source == name] == list(range(40))


def test_a_source_that_is_not_there_does_not_stop_the_others(tiny_weights: Path):
    walk = {"type": "synthetic", "frames": 10, "fps": 100.0}
    gone = {"type": "opencv", "url": "rtsp://127.0.0.1:9/none", "open_timeout_s": 1.0}
    pipeline = Pipeline(config(tiny_weights, {"walk": walk, "gone": gone}))
    with pipeline:
        seen = threading.Event()
        for _ in range(600):
            if pipeline.health.counter("lift", "frames") == 11:
                break
            seen.wait(0.05)
    frames = [message for message in messages(pipeline) if isinstance(message, PoseFrame)]
    assert [frame.header.seq for frame in frames] == [*range(10), 9]
    # Nobody stays behind of a live source that ends while others go on.
    assert [who.state for who in frames[-1].persons] == ["lost"]
    assert pipeline.health.report()["states"]["gone"]["state"] != "ok"


def test_a_sink_that_cannot_go_on_is_named_at_the_end_and_the_others_get_everything(tiny_weights: Path):
    tree = config(tiny_weights).to_dict()
    tree["sinks"]["full"] = {"type": "jsonl", "path": "/dev/full.jsonl"}
    with mock.patch("sinks.jsonl.FileIO", side_effect=OSError("No space left on device")):
        pipeline = Pipeline(resolve(tree))
        with pipeline:
            assert pipeline.wait(WAIT_S)
    assert len([message for message in messages(pipeline) if isinstance(message, PoseFrame)]) == 60
    assert isinstance(pipeline.error, ConfigError)
    assert "No space left on device" in str(pipeline.error)


def test_without_any_sink_left_there_is_nothing_to_go_on_for(tiny_weights: Path):
    tree = config(tiny_weights, {"walk": {"type": "synthetic"}}).to_dict()
    tree["sinks"] = {"full": {"type": "jsonl", "path": "/dev/full.jsonl"}}
    with mock.patch("sinks.jsonl.FileIO", side_effect=OSError("No space left on device")):
        pipeline = Pipeline(resolve(tree))
        with pipeline:
            assert pipeline.wait(WAIT_S)
    assert isinstance(pipeline.error, ConfigError)


def test_a_recording_into_a_folder_that_is_not_there_is_refused_before_anything_starts(tiny_weights: Path):
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


def test_stopping_publishes_what_was_seen_and_still_waited_for_its_look_ahead(tiny_weights: Path):
    pipeline = Pipeline(config(tiny_weights, {"walk": {"type": "synthetic"}}, lag=20))
    with pipeline:
        assert not pipeline.wait(0.5)
    published = [message.header.seq for message in messages(pipeline) if isinstance(message, PoseFrame)]
    assert published == list(range(pipeline.health.counter("walk", "frames")))


def test_stopping_between_two_batches_still_publishes_the_pass_that_is_half_lifted(tiny_weights: Path):
    crowd = {"type": "synthetic", "pace": "full", "frames": 3, "persons": 6}
    pipeline = Pipeline(config(tiny_weights, {"crowd": crowd}))
    lift, batches = pipeline.lifter.lift, []

    def stopped(windows, last):
        batches.append(len(windows))
        pipeline.feeds[0].join(WAIT_S)
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


def test_joints_below_the_least_score_count_as_not_seen(tiny_weights: Path):
    least = 0.9
    people = [who for frame in run(Pipeline(config(tiny_weights, min_score=least))) for who in frame.persons]
    scores = np.stack([who.score for who in people])
    origins = np.stack([who.origin for who in people])
    assert set(np.unique(scores < least)) == {True, False}
    assert (scores[scores < least] == 0).all()
    assert ((origins == JointOrigin.OBSERVED) == (scores >= least)).all()


def test_joints_that_cannot_be_in_any_image_do_not_count_and_end_nothing(tiny_weights: Path, tmp_path: Path):
    standing = np.random.default_rng(0).uniform(100, 300, (1, 17, 2)).astype(np.float32)
    keypoints = np.repeat(standing, 60, axis=0)
    keypoints[::3, 16] = 3e38, -3e38
    np.save(tmp_path / "wild.npy", keypoints)
    wild = {"type": "recording", "path": str(tmp_path / "wild.npy"), "speed": "full"}
    wild |= {"fps": 50, "skeleton": "h36m17", "size_wh": [640, 480]}
    pipeline = Pipeline(config(tiny_weights, {"wild": wild}))
    people = [who for frame in run(pipeline) for who in frame.persons]
    assert len(people) == 60
    assert [who.origin[16] == JointOrigin.OBSERVED for who in people] == [bool(seq % 3) for seq in range(60)]
    assert np.isfinite([who.xyz for who in people]).all()
    assert pipeline.health.counter("wild", "far_joints") == 20


@pytest.mark.parametrize("wanted", [False, True])
def test_keypoints_are_published_when_asked_for(tiny_weights: Path, wanted: bool):
    people = [who for frame in run(Pipeline(config(tiny_weights, kp2d=wanted))) for who in frame.persons]
    assert {who.kp2d is not None for who in people} == {wanted}


def test_people_stand_where_they_are_unless_that_is_not_wanted():
    walk = {"frames": 50, "pace": "full", "noise_px": 0.5}
    truth = Synthetic(Synthetic.Settings(**walk), ComponentContext("walk"))
    tree = config(Path("small"), {"walk": {"type": "synthetic", **walk}}).to_dict()
    tree["scene"] = {"height_m": truth.walks[0].height_m, "fov_deg": 65.2}
    people = [frame.persons[0] for frame in run(Pipeline(resolve(tree)))]
    assert {who.root_status for who in people} == {"height"}
    for seq, who in enumerate(people):
        root = truth.truth(seq)[0, 0]
        assert np.linalg.norm(who.root - root) < 0.15 * np.linalg.norm(root)
    tree["scene"] = {"enabled": False}
    assert {who.root is None for frame in run(Pipeline(resolve(tree))) for who in frame.persons} == {True}


def test_a_calibrated_camera_changes_what_the_lifter_sees_and_not_what_is_published(tiny_weights: Path):
    known = config(tiny_weights, kp2d=True)
    seen, size_wh = run(Pipeline(known)), (1280, 720)
    wide = Camera.Settings(size_wh=size_wh, fx=600.0, fy=600.0, cx=640.0, cy=360.0)
    scene = msgspec.structs.replace(known.scene, cameras={"walk": wide})
    other = run(Pipeline(dataclasses.replace(known, scene=scene)))
    for frame, again in zip(seen, other, strict=True):
        for person, same in zip(frame.persons, again.persons, strict=True):
            np.testing.assert_array_equal(person.kp2d, same.kp2d)
            assert np.abs(person.xyz - same.xyz).max() > 1e-3
