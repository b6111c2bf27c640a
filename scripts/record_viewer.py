"""Takes the pictures of the viewer for the documents: `python scripts/record_viewer.py FOLDER`.

viewer.webp  the page with the poses of the demo, animated, while the mouse turns the view. Time is simulated,
             so that the picture does not depend on the speed of the machine
viewer.png   three synthetic people in a world
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from PIL import Image

from sinks.browser import Browser
from stream.clock import FakeClock
from stream.config.load import load
from stream.messages import Latency, Meta, PoseFrame
from stream.protocols import ComponentContext, opened
from stream.runtime.pipeline import Pipeline
from tests.sinks.browser.chromium import Chromium, Page
from tests.sinks.browser.walkers import Sender

FILLED_S = 31.0  # until the timeline is full
SIZE = 1000, 600
DEMO_HZ = 50
SKIPPED_FRAMES = 240  # of the demo, before the first picture
PICTURE_MS = 120
TURN_PX = 4  # of the mouse from picture to picture
MOUSE_AT = 300.0, 470.0  # on the floor
# As on a quiet server core (lifter/models/small.md).
LATENCY, AGE_NS = Latency(0.0, 0.0, 1.0, 23.0, 1.0), 25_000_000
# The page's clock and frames move only by `advanced`, once that many poses have arrived.
SIMULATED_TIME = """
let now = 0, poses = 0, callbacks = [];
const parse = JSON.parse;
JSON.parse = (text) => {
  const parsed = parse(text);
  poses += parsed.schema === "pose3d";
  return parsed;
};
performance.now = () => now;
window.requestAnimationFrame = (callback) => callbacks.push(callback);
window.advanced = async (count, ms) => {
  while (poses < count) await new Promise((done) => setTimeout(done, 1));
  now += ms;
  for (const callback of callbacks.splice(0)) callback(now);
};
"""


def main(folder: str) -> None:
    """Write both pictures to `folder`."""
    with browser() as chromium:
        record_demo(chromium, Path(folder) / "viewer.webp")
        take_still(chromium, Path(folder) / "viewer.png")


def record_demo(chromium: Chromium, path: Path) -> None:
    """Lift the demo's recording, and record the page while it gets the poses."""
    metas, frames = lifted_demo()
    clock = FakeClock()
    with opened(Browser(Browser.Settings(port=0), ComponentContext("view", clock=clock))) as sink:
        page = chromium.page(sink.endpoint, SIZE, script=SIMULATED_TIME)
        images = list(pictures(page, sink, clock, metas, frames))
        page.close()
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=PICTURE_MS, loop=0, quality=55, method=4
    )


def lifted_demo() -> tuple[list[Meta], list[PoseFrame]]:
    """The metas and poses of the demo's config, every frame lifted."""
    changes = ("lifter.kp2d=true", "lifter.hop=1", "source.speed=full", "sinks.all.type=memory")
    with Pipeline(load("demo", changes)) as pipeline:
        pipeline.wait()
        pipeline.announce()
    messages = pipeline.sink_threads["all"].sink.messages  # type: ignore[union-attr]
    frames = [message for message in messages if isinstance(message, PoseFrame)]
    return [message for message in messages if isinstance(message, Meta)][-1:], frames


def pictures(
    page: Page, sink: Browser, clock: FakeClock, metas: list[Meta], frames: list[PoseFrame]
) -> Iterator[Image.Image]:
    """Images of the page, one every PICTURE_MS, while it gets the frames and the mouse turns the view."""
    x, y = MOUSE_AT
    step_ms = 1000 / DEMO_HZ
    for n, frame in enumerate(frames):
        clock.advance(step_ms / 1000)
        if n % DEMO_HZ == 0:
            for meta in metas:
                sink.send(meta)
        captured_ns = clock.unix_ns() - AGE_NS
        header = replace(frame.header, seq=n, captured_unix_ns=captured_ns)
        published_ns = clock.unix_ns()
        sink.send(
            replace(frame, header=header, published_unix_ns=published_ns, mode="live", latency_ms=LATENCY)
        )
        page.evaluate(f"advanced({n + 1}, {step_ms})")
        if n == SKIPPED_FRAMES:
            page.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
        if n > SKIPPED_FRAMES and n % (PICTURE_MS // step_ms) == 0:
            x += TURN_PX
            page.mouse("mouseMoved", x, y, button="left", buttons=1)
            page.evaluate("advanced(0, 0)")
            yield Image.fromarray(page.screenshot())


def take_still(chromium: Chromium, path: Path) -> None:
    """Show three walking people in a world and save what the page looks like."""
    with (
        opened(Browser(Browser.Settings(port=0), ComponentContext("view"))) as sink,
        Sender(sink, persons=3) as sender,
    ):
        sender.world = True
        page = chromium.page(sink.endpoint)
        page.wait_for_state("live")
        time.sleep(FILLED_S)
        Image.fromarray(page.screenshot()).save(path, optimize=True)
        page.close()


@contextmanager
def browser() -> Iterator[Chromium]:
    with tempfile.TemporaryDirectory() as folder:
        chromium = Chromium(Path(folder))
        try:
            yield chromium
        finally:
            chromium.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
