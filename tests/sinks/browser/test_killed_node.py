"""The page of a node that is killed: never a frozen figure that looks alive, and it comes back by itself."""

import subprocess
import sys

import numpy as np

from tests.programs import ROOT
from tests.sinks.browser.chromium import Chromium
from tests.sinks.browser.test_page import BLUE, ORANGE, count_pixels

NODE = """
import sys, time
from sinks.browser import Browser
from stream.protocols import ComponentContext, opened
from tests.sinks.browser.walkers import Sender
with opened(Browser(Browser.Settings(port=int(sys.argv[1])), ComponentContext("view"))) as sink, Sender(sink):
    print(sink.endpoint, flush=True)
    time.sleep(600)
"""


def started(port: int) -> tuple["subprocess.Popen[str]", str]:
    """A node with two walking people and its viewer on this port, and the address of the page."""
    node = subprocess.Popen(
        [sys.executable, "-c", NODE, str(port)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert node.stdout is not None
    return node, node.stdout.readline().strip()


def coloured(image: np.ndarray) -> bool:
    return count_pixels(image, ORANGE) > 300 and count_pixels(image, BLUE) > 300


def test_people_of_a_killed_node_turn_grey_under_a_banner_until_it_is_back(chromium: Chromium):
    node, address = started(port=0)
    try:
        page = chromium.page(address)
        page.wait_for_state("live")
        assert coloured(page.screenshot("#scene"))
        node.kill()
        page.wait_for_state("disconnected")
        assert page.text("#banner").startswith("Disconnected since ")
        page.wait_for("document.getElementById('scene').dataset.stale === 'true'")
        assert not coloured(page.screenshot("#scene"))
        node.wait()
        node, _ = started(port=int(address.rsplit(":", 1)[1].strip("/")))
        page.wait_for_state("live")
        page.wait_for("document.getElementById('scene').dataset.stale === 'false'")
        assert not page.shows("#banner")
        assert coloured(page.screenshot("#scene"))
        page.close()
    finally:
        node.kill()
        node.wait()
