"""An independent OSC reader rebuilds the skeleton from the VMC sink's packets."""

import socket
import time
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
from pythonosc.osc_bundle import OscBundle
from scipy.spatial.transform import Rotation

from sinks.vmc import MAX_PACKET_BYTES, VMC
from stream.clock import FakeClock
from stream.errors import ConfigError
from stream.messages import PoseFrame
from stream.protocols import ComponentContext, opened
from stream.rig import HUMANOID
from tests.rig_examples import UNIX_NS, dance, joints, pose_frames


class Receiver:
    """A program that VMC packets are sent to, on a port and those after it."""

    def __init__(self, persons: int, stack: ExitStack) -> None:
        self.sockets = []
        while len(self.sockets) < persons:
            self.sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))]
            self.sockets[0].bind(("127.0.0.1", 0))
            self.port = self.sockets[0].getsockname()[1]
            for n in range(1, persons):
                one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                try:
                    one.bind(("127.0.0.1", self.port + n))
                except OSError:
                    break
                self.sockets.append(one)

    def packets(self, person: int = 0) -> list[bytes]:
        self.sockets[person].settimeout(0.2)
        received: list[bytes] = []
        end = time.monotonic() + 1.0  # a running sender never falls silent
        try:
            while time.monotonic() < end:
                received.append(self.sockets[person].recv(65536))
        except TimeoutError:
            pass
        return received

    def messages(self, person: int = 0) -> list[tuple]:
        bundles = [OscBundle(packet) for packet in self.packets(person)]
        return [(message.address, *message.params) for bundle in bundles for message in bundle]


def sent(*frames: PoseFrame, persons: int = 1, close: bool = False, **settings) -> Receiver:
    stack = ExitStack()
    receiver = Receiver(persons, stack)
    sink = VMC(
        VMC.Settings(port=receiver.port, max_persons=persons, **settings),
        ComponentContext("vmc", clock=FakeClock()),
    )
    with opened(sink):
        for frame in frames:
            sink.send(frame)
        if not close:
            receiver.early = [receiver.messages(n) for n in range(persons)]
    return receiver


def skeleton(messages: list[tuple]) -> dict[str, np.ndarray]:
    """Bone heads in metres, in Unity's axes mirrored to right-handed ones: x to the person's left, y up."""
    bones = {
        name: (np.array(row[:3]), row[3:]) for address, name, *row in messages if address.endswith("Bone/Pos")
    }
    heads, world = {}, {}
    for name, parent in zip(HUMANOID.bones, HUMANOID.parents, strict=True):
        position, (x, y, z, w) = bones[name]
        turn, offset = Rotation.from_quat((x, -y, -z, w)), position * (-1, 1, 1)
        above = HUMANOID.bones[parent]
        heads[name] = offset if parent < 0 else heads[above] + world[above].apply(offset)
        world[name] = turn if parent < 0 else world[above] * turn
    return heads


def test_a_receiver_rebuilds_the_person_standing_on_the_floor():
    xyz = dance(0.5)[-1]
    receiver = sent(*pose_frames([xyz]))
    heads = skeleton(receiver.early[0])
    wanted = xyz * (1, -1, -1)  # facing the camera becomes facing the viewer
    for name, joint in zip(HUMANOID.bones, HUMANOID.heads, strict=True):
        np.testing.assert_allclose(heads[name] - heads["Hips"], wanted[joint], atol=1e-4)
    assert min(heads["LeftFoot"][1], heads["RightFoot"][1]) == pytest.approx(0, abs=1e-4)
    assert heads["Hips"][[0, 2]] == pytest.approx((0.1, -3.0))


def test_the_left_arm_is_on_the_left_of_an_avatar_that_faces_the_viewer():
    heads = skeleton(sent(*pose_frames([joints()])).early[0])
    assert heads["LeftHand"][0] > 0.5
    assert heads["RightHand"][0] < -0.5
    positions = {m[1]: m[2:5] for m in sent(*pose_frames([joints()])).early[0] if m[0] == "/VMC/Ext/Bone/Pos"}
    assert positions["LeftLowerArm"][0] < -0.1  # Unity's x points to the person's right


def test_every_frame_has_status_time_root_and_all_bones_with_strict_types():
    receiver = sent(*pose_frames([joints(), joints()]))
    addresses = [message[0] for message in receiver.early[0]]
    assert addresses[:3] == ["/VMC/Ext/OK", "/VMC/Ext/T", "/VMC/Ext/Root/Pos"]
    assert addresses.count("/VMC/Ext/Bone/Pos") == 2 * 19
    assert addresses.count("/VMC/Ext/T") == 2
    assert receiver.early[0][0] == ("/VMC/Ext/OK", 1, 3, 0, 1)
    positions = [message[2:5] for message in receiver.early[0] if message[0] == "/VMC/Ext/Bone/Pos"]
    # only the spine starts at its parent's head
    assert np.count_nonzero(np.abs(positions).sum(axis=1) == 0) == 2


def test_no_packet_is_larger_than_a_network_packet():
    with ExitStack() as stack:
        receiver = Receiver(1, stack)
        with opened(
            VMC(VMC.Settings(port=receiver.port), ComponentContext("vmc", clock=FakeClock()))
        ) as sink:
            sink.send(pose_frames([joints()])[0])
            sizes = [len(packet) for packet in receiver.packets()]
    assert len(sizes) == 2
    assert max(sizes) < MAX_PACKET_BYTES


def test_a_lost_person_is_announced_as_untracked_and_no_bone_follows():
    first, lost = pose_frames([joints()], lost_after=True)
    messages = sent(first, lost).early[0]
    assert messages[-2:] == [("/VMC/Ext/OK", 1, 3, 0, 0), ("/VMC/Ext/OK", 0)]


def test_closing_announces_the_end():
    receiver = sent(*pose_frames([joints()]), close=True)
    assert receiver.messages()[-1] == ("/VMC/Ext/OK", 0)


def test_every_person_keeps_a_port_and_a_further_one_waits_for_a_free_port():
    first, first_lost = pose_frames([joints()], "a", lost_after=True)
    (second,), (third,) = pose_frames([joints()], "b"), pose_frames([joints()], "c")
    others = second.persons + third.persons
    frames = [replace(frame, persons=frame.persons + others) for frame in (first, first_lost)]
    receiver = sent(*frames, persons=2)
    times = [sum(message[0] == "/VMC/Ext/T" for message in received) for received in receiver.early]
    assert times == [2, 2]  # a then c; b twice


def test_the_first_person_is_sent_to_the_first_port():
    receiver = sent(*pose_frames([joints()]), persons=3)
    assert [len(messages) > 0 for messages in receiver.early] == [True, False, False]


def test_hips_scale_moves_an_avatar_of_another_size():
    heads = skeleton(sent(*pose_frames([joints()]), hips_scale=0.5).early[0])
    assert heads["Hips"][1] == pytest.approx(0.425, abs=1e-3)


def test_without_rotations_nothing_is_sent():
    (frame,) = pose_frames([joints()])
    bare = replace(frame, persons=(replace(frame.persons[0], rotations=None),))
    assert sent(bare).early == [[]]


@pytest.mark.parametrize(
    "settings", [{"port": 0}, {"max_persons": 0}, {"hips_scale": 0.0}, {"port": 65535, "max_persons": 3}]
)
def test_settings_that_cannot_work_are_refused(settings: dict):
    with pytest.raises(ConfigError, match=r"vmc .*: expected"):
        VMC.Settings(**settings)


def test_old_poses_are_not_sent_and_their_persons_are_announced_as_untracked():
    frames = pose_frames([joints()] * 3)
    old_header = replace(frames[2].header, captured_unix_ns=UNIX_NS - 5 * 10**9)
    (messages,) = sent(*frames[:2], replace(frames[2], header=old_header)).early
    states = [message[1:] for message in messages if message[0] == "/VMC/Ext/OK"]
    assert states == [(1, 3, 0, 1), (1, 3, 0, 1), (1, 3, 0, 0), (0,)]


def test_persons_absent_from_a_frame_free_their_port():
    first, second = pose_frames([joints()] * 2, "a"), pose_frames([joints()] * 2, "b")
    (messages,) = sent(*first, *second).early
    states = [message[1:] for message in messages if message[0] == "/VMC/Ext/OK"]
    assert states == [(1, 3, 0, 1), (1, 3, 0, 1), (1, 3, 0, 0), (0,), (1, 3, 0, 1), (1, 3, 0, 1)]


def test_a_receiver_may_start_late_and_come_back():
    frames = pose_frames([joints()] * 30)
    with ExitStack() as stack:
        receiver = Receiver(1, stack)
    context = ComponentContext("vmc", clock=FakeClock())
    with opened(VMC(VMC.Settings(port=receiver.port), context)) as sink:  # no program listens now
        for frame in frames[:10]:
            sink.send(frame)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
            back.bind(("127.0.0.1", receiver.port))
            back.settimeout(1.0)
            for frame in frames[10:20]:
                sink.send(frame)
            assert back.recv(65536).startswith(b"#bundle")
        for frame in frames[20:]:
            sink.send(frame)
