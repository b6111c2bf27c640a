import json
import random
import tracemalloc
from collections.abc import Iterator
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
from stream.errors import ConfigError, DecodeError, EncodeError
from stream.messages import Contact, Header, KeypointFrame, Keypoints, Latency, Pose
from stream.wire import codec as wire
from stream.wire.topics import topic, topic_of
from tests.examples import NAN, NOW_NS, UNIX_NS, f32, keypoint_frame, meta, plain, pose, pose_frame, status
from tests.golden import wire as golden

EXAMPLES = {"pose3d": pose_frame(), "keypoints2d": keypoint_frame(), "meta": meta(), "status": status()}
FORMATS = ("msgpack", "json")

XYZ = bytes.fromhex("0000003f 000080be 00000040 0000c07f 0000c07f 0000c07f")
POSE_DOCUMENT = {
    "v": 1,
    "schema": "pose3d",
    "session": "6f1c",
    "source": "cam0",
    "seq": 7,
    "t_capture_ns": 1_699_999_999_980_000_000,
    "t_publish_ns": 1_700_000_000_000_000_000,
    "lat_ms": {"capture": 0.0, "detect": 2.5, "queue": 0.5, "lift": 8.0, "post": 0.0},
    "mode": "live",
    "lag": 3,
    "hop": 4,
    "window": {"frames": 243, "real": 200, "padded": 43},
    "frame_id": "cam0_optical_frame",
    "units": "m",
    "skeleton": "h36m17",
    "model": {"name": "mixste", "sha256": "00ff"},
    "dropped": 2,
    "persons": [
        {
            "id": "a3f9k",
            "state": "ok",
            "score": 0.75,
            "xyz": XYZ,
            "conf": bytes.fromhex("0000403f 00000000"),
            "origin": b"\x01\x00",
            "root": {"pos": [0.5, 1.0, 4.0], "status": "height"},
            "kp2d": bytes.fromhex("0000a043 00007043 0000803f 0000c07f 0000c07f 00000000"),
        }
    ],
}
PLAIN_KEYPOINTS = {
    "v": 1,
    "schema": "keypoints2d",
    "size_wh": [640, 480],
    "skeleton": "coco17",
    "persons": [{"kp": [[320, 240, 0.5], [None, None, None]]}],
}


def changed(document: dict[str, Any], path: str, value: Any) -> bytes:
    """The document as MessagePack with one value replaced."""
    copy = msgpack.unpackb(msgpack.packb(document))
    *parents, last = [int(key) if key.isdigit() else key for key in path.split("/")]
    part = copy
    for key in parents:
        part = part[key]
    part[last] = value
    return msgpack.packb(copy)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_version_1_keeps_its_bytes(kind):
    assert wire.encode(EXAMPLES[kind]) == golden.MSGPACK[kind]
    assert wire.encode(EXAMPLES[kind], "json") == golden.JSON[kind]


@pytest.mark.parametrize("stored", [golden.MSGPACK, golden.JSON])
@pytest.mark.parametrize("kind", EXAMPLES)
def test_golden_bytes_become_the_same_message(kind, stored):
    assert plain(wire.decode(stored[kind], FakeClock())) == plain(EXAMPLES[kind])


def test_another_library_reads_every_field_of_a_pose():
    assert msgpack.unpackb(golden.MSGPACK["pose3d"]) == POSE_DOCUMENT


def test_json_is_the_same_document_with_lists_and_null():
    lists = {"xyz": [[0.5, -0.25, 2], [None] * 3], "conf": [0.75, 0], "origin": [1, 0]}
    person = POSE_DOCUMENT["persons"][0] | lists | {"kp2d": [[320, 240, 1], [None, None, 0]]}
    assert json.loads(golden.JSON["pose3d"]) == POSE_DOCUMENT | {"persons": [person]}


@pytest.mark.parametrize("kind", ["keypoints2d", "meta", "status"])
def test_another_library_reads_the_other_kinds(kind):
    document = msgpack.unpackb(golden.MSGPACK[kind])
    if kind == "keypoints2d":
        for person in document["persons"]:
            rows = np.frombuffer(person["kp"], "<f4").reshape(-1, 3).tolist()
            person["kp"] = [[None if value != value else value for value in row] for row in rows]
    assert document == json.loads(golden.JSON[kind])


PLACE = Extrinsics(
    "world", "cam0_optical_frame", (1.0, 2.0, 1.5), (0.5, -0.5, 0.5, -0.5), "estimated", 1.8, 0.1
)
LENS = Intrinsics("calibrated", 900.0, 901.0, 319.5, 239.5, (-0.3, 0.1, 0.0, 0.0, 0.02))


@pytest.mark.parametrize("format", FORMATS)
def test_feet_and_the_cameras_place_and_lens_arrive_as_they_were_sent(format):
    for feet in (Contact(True, None), Contact(None, False), None):
        frame = pose_frame(persons=(pose(contact=feet),), frame_id="cam0_world")
        again = wire.decode_pose(wire.encode(frame, format), FakeClock())
        assert (again.persons[0].contact, again.frame_id) == (feet, "cam0_world")
    told = replace(meta(), intrinsics=LENS, extrinsics=PLACE)
    assert wire.decode(wire.encode(told, format)) == told


def test_another_library_reads_feet_place_and_lens():
    person = msgpack.unpackb(wire.encode(pose_frame(persons=(pose(contact=Contact(True, None)),))))[
        "persons"
    ][0]
    assert person["contact"] == {"left": True, "right": None}
    told = msgpack.unpackb(wire.encode(replace(meta(), intrinsics=LENS, extrinsics=PLACE)))
    assert told["intrinsics"] == {
        "status": "calibrated", "fx": 900.0, "fy": 901.0, "cx": 319.5, "cy": 239.5,
        "distortion": [-0.3, 0.1, 0.0, 0.0, 0.02],
    }  # fmt: skip
    assert told["extrinsics"] == {
        "frame_id": "world", "child_frame_id": "cam0_optical_frame", "status": "estimated",
        "pos": [1.0, 2.0, 1.5], "quat": [0.5, -0.5, 0.5, -0.5], "tilt_sd_deg": 1.8, "height_sd_m": 0.1,
    }  # fmt: skip


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
def test_a_place_or_lens_that_cannot_be_is_refused(path, value):
    document = msgpack.unpackb(wire.encode(replace(meta(), intrinsics=LENS, extrinsics=PLACE)))
    with pytest.raises(DecodeError):
        wire.decode(changed(document, path, value))


def test_optional_parts_are_left_out():
    frame = pose_frame(persons=(pose(),))
    person = msgpack.unpackb(wire.encode(frame))["persons"][0]
    assert (person["root"], "kp2d" in person) == ({"pos": None, "status": "none"}, False)
    assert plain(wire.decode(wire.encode(frame), FakeClock())) == plain(frame)


def test_readers_ignore_unknown_keys():
    more = changed(POSE_DOCUMENT, "persons/0/quat", b"\x00" * 32)
    more = changed(msgpack.unpackb(more), "weather", {"rain": [1, 2]})
    assert plain(wire.decode(more, FakeClock())) == plain(pose_frame())


def test_another_version_is_refused_by_name():
    future = msgpack.packb({"v": 2, "schema": "pose3d", "everything": "else"})
    with pytest.raises(DecodeError, match="expected v 1, got v 2"):
        wire.decode(future)


def test_another_schema_is_refused_with_the_known_ones():
    with pytest.raises(DecodeError, match="pose3d, keypoints2d, meta, status, got 'pose4d'"):
        wire.decode(changed(POSE_DOCUMENT, "schema", "pose4d"))
    with pytest.raises(DecodeError, match="expected schema pose3d, got 'meta'"):
        wire.decode_pose(golden.MSGPACK["meta"])
    with pytest.raises(DecodeError, match="expected schema keypoints2d, got 'status'"):
        wire.decode_keypoints(golden.MSGPACK["status"])


# Keypoints of other programs


def test_a_plain_sender_needs_five_keys():
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
def test_each_of_the_five_is_needed(missing):
    document = {key: value for key, value in PLAIN_KEYPOINTS.items() if key != missing}
    with pytest.raises(DecodeError, match=f"missing required field `{missing}`"):
        wire.decode_keypoints(msgpack.packb(document))


def test_what_was_not_seen_is_never_a_point():
    rows = [[0, 0, 0], [5, 6, 0], [NAN, 6, 1], [5, 6, NAN], [5, 6, -1], [5, 6, 1.5]]
    document = PLAIN_KEYPOINTS | {"persons": [{"kp": f32(*rows).tobytes(), "id": "z"}]}
    (person,) = wire.decode_keypoints(msgpack.packb(document)).persons
    nothing = [NAN, NAN]
    expected = Keypoints(f32(*[nothing] * 5, [5, 6]), f32(0, 0, 0, 0, 0, 1), "z")
    assert plain(person) == plain(expected)


@pytest.mark.parametrize(("ahead_s", "age_s"), [(-2, 2), (0, 0), (60, 0)])
def test_a_capture_is_placed_on_this_machines_clock_and_never_in_its_future(ahead_s, age_s):
    stamp_ns = UNIX_NS + ahead_s * 10**9
    data = msgpack.packb(PLAIN_KEYPOINTS | {"t_capture_ns": stamp_ns, "source": "cam7", "seq": 3})
    header = wire.decode_keypoints(data, FakeClock()).header
    assert header == Header("cam7", 3, NOW_NS - age_s * 10**9, stamp_ns)


def test_json_also_carries_bin_as_base64():
    document = PLAIN_KEYPOINTS | {"persons": [{"kp": "AACgQwAAcEMAAAA/"}]}
    (person,) = wire.decode_keypoints(json.dumps(document).encode()).persons
    assert plain(person) == plain(Keypoints(f32([320, 240]), f32(0.5)))


# Round trips


def floats(least: float, most: float) -> st.SearchStrategy[float]:
    # JSON gives numbers below 1e-14 fewer digits, which no pixel or metre needs.
    return st.floats(least, most, width=32).map(lambda value: value if abs(value) > 1e-12 else 0.0)


def arrays(shape: tuple[int, ...], elements: st.SearchStrategy[float]) -> st.SearchStrategy[Any]:
    return hnp.arrays(np.float32, shape, elements=elements)


@st.composite
def poses(draw: st.DrawFn) -> Pose:
    joints = draw(st.integers(1, 5))
    origin = draw(hnp.arrays(np.uint8, joints, elements=st.integers(0, 3)))
    xyz = draw(arrays((joints, 3), floats(-1e6, 1e6)))
    xyz[origin == 0] = NAN
    return Pose(
        id=draw(st.text(min_size=1, max_size=8)),
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
    return Keypoints(xy, score, draw(st.none() | st.text(min_size=1, max_size=8)))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(poses(), max_size=3), st.sampled_from(FORMATS), st.integers(0, 2**63 - 1))
def test_poses_arrive_as_they_were_sent(persons, format, seq):
    frame = pose_frame(seq=seq, persons=tuple(persons))
    assert plain(wire.decode_pose(wire.encode_pose(frame, format), FakeClock())) == plain(frame)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(keypoints(), max_size=3), st.sampled_from(FORMATS))
def test_keypoints_arrive_as_they_were_sent(persons, format):
    frame = replace(keypoint_frame(), persons=tuple(persons))
    assert plain(wire.decode_keypoints(wire.encode_keypoints(frame, format), FakeClock())) == plain(frame)


# What must not be sent


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (pose_frame(persons=(pose(xyz=f32([0, 0, 0], [0, 0, 0])),)), "NaN exactly where origin is 0"),
        (pose_frame(persons=(pose(origin=np.array([1, 1], np.uint8)),)), "NaN exactly where origin is 0"),
        (pose_frame(persons=(pose(origin=np.array([4, 0], np.uint8)),)), "origin: expected .* 0 to 3"),
        (pose_frame(persons=(pose(score=f32(NAN, 0)),)), "scores from 0 to 1"),
        (pose_frame(persons=(pose(root=f32(0, 0, NAN)),)), "root: expected finite"),
        (pose_frame(latency_ms=Latency(lift=NAN)), "lat_ms: expected finite"),
        (replace(keypoint_frame(), persons=(Keypoints(f32([np.inf, 0]), f32(1)),)), "got inf"),
        (replace(status(), report={"callback": print}), "status cannot be written as msgpack"),
        (pose_frame(persons=(pose(),) * 10_000), "expected at most 1048576 bytes"),
    ],
)
def test_what_readers_would_refuse_is_not_sent(bad, said):
    with pytest.raises(EncodeError, match=said):
        wire.encode(bad)


# What must not be believed


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("v", True),
        ("seq", True),
        ("seq", -1),
        ("seq", 2**64 - 1),
        ("seq", "7"),
        ("source", "cam0/../cam1"),
        ("source", "+"),
        ("source", ""),
        ("mode", "dead"),
        ("units", "mm"),
        ("lat_ms/lift", float("inf")),
        ("persons", {}),
        ("persons/0/id", 3),
        ("persons/0/state", "asleep"),
        ("persons/0/xyz", XYZ[:-1]),
        ("persons/0/xyz", XYZ[:-12]),
        ("persons/0/xyz", XYZ[:12] * 2),
        ("persons/0/xyz", b""),
        ("persons/0/xyz", bytes.fromhex("0000807f") * 3 + XYZ[12:]),
        ("persons/0/xyz", [[1, 2, 3], [None, None]]),
        ("persons/0/xyz", [[1e300, 2, 3], [None, None, None]]),
        ("persons/0/xyz", "text"),
        ("persons/0/conf", [0.5, NAN]),
        ("persons/0/conf", [0.5, 1.5]),
        ("persons/0/conf", [[0.5], [0]]),
        ("persons/0/origin", [1, 256]),
        ("persons/0/origin", [1, -1]),
        ("persons/0/origin", b"\x01\x04"),
        ("persons/0/root/pos", [1, 2]),
        ("persons/0/root/pos", [1, 2, NAN]),
        ("persons/0/kp2d", XYZ[:12]),
    ],
)
def test_a_wrong_value_is_refused(path, value):
    with pytest.raises(DecodeError):
        wire.decode(changed(POSE_DOCUMENT, path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("size_wh", [0, 480]),
        ("size_wh", [640]),
        ("t_capture_ns", 1.5),
        ("persons/0/kp", []),
        ("persons/0/kp", [[1, 2]]),
        ("persons/0/kp", [[1, 2, True]]),
        ("persons/0/kp", [[float("inf"), 2, 1]]),
        ("persons/0/kp", b"\x00" * 13),
    ],
)
def test_wrong_keypoints_are_refused(path, value):
    with pytest.raises(DecodeError):
        wire.decode_keypoints(changed(PLAIN_KEYPOINTS, path, value))


def test_a_meta_that_points_beyond_its_joints_is_refused():
    document = json.loads(golden.JSON["meta"])
    for wrong in ({"parents": [-1]}, {"parents": [-1, 2]}, {"flip_pairs": [[0, 2]]}):
        with pytest.raises(DecodeError, match="do not fit its 2 joints"):
            wire.decode(json.dumps(document | wrong).encode())


BOMBS = {
    "nothing": b"",
    "a list of 4 billion": b"\xdd\xff\xff\xff\xff",
    "a map of 4 billion": b"\xdf\xff\xff\xff\xff",
    "a bin of 1 GB": b"\x82\xa1v\x01\xa6schema\xc6\x40\x00\x00\x00",
    "1 GB of persons": changed(POSE_DOCUMENT, "persons", []).replace(
        b"persons\x90", b"persons\xdd\x40\x00\x00\x00"
    ),
    "deep lists": b"\x82\xa1v\x01\xa1x" + b"\x91" * 500_000,
    "deep maps": b"\x81\xa1x" * 300_000,
    "deep JSON": b'{"v":1,"x":' + b"[" * 500_000,
    "deep report": b"\x86\xa1v\x01\xa6schema\xa6status\xa6report" + b"\x81\xa1x" * 300_000,
    "a huge number": b'{"v":' + b"9" * 500_000 + b"}",
    "no UTF-8": b"\x82\xa1v\x01\xa6schema\xa2\xff\xfe",
    "no UTF-8 in JSON": b'{"v":1,"schema":"\xff"}',
    "half a surrogate": b'{"v":1,"schema":"\\ud800"}',
    "too long": golden.JSON["pose3d"] + b" " * 2**20,
    "many numbers": changed(PLAIN_KEYPOINTS, "persons", [{"kp": [[0] * 900_000]}]),
    "many rows": changed(PLAIN_KEYPOINTS, "persons", [{"kp": [[]] * 900_000}]),
    "many joints": changed(PLAIN_KEYPOINTS, "persons", [{"kp": [[0, 0, 0]] * 1025}]),
    "many persons": changed(PLAIN_KEYPOINTS, "persons", [{}] * 900_000),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_costs_little_memory(bomb):
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError) as caught:
            wire.decode(BOMBS[bomb])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (len(str(caught.value)) < 300, peak < 2**25) == (True, True)


def test_every_truncation_is_refused():
    for stored in (golden.MSGPACK, golden.JSON):
        for data in stored.values():
            for end in range(len(data)):
                with pytest.raises(DecodeError):
                    wire.decode(data[:end])


def test_a_million_random_inputs_raise_one_error():
    rng = random.Random(1)
    valid = [*golden.MSGPACK.values(), *golden.JSON.values()]
    raised = 0
    for _ in range(10**6):
        if rng.random() < 0.9:
            data = rng.randbytes(int(rng.random() * 24))
        else:
            spoilt = bytearray(valid[int(rng.random() * len(valid))])
            for _ in range(1 + int(rng.random() * 4)):
                spoilt[int(rng.random() * len(spoilt))] = int(rng.random() * 256)
            data = bytes(spoilt)
        try:
            wire.decode(data)
        except DecodeError:
            raised += 1
    assert raised > 900_000


ODD = [
    *(None, True, -1, 0, 2**63, 2**64 - 1, 1.5, NAN, float("inf"), -1e300, 1e39, "", "x" * 300, "é/", "\0"),
    *(
        b"",
        b"\0" * 24,
        b"\xff" * 24,
        b"\xff" * 8,
        {},
        {"a": {}},
        [],
        [[]],
        [None],
        [1, 2],
        [0.5, NAN],
        [-1, 0],
    ),
    *([[None] * 3] * 2, [[1e39] * 3] * 2, [[1, 2, 3], [1]], {"pos": [1, 2, 1e39], "status": "none"}),
]


def paths(part: Any, path: str = "") -> Iterator[str]:
    """Every place in a document."""
    items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, value in items:
        yield f"{path}{key}"
        yield from paths(value, f"{path}{key}/")


@pytest.mark.parametrize("kind", EXAMPLES)
def test_an_odd_value_anywhere_is_refused_or_can_be_sent_again(kind):
    document = msgpack.unpackb(golden.MSGPACK[kind])
    refused = 0
    for path in paths(document):
        for odd in ODD:
            try:
                message = wire.decode(changed(document, path, odd))
            except DecodeError:
                refused += 1
                continue
            for format in FORMATS:
                assert type(wire.decode(wire.encode(message, format))) is type(message)
    assert refused > 50


# Topics


def test_a_topic_ends_where_its_name_ends():
    topics = [topic_of(message) for message in EXAMPLES.values()]
    assert topics == [b"pose3d/v1/cam0/", b"keypoints2d/v1/cam0/", b"meta/v1/cam0/", b"status/v1/poselift/"]
    assert (topic("pose3d", "cam0"), topic("pose3d")) == (b"pose3d/v1/cam0/", b"pose3d/v1/")


@pytest.mark.parametrize("name", ["", "a/b", "#", "a+", "a\n", "a\x00", "x" * 201, "\ud800"])
def test_a_name_that_is_no_topic_is_refused(name):
    with pytest.raises(ConfigError, match="because names become topics"):
        topic("pose3d", name)


def test_publishing_stamps_the_time_and_what_the_stages_leave_of_the_age():
    stamped = wire.with_publish_time(pose_frame(published_unix_ns=0), FakeClock())
    assert plain(stamped) == plain(pose_frame(latency_ms=Latency(detect=2.5, queue=0.5, lift=8, post=9)))
    again = FakeClock()
    again.advance(60)
    assert wire.with_publish_time(stamped, again) is stamped
