"""Cost of a lifter service: whole windows against new frames only, in bytes and CPU time.

    python benchmarks/lifter_service.py [--seconds 3]

A client and a service in two processes on this machine, with a lifter that copies its input, so that the
transport alone is measured: time per request, CPU time per window of both sides, bytes per window, for 1,
4 and 16 windows of 243 frames. Beside it, what a service would have to do for every window if pipelines sent
new frames only: keep a ring per person, add the frame and resample the window. Prints a table, then one JSON
line.
"""

import argparse
import json
import multiprocessing
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from lifter.machine import machine
from lifter.spec import LifterSpec
from stream.config.lifter import LifterSettings
from stream.messages import Window
from stream.protocols import ComponentContext, opened
from stream.runtime import lifter_protocol as protocol
from stream.runtime.lifter_client import RemoteLifter
from stream.runtime.lifter_service import LifterService, ServiceSettings
from stream.windows.resample import Timing
from stream.windows.ring import Ring

SPEC = LifterSpec(name="copy", frames=243)
LAST = 12  # poses per window: a hop of 5 frames and what blending needs


class CopyLifter:
    """A lifter whose poses are its input."""

    spec = SPEC

    def lift(self, windows: Any, last: int | None = None) -> Any:
        return np.stack([window.keypoints[-(last or SPEC.frames) :] for window in windows])


def serve(address: "Connection[str, None]") -> None:
    service = LifterService(CopyLifter(), ServiceSettings(port=0), ComponentContext("service"))
    with opened(service):
        address.send(service.endpoint)
        while not address.poll(0):
            service.serve(0.05)
        address.recv()
        address.send(time.process_time())
        while not address.poll(0):
            service.serve(0.05)
        address.send(time.process_time())


def measure_windows(batch: int, seconds: float) -> dict[str, Any]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    process.start()
    remote = RemoteLifter(LifterSettings(endpoint=ours.recv(), timeout_ms=5000.0), SPEC)
    remote.warm_up()
    rng = np.random.default_rng(0)
    origin, times = np.zeros(SPEC.frames, np.uint8), np.zeros(SPEC.frames, np.int64)
    windows = [
        Window(rng.uniform(0, 600, (SPEC.frames, 17, 3)).astype(np.float32), origin, times, (640, 480))
        for _ in range(batch)
    ]
    for _ in range(20):
        remote.lift(windows, LAST)
    ours.send(None)
    service_s = ours.recv()
    times_ms, cpu_s, until_s = [], time.process_time(), time.monotonic() + seconds
    while time.monotonic() < until_s:
        start_s = time.perf_counter()
        remote.lift(windows, LAST)
        times_ms.append(1e3 * (time.perf_counter() - start_s))
    count = batch * len(times_ms)
    cpu_us = 1e6 * (time.process_time() - cpu_s) / count
    ours.send(None)
    service_us = 1e6 * (ours.recv() - service_s) / count
    process.join()
    p50, p99 = np.percentile(times_ms, (50, 99))
    return {
        "request_ms": {"p50": round(float(p50), 2), "p99": round(float(p99), 2)},
        "client_cpu_us_per_window": round(cpu_us),
        "service_cpu_us_per_window": round(service_us),
    }


def measure_frames(seconds: float, rate_hz: float) -> float:
    """CPU us per window of a service that gets frames at `rate_hz`: ring and resampling, no transport."""
    ring, timing = Ring(4 * SPEC.frames, 17), Timing(round(1e9 / SPEC.rate_hz))
    rng, score = np.random.default_rng(0), np.full(17, 0.9, np.float32)
    step_ns, windows = round(1e9 / rate_hz), 0
    for frame in range(3 * SPEC.frames):
        ring.push(rng.uniform(0, 600, (17, 2)).astype(np.float32), score, frame * step_ns)
    xy, start_s, until_s = np.full((17, 2), 7, np.float32), time.process_time(), time.monotonic() + seconds
    while time.monotonic() < until_s:
        end = 1 + ring.push(xy, score, ring.count * step_ns)
        timing.window(ring, SPEC.frames, (640, 480), end)
        windows += 1
    return round(1e6 * (time.process_time() - start_s) / windows, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    result: dict[str, Any] = {"benchmark": "lifter_service", "machine": machine().text()}
    print(machine().text())
    for batch in (1, 4, 16):
        result[f"batch_{batch}"] = measure_windows(batch, arguments.seconds)
        print(f"{batch:2} windows per request: {result[f'batch_{batch}']}")
    result["bytes_per_window"] = {
        "window": protocol.array_bytes(1, SPEC.frames, SPEC.joints),
        "frame": protocol.array_bytes(1, 1, SPEC.joints),
        "poses": protocol.array_bytes(1, LAST, SPEC.joints),
    }
    result["frames_cpu_us_per_window"] = {
        f"{rate_hz:g} Hz": measure_frames(arguments.seconds, rate_hz) for rate_hz in (30.0, 50.0)
    }
    print(f"bytes: {result['bytes_per_window']}")
    print(f"windows made by the service, CPU us: {result['frames_cpu_us_per_window']}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
