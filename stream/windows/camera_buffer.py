"""The buffer between a source thread and the lift thread: rings of people, and frames without poses yet."""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from stream.health import Health
from stream.messages import Header, KeypointFrame, TrackedPerson
from stream.windows.due_frames import count_due, limit_to_hop, limit_to_window
from stream.windows.output_grid import OutputGrid
from stream.windows.pending import LiftRequest, PendingFrame, PersonInFrame, carry_events
from stream.windows.resample import AS_CAPTURED, Timing
from stream.windows.ring import Ring


class CameraBuffer:
    """Rings of the people of one camera, and its pending frames.

    frames: length of the lifter's window, the longest span of frames that may wait. lossless: a full buffer
    makes the source wait (files); otherwise the oldest frame is dropped and counted (cameras). max_gap_s: a
    longer gap between captured frames gets no points of the output grid. timing: times of windows and poses;
    with a window step, numbers of lifter frames are durations.
    """

    def __init__(
        self,
        name: str,
        frames: int,
        lossless: bool,
        max_gap_s: float,
        health: Health,
        timing: Timing = AS_CAPTURED,
    ) -> None:
        self.name = name
        self.lossless = lossless
        self._frames = frames
        self._health = health
        self._timing = timing
        self._capacity = timing.max_captured_frames(frames)
        self._grid_step = timing.window_step_ns or 1  # grid positions per lifter frame
        step_ns = timing.output_step_ns
        self._output_grid = OutputGrid(step_ns, round(max_gap_s * 1e9)) if step_ns else None
        self._rings: dict[str, Ring] = {}  # by id, of the people present
        self._pending: deque[PendingFrame] = deque()
        self._newest: PendingFrame | None = None  # the newest captured frame
        self._unsent: PendingFrame | None = None  # the newest frame dropped for its age, with its events
        self.too_old = 0  # frames dropped for their age
        self._silent = False
        self._ended = False
        self._closed = False
        self._changed = (
            threading.Condition()
        )  # frames were popped; only the thread of the source waits for it

    # For the thread of the source

    def push(self, frame: KeypointFrame, people: Sequence[TrackedPerson]) -> None:
        """Take a captured frame, newer than the frame before, and the people present at it."""
        with self._changed:
            if self.lossless:
                self._changed.wait_for(lambda: self._closed or not self._full())
            captured_ns = frame.header.captured_ns
            self._silent = False
            self._newest = PendingFrame(
                frame.header,
                frame.size_wh,
                frame.detected_ns,
                frame.capture_ms,
                tuple([self._push_person(person, captured_ns) for person in people]),
                self._newest.number + 1 if self._newest else 0,
                self._grid_position(captured_ns),
            )
            if self._output_grid is None:
                self._append(self._newest)
                return
            for point in self._output_grid.push(self._newest):
                # With a window step, grid positions are in ns.
                before = captured_ns - point.header.captured_ns if self._timing.window_step_ns else 0
                self._append(replace(point, grid_position=point.grid_position - before))

    def announce(self, people: Sequence[TrackedPerson], now_ns: int) -> Header | None:
        """Add a pending frame for people lost while no frame is captured, and return its header.

        It repeats the newest frame's seq, with the time that has passed since; in a file no time has passed.
        """
        with self._changed:
            if self._newest is None or not people:
                return None
            silence_ns = 0 if self.lossless else max(0, now_ns - self._newest.detected_ns)
            header = self._newest.header
            header = replace(
                header,
                captured_ns=header.captured_ns + silence_ns,
                captured_unix_ns=header.captured_unix_ns + silence_ns,
            )
            persons = tuple([self._in_frame(person, self._rings[person.id]) for person in people])
            event = replace(self._newest, header=header, detected_ns=now_ns, capture_ms=0.0, persons=persons)
            self._append(self._output_grid.announce(event) if self._output_grid else event)
            return header

    def mark_silent(self) -> None:
        """No newer frame is expected soon: frames that wait for look-ahead are due."""
        with self._changed:
            self._silent = True

    def restart(self) -> None:
        """Make the next frame independent of the times of the frames before."""
        with self._changed:
            if self._output_grid:
                self._output_grid.restart()

    def end(self) -> None:
        """The source has ended: all pending frames are due."""
        with self._changed:
            self._ended = True

    def close(self) -> None:
        """Let a waiting source thread go on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # For the lift thread

    def pop_due(self, hop: int, lag: int, oldest_ns: int | None = None) -> LiftRequest | None:
        """Take the frames that are due; None when fewer than `hop` have `lag` lifter frames of look-ahead.

        Frames whose look-ahead will never come are due too. A live camera hands over all due frames, so a
        slow lifter widens the hop. A file hands over exactly `hop` lifter frames, so that every replay makes
        the same passes. One request never spans more than one window. A live camera drops frames that were
        complete, with their look-ahead, before `oldest_ns`.
        """
        with self._changed:
            lookahead = max(lag * self._grid_step - self._grid_step // 2, 0)  # to the nearest lifter frame
            if oldest_ns is not None and not self.lossless:
                self._drop_older(oldest_ns, lookahead)
            if not self._pending:
                return None
            positions = [frame.grid_position for frame in self._pending]
            full, ending = self._full(), self._ended or self._silent
            due = count_due(positions, lookahead, full, ending)
            hop_complete = due >= hop
            if self.lossless:
                due, hop_complete = limit_to_hop(positions, due, hop * self._grid_step)
            if not (hop_complete or full or ending):
                return None
            window_span = (self._frames - 1) * self._grid_step
            due, visible = limit_to_window(positions, due, lookahead, window_span)
            return self._pop(due, visible)

    @property
    def finished(self) -> bool:
        """Whether the source has ended and no frame is pending."""
        with self._changed:
            return self._ended and not self._pending

    @property
    def fill_level(self) -> float:
        """From 0, empty, to 1: then the oldest frame is dropped, or the source waits."""
        if not self._pending:  # without the lock: the lift thread asks every camera at every turn
            return 0.0
        with self._changed:
            pending = self._pending
            return (pending[-1].number - pending[0].number + 1) / self._capacity if pending else 0.0

    # Under the lock

    def _push_person(self, person: TrackedPerson, captured_ns: int) -> PersonInFrame:
        ring, keypoints = self._rings.get(person.id), person.keypoints
        if keypoints is None:
            ring = self._rings[person.id]
            ring.push_gap(captured_ns)
        else:
            if ring is None or person.starts_window:
                # A window may start its own length before the oldest pending frame.
                ring = self._rings[person.id] = Ring(2 * self._capacity + 2, len(keypoints.score))
            ring.push(keypoints.xy, keypoints.score, captured_ns, keypoints.complete)
        return self._in_frame(person, ring)

    def _in_frame(self, person: TrackedPerson, ring: Ring) -> PersonInFrame:
        if person.state == "lost":
            del self._rings[person.id]
        repaired = person.keypoints.repaired if person.keypoints else ()
        return PersonInFrame(person.id, person.state, ring, ring.count - 1, repaired)

    def _grid_position(self, captured_ns: int) -> int:
        """Position of the next frame. Clocks that have nothing in common are put more than a window apart."""
        if self._newest is None:
            return 0
        if self._timing.window_step_ns is None:
            return self._newest.grid_position + 1
        step_ns = captured_ns - self._newest.header.captured_ns
        return self._newest.grid_position + (step_ns if step_ns > 0 else self._frames * self._grid_step)

    def _full(self) -> bool:
        """Whether the pending frames span a whole window, or fill the rings."""
        if not self._pending:
            return False
        first, last = self._pending[0], self._pending[-1]
        spans_window = last.grid_position - first.grid_position >= (self._frames - 1) * self._grid_step
        return spans_window or last.number - first.number >= self._capacity - 1

    def _append(self, frame: PendingFrame) -> None:
        """Add a pending frame; a live buffer drops its oldest frame and carries the events over."""
        while (
            not self.lossless and self._pending and frame.number - self._pending[0].number >= self._capacity
        ):
            dropped = self._pending.popleft()
            self._health.increment(self.name, "drop.lifter_behind")
            if self._pending:
                self._pending[0] = carry_events(dropped, self._pending[0])
            else:
                frame = carry_events(dropped, frame)
        if self._unsent is not None:
            frame, self._unsent = carry_events(self._unsent, frame), None
        self._pending.append(frame)

    def _drop_older(self, oldest_ns: int, lookahead: int) -> None:
        while self._pending and self._pending[0].header.captured_ns < oldest_ns:
            until = self._pending[0].grid_position + lookahead
            last = next((frame for frame in self._pending if frame.grid_position >= until), None)
            if last is None or last.header.captured_ns >= oldest_ns:
                return
            lost = tuple([person for person in self._pending[0].persons if person.state == "lost"])
            if lost and len(self._pending) == 1:
                # No later frame may come that could carry these events: they are sent at any age.
                if len(lost) < len(self._pending[0].persons):
                    self._pending[0] = replace(self._pending[0], persons=lost)
                return
            dropped = self._pending.popleft()
            self.too_old += 1
            self._health.increment(self.name, "drop.too_old")
            if self._pending:
                self._pending[0] = carry_events(dropped, self._pending[0])
            else:
                self._unsent = dropped

    def _pop(self, due: int, visible: int) -> LiftRequest:
        """Take `due` frames; their windows end at the newest of the `visible` frames."""
        visible_frames = list(self._pending)[:visible]
        window_ends = {
            person.ring: person.position + 1 for frame in visible_frames for person in frame.persons
        }
        frames = [self._pending.popleft() for _ in range(due)]
        self._changed.notify_all()
        return LiftRequest(frames, window_ends, self._timing)
