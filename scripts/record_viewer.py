"""Takes the pictures of the viewer for the documents: `python scripts/record_viewer.py FOLDER`.

viewer.webp  the page during a real run of the demo, animated, while the view is turned with the mouse
viewer.png   three synthetic people in a world
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from PIL import Image

from sinks.browser import Browser
from stream.cli.live import DEMO_VIEW_CHANGES
from stream.config.load import load
from stream.protocols import ComponentContext, opened
from stream.runtime.pipeline import Pipeline
from tests.sinks.browser.chromium import Chromium, Page
from tests.sinks.browser.walkers import Sender

FILLED_S = 31.0  # until the timeline is full
SIZE = 1000, 600
FRAMES, FRAME_MS = 60, 120
TURN_PX = 4  # of the mouse from frame to frame
MOUSE_AT = 300.0, 470.0  # on the floor


def main(folder: str) -> None:
    """Write both pictures to `folder`."""
    with browser() as chromium:
        record_demo(chromium, Path(folder) / "viewer.webp")
        take_still(chromium, Path(folder) / "viewer.png")


def record_demo(chromium: Chromium, path: Path) -> None:
    """Run the demo's config with its page, and record the page."""
    with Pipeline(load("demo", (*DEMO_VIEW_CHANGES, "sinks.browser.port=0"))) as pipeline:
        sink = pipeline.sink_threads["browser"]
        sink.wait_until_open(10.0)
        page = chromium.page(sink.endpoint, SIZE)
        end_s = time.monotonic() + FILLED_S
        while time.monotonic() < end_s:  # as `poselift run` does
            pipeline.announce()
            pipeline.wait(1.0)
        images, durations_ms = record(page)
        page.close()
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=durations_ms, loop=0, quality=55, method=4
    )


def record(page: Page) -> tuple[list[Image.Image], list[int]]:
    """Images of the page while the mouse turns the view, and how long each was shown in milliseconds."""
    x, y = MOUSE_AT
    page.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
    images, times_s = [], []
    start_s = time.monotonic()
    for n in range(FRAMES):
        time.sleep(max(0.0, start_s + n * FRAME_MS / 1000 - time.monotonic()))
        page.mouse("mouseMoved", x + n * TURN_PX, y, button="left", buttons=1)
        images.append(Image.fromarray(page.screenshot()))
        times_s.append(time.monotonic())
    steps_ms = [round(1000 * (after - before)) for before, after in pairwise(times_s)]
    return images, [*steps_ms, FRAME_MS]


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
