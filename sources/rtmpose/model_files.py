"""Model files of the RTMPose detector: read from a file, or downloaded into the cache and verified.

The networks are those of OpenMMLab's MMPose, under Apache-2.0; they were trained on public datasets, some of
which allow research only. They are downloaded from the mirror of their authors on Hugging Face, which states
size and SHA-256 of every file in its answer; the file must match. Both are kept beside the file, so that a
changed file in the cache is noticed.
"""

import hashlib
import http.client
import io
import logging
import threading
import urllib.request
import zipfile
from http.client import HTTPMessage
from pathlib import Path
from typing import IO, Literal

from stream.errors import ConfigError, SourceUnavailable
from stream.files.cache import cache_dir, write_atomically

log = logging.getLogger("poselift")

URL = "https://huggingface.co/Tau-J/RTMPose/resolve/main/rtmposev1/onnx_sdk/"
FILES = {
    ("person", "s"): "yolox_tiny_8xb8-300e_humanart-6f3252f9.zip",
    ("person", "m"): "yolox_m_8xb8-300e_humanart-c2c7a14a.zip",
    ("pose", "s"): "rtmpose-s_simcc-body7_pt-body7_420e-256x192-acd4a1ef_20230504.zip",
    ("pose", "m"): "rtmpose-m_simcc-body7_pt-body7_420e-256x192-e48f03d0_20230504.zip",
}
MAX_BYTES = 500_000_000
DOWNLOAD_TIMEOUT_S = 20  # without receiving a byte

_fetching = threading.Lock()  # cameras that start at the same time download a model once


def fetch(network: Literal["person", "pose"], variant: str, url: str = URL) -> bytes:
    """The ONNX model of a network from the cache; downloaded when it is not there, or not as it was.

    Raises SourceUnavailable when it cannot be downloaded, ConfigError when the cache cannot be written.
    """
    name = FILES[network, variant]
    path = cache_dir() / name
    digest = path.with_suffix(".sha256")
    with _fetching:
        try:
            if hashlib.sha256(path.read_bytes()).hexdigest() == digest.read_text().strip():
                return read(path, None, network)
            log.warning("%s is not the file that was downloaded; it is downloaded again", path)
        except OSError:
            pass
        data = _download(url + name, path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for file, content in (
                (path, data),
                (digest, f"{hashlib.sha256(data).hexdigest()}\n".encode()),
            ):
                with write_atomically(file) as temporary:
                    temporary.write_bytes(content)
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be written ({error}); set POSELIFT_CACHE to another folder"
            ) from None
    return read(path, None, network)


def read(path: Path, sha256: str | None, setting: str) -> bytes:
    """The ONNX model in a `.onnx` file, or in a `.zip` that contains one.

    Raises ConfigError for a missing or damaged file, or one with another SHA-256.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{setting}: {path}: cannot be read ({error.strerror})") from None
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256.lower():
        raise ConfigError(
            f"{setting}: {path}: expected SHA-256 {sha256}, got {hashlib.sha256(data).hexdigest()}"
        )
    if path.suffix != ".zip":
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            models = [entry for entry in archive.infolist() if entry.filename.endswith(".onnx")]
            if len(models) != 1 or models[0].file_size > MAX_BYTES:
                raise ConfigError(
                    f"{setting}: {path}: expected one .onnx file in the archive, got {len(models)}"
                )
            return archive.read(models[0])
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise ConfigError(f"{setting}: {path}: expected a whole .zip file ({error})") from None


class _StatedFile(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and keeps the size and SHA-256 that the mirror states before it redirects."""

    def __init__(self) -> None:
        self.size, self.sha256 = "", ""

    def note(self, headers: HTTPMessage) -> None:
        self.size = headers.get("X-Linked-Size") or self.size
        self.sha256 = (headers.get("X-Linked-ETag") or self.sha256).strip('"')

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        self.note(headers)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, path: Path) -> bytes:
    """The file at `url`, with the size and SHA-256 that its server states."""
    log.info("downloading %s", url)
    stated = _StatedFile()
    data = bytearray()
    try:
        with urllib.request.build_opener(stated).open(url, timeout=DOWNLOAD_TIMEOUT_S) as response:
            stated.note(response.headers)
            while len(data) <= MAX_BYTES and (chunk := response.read(1 << 20)):
                data += chunk
    except (OSError, http.client.HTTPException) as error:
        raise SourceUnavailable(
            f"{url} cannot be read ({error}). Download it on a machine with a network, and name the file in "
            "the detector's settings `person` and `pose`"
        ) from None
    got = hashlib.sha256(data).hexdigest()
    if not stated.sha256 or got != stated.sha256 or str(len(data)) != stated.size:
        expected = (
            f"{stated.size} bytes with SHA-256 {stated.sha256}" if stated.sha256 else "a stated SHA-256"
        )
        raise SourceUnavailable(f"{url}: expected {expected}, got {len(data)} bytes with SHA-256 {got}")
    log.info("%s: %.1f MB, SHA-256 %s", path.name, len(data) / 1e6, got)
    return bytes(data)
