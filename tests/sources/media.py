"""Numbered test images, and videos and network streams of them."""

import io
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stream.messages import U8

WIDTH, HEIGHT = 160, 120
_BITS = 10


def numbered_image(number: int) -> U8:
    """(120, 160, 3): red and blue in the upper half, `number` in black and white blocks in the lower."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[: HEIGHT // 2, : WIDTH // 2, 0] = 255
    image[: HEIGHT // 2, WIDTH // 2 :, 2] = 255
    blocks = [255 * (number >> bit & 1) for bit in range(_BITS)]
    image[HEIGHT // 2 :] = np.repeat(blocks, WIDTH // _BITS)[None, :, None]
    return image


def number_of(image: U8) -> int:
    """The number in an image, also after lossy compression."""
    brightness = image[3 * HEIGHT // 4, WIDTH // _BITS // 2 :: WIDTH // _BITS].mean(axis=1)
    return sum(1 << bit for bit, value in enumerate(brightness) if value > 127)


def write_video(path: Path, frames: int, *options: str, fps: int = 25) -> Path:
    """Write a video of the images 0 to `frames` - 1 to `path` with ffmpeg and its `options`."""
    raw = np.stack([numbered_image(number) for number in range(frames)]).tobytes()
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(fps), "-i", "-"]
    command = ["ffmpeg", "-v", "error", "-y", *source, "-pix_fmt", "yuv420p", "-c:v", "libx264", *options]
    subprocess.run([*command, str(path)], input=raw, check=True)
    return path


def read_all(source: Any) -> Iterator[Any]:
    """Frames of the open `source`, one after the other, until it raises."""
    while True:
        frame = source.read(0.1)
        if frame is not None:
            yield frame


def jpeg(image: U8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90)
    return file.getvalue()


class MotionJPEG:
    """A network camera on loopback: images by number for every client, until it stalls or is killed."""

    def __init__(self, port: int = 0, first: int = 0, image: Callable[[int], U8] = numbered_image) -> None:
        self._image = image
        self.sent = first - 1  # number of the newest image sent
        self._changed = threading.Condition()
        self._stalled = False
        self.killed = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://user:tea-time@127.0.0.1:{self.port}/video"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def wait_for(self, number: int) -> None:
        """Return once image `number` has been sent."""
        with self._changed:
            self._changed.wait_for(lambda: self.sent >= number)

    def stall(self) -> None:
        """Keep the connections open but send no more images."""
        with self._changed:
            self._stalled = True

    def kill(self) -> None:
        """Cut all connections and stop listening, which frees the port."""
        self.killed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> "MotionJPEG":
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                try:
                    while not camera.killed.wait(0.01):
                        camera.send_image(self.wfile)
                except OSError:  # the client has disconnected
                    pass

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def send_image(self, file: Any) -> None:
        """Write the next image to the connection `file`, unless stalled."""
        with self._changed:
            if self._stalled:
                return
            self.sent += 1
            data = jpeg(self._image(self.sent))
            file.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
            file.write(data + b"\r\n")
            self._changed.notify_all()
