import hashlib
import logging
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sources.mediapipe import model_files
from sources.mediapipe.model_files import FileDigest, ModelFile
from stream.errors import ConfigError, SourceUnavailable

CONTENT = bytes(range(256)) * 1000
UNREACHABLE = "http://127.0.0.1:9/{0}.task"  # no server listens on this port


def digest_of(data: bytes) -> FileDigest:
    return FileDigest(len(data), hashlib.sha256(data).hexdigest())


class Host:
    """A web server on loopback that answers every request with `content`, announced as `length` bytes."""

    def __init__(self) -> None:
        self.content, self.length, self.requests = CONTENT, len(CONTENT), 0
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.requests += 1
                self.send_response(200)
                self.send_header("Content-Length", str(host.length))
                self.end_headers()
                self.wfile.write(host.content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/{{0}}.task"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that does not exist yet."""
    monkeypatch.setenv("POSELIFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """The server of the official models, all of which are CONTENT."""
    host = Host()
    monkeypatch.setattr(model_files, "URL", host.url)
    monkeypatch.setattr(model_files, "OFFICIAL", dict.fromkeys(model_files.OFFICIAL, digest_of(CONTENT)))
    yield host
    host.server.shutdown()
    host.server.server_close()


def test_a_model_is_downloaded_once_with_progress(
    cache: Path, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = model_files.fetch("heavy")
    assert path == cache / "pose_landmarker_heavy.task"
    assert path.read_bytes() == CONTENT
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == "fetching the heavy detector model (0.3 MB)"
    assert messages[1] == "25 % of 0.3 MB"
    assert messages[-1] == "100 % of 0.3 MB"
    assert model_files.fetch("heavy") == path
    assert host.requests == 1
    assert list(cache.iterdir()) == [path]


def test_a_truncated_copy_in_the_cache_is_replaced(cache: Path, host: Host) -> None:
    path = model_files.fetch("lite")
    path.write_bytes(CONTENT[:-1])
    assert model_files.available()[0] == ModelFile("lite", path, None)
    assert model_files.fetch("lite").read_bytes() == CONTENT
    assert host.requests == 2


@pytest.mark.parametrize(
    ("content", "length"),
    [(CONTENT[:-1], len(CONTENT) - 1), (CONTENT[:100], len(CONTENT)), (CONTENT + b"x", len(CONTENT) + 1)],
)
def test_a_download_with_another_digest_is_rejected_and_not_stored(
    cache: Path, host: Host, content: bytes, length: int
) -> None:
    host.content, host.length = content, length
    with pytest.raises(SourceUnavailable, match=r"cannot be (fetched|read)"):
        model_files.fetch("lite")
    assert not cache.exists()


def test_without_a_network_the_error_names_the_remedy(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "URL", UNREACHABLE)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(cache))
    with pytest.raises(SourceUnavailable) as error:
        model_files.fetch("full")
    message = str(error.value)
    assert message.startswith(
        f"the full detector model is not in {cache} and cannot be fetched: http://127.0.0.1:9"
    )
    assert "; pip did not download mediapipe==0.10.21 (ERROR: " in message
    assert message.endswith(
        f"Fetch it on a machine with a network (poselift models --fetch full) and copy the file to "
        f"{cache}/pose_landmarker_full.task, or name a file in the detector's setting `path`"
    )
    assert not cache.exists()


def test_only_the_full_model_can_be_assembled(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "URL", UNREACHABLE)
    monkeypatch.setattr(model_files, "assemble", lambda expected: pytest.fail("no wheel has this model"))
    with pytest.raises(SourceUnavailable, match="the lite detector model is not in"):
        model_files.fetch("lite")


def test_the_full_model_is_assembled_when_its_server_cannot_be_reached(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_files, "URL", UNREACHABLE)
    monkeypatch.setattr(model_files, "ASSEMBLED", {"full": digest_of(CONTENT)})
    monkeypatch.setattr(model_files, "assemble", lambda expected: CONTENT)
    path = model_files.fetch("full")
    assert path.read_bytes() == CONTENT
    assert [file.origin for file in model_files.available()] == [None, "assembled", None]


def test_a_wheel_without_the_networks_is_rejected(
    cache: Path, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.content, host.length = b"a captive portal", 16
    wheel = tmp_path / "other.whl"
    monkeypatch.setattr(model_files, "download_wheel", lambda folder: wheel)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mediapipe/__init__.py", "")
    with pytest.raises(
        SourceUnavailable, match=r"gave 16 bytes, .*; other.whl does not contain the expected networks"
    ):
        model_files.fetch("full")


def test_a_wheel_with_other_networks_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "other.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in model_files.NETWORKS:
            archive.writestr(name, CONTENT)
    monkeypatch.setattr(model_files, "URL", UNREACHABLE)
    monkeypatch.setattr(model_files, "download_wheel", lambda folder: wheel)
    monkeypatch.setenv("POSELIFT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SourceUnavailable, match=r"pose_detection.tflite in other.whl is not the expected"):
        model_files.fetch("full")


def test_threads_that_need_the_same_model_fetch_it_once(cache: Path, host: Host) -> None:
    threads = [threading.Thread(target=model_files.fetch, args=("lite",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert host.requests == 1


def test_an_unknown_variant_and_a_read_only_cache_are_config_errors(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="expected one of lite, full, heavy, got 'huge'"):
        model_files.fetch("huge")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POSELIFT_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"cannot be written .* set POSELIFT_CACHE to another folder"):
        model_files.fetch("lite")
