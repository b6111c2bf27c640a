"""Motion JPEG streams, whose images are decoded one by one.

OpenCV's own decoder scales all images of a stream to the size of the first one, so that people are stretched
after a camera has changed its resolution.
"""

from sources.opencv.capture import Capture
from stream.messages import U8

MAX_PIXELS = 1 << 24  # of an image: a JPEG of some kilobytes may unpack to gigabytes
MAX_HEADER_BYTES = 1 << 18  # up to the size; it may contain a preview
_SIZE_MARKERS = {0xC0, 0xC1, 0xC2}  # start of a baseline, an extended or a progressive frame
_LONE_MARKERS = {0x01, 0xFF, *range(0xD0, 0xD9)}  # markers without a segment, and fill bytes


class MotionJPEGCapture(Capture):
    """An open capture that hands over the JPEG images of a stream as they are."""

    @classmethod
    def of(cls, opened: Capture) -> "MotionJPEGCapture | None":
        """The same stream for an opened capture before its first frame; None when it is no Motion JPEG."""
        cv2, capture = opened.cv2, opened.capture
        is_jpeg = capture.get(cv2.CAP_PROP_FOURCC) == cv2.VideoWriter.fourcc(*"MJPG")
        return cls(cv2, capture) if is_jpeg and capture.set(cv2.CAP_PROP_FORMAT, -1) else None

    def image(self) -> U8 | None:
        """The grabbed frame (H, W, 3) uint8 RGB; None when it cannot be decoded or is too large."""
        received, data = self.capture.retrieve()
        size_wh = jpeg_size_wh(data) if received else None
        if size_wh is None or size_wh[0] * size_wh[1] > MAX_PIXELS:
            return None
        bgr = self.cv2.imdecode(data, self.cv2.IMREAD_COLOR | self.cv2.IMREAD_IGNORE_ORIENTATION)
        if bgr is None:
            return None
        rgb: U8 = self.cv2.cvtColor(bgr, self.cv2.COLOR_BGR2RGB, dst=bgr)
        return rgb


def jpeg_size_wh(data: U8) -> tuple[int, int] | None:
    """Width and height of a JPEG image in bytes data (N,) or (1, N), by its header; None for other bytes."""
    content = data.reshape(-1)[:MAX_HEADER_BYTES].tobytes()
    if content[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 9 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker in _SIZE_MARKERS:
            height, width = (int.from_bytes(content[position + n : position + n + 2]) for n in (5, 7))
            return width, height
        if marker in _LONE_MARKERS:
            position += 1 if marker == 0xFF else 2
        else:
            position += 2 + int.from_bytes(content[position + 2 : position + 4])
    return None
