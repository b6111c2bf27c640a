"""A worker that was given up and comes back reaches only its own socket, even at the port of another one."""

import time
from collections.abc import Iterator

import pytest
import zmq
from zmq.auth.thread import ThreadAuthenticator

from stream.clock import SystemClock
from stream.cluster.actor import Link
from stream.cluster.hosts import OnlyWorkers
from stream.cluster.ray_worker import RayWorker
from stream.config.cluster import ClusterSettings
from stream.protocols import ComponentContext, opened
from stream.runtime.worker_link import LinkKeys, WorkerSink
from tests.examples import pose_frame

WAIT_S = 30.0


class Workers:
    """The supervisor's side of workers that no machine runs."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        self._context, self.admitted = context, set[bytes]()
        self.all: list[RayWorker] = []

    def add(self) -> RayWorker:
        number = len(self.all) + 1
        self.all.append(RayWorker(number, "", self._context, SystemClock(), ClusterSettings(), self.admitted))
        return self.all[-1]


@pytest.fixture
def workers() -> Iterator[Workers]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    workers = Workers(context)
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve_callback(credentials_provider=OnlyWorkers(workers.admitted))
    yield workers
    for worker in workers.all:
        worker.kill()
    authenticator.stop()
    context.destroy(linger=0)


def send(address: str, keys: LinkKeys, seq: int) -> None:
    """Send a frame as a worker does; waits until it is delivered or half a second has passed."""
    sink = WorkerSink(WorkerSink.Settings(address=address, keys=keys), ComponentContext("worker"))
    with opened(sink):
        sink.send(pose_frame(seq=seq))


def payloads(worker: RayWorker) -> list[bytes]:
    """The messages that arrive, at least one."""
    until_s = time.monotonic() + WAIT_S
    while not (arrived := [payload for _, payload in worker.received()]):
        assert time.monotonic() < until_s, "no message arrived in time"
        time.sleep(0.01)
    return arrived


def test_frames_of_a_thawed_worker_do_not_reach_the_worker_that_has_its_port_now(workers: Workers):
    frozen, successor = workers.add(), workers.add()
    frozen_link: Link = frozen.link()
    address, keys = successor.link().messages, successor.link().keys
    send(frozen_link.messages, frozen_link.keys, seq=1)
    assert len(payloads(frozen)) == 1, "its own socket takes its frames"
    send(address, frozen_link.keys, seq=2)  # admitted, but not at this socket
    frozen.kill()
    send(address, frozen_link.keys, seq=3)  # given up
    send(address, keys, seq=4)
    (arrived,) = payloads(successor)
    assert b"\xa3seq\x04" in arrived
