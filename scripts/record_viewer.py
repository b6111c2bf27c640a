"""Takes the pictures of the viewer for the documents: `python scripts/record_viewer.py FOLDER`.

viewer.webp  the page with the poses of the demo, animated, while the mouse turns the view. Time is simulated,
             so that the picture does not depend on the speed of the machine
viewer.png   three synthetic people in a world
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path

from PIL import Image

from sinks.browser import Browser
from stream.clock import FakeClock
from stream.config.load import load
from stream.messages import Latency, Meta, PoseFrame
from stream.protocols import ComponentContext, opened
from stream.runtime.pipeline import Pipeline
from tests.sinks.browser.chromium import Chromium, Page
from tests.sinks.browser.walkers import HZ, frame, meta

STILL_FRAMES = 400
DEMO_HZ = 50
SKIPPED_FRAMES = 240  # of the demo, before the first picture
PICTURE_MS = 120
TURN_PX = 4  # of the mouse from picture to picture
MOUSE_AT = 300.0, 470.0  # on the floor
# As on a quiet server core (lifter/models/small.md).
LATENCY = Latency(0.0, 0.0, 1.0, 23.0, 1.0)
# The page's clock and frames move only by `advanced`, once that many poses have arrived.
SIMULATED_TIME = """
let now = 0, poses = 0, connected = false, callbacks = [];
const parse = JSON.parse;
JSON.parse = (text) => {
  const parsed = parse(text);
  poses += parsed.schema === "pose3d";
  connected ||= parsed.schema === "viewer";
  return parsed;
};
performance.now = () => now;
window.setInterval = () => 0; // no pings: the first message of the server sets the clock
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
    frames = [replace(frame, mode="live", latency_ms=LATENCY) for frame in frames]
    x, y = MOUSE_AT
    images = []
    with simulated_page(chromium, (1000, 600)) as play:
        for n, page in enumerate(play(metas, frames, DEMO_HZ)):
            if n == SKIPPED_FRAMES:
                page.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
            if n > SKIPPED_FRAMES and n % (PICTURE_MS * DEMO_HZ // 1000) == 0:
                x += TURN_PX
                page.mouse("mouseMoved", x, y, button="left", buttons=1)
                page.evaluate("advanced(0, 0)")
                images.append(Image.fromarray(page.screenshot()))
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=PICTURE_MS, loop=0, quality=55, method=4
    )


def take_still(chromium: Chromium, path: Path) -> None:
    """Show three walking people in a world and save what the page looks like."""
    frames = [frame(n / HZ, persons=3, world=True) for n in range(STILL_FRAMES)]
    with simulated_page(chromium, (1280, 720)) as play:
        *_, page = play([meta(world=True)], frames, round(HZ))
        Image.fromarray(page.screenshot()).save(path, optimize=True)


def lifted_demo() -> tuple[list[Meta], list[PoseFrame]]:
    """The metas and poses of the demo's config, every frame lifted."""
    changes = ("lifter.kp2d=true", "lifter.hop=1", "source.speed=full", "sinks.all.type=memory")
    with Pipeline(load("demo", changes)) as pipeline:
        pipeline.wait()
        pipeline.announce()
    messages = pipeline.sink_threads["all"].sink.messages  # type: ignore[union-attr]
    frames = [message for message in messages if isinstance(message, PoseFrame)]
    return [message for message in messages if isinstance(message, Meta)][-1:], frames


@contextmanager
def simulated_page(
    chromium: Chromium, size: tuple[int, int]
) -> Iterator[Callable[[list[Meta], list[PoseFrame], int], Iterator[Page]]]:
    """A function that sends frames to a page at a rate in simulated time, and yields the page after each."""
    clock = FakeClock()
    with opened(Browser(Browser.Settings(port=0), ComponentContext("view", clock=clock))) as sink:
        page = chromium.page(sink.endpoint, size, script=SIMULATED_TIME)
        page.wait_for("connected")

        def play(metas: list[Meta], frames: list[PoseFrame], hz: int) -> Iterator[Page]:
            for n, frame in enumerate(frames):
                page.evaluate(f"advanced({n}, {1000 / hz})")
                clock.advance(1 / hz)
                if n % hz == 0:
                    for described in metas:
                        sink.send(described)
                age_ns = round(1e6 * sum(astuple(frame.latency_ms)))
                header = replace(frame.header, seq=n, captured_unix_ns=clock.unix_ns() - age_ns)
                sink.send(replace(frame, header=header, published_unix_ns=clock.unix_ns()))
                yield page

        yield play
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
