"""The newest images of cameras, kept on request."""

import numpy as np

from stream.messages import Frame, Header
from stream.snapshots import REQUEST_NS, Snapshots


def frame(camera: str, seq: int) -> Frame:
    return Frame(Header(camera, seq, seq, seq), np.zeros((2, 4, 3), np.uint8))


def test_frames_are_kept_only_after_a_request_for_their_camera():
    snapshots, frames = Snapshots(), [frame("cam0", seq) for seq in range(3)]
    snapshots.offer(frames[0], 0)
    assert snapshots.latest("cam0", 10) is None
    snapshots.offer(frames[1], 20)
    snapshots.offer(frame("cam1", 9), 20)
    assert snapshots.latest("cam0", 30) is frames[1]
    snapshots.offer(frames[2], 40)
    assert snapshots.latest("cam0", 50) is frames[2]
    assert snapshots.latest("cam1", 50) is None


def test_a_request_ends_by_itself_and_its_frame_is_dropped():
    snapshots = Snapshots()
    snapshots.latest("cam0", 0)
    snapshots.offer(frame("cam0", 0), REQUEST_NS - 1)
    snapshots.offer(frame("cam0", 1), REQUEST_NS)
    assert snapshots.latest("cam0", REQUEST_NS) is None


def test_a_forgotten_camera_leaves_no_frame():
    snapshots = Snapshots()
    snapshots.latest("cam0", 0)
    snapshots.offer(frame("cam0", 0), 1)
    snapshots.forget("cam0")
    snapshots.offer(frame("cam0", 1), 2)
    assert snapshots.latest("cam0", 3) is None
