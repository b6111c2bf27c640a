import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sources.rtmpose import model_files
from stream.errors import ConfigError, SourceUnavailable

MODEL = b"the bytes of a model"


def archive(*names: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name in names:
            file.writestr(name, MODEL)
    return data.getvalue()


class Mirror:
    """A server that states a file's SHA-256 in a redirect, as Hugging Face does, and then sends the file."""

    def __init__(self) -> None:
        self.data = archive("end2end.onnx", "detail.json")
        self.sha256: str | None = hashlib.sha256(self.data).hexdigest()
        self.requests: list[str] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.requests.append(self.path)
                if self.path.startswith("/resolve/"):
                    self.send_response(302)
                    self.send_header("Location", "/stored")
                    self.send_header("X-Linked-Size", str(len(mirror.data)))
                    if mirror.sha256 is not None:
                        self.send_header("X-Linked-ETag", f'"{mirror.sha256}"')
                    self.end_headers()
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write(mirror.data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/resolve/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def mirror(tmp_path, monkeypatch) -> Iterator[Mirror]:
    monkeypatch.setenv("POSELIFT_CACHE", str(tmp_path / "cache"))
    mirror = Mirror()
    yield mirror
    mirror.close()


def test_a_model_is_downloaded_once_and_kept(mirror):
    assert model_files.fetch("pose", "s", mirror.url) == MODEL
    assert model_files.fetch("pose", "s", mirror.url) == MODEL
    name = model_files.FILES["pose", "s"]
    assert mirror.requests == [f"/resolve/{name}", "/stored"]


def test_a_changed_file_in_the_cache_is_downloaded_again(mirror, tmp_path):
    model_files.fetch("person", "m", mirror.url)
    (tmp_path / "cache" / model_files.FILES["person", "m"]).write_bytes(archive("other.onnx") + b"x")
    assert model_files.fetch("person", "m", mirror.url) == MODEL
    assert len(mirror.requests) == 4


def test_a_file_with_another_checksum_than_stated_is_refused(mirror, tmp_path):
    mirror.sha256 = "0" * 64
    with pytest.raises(SourceUnavailable, match=r"expected \d+ bytes with SHA-256 0{64}, got"):
        model_files.fetch("pose", "s", mirror.url)
    assert not (tmp_path / "cache").exists()


def test_a_server_that_states_no_checksum_is_refused(mirror):
    mirror.sha256 = None
    with pytest.raises(SourceUnavailable, match="expected a stated SHA-256"):
        model_files.fetch("pose", "s", mirror.url)


def test_without_a_network_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("POSELIFT_CACHE", str(tmp_path))
    with pytest.raises(SourceUnavailable, match="name the file in the detector's settings"):
        model_files.fetch("pose", "s", "http://127.0.0.1:9/")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.zip", b"PK no archive", "expected a whole .zip file"),
        ("a.zip", archive("a.onnx", "b.onnx"), "expected one .onnx file in the archive, got 2"),
        ("a.zip", archive("detail.json"), "expected one .onnx file in the archive, got 0"),
    ],
)
def test_a_damaged_archive_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        model_files.read(tmp_path / name, None, "pose")
