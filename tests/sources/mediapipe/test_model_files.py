import hashlib
import logging
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sources.mediapipe import model_files as models
from sources.mediapipe.model_files import FileDigest, ModelFile
from stream.errors import ConfigError, SourceUnavailable

CONTENT = bytes(range(256)) * 1000
GONE = "http://127.0.0.1:9/{0}.task"  # nobody listens there


class Host:
    """A web server on loopback that gives `content` for everything, announcing `length` bytes."""

    def __init__(self) -> None:
        self.content, self.length, self.asked = CONTENT, len(CONTENT), 0
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked += 1
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
    """A cache that does not exist yet."""
    monkeypatch.setenv("POSELIFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """Where official models are had from; all of them are CONTENT."""
    host = Host()
    monkeypatch.setattr(models, "URL", host.url)
    pin = FileDigest(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(models, "OFFICIAL", dict.fromkeys(models.OFFICIAL, pin))
    yield host
    host.server.shutdown()
    host.server.server_close()


def test_a_model_is_downloaded_once_with_progress(
    cache: Path, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = models.fetch("heavy")
    assert path == cache / "pose_landmarker_heavy.task"
    assert path.read_bytes() == CONTENT
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == "fetching the heavy detector model (0.3 MB)"
    assert told[1] == "25 % of 0.3 MB"
    assert told[-1] == "100 % of 0.3 MB"
    assert models.fetch("heavy") == path
    assert host.asked == 1
    assert list(cache.iterdir()) == [path]


def test_a_truncated_copy_in_the_cache_is_replaced(cache: Path, host: Host) -> None:
    path = models.fetch("lite")
    path.write_bytes(CONTENT[:-1])
    assert models.available()[0] == ModelFile("lite", path, None)
    assert models.fetch("lite").read_bytes() == CONTENT
    assert host.asked == 2


@pytest.mark.parametrize(
    ("content", "length"),
    [(CONTENT[:-1], len(CONTENT) - 1), (CONTENT[:100], len(CONTENT)), (CONTENT + b"x", len(CONTENT) + 1)],
)
def test_what_is_not_the_model_is_refused_and_not_kept(
    cache: Path, host: Host, content: bytes, length: int
) -> None:
    host.content, host.length = content, length
    with pytest.raises(SourceUnavailable, match=r"cannot be (fetched|read)"):
        models.fetch("lite")
    assert not cache.exists()


def test_without_a_network_one_sentence_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "URL", GONE)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(cache))
    with pytest.raises(SourceUnavailable) as error:
        models.fetch("full")
    told = str(error.value)
    assert told.startswith(
        f"the full detector model is not in {cache} and cannot be fetched: http://127.0.0.1:9"
    )
    assert "; pip did not download mediapipe==0.10.21 (ERROR: " in told
    assert told.endswith(
        f"Fetch it where there is a network (poselift models --fetch full) and copy the file to "
        f"{cache}/pose_landmarker_full.task, or name a file in the detector's setting `path`"
    )
    assert not cache.exists()


def test_only_the_full_model_can_be_had_from_elsewhere(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "URL", GONE)
    monkeypatch.setattr(models, "_assemble", lambda pin: pytest.fail("no wheel has the lite model"))
    with pytest.raises(SourceUnavailable, match="the lite detector model is not in"):
        models.fetch("lite")


def test_the_full_model_is_put_together_when_its_host_cannot_be_reached(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = pytest.importorskip("mediapipe.tasks.metadata.schema_py_generated")
    metadata = pytest.importorskip("mediapipe.tasks.metadata.metadata_schema_py_generated")
    monkeypatch.setattr(models, "URL", GONE)
    path = models.fetch("full")
    data = path.read_bytes()
    assert FileDigest(len(data), hashlib.sha256(data).hexdigest()) == models.ASSEMBLED["full"]
    assert [file.origin for file in models.available()] == [None, "assembled", None]

    def normalization(network: bytes) -> tuple[float, float]:
        """Mean and std, as read by the package's own reader."""
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(network, 0))
        assert [len(model.subgraphs[0].inputs), model.version] == [1, 3]
        (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
        root = metadata.ModelMetadata.GetRootAs(bytes(model.buffers[entry.buffer].data), 0)
        (image,) = metadata.ModelMetadataT.InitFromObj(root).subgraphMetadata[0].inputTensorMetadata
        (unit,) = image.processUnits
        return unit.options.mean[0], unit.options.std[0]

    with zipfile.ZipFile(path) as bundle:
        assert [member.compress_type for member in bundle.infolist()] == [zipfile.ZIP_STORED] * 2
        assert normalization(bundle.read("pose_detector.tflite")) == (127.5, 127.5)
        assert normalization(bundle.read("pose_landmarks_detector.tflite")) == (0.0, 255.0)


def test_a_wheel_with_other_networks_is_refused(
    cache: Path, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.content, host.length = b"a captive portal", 16
    wheel = tmp_path / "other.whl"
    monkeypatch.setattr(models, "_wheel", lambda folder: wheel)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mediapipe/__init__.py", "")
    with pytest.raises(
        SourceUnavailable, match=r"gave 16 bytes .*; other.whl does not hold the networks expected"
    ):
        models.fetch("full")


def test_threads_that_want_the_same_model_fetch_it_once(cache: Path, host: Host) -> None:
    threads = [threading.Thread(target=models.fetch, args=("lite",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert host.asked == 1


def test_an_unknown_variant_and_a_cache_that_cannot_be_written_are_for_a_person_to_mend(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="expected one of lite, full, heavy, got 'huge'"):
        models.fetch("huge")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POSELIFT_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"cannot be written .* set POSELIFT_CACHE to another folder"):
        models.fetch("lite")
