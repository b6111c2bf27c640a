"""Measures the cost of the viewer: CPU of the sink, frames per second of the page, its memory over minutes.

    PYTHONPATH=. python benchmarks/viewer.py [--quick] [--minutes 5]

Needs Chromium, which draws without a GPU. The sink sends 5 persons at 30 Hz to one page; the page draws 20
persons at 30 Hz in 1280 x 720 pixels. Prints lines, then one JSON line.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lifter.machine import machine
from sinks.browser import Browser
from stream.messages import PoseFrame
from stream.protocols import ComponentContext, opened
from tests.sinks.browser.chromium import Chromium, Page
from tests.sinks.browser.walkers import HZ, frame, meta

SINK_PERSONS, PAGE_PERSONS = 5, 20
LOOP_S = 8.0  # frames that are computed ahead and sent again and again
WARM_UP_S = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="some seconds, to see that it runs")
    parser.add_argument("--minutes", type=float, default=5.0, help="for how long memory is observed")
    arguments = parser.parse_args()
    seconds = 3.0 if arguments.quick else 20.0
    minutes = 0.1 if arguments.quick else arguments.minutes
    print(machine().text())
    with tempfile.TemporaryDirectory() as folder:
        chromium = Chromium(Path(folder))
        try:
            sink_share = measure_sink(chromium, seconds)
            page = measure_page(chromium, seconds, minutes)
        finally:
            chromium.close()
    print(json.dumps({"benchmark": "viewer", "machine": machine().text(), "sink_cpu": sink_share, **page}))


def measure_sink(chromium: Chromium, seconds: float) -> dict[str, float]:
    """Share of a core that sending takes, less that of the same loop without the sink."""
    frames = recorded(SINK_PERSONS)
    shares = {}
    with opened(Browser(Browser.Settings(port=0), ComponentContext("view"))) as sink:
        with sending(None, frames):
            idle = cpu_share(seconds)
        with sending(sink, frames):
            shares["without_pages"] = cpu_share(seconds) - idle
            page = chromium.page(sink.endpoint)
            page.wait_for_state("live")
            time.sleep(WARM_UP_S)
            shares["one_page"] = cpu_share(seconds) - idle
            page.close()
    print(
        f"sink, {SINK_PERSONS} persons at {HZ:.0f} Hz: {shares['without_pages']:.1%} of a core alone, "
        f"{shares['one_page']:.1%} with one"
    )
    return {name: round(share, 4) for name, share in shares.items()}


def measure_page(chromium: Chromium, seconds: float, minutes: float) -> dict[str, Any]:
    """Frames per second that the page draws, and its heap in MB over time."""
    with (
        opened(Browser(Browser.Settings(port=0), ComponentContext("view"))) as sink,
        sending(sink, recorded(PAGE_PERSONS)),
    ):
        page = chromium.page(sink.endpoint)
        page.wait_for_state("live")
        time.sleep(WARM_UP_S)
        start, start_s, start_cpu_s = drawn(page), time.monotonic(), chromium.cpu_s()
        time.sleep(seconds)
        count = drawn(page) - start
        fps = count / (time.monotonic() - start_s)
        cpu_ms = 1000 * (chromium.cpu_s() - start_cpu_s) / count
        draw_ms = float(page.evaluate(MEAN_DRAW_MS))
        print(
            f"page, {PAGE_PERSONS} persons: {fps:.1f} frames/s; a frame takes {cpu_ms:.1f} ms of CPU in "
            f"all of Chromium's processes, {draw_ms:.1f} ms of it in the script"
        )
        heaps_mb = []
        end_s = time.monotonic() + 60 * minutes
        while time.monotonic() < end_s:
            time.sleep(min(20.0, max(0.0, end_s - time.monotonic())))
            page.call("HeapProfiler.collectGarbage")
            heaps_mb.append(round(page.call("Runtime.getHeapUsage")["usedSize"] / 1e6, 1))
        print(f"heap every 20 s: {heaps_mb} MB")
        page.close()
    return {
        "page_fps": round(fps, 1), "page_cpu_ms": round(cpu_ms, 1), "page_script_ms": round(draw_ms, 1),
        "heaps_mb": heaps_mb,
    }  # fmt: skip


MEAN_DRAW_MS = """new Promise((done) => {
  const original = window.requestAnimationFrame;
  let spent = 0, count = 0;
  const before = Number(document.getElementById("scene").dataset.drawn);
  window.requestAnimationFrame = (callback) => original((now) => {
    const start = performance.now();
    callback(now);
    spent += performance.now() - start;
    if (++count === 240) {
      window.requestAnimationFrame = original;
      done(spent / (Number(document.getElementById("scene").dataset.drawn) - before));
    }
  });
})"""


def drawn(page: Page) -> int:
    """Frames drawn since the page was opened."""
    return int(page.evaluate("Number(document.getElementById('scene').dataset.drawn)"))


def recorded(persons: int) -> list[PoseFrame]:
    """LOOP_S seconds of walking people."""
    return [frame(n / HZ, persons) for n in range(round(LOOP_S * HZ))]


@contextmanager
def sending(sink: Browser | None, frames: list[PoseFrame]) -> Iterator[None]:
    """Send the frames at HZ in a thread, with the current time."""
    stop = threading.Event()

    def run() -> None:
        number, start_s = 0, time.monotonic()
        while not stop.wait(max(0.0, start_s + number / HZ - time.monotonic())):
            one = frames[number % len(frames)]
            header = replace(one.header, seq=number, captured_unix_ns=time.time_ns())
            one = replace(one, header=header)
            if sink is not None:
                if number % HZ == 0:
                    sink.send(meta())
                sink.send(one)
            number += 1

    thread = threading.Thread(target=run, name="walkers")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def cpu_share(seconds: float) -> float:
    """CPU time of this process over wall time."""
    start, start_s = time.process_time(), time.monotonic()
    time.sleep(seconds)
    return (time.process_time() - start) / (time.monotonic() - start_s)


if __name__ == "__main__":
    main()
