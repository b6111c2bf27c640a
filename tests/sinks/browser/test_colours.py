"""People's colours: different for people in sight, stable, and distinct with any colour vision."""

import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

import sinks.browser
from sinks.browser import Browser
from stream.messages import F32
from stream.protocols import ComponentContext, opened
from tests.sinks.browser.chromium import Chromium, Page

THEME = (Path(sinks.browser.__file__).parent / "page" / "theme.js").read_text()
# Machado et al. 2009, "A Physiologically-based Model for Simulation of Color Vision Deficiency", severity 1:
# linear RGB as people without one kind of cones see it.
VISIONS = {
    "usual": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
MIN_DIFFERENCE = 10.0  # in CIEDE2000 units, of which 1 is just noticeable side by side


def palette(name: str) -> F32:
    """(N, 3) sRGB in 0..1 of a palette in theme.js."""
    colours = json.loads(re.findall(rf"const {name} = (\[.*?\]);", THEME)[0])
    return np.array([[int(colour[n : n + 2], 16) for n in (1, 3, 5)] for colour in colours], np.float32) / 255


def as_seen(srgb: F32, vision: str) -> F32:
    """The same colours as people with this colour vision see them, in sRGB."""
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(VISIONS[vision]).T, 0, 1)
    return np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055).astype(np.float32)


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("name", ["LIGHT", "DARK", "STAGES_LIGHT", "STAGES_DARK"])
def test_colours_can_be_told_apart_with_any_colour_vision(name: str, vision: str):
    lab = rgb2lab(as_seen(palette(name), vision)[None])[0]
    differences = [float(deltaE_ciede2000(a, b)) for a, b in combinations(lab, 2)]
    assert min(differences) > MIN_DIFFERENCE


@pytest.fixture(scope="module")
def page(chromium: Chromium) -> Page:
    with opened(Browser(Browser.Settings(port=0), ComponentContext("view"))) as viewer:
        return chromium.page(viewer.endpoint)


def slots(page: Page, frames: list[tuple[str, list[str]]]) -> list[list[int]]:
    """The slots of the people in successive frames (source, ids)."""
    script = f"""import("./slots.js").then(({{ Slots }}) => {{
      const slots = new Slots();
      return {json.dumps(frames)}.map(([source, ids]) => slots.assign(source, ids));
    }})"""
    found: list[list[int]] = page.evaluate(script)
    return found


def test_eight_people_in_sight_have_eight_colours_and_further_people_share_them(page: Page):
    people = [f"p{n}" for n in range(16)]
    first, *_, crowd = slots(page, [("cam0", people[:8]), ("cam0", people[:12]), ("cam0", people)])
    assert first == [0, 1, 2, 3, 4, 5, 6, 7]
    assert crowd[:8] == first
    assert sorted(crowd[8:]) == first


def test_a_person_who_returns_has_the_colour_of_before(page: Page):
    frames = [("cam0", ["a", "b"]), ("cam0", ["b"]), ("cam0", ["b", "c"]), ("cam0", ["b", "c", "a"])]
    assert slots(page, frames) == [[0, 1], [1], [1, 2], [1, 2, 0]]


def test_a_person_who_returns_when_the_colour_is_taken_gets_another_one(page: Page):
    crowd = [f"q{n}" for n in range(7)]
    frames = [("cam0", ["a"]), ("cam0", []), ("cam0", [*crowd]), ("cam0", [*crowd, "z"]), ("cam0", ["z"])]
    *_, alone, both = slots(page, [*frames, ("cam0", ["z", "a"])])
    assert alone == [0]
    assert len(set(both)) == 2
    assert both[0] == 0


def test_people_of_cameras_that_share_a_world_have_different_colours(page: Page):
    assert slots(page, [("cam0", ["a", "b"]), ("cam1", ["a", "c"]), ("cam0", ["a", "b"])]) == [
        [0, 1],
        [2, 3],
        [0, 1],
    ]
