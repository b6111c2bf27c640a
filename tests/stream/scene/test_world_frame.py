import math

import numpy as np
import pytest

from sources.walking_figure import VirtualCamera as Lens
from stream.cameras.extrinsics import CameraPose
from stream.errors import ConfigError
from stream.messages import Contact, JointOrigin, PoseFrame
from stream.protocols import ComponentContext
from stream.scene.world_frame import CameraPlacements, WorldFrame, WorldSettings
from tests.stream.people import LEFT, RIGHT, SIZE_WH, Motion, Scene, finished, standing, walking

HZ = 25
AUTO = WorldSettings(floor="auto")
LEVEL = Scene()
TILTED = Scene(Lens(SIZE_WH, 1000.0, (4.0, 3.5, 2.9), (0.0, 0.0, 0.7)))  # looks down by 22 degrees
ROLLED = Scene(roll_rad=0.35)


class Run:
    """A world and what came of it: frames, and how many there were when its place became known."""

    def __init__(self, scene: Scene, settings: WorldSettings = AUTO, source: str = "cam0") -> None:
        self.scene, self.settings, self.source = scene, settings, source
        self.context = ComponentContext(source)
        self.settled: list[tuple[str, tuple[int, int], int]] = []
        self.frames: list[PoseFrame] = []
        self.worlds = CameraPlacements(settings, self._known)
        self.step = WorldFrame(settings, True, self.context, self.worlds)

    def _known(self, source: str, size_wh: tuple[int, int]) -> None:
        assert self.worlds.of(source) is not None
        self.settled.append((source, size_wh, len(self.frames)))

    def see(self, seconds: float, *motions: Motion, start_s: float = 0.0, **changes) -> "Run":
        for tick in range(round(seconds * HZ)):
            at_s = start_s + tick / HZ
            poses = [
                self.scene.pose(motion(at_s), "abcdef"[n], **changes) for n, motion in enumerate(motions)
            ]
            frame = self.scene.placed(*poses, at_s=at_s, source=self.source)
            self.frames.append(finished(self.step, frame))
        return self

    @property
    def place(self):
        return self.worlds.of(self.source)

    @property
    def tilt_deg(self) -> float:
        """Between up as it was found and as it is."""
        return math.degrees(math.acos(min(1.0, float(self.place.matrix()[2] @ self.scene.matrix[:, 2]))))


def joints(frame: PoseFrame, person: int = 0) -> np.ndarray:
    pose = frame.persons[person]
    return pose.root + pose.xyz


def lying(at_s: float) -> np.ndarray:
    """Someone on the floor, along the image, who moves their arms."""
    return standing(at_s)[:, [0, 2, 1]] + [0, -0.8, 0.1]


def poster(at_s: float) -> np.ndarray:
    return walking(0.3) * 0.5 + [-2.0, 1.0, 1.0]


@pytest.mark.parametrize("scene", [LEVEL, TILTED, ROLLED])
def test_the_floor_under_a_walker_is_found_however_the_camera_is_turned(scene: Scene):
    run = Run(scene).see(12.0, walking)
    assert run.tilt_deg < 2.0
    assert run.place.pos == pytest.approx((0, 0, scene.lens.position_m[2]), rel=0.05)
    assert (run.place.status, run.place.tilt_sd_deg < 2.21) == ("estimated", True)
    assert run.place.height_sd_m > 0.05
    over_floor = [frame for frame in run.frames if frame.frame_id == "cam0_world"]
    feet = np.array([joints(frame)[[LEFT, RIGHT], 2] for frame in over_floor])
    assert feet.min() == pytest.approx(0.085, abs=0.06)
    tall = np.array([joints(frame)[10] - joints(frame)[[LEFT, RIGHT]].mean(axis=0) for frame in over_floor])
    assert tall[:, 2].min() > 0.98 * np.linalg.norm(tall, axis=1).max() - 0.05


def test_poses_are_in_the_cameras_axes_until_the_floor_is_known_and_never_again():
    run = Run(LEVEL).see(9.0, walking)
    ((source, size_wh, first),) = run.settled  # told before the first such frame was out
    assert (source, size_wh) == ("cam0", SIZE_WH)
    named = [frame.frame_id for frame in run.frames]
    assert named == ["cam0_optical_frame"] * first + ["cam0_world"] * (225 - first)
    assert 50 < first < 225
    before, after = joints(run.frames[first - 1]), joints(run.frames[first])
    assert run.place.to_world(before) == pytest.approx(after, abs=0.1)
    assert (before[10, 1] < before[LEFT, 1], after[10, 2] > after[LEFT, 2] + 1.0) == (True, True)


def test_the_status_says_that_the_floor_is_waited_for_and_how_sure_it_is():
    run = Run(LEVEL).see(1.0, walking)
    assert run.context.health.report()["states"]["cam0.world"]["state"] == "waiting"
    run.see(8.0, walking, start_s=1.0)
    state = run.context.health.report()["states"]["cam0.world"]
    assert state["state"] == "ok"
    assert "m above the floor (sd 0." in state["detail"]


def test_who_jumps_leaves_the_floor_and_who_crouches_does_not_lower_it():
    run = Run(LEVEL).see(9.0, walking)
    place, ground = run.place, joints(run.frames[-1])[[LEFT, RIGHT], 2].min()

    def jump(at_s: float) -> np.ndarray:
        air_s = at_s - 10.0
        return walking(9.0) + np.array([0, 0, max(0.0, 3.0 * air_s - 4.905 * air_s**2)])

    def crouch(at_s: float) -> np.ndarray:
        return walking(9.0) * [1, 1, 0.5]

    run.see(1.0, lambda at_s: walking(9.0), start_s=9.0)
    stood = joints(run.frames[-1])[[LEFT, RIGHT], 2].min()
    run.see(0.6, jump, start_s=10.0)
    top = joints(run.frames[-7])[[LEFT, RIGHT], 2].min()
    assert top - stood > 0.35
    assert run.frames[-8].persons[0].contact == Contact(left=False, right=False)
    run.see(20.0, crouch, start_s=10.7)
    assert run.place is place
    assert len(run.settled) == 1
    assert ground == pytest.approx(0.085, abs=0.08)


def test_a_poster_has_no_say_and_does_not_disturb():
    assert Run(LEVEL).see(15.0, poster).place is None
    run = Run(LEVEL).see(9.0, poster, walking)
    assert run.tilt_deg < 2.0
    assert run.place.pos[2] == pytest.approx(1.6, abs=0.1)


def test_who_only_stands_gives_a_floor_from_their_posture_after_some_patience():
    run = Run(TILTED).see(9.0, standing)
    assert run.place is None
    run.see(4.0, standing, start_s=9.0)
    assert run.tilt_deg < 4.0
    assert 3.0 < run.place.tilt_sd_deg < 4.01
    assert run.place.pos[2] == pytest.approx(2.9, rel=0.1)


def test_who_lies_through_the_first_seconds_gives_no_floor():
    assert Run(LEVEL).see(14.0, lying).place is None


def test_a_camera_that_changes_its_resolution_stands_where_it_stood():
    run = Run(LEVEL).see(9.0, walking)
    again = WorldFrame(AUTO, True, run.context, run.worlds)
    frame = LEVEL.placed(LEVEL.pose(walking(9.0)), at_s=9.0)
    assert finished(again, frame, (640, 360)).frame_id == "cam0_world"
    assert run.worlds.of("cam1") is None


def posed(scene: Scene) -> CameraPose:
    lens = scene.lens
    roll_deg = math.degrees(scene.roll_rad)
    return CameraPose(position_m=lens.position_m, looks_at_m=lens.looks_at_m, roll_deg=roll_deg)


@pytest.mark.parametrize("scene", [LEVEL, TILTED, ROLLED])
def test_given_poses_put_what_several_cameras_see_in_one_world(scene: Scene):
    settings = WorldSettings(camera_pose={"cam0": posed(scene)}, floor="auto")
    run = Run(scene, settings).see(0.2, walking)
    assert [frame.frame_id for frame in run.frames] == ["world"] * 5
    assert joints(run.frames[0]) == pytest.approx(walking(0.0), abs=0.01)
    assert (run.place.status, run.place.child_frame_id) == ("given", "cam0_optical_frame")
    assert run.frames[0].persons[0].xyz.dtype == run.frames[0].persons[0].root.dtype == np.float32


def test_who_has_no_root_or_is_lost_has_no_contact_and_keeps_what_is_absent():
    settings = WorldSettings(camera_pose={"cam0": posed(LEVEL)})
    run = Run(LEVEL, settings).see(0.4, walking)
    unseen = LEVEL.pose(walking(0.4), hidden=range(15))
    unseen.xyz[10] = np.nan
    unseen.origin[10] = 0
    (person,) = finished(run.step, LEVEL.placed(unseen, at_s=0.4)).persons
    assert (person.root, person.contact) == (None, None)
    assert np.isnan(person.xyz).all(axis=1).tolist() == [joint == 10 for joint in range(17)]
    assert person.xyz[LEFT, 2] < -0.5  # the world's axes, without a place in it


def test_without_a_world_poses_stay_in_the_cameras_axes_and_feet_are_told():
    run = Run(LEVEL, WorldSettings()).see(3.0, standing)
    assert run.frames[-1].frame_id == "cam0_optical_frame"
    assert run.frames[-1].persons[0].contact == Contact(left=True, right=True)
    assert (run.place, run.context.health.report()["states"]) == (None, {})


def test_feet_are_not_spoken_of_when_nobody_asks():
    for settings in (AUTO, WorldSettings()):
        step = WorldFrame(
            settings, False, ComponentContext("cam0"), CameraPlacements(settings, lambda *_: None)
        )
        frames = [finished(step, LEVEL.placed(LEVEL.pose(standing(n / HZ)), at_s=n / HZ)) for n in range(20)]
        assert {frame.persons[0].contact for frame in frames} == {None}


def test_a_world_without_patience_is_refused():
    with pytest.raises(ConfigError, match=r"scene\.world\.patience_s: expected 2 or more seconds, got 1"):
        WorldSettings(floor="auto", patience_s=1)


def test_a_floor_is_found_and_felt_on_a_grid_too():
    """Where captured frames lie between its points, no joint of a pose is observed."""
    run = Run(TILTED).see(12, walking)
    grid = Run(TILTED).see(12, walking, origin=np.full(17, JointOrigin.INTERPOLATED, np.uint8))
    assert run.place is not None
    assert grid.place == run.place
    contacts = [[frame.persons[0].contact for frame in each.frames] for each in (run, grid)]
    assert contacts[0] == contacts[1]
    assert {Contact(left=True, right=False), Contact(left=False, right=True)} < set(contacts[1])
