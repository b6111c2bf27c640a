"""The right to publish: over real sockets, with a supervisor that answers, falls silent and answers late."""

import time
from collections.abc import Callable, Iterator

import pytest
import zmq

from stream.cluster.lease import LEASE, MAX_SILENCE, ORDER, Lease, LeasedSink
from stream.cluster.orders import encode_order
from stream.config.load import resolve
from stream.health import Health
from stream.protocols import ComponentContext, opened
from stream.runtime.worker_link import LinkKeys, WorkerSink
from tests.examples import pose_frame

WAIT_S = 30.0
CONFIG = resolve({"sources": {"cam0": {"type": "synthetic"}}, "sinks": {"out": {"type": "memory"}}})


def wait_until(condition: Callable[[], object]) -> None:
    until_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until_s, "the condition was not met in time"
        time.sleep(0.01)


class Supervisor:
    """The supervisor's sockets for one worker."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        public, secret = zmq.curve_keypair()
        self.keys = LinkKeys(*zmq.curve_keypair(), public)
        self.orders, self.messages = context.socket(zmq.DEALER), context.socket(zmq.PULL)
        self.addresses = []
        for socket in (self.orders, self.messages):
            socket.set(zmq.LINGER, 0)
            socket.set(zmq.CURVE_SERVER, 1)
            socket.set(zmq.CURVE_SECRETKEY, secret)
            self.addresses.append(f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}")

    def renew(self, sent_ns: int) -> None:
        """Send a heartbeat of the worker back."""
        self.orders.send_multipart([LEASE, str(sent_ns).encode()])


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with zmq.Context() as context:
        supervisor = Supervisor(context)
        yield supervisor
        supervisor.orders.close()
        supervisor.messages.close()


def test_a_worker_loses_its_lease_before_another_one_gets_its_sources():
    assert MAX_SILENCE > 1


def test_the_right_to_publish_begins_with_the_first_heartbeat_that_comes_back(supervisor: Supervisor):
    with Lease(supervisor.addresses[0], supervisor.keys, CONFIG) as lease:
        assert not lease.valid
        assert not lease.expired
        hour_ns = 3600 * 10**9
        supervisor.renew(time.monotonic_ns() + hour_ns)  # so that a slow machine does not end it
        wait_until(lambda: lease.valid)
        assert not lease.poll()


def test_a_lease_counts_from_when_the_heartbeat_was_sent_and_never_begins_again(supervisor: Supervisor):
    with Lease(supervisor.addresses[0], supervisor.keys, CONFIG) as lease:
        supervisor.renew(time.monotonic_ns() - round(CONFIG.cluster.lease_s * 1e9))  # delayed by the network
        wait_until(lambda: lease.expired)
        supervisor.renew(time.monotonic_ns() + 10**12)
        supervisor.orders.send_multipart([ORDER, encode_order(None)])
        with pytest.raises(EOFError, match="the supervisor does not answer"):
            lease.recv()
        assert not lease.valid
        assert lease.poll()


def test_orders_arrive_while_the_lease_is_valid(supervisor: Supervisor):
    with Lease(supervisor.addresses[0], supervisor.keys, CONFIG) as lease:
        supervisor.renew(time.monotonic_ns() + 10**12)
        supervisor.orders.send_multipart([ORDER, encode_order(None)])
        wait_until(lease.poll)
        assert lease.recv() is None


def test_nothing_is_published_without_a_lease(supervisor: Supervisor):
    health = Health()
    settings = WorkerSink.Settings(address=supervisor.addresses[1], keys=supervisor.keys)
    with Lease(supervisor.addresses[0], supervisor.keys, CONFIG) as lease:
        sink = LeasedSink(settings, ComponentContext("worker", health=health), lease)
        with opened(sink):
            sink.send(pose_frame())
            assert health.counter("worker", "drop.no_lease") == 1
            supervisor.renew(time.monotonic_ns() + 10**12)
            wait_until(lambda: lease.valid)
            sink.send(pose_frame(seq=7))
            assert supervisor.messages.poll(WAIT_S * 1000)
            topic, _ = supervisor.messages.recv_multipart()
    assert topic == b"pose3d/v1/cam0/"
    assert health.counter("worker", "drop.no_lease") == 1
