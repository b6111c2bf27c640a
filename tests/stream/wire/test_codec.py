import json
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stream.camera_info import Extrinsics, Intrinsics
from stream.clock import FakeClock
from stream.errors import DecodeError, EncodeError
from stream.messages import Contact, Header, KeypointFrame, Keypoints, Latency, Pose
from stream.wire import codec as wire
from tests.examples import NAN, NOW_NS, UNIX_NS, f32, keypoint_frame, meta, plain, pose, pose_frame, status
from tests.golden import wire as golden
from tests.stream.wire.documents import FORMATS, PLAIN_KEYPOINTS, POSE_DOCUMENT, changed

EXTRINSICS = Extrinsics(
    "world", "cam0_optical_frame", (1.0, 2.0, 1.5), (0.5, -0.5, 0.5, -0.5), "estimated", 1.8, 0.1
)
INTRINSICS = Intrinsics("calibrated", 900.0, 901.0, 319.5, 239.5, (-0.3, 0.1, 0.0, 0.0, 0.02))


@pytest.mark.parametrize("format", FORMATS)
def test_contacts_and_camera_arrive_as_they_were_sent(format):
    for contact in (Contact(True, None), Contact(None, False), None):
        frame = pose_frame(persons=(pose(contact=contact),), frame_id="cam0_world")
        decoded = wire.decode(wire.encode(frame, format), FakeClock())
        assert (decoded.persons[0].contact, decoded.frame_id) == (contact, "cam0_world")
    sent = replace(meta(), intrinsics=INTRINSICS, extrinsics=EXTRINSICS)
    assert wire.decode(wire.encode(sent, format)) == sent


def test_another_library_reads_contacts_and_camera():
    frame = pose_frame(persons=(pose(contact=Contact(True, None)),))
    (person,) = msgpack.unpackb(wire.encode(frame))["persons"]
    assert person["contact"] == {"left": True, "right": None}
    document = msgpack.unpackb(wire.encode(replace(meta(), intrinsics=INTRINSICS, extrinsics=EXTRINSICS)))
    assert document["intrinsics"] == {
        "status": "calibrated", "fx": 900.0, "fy": 901.0, "cx": 319.5, "cy": 239.5,
        "distortion": [-0.3, 0.1, 0.0, 0.0, 0.02],
    }  # fmt: skip
    assert document["extrinsics"] == {
        "frame_id": "world", "child_frame_id": "cam0_optical_frame", "status": "estimated",
        "pos": [1.0, 2.0, 1.5], "quat": [0.5, -0.5, 0.5, -0.5], "tilt_sd_deg": 1.8, "height_sd_m": 0.1,
    }  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
def test_repaired_joints_arrive_as_they_were_sent_and_are_left_out_when_there_are_none(format):
    frame = pose_frame(persons=(pose(repaired=(0, 1)), pose("b0000")))
    content = wire.encode(frame, format)
    assert [person.repaired for person in wire.decode(content, FakeClock()).persons] == [(0, 1), ()]
    document = json.loads(content) if format == "json" else msgpack.unpackb(content)
    assert [person.get("repaired") for person in document["persons"]] == [[0, 1], None]


@pytest.mark.parametrize("repaired", [[2], [-1], [0.5], "left", [[0]]])
def test_impossible_repaired_joints_are_refused(repaired):
    with pytest.raises(DecodeError, match="repaired"):
        wire.decode(changed(POSE_DOCUMENT, "persons/0/repaired", repaired))
    if repaired == [2]:
        with pytest.raises(EncodeError, match="repaired: expected indices of joints"):
            wire.encode(pose_frame(persons=(pose(repaired=(2,)),)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("extrinsics/pos/0", NAN),
        ("extrinsics/quat", [0, 0, 1]),
        ("extrinsics/status", "guessed"),
        ("intrinsics/fx", 0.0),
        ("intrinsics/distortion/0", float("inf")),
    ],
)
def test_an_impossible_camera_is_refused(path, value):
    document = msgpack.unpackb(wire.encode(replace(meta(), intrinsics=INTRINSICS, extrinsics=EXTRINSICS)))
    with pytest.raises(DecodeError):
        wire.decode(changed(document, path, value))


def test_optional_keys_are_left_out():
    frame = pose_frame(persons=(pose(),))
    person = msgpack.unpackb(wire.encode(frame))["persons"][0]
    assert (person["root"], "kp2d" in person) == ({"pos": None, "status": "none"}, False)
    assert plain(wire.decode(wire.encode(frame), FakeClock())) == plain(frame)


def test_readers_ignore_unknown_keys():
    data = changed(POSE_DOCUMENT, "persons/0/quat", b"\x00" * 32)
    data = changed(msgpack.unpackb(data), "weather", {"rain": [1, 2]})
    assert plain(wire.decode(data, FakeClock())) == plain(pose_frame())


def test_another_version_is_refused_and_named():
    future = msgpack.packb({"v": 2, "schema": "pose3d", "everything": "else"})
    with pytest.raises(DecodeError, match="expected v 1, got v 2"):
        wire.decode(future)


def test_another_schema_is_refused_with_the_known_ones():
    with pytest.raises(DecodeError, match="pose3d, keypoints2d, meta, status, got 'pose4d'"):
        wire.decode(changed(POSE_DOCUMENT, "schema", "pose4d"))
    with pytest.raises(DecodeError, match="expected schema keypoints2d, got 'status'"):
        wire.decode_keypoints(golden.MSGPACK["status"])


# Keypoints from other programs


def test_a_minimal_keypoints_document_has_five_keys():
    frame = wire.decode_keypoints(json.dumps(PLAIN_KEYPOINTS).encode(), FakeClock(), seq=12)
    expected = KeypointFrame(
        header=Header("", 12, NOW_NS, UNIX_NS),
        size_wh=(640, 480),
        skeleton="coco17",
        persons=(Keypoints(f32([320, 240], [NAN, NAN]), f32(0.5, 0)),),
        detected_ns=NOW_NS,
    )
    assert plain(frame) == plain(expected)
    assert plain(wire.decode(wire.encode(frame), FakeClock())) == plain(expected)


@pytest.mark.parametrize("missing", PLAIN_KEYPOINTS)
def test_each_of_the_five_keys_is_required(missing):
    document = {key: value for key, value in PLAIN_KEYPOINTS.items() if key != missing}
    with pytest.raises(DecodeError, match=f"missing required field `{missing}`"):
        wire.decode_keypoints(msgpack.packb(document))


def test_a_missing_keypoint_is_nan_never_a_point():
    rows = [[0, 0, 0], [5, 6, 0], [NAN, 6, 1], [5, 6, NAN], [5, 6, -1], [5, 6, 1.5]]
    document = PLAIN_KEYPOINTS | {"persons": [{"kp": f32(*rows).tobytes(), "id": "z"}]}
    (person,) = wire.decode_keypoints(msgpack.packb(document)).persons
    nothing = [NAN, NAN]
    expected = Keypoints(f32(*[nothing] * 5, [5, 6]), f32(0, 0, 0, 0, 0, 1), "z")
    assert plain(person) == plain(expected)


@pytest.mark.parametrize(("ahead_s", "age_s"), [(-2, 2), (0, 0), (60, 0)])
def test_a_capture_time_is_converted_to_the_local_clock_and_never_in_its_future(ahead_s, age_s):
    stamp_ns = UNIX_NS + ahead_s * 10**9
    data = msgpack.packb(PLAIN_KEYPOINTS | {"t_capture_ns": stamp_ns, "source": "cam7", "seq": 3})
    header = wire.decode_keypoints(data, FakeClock()).header
    assert header == Header("cam7", 3, NOW_NS - age_s * 10**9, stamp_ns)


def test_json_may_contain_bin_as_base64():
    document = PLAIN_KEYPOINTS | {"persons": [{"kp": "AACgQwAAcEMAAAA/"}]}
    (person,) = wire.decode_keypoints(json.dumps(document).encode()).persons
    assert plain(person) == plain(Keypoints(f32([320, 240]), f32(0.5)))


# Round trips


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    # The JSON encoder gives numbers below 1e-14 fewer digits; pixels and metres need none there.
    return st.floats(low, high, width=32).map(lambda value: value if abs(value) > 1e-12 else 0.0)


def arrays(shape: tuple[int, ...], elements: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    return hnp.arrays(np.float32, shape, elements=elements)


@st.composite
def poses(draw: st.DrawFn) -> Pose:
    joints = draw(st.integers(1, 5))
    origin = draw(hnp.arrays(np.uint8, joints, elements=st.integers(0, 3)))
    xyz = draw(arrays((joints, 3), floats(-1e6, 1e6)))
    xyz[origin == 0] = NAN
    return Pose(
        id=draw(st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=8)),
        state=draw(st.sampled_from(["new", "ok", "predicted", "lost"])),
        xyz=xyz,
        score=draw(arrays((joints,), floats(0, 1))),
        origin=origin,
        root=draw(st.none() | arrays((3,), floats(-1e6, 1e6))),
        root_status=draw(st.sampled_from(["metric", "height", "none"])),
        kp2d=draw(st.none() | arrays((joints, 3), floats(-1e6, 1e6) | st.just(NAN))),
    )


@st.composite
def keypoints(draw: st.DrawFn) -> Keypoints:
    joints = draw(st.integers(1, 5))
    xy = draw(arrays((joints, 2), floats(-1e6, 1e6)))
    score = draw(arrays((joints,), floats(0, 1)))
    xy[score == 0] = NAN
    return Keypoints(
        xy,
        score,
        draw(st.none() | st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=8)),
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(poses(), max_size=3), st.sampled_from(FORMATS), st.integers(0, 2**63 - 1))
def test_poses_arrive_as_they_were_sent(persons, format, seq):
    frame = pose_frame(seq=seq, persons=tuple(persons))
    assert plain(wire.decode(wire.encode(frame, format), FakeClock())) == plain(frame)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(keypoints(), max_size=3), st.sampled_from(FORMATS))
def test_keypoints_arrive_as_they_were_sent(persons, format):
    frame = replace(keypoint_frame(), persons=tuple(persons))
    assert plain(wire.decode_keypoints(wire.encode_keypoints(frame, format), FakeClock())) == plain(frame)


# Messages that must not be sent


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (pose_frame(persons=(pose(xyz=f32([0, 0, 0], [0, 0, 0])),)), "NaN exactly where origin is 0"),
        (pose_frame(persons=(pose(origin=np.array([1, 1], np.uint8)),)), "NaN exactly where origin is 0"),
        (pose_frame(persons=(pose(origin=np.array([4, 0], np.uint8)),)), "origin: expected .* 0 to 3"),
        (pose_frame(persons=(pose(score=f32(NAN, 0)),)), "scores from 0 to 1"),
        (pose_frame(persons=(pose(root=f32(0, 0, NAN)),)), "root: expected finite"),
        (pose_frame(latency_ms=Latency(lift=NAN)), "lat_ms: expected finite"),
        (replace(keypoint_frame(), persons=(Keypoints(f32([np.inf, 0]), f32(1)),)), "got inf"),
        (replace(status(), report={"callback": print}), "status cannot be encoded as msgpack"),
        (pose_frame(persons=(pose(),) * 10_000), "expected at most 1048576 bytes"),
    ],
)
def test_a_message_that_readers_would_refuse_is_not_encoded(message, text):
    with pytest.raises(EncodeError, match=text):
        wire.encode(message)


def test_publishing_sets_the_time_and_the_remaining_latency_once():
    stamped = wire.with_publish_time(pose_frame(published_unix_ns=0), FakeClock())
    assert plain(stamped) == plain(pose_frame(latency_ms=Latency(detect=2.5, queue=0.5, lift=8, post=9)))
    again = FakeClock()
    again.advance(60)
    assert wire.with_publish_time(stamped, again) is stamped


def test_people_decoded_together_are_those_decoded_one_by_one():
    rng = np.random.default_rng(3)
    whole = rng.uniform(0.1, 1.0, (4, 17, 3)).astype("<f4")
    flawed = whole.copy()
    flawed[1, 2], flawed[2, 3, 2], flawed[3, 4, 2] = np.nan, 1.5, 0.0
    for kp in (whole, flawed):
        people = [{"kp": person.tobytes(), "id": f"p{index}"} for index, person in enumerate(kp)]
        together = wire.decode_keypoints(msgpack.packb(PLAIN_KEYPOINTS | {"persons": people})).persons
        alone = [
            wire.decode_keypoints(msgpack.packb(PLAIN_KEYPOINTS | {"persons": [one]})).persons[0]
            for one in people
        ]
        for first, second in zip(together, alone, strict=True):
            assert (first.id, first.complete) == (second.id, second.complete)
            np.testing.assert_array_equal(first.xy, second.xy)
            np.testing.assert_array_equal(first.score, second.score)


@pytest.mark.parametrize("array", ["xyz", "score", "root", "kp2d"])
def test_one_invalid_person_among_many_is_refused(array):
    frame = pose_frame()
    joints = 17
    values = {
        "xyz": np.ones((joints, 3), np.float32),
        "score": np.ones(joints, np.float32),
        "root": np.ones(3, np.float32),
        "kp2d": np.ones((joints, 3), np.float32),
    }
    origin = np.ones(joints, np.uint8)
    valid = [Pose(f"p{index}", "ok", origin=origin, **values) for index in range(4)]
    invalid = Pose("p4", "ok", origin=origin, **values | {array: np.full_like(values[array], np.inf)})
    assert len(wire.decode(wire.encode(replace(frame, persons=tuple(valid)))).persons) == 4
    with pytest.raises(EncodeError, match="person 'p4'"):
        wire.encode(replace(frame, persons=(*valid, invalid)))
