"""Orders to workers on other machines: what arrives, and what is refused."""

import pickle

import pytest

from stream.cluster.orders import decode_order, encode_order
from stream.config.load import resolve
from stream.errors import ConfigError

SCENE = {
    "cameras": {"cam0": {"fx": 900.0, "fy": 900.0, "cx": 640.0, "cy": 360.0, "size_wh": [1280, 720]}},
    "world": {"camera_pose": {"cam0": {"position_m": [0, 0, 2], "rpy_deg": [0, 20, 0]}}},
}
CONFIG = resolve(
    {
        "sources": {
            "cam0": {
                "type": "opencv",
                "url": "rtsp://user:password@10.0.0.9/1",
                "detector": {"num_poses": 3},
            },
            "net": {
                "type": "keypoints_zmq",
                "endpoint": "tcp://127.0.0.1:5557",
                "topic": "keypoints2d/v1/a/",
            },
            "own": {"type": "sources.synthetic:Synthetic", "fps": 12.5},
        },
        "scene": SCENE,
        "sinks": {"out": {"type": "memory"}},
    }
)
START = resolve({"sources": {"cam0": {"type": "synthetic"}}, "sinks": {"out": {"type": "memory"}}})


def test_sources_with_their_secrets_and_the_scene_arrive_as_they_were_sent():
    order = decode_order(encode_order(CONFIG), START)
    assert order is not None
    assert order.sources == CONFIG.sources
    assert order.scene == CONFIG.scene
    assert (order.sinks, order.lifter) == (START.sinks, START.lifter)


def test_the_order_to_stop_arrives_as_such():
    assert decode_order(encode_order(None), START) is None


@pytest.mark.parametrize("payload", [b"", b"\xc1", pickle.dumps(CONFIG.sources), b"\x81\xa7sources\x80"])
def test_other_bytes_are_refused_and_never_unpickled(payload: bytes):
    with pytest.raises(ConfigError, match="an order of the supervisor cannot be read"):
        decode_order(payload, START)
