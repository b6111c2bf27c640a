"""Bytes from the network that must be refused, cheaply and with one kind of error."""

import json
import random
import tracemalloc
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from stream.errors import DecodeError
from stream.wire import codec as wire
from tests.examples import NAN
from tests.golden import wire as golden
from tests.stream.wire.documents import EXAMPLES, FORMATS, PLAIN_KEYPOINTS, POSE_DOCUMENT, XYZ, changed


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


def test_a_meta_with_an_index_beyond_its_joints_is_refused():
    document = json.loads(golden.JSON["meta"])
    for invalid in ({"parents": [-1]}, {"parents": [-1, 2]}, {"flip_pairs": [[0, 2]]}):
        with pytest.raises(DecodeError, match="do not fit its 2 joints"):
            wire.decode(json.dumps(document | invalid).encode())


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


def test_a_million_random_inputs_raise_decode_errors_alone():
    rng = random.Random(1)
    valid = [*golden.MSGPACK.values(), *golden.JSON.values()]
    raised = 0
    for _ in range(10**6):
        if rng.random() < 0.9:
            data = rng.randbytes(int(rng.random() * 24))
        else:
            mutated = bytearray(valid[int(rng.random() * len(valid))])
            for _ in range(1 + int(rng.random() * 4)):
                mutated[int(rng.random() * len(mutated))] = int(rng.random() * 256)
            data = bytes(mutated)
        try:
            wire.decode(data)
        except DecodeError:
            raised += 1
    assert raised > 900_000


ODD_VALUES = [
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
    """The paths of all values in a document."""
    items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, value in items:
        yield f"{path}{key}"
        yield from paths(value, f"{path}{key}/")


@pytest.mark.parametrize("kind", EXAMPLES)
def test_an_odd_value_anywhere_is_refused_or_can_be_encoded_again(kind):
    document = msgpack.unpackb(golden.MSGPACK[kind])
    refused = 0
    for path in paths(document):
        for odd in ODD_VALUES:
            try:
                message = wire.decode(changed(document, path, odd))
            except DecodeError:
                refused += 1
                continue
            for format in FORMATS:
                assert type(wire.decode(wire.encode(message, format))) is type(message)
    assert refused > 50
