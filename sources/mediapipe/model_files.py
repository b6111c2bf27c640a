"""Model files of the MediaPipe detector: from the cache, downloaded or assembled, verified by SHA-256.

They are the pose landmarkers of the MediaPipe authors, under Apache-2.0. The cache is POSELIFT_CACHE, or the
platform's cache folder.
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

from stream.errors import ConfigError, SourceUnavailable
from stream.files.cache import cache_dir, write_atomically

log = logging.getLogger("poselift")

ModelOrigin = Literal["official", "assembled"]


class FileDigest(NamedTuple):
    """Size in bytes and SHA-256 of the expected file."""

    size: int
    sha256: str

    def matches(self, data: bytes) -> bool:
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
# The last wheel that contains networks: those of the official full model.
WHEEL = "mediapipe==0.10.21"
NETWORKS = {
    "mediapipe/modules/pose_detection/pose_detection.tflite": FileDigest(
        2959046, "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c"
    ),
    "mediapipe/modules/pose_landmark/pose_landmark_full.tflite": FileDigest(
        6440512, "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f"
    ),
}
# Computed from these networks; flatbuffers 2.0.7 to 25.12 write the same bytes.
ASSEMBLED = {"full": FileDigest(9400033, "5e81ecf4851396ba8758a20bed8770a2d447b9cb0c2b3ae6b1b7932052d26327")}
DOWNLOAD_TIMEOUT_S = 20  # without receiving a byte
PIP_TIMEOUT_S = 600

_fetching = threading.Lock()  # cameras that start at the same time fetch a model once


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A variant of the model and its file in the cache; origin is None when that is missing or invalid."""

    variant: str
    path: Path
    origin: ModelOrigin | None


class _Failure(Exception):
    """One way to obtain a model file has failed; the text is the reason."""


def available() -> list[ModelFile]:
    """All variants, whether their files are in the cache or not."""
    return [ModelFile(variant, _cache_path(variant), _cached_origin(variant)) for variant in OFFICIAL]


def fetch(variant: str) -> Path:
    """The verified model file of `variant`; downloaded or assembled when it is not in the cache.

    Raises ConfigError for an unknown variant or a cache that cannot be written, SourceUnavailable when the
    file can be neither downloaded nor assembled.
    """
    if variant not in OFFICIAL:
        raise ConfigError(f"detector model: expected one of {', '.join(OFFICIAL)}, got {variant!r}")
    path = _cache_path(variant)
    with _fetching:
        if _cached_origin(variant) is None:
            if path.exists():
                log.warning(
                    "%s is not the expected model (%d bytes); fetching it again", path, path.stat().st_size
                )
                path.unlink()
            _store(path, _download_or_assemble(variant))
    return path


def _cache_path(variant: str) -> Path:
    return cache_dir() / f"pose_landmarker_{variant}.task"


def _cached_origin(variant: str) -> ModelOrigin | None:
    try:
        data = _cache_path(variant).read_bytes()
    except OSError:
        return None
    if OFFICIAL[variant].matches(data):
        return "official"
    return "assembled" if variant in ASSEMBLED and ASSEMBLED[variant].matches(data) else None


def _download_or_assemble(variant: str) -> bytes:
    log.info("fetching the %s detector model (%.1f MB)", variant, OFFICIAL[variant].size / 1e6)
    try:
        return _download(URL.format(variant), OFFICIAL[variant])
    except _Failure as failure:
        reasons = [str(failure)]
    if variant in ASSEMBLED:
        log.info("%s; assembling it from the networks in the package %s", reasons[0], WHEEL)
        try:
            return assemble(ASSEMBLED[variant])
        except _Failure as failure:
            reasons.append(str(failure))
    raise SourceUnavailable(
        f"the {variant} detector model is not in {cache_dir()} and cannot be fetched: {'; '.join(reasons)}. "
        f"Fetch it on a machine with a network (poselift models --fetch {variant}) and copy the file to "
        f"{_cache_path(variant)}, or name a file in the detector's setting `path`"
    )


def _download(url: str, expected: FileDigest) -> bytes:
    """The file at `url`; logs the progress, so that a slow line does not look like a hang."""
    data, quarters = bytearray(), 0
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as response:
            while len(data) <= expected.size and (chunk := response.read(1 << 16)):
                data += chunk
                if 4 * len(data) // expected.size > quarters:
                    quarters = 4 * len(data) // expected.size
                    log.info("%d %% of %.1f MB", 25 * quarters, expected.size / 1e6)
    except (OSError, http.client.HTTPException) as error:
        raise _Failure(f"{url} cannot be read ({error})") from None
    if not expected.matches(bytes(data)):
        raise _Failure(f"{url} gave {len(data)} bytes, not the expected model of {expected.size} bytes")
    return bytes(data)


def assemble(expected: FileDigest) -> bytes:
    """The model file assembled from the networks in the wheel."""
    try:
        import flatbuffers

        from sources.mediapipe import assemble_model
    except ImportError as error:
        raise _Failure(f"assembling it needs the package mediapipe ({error})") from None
    detector, landmarks = _read_networks()
    data = assemble_model.build_task(detector, assemble_model.with_normalisation(landmarks, 0.0, 255.0))
    if not expected.matches(data):
        raise _Failure(f"flatbuffers {flatbuffers.__version__} assembles another file than the tested one")
    return data


def _read_networks() -> list[bytes]:
    """The verified detector and landmark networks from the wheel."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = download_wheel(Path(folder))
        try:
            with zipfile.ZipFile(wheel) as archive:
                networks = [archive.read(name) for name in NETWORKS]
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            raise _Failure(f"{wheel.name} does not contain the expected networks ({error})") from None
    for (name, expected), network in zip(NETWORKS.items(), networks, strict=True):
        if not expected.matches(network):
            raise _Failure(f"{name} in {wheel.name} is not the expected network")
    return networks


def download_wheel(folder: Path) -> Path:
    """Download the wheel into `folder` with pip, from the package index that pip is configured for."""
    # The same file on every platform: only data is read from it.
    platform = [
        "--platform=manylinux_2_28_x86_64",
        "--python-version=3.11",
        "--only-binary=:all:",
        "--no-deps",
    ]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--retries=1", *platform]
    try:
        process = subprocess.run(
            [*command, "--dest", str(folder), WHEEL],
            capture_output=True,
            text=True,
            timeout=PIP_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _Failure(f"pip did not download {WHEEL} ({error})") from None
    wheels = list(folder.glob("*.whl"))
    if process.returncode or not wheels:
        lines = process.stderr.strip().splitlines() or ["without an error message"]
        raise _Failure(f"pip did not download {WHEEL} ({lines[-1]})")
    return wheels[0]


def _store(path: Path, data: bytes) -> None:
    """Write the whole file or nothing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error}); set POSELIFT_CACHE to another folder"
        ) from None
