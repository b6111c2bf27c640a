"""The page in a real browser: what it shows, in words and in pixels."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from sinks.browser import Browser
from stream.files.recorded_poses import read_messages
from stream.messages import Pose, PoseFrame
from stream.protocols import ComponentContext, opened
from tests.sinks.browser.chromium import TIMEOUT_S, Chromium, Page, wait_until
from tests.sinks.browser.walkers import SKELETON, Sender, meta, status

BLUE, ORANGE = (0, 114, 178), (230, 159, 0)  # of the first two people
JOINT = (23, 33, 43)  # an observed joint
PHONE = (390, 844)


@pytest.fixture
def sender(viewer: Browser) -> Iterator[Sender]:
    with Sender(viewer) as running:
        yield running


@pytest.fixture
def page(chromium: Chromium, viewer: Browser) -> Iterator[Page]:
    opened_page = chromium.page(viewer.endpoint)
    yield opened_page
    assert opened_page.complaints == []
    opened_page.close()


def count_pixels(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    """Pixels of about this colour."""
    return int((np.abs(image.astype(int) - colour).max(axis=-1) < 12).sum())


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Share of pixels that differ."""
    return float((np.abs(first.astype(int) - second).max(axis=-1) > 24).mean())


def drawn_people(page: Page) -> int:
    return int(page.evaluate("document.getElementById('scene').dataset.people ?? 0"))


def test_people_are_drawn_in_their_colours_and_move(page: Page, sender: Sender):
    page.wait_for_state("live")
    assert page.text("#state-text") == "Live: 2 people"
    first = page.screenshot("#scene")
    assert drawn_people(page) == 2
    assert count_pixels(first, BLUE) > 500
    assert count_pixels(first, ORANGE) > 300
    page.wait_until_drawn(page.drawn() + 20)
    assert difference(first, page.screenshot("#scene")) > 0.005


def test_the_panels_show_keypoints_numbers_and_people(page: Page, sender: Sender):
    page.wait_for_state("live")
    page.wait_for("Math.abs(parseFloat(document.getElementById('rate').innerText) - 30) < 3")
    page.wait_for("parseInt(document.getElementById('age').innerText) < 500")
    assert page.text("#image-size") == "1280 × 720"
    assert page.text("#people").split()[0] == "p0"
    assert count_pixels(page.screenshot("#keypoints"), BLUE) > 10
    assert page.text("#stage-capture") == "capture 4.0"


def test_each_number_has_a_curve_and_dropped_frames_and_hops_lift_theirs(page: Page, sender: Sender):
    def highest(name: str) -> int:
        """The row of the curve's highest point, from the bottom; 0 for a flat curve at zero."""
        image = page.screenshot(f"#{name}-curve").astype(int)
        drawn = (np.abs(image - image[0, 0]).max(axis=-1) > 40).any(axis=1)
        return int(len(drawn) - 1 - drawn.argmax()) if drawn.any() else -1

    page.wait_for_state("live")
    wait_until(lambda: min(map(highest, ("age", "rate", "hop"))) > 8, TIMEOUT_S, "curves")
    assert highest("dropped") in (0, 1, 2)
    sender.edit = lambda made: replace(made, dropped=made.header.seq)
    wait_until(lambda: highest("dropped") > 8, TIMEOUT_S, "the curve of dropped frames")


def test_poses_without_keypoints_are_explained(page: Page, viewer: Browser):
    with Sender(viewer) as sender:
        sender.edit = lambda made: replace(
            made, persons=tuple(replace(person, kp2d=None) for person in made.persons)
        )
        page.wait_for("!document.getElementById('keypoints-note').hidden")
    assert "lifter.kp2d: true" in page.text("#keypoints-note")


def test_a_silent_sender_turns_people_grey_under_a_banner_and_poses_bring_them_back(
    page: Page, sender: Sender
):
    page.wait_for_state("live")
    sender.poses = sender.metas = False
    page.wait_for_state("stale")
    assert re.fullmatch(r"No data for \d+ s", page.text("#banner"))
    grey = page.screenshot("#scene")
    assert (count_pixels(grey, BLUE), count_pixels(grey, ORANGE)) == (0, 0)
    sender.poses = True
    page.wait_for_state("live")
    assert not page.shows("#banner")
    page.wait_for("document.getElementById('scene').dataset.people == 2")
    assert count_pixels(page.screenshot("#scene"), BLUE) > 300


def test_states_before_the_first_person_are_told_apart(page: Page, viewer: Browser):
    page.wait_for_state("waiting")
    assert page.text("#message") == "Connected. Waiting for the first poses …"
    viewer.send(meta())
    page.wait_for_state("empty")
    assert page.text("#message") == "No person in sight"
    viewer.send(status(cam0=("lost", "the camera does not answer")))
    page.wait_for("document.getElementById('message').innerText.startsWith('cam0')")
    assert page.text("#message") == "cam0: lost, the camera does not answer"


def test_a_lost_person_fades_and_leaves(page: Page, sender: Sender):
    page.wait_for_state("live")
    sender.persons = 1
    page.wait_for("document.getElementById('scene').dataset.people == 1")
    assert page.text("#state-text") == "Live: 1 person"


def test_people_announced_as_lost_fade_although_no_further_frame_arrives(page: Page, sender: Sender):
    page.wait_for_state("live")
    last = sender.pause_poses()
    nan = np.full((17, 3), np.nan, np.float32)
    zero = np.zeros(17, np.float32)
    lost = tuple(Pose(person.id, "lost", nan, zero, zero.astype(np.uint8)) for person in last.persons)
    sender.sink.send(replace(last, persons=lost))
    page.wait_for_state("empty")
    page.wait_for("document.getElementById('scene').dataset.people == 0")
    assert page.text("#message") == "No person in sight"


def test_colours_stay_with_ids(page: Page, sender: Sender):
    page.wait_for_state("live")
    sender.edit = lambda made: replace(made, persons=made.persons[1:])
    page.wait_for("document.getElementById('scene').dataset.people == 1")
    image = page.screenshot("#scene")
    assert count_pixels(image, BLUE) < 300  # the axes have this colour too
    assert count_pixels(image, ORANGE) > 300


def test_the_page_connects_again_by_itself(chromium: Chromium):
    with opened(Browser(Browser.Settings(port=0), ComponentContext("view"))) as first:
        port = int(first.endpoint.rsplit(":", 1)[1].strip("/"))
        page = chromium.page(first.endpoint)
        with Sender(first):
            page.wait_for_state("live")
    page.wait_for_state("disconnected")
    assert page.text("#banner").startswith("Disconnected since ")
    again = Browser(Browser.Settings(port=port), ComponentContext("view"))
    with opened(again), Sender(again):
        page.wait_for_state("live")
        assert page.text("#state-text") == "Live: 2 people"
    page.close()


def test_pausing_holds_the_picture_and_scrubbing_changes_it(page: Page, sender: Sender):
    page.wait_for_state("live")
    enough = len(sender.sent) + 60
    wait_until(lambda: len(sender.sent) > enough, TIMEOUT_S)
    page.press(" ")
    page.wait_for_state("paused")
    held = page.still("#scene")
    more = len(sender.sent) + 15
    wait_until(lambda: len(sender.sent) > more, TIMEOUT_S)
    assert difference(held, page.screenshot("#scene")) == 0
    page.evaluate("document.getElementById('scrub').value = -1.5")
    page.evaluate("document.getElementById('scrub').dispatchEvent(new Event('input')) && undefined")
    page.wait_for("document.getElementById('state-text').innerText === 'Paused, 1.5 s back'")
    earlier = page.still("#scene")
    assert difference(held, earlier) > 0.003
    assert page.text("#time") == "−1.50 s"
    for _ in range(3):  # the first frame may be less than the 10 ms away that the display shows
        page.press(".")
    page.wait_for("document.getElementById('time').innerText !== '−1.50 s'")
    page.click("#live")
    page.wait_for_state("live")


@pytest.mark.parametrize("view", ["front", "side", "top"])
def test_the_keys_turn_the_view(page: Page, sender: Sender, view: str):
    page.wait_for_state("live")
    page.press(" ")
    page.wait_for_state("paused")
    before, drawn = page.still("#scene"), page.drawn()
    page.press({"front": "1", "side": "2", "top": "3"}[view])
    page.wait_until_drawn(drawn)
    assert difference(before, page.still("#scene")) > 0.02


def test_mouse_orbits_pans_and_zooms(page: Page, sender: Sender):
    page.wait_for_state("live")
    page.press(" ")
    page.wait_for_state("paused")
    images = [page.still("#scene")]
    for move in (
        lambda: page.drag((400, 300), (550, 320)),
        lambda: page.drag((400, 300), (480, 360), button="right"),
        lambda: page.mouse("mouseWheel", 400, 300, deltaX=0, deltaY=400),
    ):
        drawn = page.drawn()
        move()
        page.wait_until_drawn(drawn)
        images.append(page.still("#scene"))
    assert [difference(a, b) > 0.02 for a, b in pairwise(images)] == [True] * 3


def test_the_joint_under_the_pointer_shows_its_name_angle_and_score(page: Page, sender: Sender):
    page.wait_for_state("live")
    page.press(" ")
    page.wait_for_state("paused")
    page.still("#scene")
    rows, columns = np.nonzero(np.abs(page.screenshot().astype(int) - JOINT).max(axis=-1) < 12)
    inside = (rows > 130) & (rows < 630) & (columns < 940)
    found = set()
    for y, x in list(zip(rows[inside].tolist(), columns[inside].tolist(), strict=True))[::40]:
        page.mouse("mouseMoved", x, y)
        if page.shows("#tooltip"):
            found.add(page.text("#tooltip"))
    names = {line.splitlines()[0].split("  ")[1].replace(" ", "_") for line in found}
    assert names <= set(SKELETON.joints)
    assert any("score 0.93  observed" in text for text in found)


def test_many_cameras_have_health_dots_a_wall_and_a_view_of_their_shared_world(page: Page, sender: Sender):
    sender.world = True
    sender.sources = ("cam0", "cam1", "door")
    page.wait_for("document.querySelectorAll('#sources button').length === 5")
    assert page.text("#sources").split("\n") == ["All cameras", "Together", "cam0", "cam1", "door"]
    page.press("w")
    page.wait_for("document.getElementById('scene').dataset.people == 6")
    sender.sources = ("cam0", "cam1")
    page.wait_for("document.querySelectorAll('#sources button')[4].dataset.health === 'stale'")
    page.press("n")
    page.wait_for("document.querySelectorAll('#sources button')[1].getAttribute('aria-pressed') === 'true'")


@pytest.mark.parametrize(("size", "scheme"), [((1280, 720), "light"), (PHONE, "dark")])
def test_a_wall_of_16_cameras_fits_the_page_and_a_click_selects_a_camera(
    chromium: Chromium, viewer: Browser, size: tuple[int, int], scheme: str
):
    names = tuple(f"cam{n:02d}" for n in range(1, 17))
    with Sender(viewer, persons=1, sources=names):
        page = chromium.page(viewer.endpoint, size, scheme)
        page.wait_for("document.querySelectorAll('#sources button').length === 17")
        page.press("w")
        page.wait_for("document.body.classList.contains('wall')")
        page.wait_for("document.getElementById('scene').dataset.people == 16")
        assert page.evaluate("document.documentElement.scrollWidth") == size[0]
        box = "document.getElementById('scene').getBoundingClientRect()"
        left, top, width, height = page.evaluate(
            f"(({{x, y, width, height}}) => [x, y, width, height])({box})"
        )
        columns = 4 if width > height else 3
        rows = -(-len(names) // columns)
        image = page.screenshot().astype(int)
        darkest, brightest = image.min(axis=-1), image.max(axis=-1)
        colourful = (brightest - darkest > 60).astype(float)
        for n in range(len(names)):  # something colourful, a person, is in every view
            x, y = left + n % columns * width / columns, top + n // columns * height / rows
            view = colourful[int(y) : int(y + height / rows), int(x) : int(x + width / columns)]
            assert view.mean() > 0.005, names[n]
        x, y = left + 2.5 * width / columns, top + 2.5 * height / rows
        page.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
        page.mouse("mouseReleased", x, y, button="left", clickCount=1)
        selected = names[2 * columns + 2]
        page.wait_for(f"document.querySelector('#sources [aria-pressed=true]').innerText === '{selected}'")
        page.wait_for("document.getElementById('scene').dataset.people == 1")
        assert page.complaints == []
        page.close()


@pytest.mark.parametrize("format", ["npz", "mcap", "bvh", "glb"])
def test_a_recording_is_downloaded_and_opens_again(
    page: Page, sender: Sender, chromium: Chromium, format: str
):
    page.wait_for_state("live")
    sender.persons = 1
    page.wait_for("document.getElementById('people').children.length === 1")
    page.press("r")
    page.wait_for("document.getElementById('record-text').innerText.match(/Stop ([2-9]|\\d\\d) s/)")
    page.press("r")
    page.wait_for("!document.getElementById('downloads').hidden")
    before = set(chromium.downloads.iterdir())
    page.click(f"#downloads [data-format={format}]")
    page.wait_for("document.getElementById('recording-note').innerText.startsWith('Saved')")
    suffix = f".{format}"
    wait_until(
        lambda: any(file.suffix == suffix for file in set(chromium.downloads.iterdir()) - before), TIMEOUT_S
    )
    (file,) = [file for file in set(chromium.downloads.iterdir()) - before if file.suffix == suffix]
    if format in ("npz", "mcap"):
        frames = [message for message in read_messages(file) if isinstance(message, PoseFrame)]
        by_time = {made.header.captured_unix_ns: made for made in sender.sent}
        times = list(by_time)
        first, last = (times.index(frames[n].header.captured_unix_ns) for n in (0, -1))
        assert times[last] - times[first] > 1_400_000_000
        assert [restored.header.captured_unix_ns for restored in frames] == times[first : last + 1]
        for restored in frames:
            sent = by_time[restored.header.captured_unix_ns]
            np.testing.assert_array_equal(restored.persons[0].xyz, sent.persons[0].xyz)
    else:
        assert file.read_bytes()[:4] == {"bvh": b"HIER", "glb": b"glTF"}[format]


def test_recording_without_poses_is_explained(page: Page, viewer: Browser):
    page.wait_for_state("waiting")
    page.click("#last")
    assert page.text("#recording-note") == "There are no poses to save yet."


def test_a_phone_shows_the_view_and_the_panels_below_it_without_scrolling_sideways(
    chromium: Chromium, viewer: Browser, sender: Sender
):
    page = chromium.page(viewer.endpoint, PHONE, "dark")
    page.wait_for_state("live")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    view, side = (
        page.evaluate(f"document.querySelector('{name}').getBoundingClientRect().top")
        for name in ("#stage", "#side")
    )
    assert side > view + 300
    assert page.screenshot()[5, 200].max() < 60  # dark
    assert page.complaints == []
    page.close()


def test_the_page_is_light_or_dark_as_the_person_prefers(chromium: Chromium, viewer: Browser):
    brightness = {}
    for scheme in ("light", "dark"):
        page = chromium.page(viewer.endpoint, scheme=scheme)
        page.wait_for_state("waiting")
        brightness[scheme] = float(page.screenshot().mean())
        page.close()
    assert brightness["light"] > 220
    assert brightness["dark"] < 50
