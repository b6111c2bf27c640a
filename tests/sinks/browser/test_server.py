"""The viewer's server under attack: wrong origins, missing tokens, floods, silence, large messages."""

import base64
import json
import logging
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from sinks.browser import Browser, server
from sinks.browser.access import AccessRules, bearer_token, subprotocol_token
from stream.errors import ConfigError, SinkUnavailable
from stream.health import Health
from stream.messages import PoseFrame
from stream.protocols import ComponentContext, opened
from stream.wire.codec import decode
from tests.sinks.browser.chromium import wait_until
from tests.sinks.browser.walkers import Sender, frame, meta

TOKEN = "tea-time-at-five"
ENCODED = base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")
TIMEOUT_S = 30.0  # for answers that take milliseconds on a quiet machine
PROTOCOLS = ["poselift.v1", f"token.{ENCODED}"]


def port_of(sink: Browser) -> int:
    return int(sink.endpoint.rsplit(":", 1)[1].strip("/"))


def address(sink: Browser) -> str:
    return f"ws://127.0.0.1:{port_of(sink)}/socket"


def page_socket(sink: Browser, protocols: tuple[str, ...] = ("poselift.v1",), **options):
    """A socket as the page opens it."""
    origin = options.pop("origin", f"http://127.0.0.1:{port_of(sink)}")
    return connect(address(sink), origin=origin, subprotocols=list(protocols), compression=None, **options)


def get(sink: Browser, path: str = "", **headers: str) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers of an HTTP request."""
    request = urllib.request.Request(sink.endpoint + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


def refused_status(open_socket: Callable[[], object]) -> int:
    with pytest.raises(InvalidStatus) as error, ExitStack() as stack:
        stack.enter_context(open_socket())  # type: ignore[arg-type]
    return error.value.response.status_code


def file_in(message: bytes) -> tuple[dict[str, object], bytes]:
    """The document and the file of a binary message."""
    document, _, body = message.partition(b"\n")
    return json.loads(document), body


def poses(client, count: int) -> list[PoseFrame]:
    found: list[PoseFrame] = []
    while len(found) < count:
        text = client.recv(timeout=TIMEOUT_S)
        if '"schema":"pose3d"' in text[:60]:
            message = decode(text.encode())
            assert isinstance(message, PoseFrame)
            found.append(message)
    return found


@pytest.fixture
def guarded():
    """A viewer with a token."""
    sink = Browser(Browser.Settings(port=0, token=TOKEN), ComponentContext("view"))
    with opened(sink):
        yield sink


def test_pages_get_the_documents_of_the_wire(viewer: Browser):
    viewer.send(meta())
    with page_socket(viewer) as client:
        hello = json.loads(client.recv(timeout=TIMEOUT_S))
        assert (hello["schema"], hello["formats"]) == ("viewer", ["npz", "bvh", "glb", "mcap"])
        assert decode(client.recv(timeout=TIMEOUT_S).encode()) == meta()
        sent = frame(1.0)
        viewer.send(sent)
        (received,) = poses(client, 1)
    assert received.persons[1].xyz.tolist() == sent.persons[1].xyz.tolist()
    assert received.header.captured_unix_ns == sent.header.captured_unix_ns


def test_the_page_may_load_nothing_from_elsewhere_and_no_other_page_may_embed_it(viewer: Browser):
    code, text, headers = get(viewer)
    assert code == 200
    assert "<title>poselift</title>" in text
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        **dict.fromkeys(("script-src", "style-src", "img-src", "connect-src"), "'self'"),
        **dict.fromkeys(("base-uri", "form-action", "frame-ancestors"), "'none'"),
    }
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "http://" not in text.replace("http://www.w3.org", "")


def test_the_files_of_the_page_name_no_other_host():
    for file in (Path(server.__file__).parent / "page").iterdir():
        hosts = set(re.findall(r"(?:https?|wss?)://[^\s\"']+", file.read_text()))
        assert hosts <= {"http://www.w3.org/2000/svg"}, file.name


@pytest.mark.parametrize("path", ["server.py", "../server.py", "%2e%2e/server.py", "page/main.js", "nothing"])
def test_only_files_of_the_page_are_served(viewer: Browser, path: str):
    assert get(viewer, path)[0] == 404


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", None, "http://127.0.0.1:1", "https://127.0.0.1.evil.example"]
)
def test_a_socket_of_another_page_is_refused(viewer: Browser, origin: str | None):
    assert refused_status(lambda: page_socket(viewer, origin=origin)) == 403


def test_a_request_under_a_foreign_host_name_is_refused(viewer: Browser):
    assert get(viewer, Host="evil.example")[0] == 421
    assert get(viewer, "access", Host=f"evil.example:{port_of(viewer)}")[0] == 421
    assert get(viewer, Host=f"localhost:{port_of(viewer)}")[0] == 200
    assert get(viewer, Host="192.168.1.20")[0] == 200


def test_further_host_names_can_be_set():
    rules = AccessRules(None, ("Viewer.lan",))
    assert rules.allows_host("viewer.lan:8765")
    assert rules.allows_host("[::1]:8765")
    assert not rules.allows_host("other.lan")
    assert not rules.allows_host("")


def test_without_the_token_there_are_no_poses(guarded: Browser, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    assert get(guarded)[0] == 200  # the page itself, which asks for the token
    assert get(guarded, "access")[0] == 401
    assert get(guarded, "access", Authorization="Bearer d3Jvbmc")[0] == 401
    assert refused_status(lambda: page_socket(guarded)) == 401
    assert refused_status(lambda: page_socket(guarded, ("poselift.v1", "token.d3Jvbmc"))) == 401
    assert get(guarded, "access", Authorization=f"Bearer {ENCODED}")[0] == 200
    with page_socket(guarded, tuple(PROTOCOLS)) as client:
        assert client.subprotocol == "poselift.v1"
        assert json.loads(client.recv(timeout=TIMEOUT_S))["schema"] == "viewer"
    assert TOKEN not in guarded.endpoint
    logged = " ".join(record.getMessage() for record in caplog.records if record.name != "websockets.client")
    assert TOKEN not in logged
    assert ENCODED not in logged


def test_malformed_tokens_count_as_missing():
    assert bearer_token("Basic abc") is None
    assert bearer_token("Bearer \xff") is None
    assert subprotocol_token("poselift.v1, other") is None
    assert subprotocol_token(f"poselift.v1, token.{ENCODED}") == TOKEN


def test_other_machines_can_reach_the_viewer_only_with_a_token(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match=r"token: \$\{POSELIFT_VIEW_TOKEN\}"):
        Browser.Settings(host="0.0.0.0")
    settings = Browser.Settings(host="0.0.0.0", port=0, token="${VIEW_TEST_TOKEN}")
    with pytest.raises(ConfigError, match="VIEW_TEST_TOKEN is not set"):
        Browser(settings, ComponentContext("view"))
    monkeypatch.setenv("VIEW_TEST_TOKEN", "short")
    with pytest.raises(ConfigError, match="at least 8 characters, got 5"):
        Browser(settings, ComponentContext("view"))
    monkeypatch.setenv("VIEW_TEST_TOKEN", TOKEN)
    with (
        opened(Browser(settings, ComponentContext("view"))) as sink,
        page_socket(sink, tuple(PROTOCOLS)) as client,
    ):
        assert json.loads(client.recv(timeout=TIMEOUT_S))["schema"] == "viewer"


@pytest.mark.parametrize(
    "settings", [{"port": -1}, {"max_clients": 0}, {"max_recording_s": 0.0}, {"max_recording_s": 1e6}]
)
def test_settings_that_cannot_work_are_refused(settings: dict):
    with pytest.raises(ConfigError, match=r"browser .*: expected"):
        Browser.Settings(**settings)


def test_without_websockets_the_package_to_install_is_named():
    program = "import sys; sys.modules['websockets'] = None; import sinks.browser"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "ConfigError: The viewer needs a package: pip install 'poselift[view]'" in run.stderr


def test_a_taken_port_is_reported_as_unavailable(viewer: Browser):
    second = Browser(Browser.Settings(port=port_of(viewer)), ComponentContext("second"))
    with pytest.raises(SinkUnavailable, match="cannot be bound"):
        second.open()
    second.close()


def test_a_closed_sink_sends_nothing_and_opens_again(viewer: Browser):
    sink = Browser(Browser.Settings(port=0), ComponentContext("view"))
    with pytest.raises(SinkUnavailable, match="not open"):
        sink.send(meta())
    for _ in range(2):
        with opened(sink):
            assert get(sink)[0] == 200
        sink.close()


def test_browsers_beyond_the_limit_are_refused_with_the_reason():
    with opened(Browser(Browser.Settings(port=0, max_clients=2), ComponentContext("view"))) as sink:
        with page_socket(sink), page_socket(sink):
            assert get(sink, "access")[:2] == (
                503,
                "Already 2 browsers are connected, which is the limit (max_clients).\n",
            )
            assert refused_status(lambda: page_socket(sink)) == 503
        wait_until(lambda: get(sink, "access")[0] == 200, TIMEOUT_S)
        with page_socket(sink) as client:
            assert json.loads(client.recv(timeout=TIMEOUT_S))["schema"] == "viewer"


def test_10_000_connections_in_turn_leave_nothing_open(viewer: Browser):
    get(viewer)
    before = len(os.listdir("/proc/self/fd"))
    request = f"GET /access HTTP/1.1\r\nHost: localhost:{port_of(viewer)}\r\n\r\n".encode()
    for number in range(10_000):
        if number % 200 == 0:
            with page_socket(viewer):
                pass
        with socket.create_connection(("127.0.0.1", port_of(viewer)), TIMEOUT_S) as connection:
            if (
                number % 10 == 0
            ):  # the server keeps up with the others, so that none waits for a second attempt
                connection.sendall(request)
                assert connection.recv(1024).startswith(b"HTTP/1.1 200")
            elif number % 10 == 1:
                connection.sendall(b"\x16\x03\x01 neither HTTP nor a socket\r\n\r\n")
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before + 3, TIMEOUT_S, "connections are closed")
    with page_socket(viewer) as client:
        viewer.send(frame(0.0))
        assert len(poses(client, 1)) == 1


def test_silent_connections_keep_no_browser_out_and_are_closed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "HANDSHAKE_TIMEOUT_S", 1.0)
    with opened(Browser(Browser.Settings(port=0), ComponentContext("view"))) as sink, ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port_of(sink)))) for _ in range(120)
        ]
        assert get(sink)[0] == 200
        with page_socket(sink) as client:
            assert json.loads(client.recv(timeout=TIMEOUT_S))["schema"] == "viewer"
        for connection in silent:
            connection.settimeout(TIMEOUT_S)
            with suppress(ConnectionResetError):
                while connection.recv(1024):
                    pass


def test_a_browser_that_never_reads_delays_no_other_and_is_disconnected(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "PING_S", 2.0)
    health = Health()
    sink = Browser(Browser.Settings(port=0), ComponentContext("view", health=health))
    with opened(sink), Sender(sink, persons=20) as sender:
        mute = socket.socket()
        mute.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        mute.connect(("127.0.0.1", port_of(sink)))
        mute.sendall(
            f"GET /socket HTTP/1.1\r\nHost: 127.0.0.1:{port_of(sink)}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n"
            f"Sec-WebSocket-Version: 13\r\nOrigin: http://127.0.0.1:{port_of(sink)}\r\n\r\n".encode()
        )
        with page_socket(sink, max_size=None) as client:
            seqs = [message.header.seq for message in poses(client, 60)]
            assert seqs == sorted(set(seqs))
            wait_until(
                lambda: poses(client, 1)[0].header.seq >= len(sender.sent) - 5,
                TIMEOUT_S,
                "the fast browser is up to date",
            )
        mute.settimeout(TIMEOUT_S)
        with suppress(ConnectionResetError):
            while mute.recv(1 << 20):
                pass  # what was buffered before the server hung up
        mute.close()


def test_a_slow_browser_misses_the_oldest_poses_and_keeps_the_newest(viewer: Browser):
    with page_socket(viewer, max_size=None) as client:
        client.recv(timeout=TIMEOUT_S)
        crowd = frame(0.0, persons=20)
        for seq in range(400):
            viewer.send(replace(crowd, header=replace(crowd.header, seq=seq)))
        last = None
        while last is None or last.header.seq < 399:
            (last,) = poses(client, 1)
    assert last.header.seq == 399


@pytest.mark.parametrize("fragments", [1, 100])
def test_a_message_of_100_mb_ends_its_connection_alone(viewer: Browser, fragments: int):
    part = "x" * (100_000_000 // fragments)
    with page_socket(viewer) as other, page_socket(viewer) as attacker:
        with suppress(ConnectionClosed):
            attacker.send(part for _ in range(fragments))
            while True:
                attacker.recv(timeout=TIMEOUT_S)
        assert attacker.close_code in (1006, 1009)
        viewer.send(frame(0.0))
        assert len(poses(other, 1)) == 1


@pytest.mark.parametrize(
    "request_",
    [
        "{",
        "[]",
        '{"type": "unknown"}',
        '{"type": "export", "format": "exe", "from_ms": 0, "to_ms": 1}',
        b"\xff",
    ],
)
def test_invalid_requests_are_ignored(viewer: Browser, request_: str | bytes):
    with page_socket(viewer) as client:
        client.send(request_)
        client.send('{"type": "ping", "sent": 5}')
        answers = [json.loads(client.recv(timeout=TIMEOUT_S)) for _ in range(2)]
    assert (answers[1]["schema"], answers[1]["sent"]) == ("pong", 5)


def test_an_export_without_poses_is_answered_with_the_reason(viewer: Browser):
    with page_socket(viewer) as client:
        client.recv(timeout=TIMEOUT_S)
        client.send('{"type": "export", "format": "npz", "from_ms": 0, "to_ms": 1}')
        answer = json.loads(client.recv(timeout=TIMEOUT_S))
    assert answer == {"schema": "file", "format": "npz", "error": "no poses in this time"}


def test_a_page_gets_one_file_at_a_time(viewer: Browser):
    for n in range(60):
        viewer.send(frame(n / 30, persons=4))
    with page_socket(viewer, max_size=None) as client:
        client.recv(timeout=TIMEOUT_S)
        for _ in range(2):
            client.send('{"type": "export", "format": "glb", "from_ms": 0, "to_ms": 1e13}')
        refused = json.loads(client.recv(timeout=TIMEOUT_S))
        document, data = file_in(client.recv(timeout=TIMEOUT_S))
    assert refused == {"schema": "file", "format": "glb", "error": "another file is being made"}
    assert document == {"schema": "file", "format": "glb", "suffix": ".zip", "bytes": len(data)}


def test_a_plain_request_with_garbage_is_refused(viewer: Browser):
    with socket.create_connection(("127.0.0.1", port_of(viewer)), timeout=TIMEOUT_S) as raw:
        raw.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + b"\x00" * 100)
        try:
            answer = raw.recv(1024)
        except ConnectionResetError:
            answer = b""
    assert b"200 OK" not in answer
