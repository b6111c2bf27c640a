"""Takes a picture of the viewer: `python scripts/record_viewer.py FILE [light|dark] [WIDTHxHEIGHT]`."""

import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from sinks.browser import Browser
from stream.protocols import ComponentContext, opened
from tests.sinks.browser.chromium import Chromium
from tests.sinks.browser.walkers import Sender

FILLED_S = 31.0  # until the timeline is full


def main(path: str, scheme: str = "light", size: str = "1280x720") -> None:
    """Show three walking people in a world and save what the page looks like."""
    width, height = map(int, size.split("x"))
    with (
        tempfile.TemporaryDirectory() as folder,
        opened(Browser(Browser.Settings(port=0), ComponentContext("view"))) as sink,
        Sender(sink, persons=3) as sender,
    ):
        sender.world = True
        chromium = Chromium(Path(folder))
        try:
            page = chromium.page(sink.endpoint, (width, height), scheme)
            page.wait_for_state("live")
            time.sleep(FILLED_S)
            image = Image.fromarray(page.screenshot())
        finally:
            chromium.close()
    image.save(path, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
