"""Version 1 of the wire format, byte by byte, and as a second MessagePack library reads it."""

import json

import msgpack
import numpy as np
import pytest

from stream.clock import FakeClock
from stream.wire import codec as wire
from tests.examples import plain
from tests.golden import wire as golden
from tests.stream.wire.documents import EXAMPLES, POSE_DOCUMENT


@pytest.mark.parametrize("kind", EXAMPLES)
def test_encoding_gives_the_golden_bytes(kind):
    assert wire.encode(EXAMPLES[kind]) == golden.MSGPACK[kind]
    assert wire.encode(EXAMPLES[kind], "json") == golden.JSON[kind]


@pytest.mark.parametrize("golden_bytes", [golden.MSGPACK, golden.JSON])
@pytest.mark.parametrize("kind", EXAMPLES)
def test_golden_bytes_decode_to_the_same_message(kind, golden_bytes):
    assert plain(wire.decode(golden_bytes[kind], FakeClock())) == plain(EXAMPLES[kind])


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
