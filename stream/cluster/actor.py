"""A worker as a Ray actor: the process on any machine of the cluster, and what it is started with."""

import functools
import importlib.metadata
import logging
import os
import socket

import msgspec

from stream.cluster.connect import ray_module
from stream.cluster.lease import Lease, LeasedSink
from stream.config.load import ComponentConfig, Config
from stream.runtime.worker import SINK, work
from stream.runtime.worker_link import LinkKeys, Reporter, WorkerSink


def version() -> str:
    """Version of the installed package; "" when it runs from a folder that is not installed."""
    try:
        return importlib.metadata.version("poselift")
    except importlib.metadata.PackageNotFoundError:
        return ""


class Place(msgspec.Struct, frozen=True):
    """Where a worker runs. node: id of the machine in Ray."""

    node: str
    host: str
    pid: int
    version: str


class Link(msgspec.Struct, frozen=True):
    """The two connections of a worker to its supervisor, and their keys."""

    messages: str
    orders: str
    keys: LinkKeys


class WorkerActor:
    """Runs one worker; Ray makes it an actor, so that Ray need not be imported here."""

    def place(self) -> Place:
        node = ray_module().get_runtime_context().get_node_id()
        return Place(node, socket.gethostname(), os.getpid(), version())

    def run(self, config: Config, link: Link, log_level: int) -> int:
        """Work until the order to stop or until the supervisor is gone; returns an exit code."""
        logging.basicConfig(level=log_level, format="%(levelname)s %(message)s")
        settings = WorkerSink.Settings(address=link.messages, keys=link.keys)
        with Lease(link.orders, link.keys, config) as lease, Reporter(link.messages, link.keys) as reporter:
            make = functools.partial(LeasedSink, lease=lease)
            exit_code = work(config, ComponentConfig(SINK, SINK, make, settings), lease, reporter)
            if lease.expired:
                # Ray may be as much out of reach as the supervisor; nothing may keep this process alive.
                os._exit(1)
            return exit_code
