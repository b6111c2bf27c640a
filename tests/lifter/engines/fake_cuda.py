"""A CUDA device that computes on the CPU and records the order of calls, to test the recording of graphs."""

from contextlib import contextmanager

import torch


class FakeEvent:
    def __init__(self, calls, blocking=False):
        self.calls, self.blocking = calls, blocking

    def record(self, stream):
        self.calls.append("record event")

    def synchronize(self):
        self.calls.append("wait for event" if self.blocking else "spin")


class FakeStream:
    def __init__(self, calls):
        self.calls = calls

    def wait_stream(self, other):
        self.calls.append("wait for stream")

    def synchronize(self):
        self.calls.append("wait for the device")


class FakeCuda:
    """Stands for `torch.cuda`. fail_at: number of captures after which the next one fails."""

    def __init__(self, fail_at=None):
        self.calls, self.streams, self.pools, self.captures = [], [], [], 0
        self.fail_at, self.current = fail_at, "caller"

    def install(self, monkeypatch):
        fakes = {
            "Stream": self.make_stream, "Event": self.make_event, "CUDAGraph": self.make_graph,
            "graph": self.graph, "stream": self.stream, "device": self.device,
            "current_stream": lambda device: self.current, "set_stream": self.set_stream,
            "graph_pool_handle": self.pool_handle,
        }  # fmt: skip
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone())
        empty = torch.empty
        monkeypatch.setattr(torch, "empty", lambda *size, pin_memory=False, **rest: empty(*size, **rest))
        return self

    def make_stream(self, device):
        self.streams.append(FakeStream(self.calls))
        return self.streams[-1]

    def make_event(self, blocking=False):
        return FakeEvent(self.calls, blocking)

    def make_graph(self):
        cuda = self

        class Graph:
            def replay(self):
                cuda.calls.append("replay")

        return Graph()

    def pool_handle(self):
        self.pools.append(object())
        return self.pools[-1]

    def set_stream(self, stream):
        self.current = stream

    @contextmanager
    def device(self, device):
        yield

    @contextmanager
    def stream(self, stream):
        yield

    @contextmanager
    def graph(self, graph, pool, stream, capture_error_mode):
        self.calls.append(("capture", id(pool), id(stream), capture_error_mode))
        self.captures += 1
        if self.fail_at is not None and self.captures > self.fail_at:
            self.current = "capture"  # as torch leaves it
            raise torch.OutOfMemoryError("CUDA out of memory")
        yield
