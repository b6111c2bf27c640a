"""`poselift view`: shows the poses of a running node, or of a recording, in the browser."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from sinks.browser import Browser
from stream.cli.output import print_line
from stream.client import Subscriber
from stream.clock import Clock, SystemClock
from stream.errors import ConfigError
from stream.files.recorded_poses import read_messages
from stream.messages import KeypointFrame, Message, Meta, ModelInfo, PoseFrame
from stream.protocols import ComponentContext, opened
from stream.runtime.signals import stopped_by_signals
from stream.security import ClientKeys
from stream.skeletons import SKELETONS

READ_TIMEOUT_S = 0.1
META_INTERVAL_NS = 1_000_000_000
LOOP_PAUSE_S = 0.5  # between the end of a recording and its repetition
MAX_GAP_NS = 3_000_000_000  # longer gaps of a recording are shortened


def view(target: str, source: str | None, settings: Browser.Settings, keys: ClientKeys | None = None) -> None:
    """Serve the viewer for `target`, an address or a file of poses, until a signal.

    keys: for a node with CURVE.
    """
    stop = threading.Event()
    is_address = "://" in target
    frames, metas = ([], []) if is_address else _load(Path(target), source)
    with stopped_by_signals(stop.set), opened(Browser(settings, ComponentContext("view"))) as browser:
        print_line(f"{target} is shown at {browser.endpoint}")
        if is_address:
            _forward(target, source, keys, browser, stop.is_set)
        else:
            play(frames, metas, browser.send, SystemClock(), stop)


def _forward(
    endpoint: str,
    source: str | None,
    keys: ClientKeys | None,
    browser: Browser,
    stopped: Callable[[], bool],
) -> None:
    with closing(Subscriber(endpoint, source=source, keys=keys)) as subscriber:
        while not stopped():
            message = subscriber.read(READ_TIMEOUT_S)
            if message is not None and not isinstance(message, KeypointFrame):
                browser.send(message)


def play(
    frames: list[PoseFrame],
    metas: list[Meta],
    send: Callable[[Message], None],
    clock: Clock,
    stop: threading.Event,
) -> None:
    """Send recorded frames at their own pace, again and again until `stop`, as if they were captured now."""
    offsets_ns = list(_offsets_ns(frames))
    described_ns = -META_INTERVAL_NS
    seq = 0
    while not stop.is_set():
        start_ns, start_unix_ns = clock.now_ns(), clock.unix_ns()
        for frame, offset_ns in zip(frames, offsets_ns, strict=True):
            wait_s = (start_ns + offset_ns - clock.now_ns()) / 1e9
            if wait_s > 0:
                clock.wait(stop, wait_s)
            if stop.is_set():
                return
            if clock.now_ns() - described_ns >= META_INTERVAL_NS:
                described_ns = clock.now_ns()
                for meta in metas:
                    send(meta)
            header = replace(
                frame.header,
                seq=seq,
                captured_ns=start_ns + offset_ns,
                captured_unix_ns=start_unix_ns + offset_ns,
            )
            seq += 1
            send(replace(frame, header=header, published_unix_ns=start_unix_ns + offset_ns, mode="live"))
        clock.wait(stop, LOOP_PAUSE_S)


def _offsets_ns(frames: list[PoseFrame]) -> Iterator[int]:
    """When each frame is sent after the first one; long gaps are shortened."""
    offset_ns, last_ns = 0, frames[0].header.captured_unix_ns
    for frame in frames:
        captured_ns = frame.header.captured_unix_ns
        offset_ns += min(max(0, captured_ns - last_ns), MAX_GAP_NS)
        last_ns = max(last_ns, captured_ns)
        yield offset_ns


def _load(path: Path, source: str | None) -> tuple[list[PoseFrame], list[Meta]]:
    """Frames in order, and the newest meta of each of their sources; made up where the file has none."""
    frames, metas = [], {}
    for message in read_messages(path):
        if isinstance(message, Meta):
            metas[message.source] = message
        elif isinstance(message, PoseFrame) and source in (None, message.header.source):
            frames.append(message)
    if not frames:
        where = "" if source is None else f" of source {source!r}"
        raise ConfigError(f"{path}: expected recorded poses{where}, found none")
    sources = {frame.header.source: frame for frame in reversed(frames)}
    return frames, [metas.get(name) or _meta(frame) for name, frame in sources.items()]


def _meta(frame: PoseFrame) -> Meta:
    """A description of the frame's source for recordings that contain none."""
    skeleton = SKELETONS.get(frame.skeleton)
    return Meta(
        source=frame.header.source,
        session=frame.session,
        skeleton=frame.skeleton,
        joints=skeleton.joints if skeleton else (),
        parents=skeleton.parents if skeleton else (),
        flip_pairs=skeleton.flip_pairs if skeleton else (),
        size_wh=None,
        frame_id=frame.frame_id,
        units="m",
        model=ModelInfo(frame.model.name, frame.model.sha256),
    )
