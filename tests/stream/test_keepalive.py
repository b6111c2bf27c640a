"""Slow subscribers with bounded queues: ZeroMQ's own heartbeats would end them and their process."""

import subprocess
import sys
import time

import zmq

from sinks.zeromq import ZeroMQ
from stream.keepalive import IDLE_S, INTERVAL_S, PROBES, keep_alive
from stream.protocols import ComponentContext, opened
from tests.examples import pose_frame

# Reads a little, then pauses for longer than any heartbeat, again and again.
SLOW = """
import sys, time
from stream.client import Subscriber
with Subscriber(sys.argv[1]) as subscriber:
    for _ in range(3):
        assert subscriber.read(60.0) is not None
        print("read", flush=True)
        time.sleep(7.0)
        for _ in range(1500):
            subscriber.read(0.1)
print("end", flush=True)
"""


def test_the_kernel_probes_silent_connections():
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        keep_alive(socket)
        options = (zmq.TCP_KEEPALIVE, zmq.TCP_KEEPALIVE_IDLE, zmq.TCP_KEEPALIVE_INTVL, zmq.TCP_KEEPALIVE_CNT)
        assert [socket.get(option) for option in options] == [1, IDLE_S, INTERVAL_S, PROBES]
        assert socket.get(zmq.HEARTBEAT_IVL) == 0


def test_a_subscriber_that_pauses_for_long_lives_on():
    sink = ZeroMQ(ZeroMQ.Settings(port=0, max_age_ms=None), ComponentContext("zeromq"))
    with opened(sink):
        command = [sys.executable, "-c", SLOW, sink.endpoint]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as subscriber:
            frame = pose_frame()
            while subscriber.poll() is None:
                for _ in range(20):
                    sink.send(frame)
                time.sleep(0.005)
            assert subscriber.stdout is not None
            lines = subscriber.stdout.read().split()
    assert (subscriber.returncode, lines) == (0, ["read"] * 3 + ["end"])
