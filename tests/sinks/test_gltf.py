"""glTF files hold the animation, node by node."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sinks.gltf import GLTF
from stream.errors import ConfigError
from stream.protocols import ComponentContext
from stream.rig import HUMANOID
from tests.rig_examples import dance, pose_frames


def recorded(path: Path, frames: list, **settings) -> None:
    sink = GLTF(GLTF.Settings(path=str(path), **settings), ComponentContext("gltf"))
    sink.open()
    for frame in frames:
        sink.send(frame)
    sink.close()


def read(path: Path) -> tuple[dict, list[np.ndarray]]:
    """The document, and its accessors' values."""
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert (kind, size % 4) == (b"JSON", 0)
    document = json.loads(data[20 : 20 + size])
    start = 28 + size
    widths = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
    values = []
    for accessor in document["accessors"]:
        view = document["bufferViews"][accessor["bufferView"]]
        part = data[start + view["byteOffset"] :][: view["byteLength"]]
        values.append(np.frombuffer(part, "<f4").reshape(accessor["count"], widths[accessor["type"]]))
    return document, values


def test_the_animation_moves_the_joints(tmp_path: Path):
    frames = dance(1)
    recorded(tmp_path / "x.glb", pose_frames(frames))
    document, values = read(tmp_path / "x.glb")
    animation = document["animations"][0]
    tracks = {}
    for channel in animation["channels"]:
        output = animation["samplers"][channel["sampler"]]["output"]
        tracks[channel["target"]["node"], channel["target"]["path"]] = values[output]
    parents = {child: n for n, node in enumerate(document["nodes"]) for child in node.get("children", ())}
    assert [node["name"] for node in document["nodes"]][:3] == ["hips", "spine", "chest"]
    for row in (0, 30):
        heads, world = {}, {}
        for n, node in enumerate(document["nodes"]):
            turn = Rotation.from_quat(tracks[n, "rotation"][row])
            if n not in parents:
                heads[n], world[n] = tracks[n, "translation"][row], turn
            else:
                above = parents[n]
                heads[n] = heads[above] + world[above].apply(node["translation"])
                world[n] = world[above] * turn
        for n, joint in enumerate(HUMANOID.heads):
            np.testing.assert_allclose(heads[n] - heads[0], frames[row][joint] * (1, -1, -1), atol=2e-4)


def test_times_have_bounds_and_signs_are_continuous(tmp_path: Path):
    recorded(tmp_path / "x.glb", pose_frames(dance(4)))
    document, values = read(tmp_path / "x.glb")
    time = document["accessors"][0]
    assert (time["min"], time["max"]) == ([0.0], [pytest.approx(199 * 0.02)])
    for accessor, track in zip(document["accessors"], values, strict=True):
        if accessor["type"] == "VEC4":
            assert (np.einsum("ti,ti->t", track[1:], track[:-1]) > 0).all()


def test_a_vrm_animation_names_the_humanoid_bones(tmp_path: Path):
    recorded(tmp_path / "x.vrma", pose_frames(dance(0.2)))
    document, _ = read(tmp_path / "x.vrma")
    bones = document["extensions"]["VRMC_vrm_animation"]["humanoid"]["humanBones"]
    assert document["extensionsUsed"] == ["VRMC_vrm_animation"]
    assert document["nodes"][bones["leftUpperArm"]["node"]]["name"] == "leftUpperArm"


def test_a_stay_that_ends_is_written_at_once(tmp_path: Path):
    sink = GLTF(GLTF.Settings(path=str(tmp_path / "x.glb")), ComponentContext("gltf"))
    sink.open()
    for frame in pose_frames(dance(0.2), lost_after=True):
        sink.send(frame)
    assert (tmp_path / "x.glb").is_file()
    sink.close()


def test_other_endings_are_refused():
    with pytest.raises(ConfigError, match=r"ending in .glb or .vrma, got 'x.fbx'"):
        GLTF.Settings(path="x.fbx")
