"""One connected page: its queue of messages, and the requests that it can send."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

import msgspec
from websockets.asyncio.server import ServerConnection

MAX_WAITING = 64  # pose messages; a slow page misses the oldest ones
MAX_DESCRIPTIONS = 256  # meta and status messages, of which only the newest per topic waits

Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=1e14)]


class Ping(msgspec.Struct, tag="ping"):
    """Request for the server's clock; the answer repeats `sent`."""

    sent: float


class Keep(msgspec.Struct, tag="keep"):
    """Request to keep the frames captured from this Unix time on; null ends it."""

    from_ms: Milliseconds | None


class Export(msgspec.Struct, tag="export"):
    """Request for a file of the frames captured between two Unix times, of one source or of all."""

    format: Literal["npz", "bvh", "glb", "mcap"]
    from_ms: Milliseconds
    to_ms: Milliseconds
    source: str | None = None


class Watch(msgspec.Struct, tag="watch"):
    """Request for the pictures of a camera, if the viewer shows any; null ends it."""

    source: Annotated[str, msgspec.Meta(max_length=200)] | None


Request = Ping | Keep | Export | Watch
_DECODER = msgspec.json.Decoder(Request)
ENCODER = msgspec.json.Encoder()


class Client:
    """Sends messages to one page; `put` never waits."""

    def __init__(self, connection: ServerConnection) -> None:
        self.keep_from_ms: float | None = None
        self.watched: str | None = None
        self.exporting: asyncio.Task[None] | None = None
        self.dropped = 0
        self._connection = connection
        self._poses: deque[bytes] = deque(maxlen=MAX_WAITING)
        self._descriptions: dict[str, bytes] = {}
        self._picture: tuple[dict[str, object], bytes] | None = None
        self._changed = asyncio.Event()

    def put(self, topic: str, data: bytes, is_pose: bool) -> bool:
        """Queue a message; False when an older one was dropped for it."""
        full = is_pose and len(self._poses) == MAX_WAITING
        if is_pose:
            self._poses.append(data)
        elif topic in self._descriptions or len(self._descriptions) < MAX_DESCRIPTIONS:
            self._descriptions[topic] = data
        self.dropped += full
        self._changed.set()
        return not full

    def put_picture(self, document: dict[str, object], body: bytes) -> None:
        """Queue a camera's picture in place of an earlier one that still waits."""
        self._picture = document, body
        self._changed.set()

    async def answer(self, document: dict[str, object], body: bytes | None = None) -> None:
        """Send a document of the viewer itself; with a body, both in one binary message after each other."""
        data = ENCODER.encode(document)
        if body is None:
            await self._connection.send(data.decode())
        else:
            await self._connection.send((data + b"\n", body))  # two fragments: a large body is not copied

    async def run(self, handle: Callable[["Client", Request], Awaitable[None]]) -> None:
        """Send the queued messages and handle requests, until the page disconnects."""
        sender = asyncio.create_task(self._send())
        try:
            async for text in self._connection:
                try:
                    request = _DECODER.decode(text)
                except (ValueError, RecursionError):  # a request of another version, or junk
                    continue
                await handle(self, request)
        finally:
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sender

    async def _send(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._descriptions or self._poses or self._picture:
                if self._descriptions:
                    data = self._descriptions.pop(next(iter(self._descriptions)))
                elif self._poses:
                    data = self._poses.popleft()
                elif self._picture:
                    (document, body), self._picture = self._picture, None
                    await self.answer(document, body)
                    continue
                await self._connection.send(data.decode())
