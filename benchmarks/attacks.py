"""The attacks of `attack.py`; `python benchmarks/attacks.py NAME GUESTS PORT` attacks until it is killed."""

import os
import socket
import struct
import sys
import time

import numpy as np
import zmq

from stream.messages import Header, KeypointFrame, Keypoints
from stream.wire.codec import encode

WALKER = np.random.default_rng(1).uniform(100, 400, (17, 2)).astype(np.float32)
TOPIC = b"keypoints2d/v1/guest/"
GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\x00" + bytes(31)


def frame(source: str, seq: int, *persons: Keypoints) -> bytes:
    header = Header(source, seq, 0, time.time_ns())
    return encode(KeypointFrame(header, (1280, 720), "h36m17", persons, 0))


def person(id: str | None = None, shift: float = 0.0) -> Keypoints:
    return Keypoints(WALKER + np.float32(shift), np.ones(17, np.float32), id)


def attack(name: str, guests: int, port: int) -> None:
    """Attack the node at these ports until this process is killed; prints a line when it begins."""
    os.nice(19)  # not before: loading takes long with it on a machine that is busy
    print("begins", flush=True)
    if name in ("long_subscription", "many_subscriptions"):
        while True:
            subscribe_raw(port, name == "long_subscription")
            time.sleep(0.1)
    sender = zmq.Context.instance().socket(zmq.PUB)
    sender.set(zmq.LINGER, 0)
    sender.connect(f"tcp://127.0.0.1:{guests}")
    time.sleep(0.3)
    number = 0
    while True:
        number += 1
        time.sleep(SENDERS[name](sender, number))


def subscribe_raw(port: int, long: bool) -> None:
    """Subscribe by hand, since libzmq's own subscriber cannot send some of these."""
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 3) + b"SUB"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(GREETING)
            connection.recv(64, socket.MSG_WAITALL)
            connection.sendall(b"\x04" + bytes([len(ready)]) + ready)
            connection.recv(1024)  # the READY command of the other side
            while True:
                topic = b"x" * 20_000_000 if long else os.urandom(900)
                connection.sendall(b"\x02" + struct.pack(">Q", len(topic) + 1) + b"\x01" + topic)
    except OSError:
        pass


def changing_ids(sender: "zmq.Socket[bytes]", number: int) -> float:
    people = [person(f"{number}-{index}", 20 * index) for index in range(10)]
    sender.send_multipart([TOPIC, frame("guest", number, *people)])
    return 0.02


def short_lived_ids(sender: "zmq.Socket[bytes]", number: int) -> float:
    people = [person(f"{number // 3}-{index}", 20 * index) for index in range(10)]
    sender.send_multipart([TOPIC, frame("guest", number, *people)])
    return 0.02


def crowd(sender: "zmq.Socket[bytes]", number: int) -> float:
    sender.send_multipart([TOPIC, frame("guest", number, *[person(f"{number}-{n}") for n in range(3000)])])
    return 0.1


def forged_name(sender: "zmq.Socket[bytes]", number: int) -> float:
    sender.send_multipart([TOPIC, frame("good", number, person("forged"))])
    return 0.02


def many_names(sender: "zmq.Socket[bytes]", number: int) -> float:
    sender.send_multipart([TOPIC, frame(f"name{number}", 0, person())])
    return 0.002


def many_parts(sender: "zmq.Socket[bytes]", number: int) -> float:
    sender.send_multipart([b"keypoints2d/v1/", *[b"x" * 1_000_000] * 500])
    return 0.1


SENDERS = {
    function.__name__: function
    for function in (changing_ids, short_lived_ids, crowd, forged_name, many_names, many_parts)
}
ATTACKS = ("long_subscription", "many_subscriptions", *SENDERS)


if __name__ == "__main__":
    attack(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
