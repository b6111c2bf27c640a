"""What the wire costs: messages a second encoded, decoded, and sent through ZeroMQ on loopback.

    python benchmarks/wire.py [--quick]

One thread. Each figure is the median of several runs, with the slowest beside it; the loopback latency is
from `send` in one thread to the decoded message in another. Prints a table, then one JSON line.
"""

import argparse
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from lifter.machine import machine
from sinks.zeromq import ZeroMQ
from stream.client import Subscriber
from stream.messages import Header, KeypointFrame, Keypoints, Message, ModelInfo, Pose, PoseFrame, WindowInfo
from stream.protocols import ComponentContext, opened
from stream.wire import codec as wire

JOINTS = 17


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a second of work, to see that it runs")
    arguments = parser.parse_args()
    seconds, runs = (0.02, 3) if arguments.quick else (0.5, 9)
    print(f"{machine().text()}; {runs} runs of {seconds} s each")
    print(f"{'message':<30}{'bytes':>8}{'encoded/s':>12}{'slowest':>10}{'decoded/s':>12}{'slowest':>10}")
    rows = [
        codec(name, message, format, seconds, runs)
        for name, message in messages().items()
        for format in ("msgpack", "json")
    ]
    loopback = sent(200 if arguments.quick else 5000)
    print(
        f"loopback, one person at 500 Hz: p50 {loopback['p50_us']:.0f} us, p95 {loopback['p95_us']:.0f} us, "
        f"p99 {loopback['p99_us']:.0f} us, {loopback['lost']} of {loopback['sent']} lost"
    )
    print(json.dumps({"benchmark": "wire", "machine": machine().text(), "rows": rows, "loopback": loopback}))


def codec(name: str, message: Any, format: wire.Format, seconds: float, runs: int) -> dict[str, Any]:
    """One message in one format, printed as soon as it is known."""
    data = wire.encode(message, format)
    encoded = [rate_hz(lambda: wire.encode(message, format), seconds) for _ in range(runs)]
    decoded = [rate_hz(lambda: wire.decode(data), seconds) for _ in range(runs)]
    print(
        f"{name + ', ' + format:<30}{len(data):>8}{np.median(encoded):>12.0f}{min(encoded):>10.0f}"
        f"{np.median(decoded):>12.0f}{min(decoded):>10.0f}"
    )
    return {
        "message": name, "format": format, "bytes": len(data),
        "encoded_hz": round(float(np.median(encoded))), "decoded_hz": round(float(np.median(decoded))),
    }  # fmt: skip


def rate_hz(call: Callable[[], object], seconds: float) -> float:
    call()  # warm-up
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for _ in range(20):
            call()
        count += 20
    return count / elapsed


def sent(number: int) -> dict[str, Any]:
    """Latency of single messages through a PUB and a SUB socket, not of a full queue."""
    arrived_ns: dict[int, int] = {}
    with opened(ZeroMQ(ZeroMQ.Settings(port=0), ComponentContext("zeromq"))) as sink:
        listener = threading.Thread(target=listen, args=(sink.endpoint, arrived_ns, number), name="listener")
        listener.start()
        while 0 not in arrived_ns:  # until the subscription has come through
            sink.send(pose_frame(1, 0))
            time.sleep(0.01)
        sent_ns = {}
        for seq in range(1, number + 1):
            sent_ns[seq] = time.perf_counter_ns()
            sink.send(pose_frame(1, seq))
            time.sleep(0.002)
        listener.join(2.0)
    us = [(at_ns - sent_ns[seq]) / 1e3 for seq, at_ns in arrived_ns.items() if seq]
    p50, p95, p99 = (round(float(np.percentile(us, p)), 1) for p in (50, 95, 99))
    return {"p50_us": p50, "p95_us": p95, "p99_us": p99, "sent": number, "lost": number - len(us)}


def listen(endpoint: str, arrived_ns: dict[int, int], last: int) -> None:
    with Subscriber(endpoint) as subscriber:
        while last not in arrived_ns and (message := subscriber.read(2.0)) is not None:
            if isinstance(message, PoseFrame):
                arrived_ns[message.header.seq] = time.perf_counter_ns()


def messages() -> dict[str, Message | KeypointFrame]:
    rng = np.random.default_rng(0)
    xy, score = rng.uniform(0, 640, (JOINTS, 2)).astype(np.float32), rng.random(JOINTS, np.float32)
    seen = (Keypoints(xy, score, "p0"),)
    return {
        "pose3d, 1 person": pose_frame(1, 0),
        "pose3d, 4 persons": pose_frame(4, 0),
        "keypoints2d, 1 person": KeypointFrame(Header("cam0", 0, 0, 1), (640, 480), "h36m17", seen, 0),
    }


def pose_frame(persons: int, seq: int) -> PoseFrame:
    rng = np.random.default_rng(0)
    return PoseFrame(
        header=Header("cam0", seq, time.monotonic_ns(), time.time_ns()),
        persons=tuple(
            Pose(
                id=f"p{number}",
                state="ok",
                xyz=rng.normal(size=(JOINTS, 3)).astype(np.float32),
                score=rng.random(JOINTS, np.float32),
                origin=np.ones(JOINTS, np.uint8),
                kp2d=rng.random((JOINTS, 3), np.float32),
            )
            for number in range(persons)
        ),
        session="00000000-0000-0000-0000-000000000000",
        window=WindowInfo(243, 200, 43),
        model=ModelInfo("small", "0" * 64),
        frame_id="cam0_optical_frame",
    )


if __name__ == "__main__":
    main()
