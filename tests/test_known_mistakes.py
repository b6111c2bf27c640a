"""Known mistakes of live pose pipelines, each with the tests that prevent it in this one.

Tests of a single component are in the file of that component; the others follow in this file.
"""

import dataclasses
import gc
import re
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lifter import joints, normalise
from lifter.data.mocap_joints import OTHER_SIDE
from lifter.spec import LifterSpec
from sources.synthetic import Synthetic
from stream import skeletons
from stream.config.load import Config, resolve
from stream.health import Health
from stream.messages import Header, JointOrigin, KeypointFrame, Keypoints, ModelInfo, PoseFrame, Window
from stream.postprocess.assemble import FrameAssembler, LiftedPass
from stream.protocols import ComponentContext, opened
from stream.runtime.pipeline import Pipeline
from stream.tracking.lifecycle import Lifecycle
from stream.tracking.tracker import Tracker
from stream.windows.camera_buffer import CameraBuffer
from stream.windows.pending import LiftRequest, PendingFrame

WAIT_S = 60.0
SECOND = 1_000_000_000

PREVENTED_BY = {
    "one filter is shared by all people": [
        "stream/postprocess/test_smoothing.py::test_people_do_not_share_a_filter"
    ],
    "one filter of the root is shared by all people": [
        "stream/scene/test_root_position.py::test_people_do_not_share_a_filter"
    ],
    "a new id resets the filters of the others": [
        "stream/postprocess/test_smoothing.py::test_a_new_person_does_not_reset_the_filters_of_the_others",
        "stream/scene/test_root_position.py::test_a_new_person_does_not_reset_the_filters_of_the_others",
    ],
    "a filter runs at 30 Hz whatever the camera does": [
        "stream/postprocess/test_one_euro.py::test_a_steady_joint_is_followed_with_the_stated_delay_at_every_frame_rate",
    ],
    "a 50 Hz model is run at whatever rate frames come": [
        "stream/windows/test_resample.py::test_at_any_camera_rate_windows_have_the_lifters_rate",
        "stream/windows/test_resample.py::test_missing_frames_leave_a_steady_motion_steady",
    ],
    "what is not known is sent as 0": [
        "stream/runtime/test_trust.py::test_absent_values_of_a_lost_person_are_null_on_the_wire_and_never_zero",
        "stream/wire/test_codec.py::test_a_missing_keypoint_is_nan_never_a_point",
        "stream/test_skeletons.py::test_a_joint_at_0_with_score_0_is_missing",
    ],
    "a lost person is published as a confident guess": [
        "stream/runtime/test_batch_lifter.py::test_the_pose_of_a_lost_person_is_absent_not_zero",
        "stream/runtime/test_trust.py::test_a_person_missing_for_ten_seconds_is_predicted_then_lost_once_then_absent",
        "stream/runtime/test_source_thread.py::test_a_live_source_that_ends_announces_its_people_as_lost",
    ],
    "the floor snaps to the lowest joint, so that nobody can jump": [
        "stream/scene/test_world_frame.py::test_a_jump_leaves_the_floor_and_a_crouch_does_not_lower_it",
        "stream/scene/test_foot_contact.py::test_both_feet_leave_the_floor_in_a_jump",
    ],
    "poses are divided by their own size every frame": [
        "test_known_mistakes.py::test_a_crouching_body_is_not_scaled_to_the_size_of_a_standing_one",
    ],
    "a camera rotation is written into the code": [
        "stream/scene/test_world_frame.py::test_the_floor_below_a_walker_is_found_for_every_rotation_of_the_camera",
        "stream/scene/test_world_frame.py::test_without_a_world_poses_stay_in_the_camera_s_axes_and_have_contacts",
    ],
    "keypoints are normalised by the extent of the whole video": [
        "stream/runtime/test_live_equals_offline.py::test_a_recording_gives_the_same_poses_live_and_offline",
        "lifter/test_normalise.py::test_the_input_is_continuous_when_the_window_advances",
    ],
    "there is a seam every window": [
        "stream/postprocess/test_blend.py::test_successive_passes_become_one_smooth_motion"
    ],
    "(h, w) is passed where (w, h) is read": [
        "test_known_mistakes.py::test_an_upright_image_keeps_its_width_and_height",
        "sources/mediapipe/test_detector.py::test_landmarks_are_in_pixels_also_of_an_image_that_is_not_square",
    ],
    "the first frame must contain a person": [
        "stream/runtime/test_trust.py::test_a_file_may_begin_without_people_and_be_shorter_than_a_window",
    ],
    "a clip shorter than the window crashes": [
        "stream/cli/test_main.py::test_a_clip_shorter_than_the_window_is_lifted",
    ],
    "a clip of exactly a multiple of the window crashes": [
        "stream/runtime/test_trust.py::test_a_file_of_any_length_is_lifted",
    ],
    "latency is a difference of wall clocks": [
        "test_known_mistakes.py::test_a_jump_of_the_wall_clock_changes_no_latency",
    ],
    "latency is reported as a mean": [
        "stream/test_health.py::test_the_report_holds_counters_states_and_percentiles",
    ],
    "n ticks are divided by n - 1 intervals": [
        "sinks/test_console.py::test_one_line_a_second_has_rate_age_and_persons"
    ],
    "a source counts as connected though it could not be": [
        "stream/runtime/test_pipeline.py::test_a_source_that_cannot_be_opened_does_not_stop_the_others",
        "sources/test_reconnecting.py::test_outages_are_reported_in_health_and_each_change_is_logged_once",
    ],
    "what raises in a reader's thread leaves it hanging": [
        "test_known_mistakes.py::test_an_exception_in_a_reader_ends_the_run_with_that_error",
        "stream/runtime/test_sink_thread.py::test_a_sink_that_raises_ends_for_good_and_no_thread_waits_for_it",
    ],
    "scores and origins of joints are dropped on the way out": [
        "stream/wire/test_golden_bytes.py::test_another_library_reads_every_field_of_a_pose",
    ],
    "the one euro filter gets millimetres for metres": [
        "stream/postprocess/test_one_euro.py::test_the_cutoff_rises_with_the_speed_in_metres_per_second",
    ],
    "every file has its own list of left and right joints": [
        "test_known_mistakes.py::test_all_lists_of_left_and_right_joints_agree",
    ],
    "checkpoints are loaded leniently, so that random layers run": [
        "lifter/test_weights.py::test_errors_name_the_first_differing_weights",
        "lifter/checkpoints/test_official.py::test_missing_or_unexpected_keys_raise",
    ],
    "a live window is many copies of the newest frame, with scores of 1": [
        "test_known_mistakes.py::test_a_live_window_contains_past_frames_with_their_scores",
    ],
    "what is kept grows without bound": [
        "test_known_mistakes.py::test_people_who_are_gone_leave_nothing_behind",
        "stream/test_health.py::test_the_number_of_samples_is_bounded",
    ],
    "an avatar's left and right are exchanged": [
        "sinks/test_vmc.py::test_the_left_arm_is_on_the_left_of_an_avatar_that_faces_the_viewer",
        "sinks/test_bvh.py::test_the_rest_pose_is_a_t_pose_with_the_left_hand_at_positive_x",
        "sinks/test_sonic.py::test_left_is_at_positive_y_and_up_at_positive_z",
        "stream/test_rig.py::test_left_bones_start_at_left_joints",
    ],
    "the sign of a quaternion jumps between frames": [
        "stream/postprocess/test_joint_rotations.py::test_signs_are_continuous_through_a_full_turn",
        "sinks/test_gltf.py::test_times_have_bounds_and_signs_are_continuous",
    ],
    "positions of zero fold an avatar": [
        "sinks/test_vmc.py::test_every_frame_has_status_time_root_and_all_bones_with_strict_types",
    ],
    "a packet is larger than the network's": [
        "sinks/test_vmc.py::test_no_packet_is_larger_than_a_network_packet",
    ],
    "an avatar looks at its feet": [
        "stream/postprocess/test_joint_rotations.py::test_the_neck_is_level_when_the_person_looks_ahead",
        "stream/postprocess/test_joint_rotations.py::test_the_head_turns_with_the_face",
    ],
    "the stamps of a ROS transform repeat": [
        "sinks/ros2/test_sink.py::test_stamps_are_never_repeated_and_old_poses_are_not_sent",
    ],
    "a ROS frame has two parents, or a later static transform erases an earlier one": [
        "sinks/ros2/test_convert.py::test_a_frame_has_one_parent",
        "sinks/ros2/test_convert.py::test_every_static_message_has_the_transforms_of_all_cameras",
    ],
    "the markers of a lost person stay in RViz": [
        "sinks/ros2/test_sink.py::test_markers_of_a_lost_person_are_deleted_and_its_id_leaves_the_list",
    ],
    "RViz cuts an id": [
        "sinks/ros2/test_sink.py::test_ids_given_by_senders_become_five_letters_and_digits",
    ],
    "strict readers refuse a BVH file": [
        "sinks/test_bvh.py::test_a_reader_rebuilds_the_joints",
        "sinks/test_bvh.py::test_frames_are_counted_after_a_kill",
    ],
    "a killed recording loses its last chunk": [
        "sinks/test_recording_rotation.py::test_a_killed_recording_lacks_at_most_its_last_second",
    ],
    "one lost message makes a robot's controller start over": [
        "sinks/test_sonic.py::test_windows_overlap_and_indices_are_consecutive",
    ],
    "an avatar or a robot goes on without its person": [
        "sinks/test_safety.py::test_a_person_who_leaves_and_a_camera_that_dies_are_announced_while_the_node_runs",
        "sinks/test_safety.py::test_old_poses_are_not_sent_and_old_reports_of_lost_persons_are",
    ],
    "ids come back as somebody else": [
        "stream/runtime/test_source_thread.py::test_a_lost_person_never_comes_back_with_the_same_id",
    ],
}


@pytest.mark.parametrize("mistake", PREVENTED_BY)
def test_each_known_mistake_has_its_test(mistake: str):
    for place in PREVENTED_BY[mistake]:
        file, _, name = place.partition("::")
        assert re.search(rf"^def {name}\(", (Path(__file__).parent / file).read_text(), re.MULTILINE), place


def config(weights: Path, **walk: Any) -> Config:
    walk = {"type": "synthetic", "pace": "full", "frames": 40} | walk
    return resolve(
        {
            "sources": {"walk": walk},
            "lifter": {"weights": str(weights), "device": "cpu", "threads": 1},
            "sinks": {"out": {"type": "memory"}},
        }
    )


def windows_of(pipeline: Pipeline) -> list[Window]:
    """All windows that a whole run lifts, without those of the warm-up."""
    lifted: list[Window] = []
    lift = pipeline.lifter.lift

    def recording_lift(windows, *rest, **options):
        lifted.extend(windows)
        return lift(windows, *rest, **options)

    pipeline.lifter.lift = recording_lift
    with pipeline:
        assert pipeline.wait(WAIT_S)
    assert pipeline.error is None
    return [window for window in lifted if (window.origin != JointOrigin.PADDED).any()]


def test_an_upright_image_keeps_its_width_and_height(tiny_weights: Path):
    pipeline = Pipeline(config(tiny_weights, size_wh=[480, 640]))
    assert {window.size_wh for window in windows_of(pipeline)} == {(480, 640)}
    sent = pipeline.sink_threads["out"].sink.messages
    assert {each.size_wh for each in sent if not isinstance(each, PoseFrame)} == {(480, 640)}
    upright, lying = (
        normalise.screen(torch.tensor([[[[240.0, 320.0], [480.0, 640.0]]]]), torch.tensor([size]))
        for size in ((480.0, 640.0), (640.0, 480.0))
    )
    assert upright[0, 0, 0].tolist() == [0.0, 0.0]
    assert not torch.allclose(upright, lying)


def test_a_live_window_contains_past_frames_with_their_scores(tiny_weights: Path):
    settings = Synthetic.Settings(frames=40, pace="full", missing=0.1)
    with opened(Synthetic(settings, ComponentContext("walk"))) as walk:
        frames = [walk.read(0.0) for _ in range(40)]
    last = windows_of(Pipeline(config(tiny_weights, missing=0.1)))[-1]
    scores = np.stack([frame.persons[0].score for frame in frames[-len(last.origin) :]])
    np.testing.assert_array_equal(last.keypoints[..., 2], scores)
    assert len({row.tobytes() for row in last.keypoints}) == len(last.keypoints)


@pytest.mark.parametrize("normalised", ["person", "screen"])
def test_a_crouching_body_is_not_scaled_to_the_size_of_a_standing_one(normalised: str):
    random = torch.Generator().manual_seed(0)
    spec = LifterSpec(name="x", frames=3, in_channels=3, normalise=normalised)
    keypoints = 300 + 50 * torch.rand((1, 3, 17, 3), generator=random)
    keypoints[..., 2] = 1
    _, context = normalise.encode(keypoints, torch.tensor([[640.0, 480.0]]), spec)
    poses = torch.rand((1, 1, 17, 3), generator=random) * torch.tensor([1.0, 0.5, 1.0])[None, :, None, None]
    size = torch.linalg.vector_norm(normalise.decode(poses, context), dim=(2, 3))[0]
    torch.testing.assert_close(size / size[0], torch.tensor([1.0, 0.5, 1.0]))


@pytest.mark.parametrize("jump_s", [-3600, 0, 3600])
def test_a_jump_of_the_wall_clock_changes_no_latency(jump_s: int):
    header = Header("cam0", 0, 1 * SECOND, 1_700_000_000 * SECOND + jump_s * SECOND)
    arrival = PendingFrame(header, (640, 480), 1 * SECOND + 30_000_000, 10.0, (), 0, 0)
    emitter = FrameAssembler("h36m17", ModelInfo(), "s", "live", 0)
    started_ns = 1 * SECOND + 50_000_000
    batch = emitter.batch(
        [LiftedPass(LiftRequest([arrival], {}), started_ns)], started_ns + 8_000_000, lambda source: 0
    )
    ms = batch.frames[0].latency_ms
    assert (ms.capture, ms.detect, ms.queue, ms.lift) == (10.0, 20.0, 20.0, 8.0)


def test_an_exception_in_a_reader_ends_the_run_with_that_error(tiny_weights: Path):
    class Broken(Synthetic):
        def read(self, timeout_s: float) -> KeypointFrame | None:
            if self._seq == 5:
                raise RuntimeError("the callback broke")
            return super().read(timeout_s)

    whole = config(tiny_weights)
    part = dataclasses.replace(whole.sources["walk"], make=Broken)
    pipeline = Pipeline(dataclasses.replace(whole, sources={"walk": part}))
    with pipeline:
        assert pipeline.wait(WAIT_S)
    assert str(pipeline.error) == "the callback broke"
    assert pipeline.health.report()["states"]["walk"]["state"] == "failed"
    assert not {"source:walk", "lift", "sink:out"} & {thread.name for thread in threading.enumerate()}


def test_all_lists_of_left_and_right_joints_agree():
    pairs = {frozenset(pair) for pair in skeletons.skeleton_named("h36m17").flip_pairs}
    assert {frozenset(pair) for pair in enumerate(OTHER_SIDE[:17]) if pair[0] != pair[1]} == pairs
    parents = skeletons.skeleton_named("h36m17").parents
    bones = {joint - 1: frozenset((joint, parents[joint])) for joint in range(1, 17)}  # without the root's
    other = {a: b for pair in skeletons.skeleton_named("h36m17").flip_pairs for a, b in (pair, pair[::-1])}
    for one, two in joints.BONE_PAIRS:
        assert frozenset(other.get(joint, joint) for joint in bones[one]) == bones[two]


def test_people_who_are_gone_leave_nothing_behind():
    buffer, lifecycle = CameraBuffer("cam0", 9, False, 0.25, Health()), Lifecycle(Tracker(), 0.01)
    rings = []
    for number in range(50):
        person = Keypoints(np.zeros((17, 2), np.float32), np.ones(17, np.float32), f"p{number:04d}")
        header = Header("cam0", number, number * SECOND, number * SECOND)
        frame = KeypointFrame(header, (640, 480), "h36m17", (person,), number * SECOND)
        buffer.push(frame, lifecycle.update(frame))
        due = buffer.pop_due(1, 0)
        assert due is not None
        rings += [weakref.ref(who.ring) for each in due.frames for who in each.persons]
    del due
    gc.collect()
    assert sum(ring() is not None for ring in rings) <= 4  # of the newest and of whom it is the last word
