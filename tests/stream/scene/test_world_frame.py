import math

import numpy as np
import pytest

from sources.walking_figure import VirtualCamera
from stream.camera_info import Extrinsics
from stream.cameras.extrinsics import CameraPose
from stream.errors import ConfigError
from stream.messages import Contact, JointOrigin, PoseFrame
from stream.protocols import ComponentContext
from stream.scene.world_frame import CameraPlacements, WorldFrame
from tests.stream.people import (
    HEAD_TOP,
    LEFT_ANKLE,
    RIGHT_ANKLE,
    SIZE_WH,
    Motion,
    Scene,
    processed,
    standing,
    walking,
)

HZ = 25
ANKLES = [LEFT_ANKLE, RIGHT_ANKLE]
AUTO = WorldFrame.Settings(floor="auto")
LEVEL = Scene()
TILTED = Scene(VirtualCamera(SIZE_WH, 1000.0, (4.0, 3.5, 2.9), (0.0, 0.0, 0.7)))  # looks down by 22 degrees
ROLLED = Scene(roll_rad=0.35)


class Run:
    """A world step before a scene, and the frames that it has processed."""

    def __init__(
        self, scene: Scene, settings: WorldFrame.Settings = AUTO, contact: bool = True, source: str = "cam0"
    ) -> None:
        self.scene, self.source = scene, source
        self.context = ComponentContext(source)
        self.frames: list[PoseFrame] = []
        self.placements = CameraPlacements(settings.camera_pose)
        self.step = WorldFrame(settings, contact, self.context, self.placements)

    def watch(self, seconds: float, *motions: Motion, start_s: float = 0.0, **changes) -> "Run":
        """Process frames of these people."""
        for tick in range(round(seconds * HZ)):
            at_s = start_s + tick / HZ
            poses = [
                self.scene.pose(motion(at_s), "abcdef"[n], **changes) for n, motion in enumerate(motions)
            ]
            frame = self.scene.with_roots(*poses, at_s=at_s, source=self.source)
            self.frames.append(processed(self.step, frame))
        return self

    @property
    def placement(self) -> Extrinsics | None:
        return self.placements.get(self.source)

    @property
    def tilt_error_deg(self) -> float:
        """Angle between the estimated and the true up vector."""
        cosine = float(self.placement.matrix()[2] @ self.scene.rotation[:, 2])
        return math.degrees(math.acos(min(1.0, cosine)))


def joints(frame: PoseFrame) -> np.ndarray:
    """Joints (17, 3) of the first person, metres."""
    return frame.persons[0].root + frame.persons[0].xyz


def lowest_ankle_m(frame: PoseFrame) -> float:
    return joints(frame)[ANKLES, 2].min()


def lying(at_s: float) -> np.ndarray:
    """A person on the floor, along the image, whose arms move."""
    return standing(at_s)[:, [0, 2, 1]] + [0, -0.8, 0.1]


def poster(at_s: float) -> np.ndarray:
    """The image of a person, half as large, which never moves."""
    return walking(0.3) * 0.5 + [-2.0, 1.0, 1.0]


def at_camera_pose(scene: Scene, **changes) -> WorldFrame.Settings:
    """Settings with the true pose of the scene's camera."""
    camera = scene.camera
    pose = CameraPose(
        position_m=camera.position_m, looks_at_m=camera.looks_at_m, roll_deg=math.degrees(scene.roll_rad)
    )
    return WorldFrame.Settings(camera_pose={"cam0": pose}, **changes)


@pytest.mark.parametrize("scene", [LEVEL, TILTED, ROLLED])
def test_the_floor_below_a_walker_is_found_for_every_rotation_of_the_camera(scene: Scene):
    run = Run(scene).watch(12.0, walking)
    assert run.tilt_error_deg < 2.0
    assert run.placement.pos == pytest.approx((0, 0, scene.camera.position_m[2]), rel=0.05)
    assert (run.placement.status, run.placement.tilt_sd_deg < 2.21) == ("estimated", True)
    assert run.placement.height_sd_m > 0.05
    in_world = [joints(frame) for frame in run.frames if frame.frame_id == "cam0_world"]
    assert np.array(in_world)[:, ANKLES, 2].min() == pytest.approx(0.085, abs=0.06)
    upright = np.array([xyz[HEAD_TOP] - xyz[ANKLES].mean(axis=0) for xyz in in_world])
    assert upright[:, 2].min() > 0.98 * np.linalg.norm(upright, axis=1).max() - 0.05


def test_poses_are_in_the_camera_s_axes_until_the_floor_is_found_and_in_the_world_ever_after():
    run = Run(LEVEL).watch(9.0, walking)
    frame_ids = [frame.frame_id for frame in run.frames]
    first = frame_ids.index("cam0_world")
    assert 50 < first < 225
    assert frame_ids == ["cam0_optical_frame"] * first + ["cam0_world"] * (225 - first)
    before, after = joints(run.frames[first - 1]), joints(run.frames[first])
    assert run.placement.to_world(before) == pytest.approx(after, abs=0.1)
    assert before[HEAD_TOP, 1] < before[LEFT_ANKLE, 1]
    assert after[HEAD_TOP, 2] > after[LEFT_ANKLE, 2] + 1.0


def test_the_status_reports_the_search_and_then_the_certainty_of_the_floor():
    run = Run(LEVEL).watch(1.0, walking)
    assert run.context.health.report()["states"]["cam0.world"]["state"] == "waiting"
    run.watch(8.0, walking, start_s=1.0)
    state = run.context.health.report()["states"]["cam0.world"]
    assert state["state"] == "ok"
    assert "m above the floor (sd 0." in state["detail"]


def test_a_jump_leaves_the_floor_and_a_crouch_does_not_lower_it():
    run = Run(LEVEL).watch(9.0, walking)
    placement, ankle_m = run.placement, lowest_ankle_m(run.frames[-1])

    def jump(at_s: float) -> np.ndarray:
        air_s = at_s - 10.0
        return walking(9.0) + np.array([0, 0, max(0.0, 3.0 * air_s - 4.905 * air_s**2)])

    run.watch(1.0, lambda at_s: walking(9.0), start_s=9.0)
    stand_m = lowest_ankle_m(run.frames[-1])
    run.watch(0.6, jump, start_s=10.0)
    assert lowest_ankle_m(run.frames[-7]) - stand_m > 0.35
    assert run.frames[-8].persons[0].contact == Contact(left=False, right=False)
    run.watch(20.0, lambda at_s: walking(9.0) * [1, 1, 0.5], start_s=10.7)
    assert run.placement is placement
    assert ankle_m == pytest.approx(0.085, abs=0.08)


def test_a_poster_does_not_count():
    assert Run(LEVEL).watch(15.0, poster).placement is None
    run = Run(LEVEL).watch(9.0, poster, walking)
    assert run.tilt_error_deg < 2.0
    assert run.placement.pos[2] == pytest.approx(1.6, abs=0.1)


def test_after_some_patience_the_posture_of_a_standing_person_gives_the_floor():
    run = Run(TILTED).watch(9.0, standing)
    assert run.placement is None
    run.watch(4.0, standing, start_s=9.0)
    assert run.tilt_error_deg < 4.0
    assert 3.0 < run.placement.tilt_sd_deg < 4.01
    assert run.placement.pos[2] == pytest.approx(2.9, rel=0.1)


def test_a_lying_person_gives_no_floor():
    assert Run(LEVEL).watch(14.0, lying).placement is None


def test_a_camera_keeps_its_placement_when_its_resolution_changes():
    run = Run(LEVEL).watch(9.0, walking)
    frame = LEVEL.with_roots(LEVEL.pose(walking(9.0)), at_s=9.0)
    assert processed(run.step, frame, (640, 360)).frame_id == "cam0_world"


def test_the_first_placement_of_a_camera_holds():
    first = Run(LEVEL, at_camera_pose(LEVEL)).placement
    placements = CameraPlacements({})
    assert (placements.get("cam0"), placements.set("cam0", first)) == (None, first)
    other = Extrinsics("world", "cam0_optical_frame", (0.0, 0.0, 9.0), (0.0, 0.0, 0.0, 1.0), "given")
    assert placements.set("cam0", other) is first
    assert placements.get("cam0") is first


@pytest.mark.parametrize("scene", [LEVEL, TILTED, ROLLED])
def test_given_camera_poses_put_people_of_all_cameras_into_one_world(scene: Scene):
    run = Run(scene, at_camera_pose(scene, floor="auto")).watch(0.2, walking)
    assert [frame.frame_id for frame in run.frames] == ["world"] * 5
    assert joints(run.frames[0]) == pytest.approx(walking(0.0), abs=0.01)
    assert (run.placement.status, run.placement.child_frame_id) == ("given", "cam0_optical_frame")
    assert run.frames[0].persons[0].xyz.dtype == run.frames[0].persons[0].root.dtype == np.float32


def test_a_person_without_a_root_has_no_contact_and_keeps_absent_joints_absent():
    run = Run(LEVEL, at_camera_pose(LEVEL)).watch(0.4, walking)
    hidden = LEVEL.pose(walking(0.4), hidden=range(15))
    hidden.xyz[HEAD_TOP], hidden.origin[HEAD_TOP] = np.nan, JointOrigin.ABSENT
    (person,) = processed(run.step, LEVEL.with_roots(hidden, at_s=0.4)).persons
    assert (person.root, person.contact) == (None, None)
    assert np.flatnonzero(np.isnan(person.xyz).all(axis=1)).tolist() == [HEAD_TOP]
    assert person.xyz[LEFT_ANKLE, 2] < -0.5  # the axes of the world, relative to the pelvis


def test_without_a_world_poses_stay_in_the_camera_s_axes_and_have_contacts():
    run = Run(LEVEL, WorldFrame.Settings()).watch(3.0, standing)
    assert run.frames[-1].frame_id == "cam0_optical_frame"
    assert run.frames[-1].persons[0].contact == Contact(left=True, right=True)
    assert (run.placement, run.context.health.report()["states"]) == (None, {})


@pytest.mark.parametrize("settings", [AUTO, WorldFrame.Settings()])
def test_contacts_are_absent_when_they_are_turned_off(settings: WorldFrame.Settings):
    run = Run(LEVEL, settings, contact=False).watch(0.8, standing)
    assert {frame.persons[0].contact for frame in run.frames} == {None}


def test_a_world_without_patience_is_refused():
    with pytest.raises(ConfigError, match=r"scene\.world\.patience_s: expected 2 or more seconds, got 1"):
        WorldFrame.Settings(floor="auto", patience_s=1)


def test_interpolated_joints_give_the_same_floor_and_contacts_as_observed_ones():
    observed = Run(TILTED).watch(12, walking)
    origin = np.full(17, JointOrigin.INTERPOLATED, np.uint8)
    interpolated = Run(TILTED).watch(12, walking, origin=origin)
    assert observed.placement is not None
    assert interpolated.placement == observed.placement
    contacts = [[frame.persons[0].contact for frame in run.frames] for run in (observed, interpolated)]
    assert contacts[0] == contacts[1]
    assert {Contact(left=True, right=False), Contact(left=False, right=True)} < set(contacts[1])
