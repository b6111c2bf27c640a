"""The cameras' pictures for the pages that show them: small JPEG files, a few a second."""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from sinks.browser.client import Client
from stream.cameras.opencv import load_cv2
from stream.clock import Clock
from stream.messages import U8, Frame
from stream.snapshots import Snapshots

MAX_SIDE_PX = 640
JPEG_QUALITY = 70


class PictureSender:
    """Sends the newest picture of a camera to the pages that watch it, `hz` times a second."""

    def __init__(self, hz: float, snapshots: Snapshots, clock: Clock) -> None:
        """Raises ConfigError without OpenCV, which encodes the pictures."""
        self._interval_s = 1 / hz
        self._snapshots, self._clock = snapshots, clock
        self._cv2 = load_cv2()
        self._sent_ns: dict[str, int] = {}  # capture time of the picture sent last, by camera

    async def run(self, clients: Collection[Client], is_camera: Callable[[str], bool]) -> None:
        """Send until cancelled. clients: the connected pages; is_camera: whether the node has this camera."""
        while True:
            await asyncio.sleep(self._interval_s)
            cameras = {client.watched for client in clients if client.watched and is_camera(client.watched)}
            for camera in self._sent_ns.keys() - cameras:
                self._snapshots.forget(camera)
                del self._sent_ns[camera]
            for camera in cameras:
                await self._send(camera, clients)

    async def _send(self, camera: str, clients: Collection[Client]) -> None:
        frame = self._snapshots.latest(camera, self._clock.now_ns())
        sent_ns = self._sent_ns.setdefault(camera, 0)
        if frame is None or frame.header.captured_unix_ns == sent_ns:
            return
        self._sent_ns[camera] = frame.header.captured_unix_ns
        body = await asyncio.to_thread(jpeg, self._cv2, frame.image)
        for client in clients:
            if client.watched == camera:
                client.put_picture(_document(frame), body)


def _document(frame: Frame) -> dict[str, object]:
    header = frame.header
    return {"schema": "picture", "source": header.source, "t_capture_ns": header.captured_unix_ns}


def jpeg(cv2: Any, image: U8) -> bytes:
    """A JPEG file of an (H, W, 3) RGB image, made smaller so that no side is longer than MAX_SIDE_PX."""
    scale = MAX_SIDE_PX / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(data)
