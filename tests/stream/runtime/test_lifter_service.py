"""One lifter for several pipelines: real sockets, a service that comes and goes, strangers and their junk."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq

import lifter
from lifter.spec import LifterSpec
from lifter.weights import build, save
from stream.config.lifter import LifterSettings
from stream.config.load import resolve
from stream.errors import ConfigError, LifterUnavailable
from stream.health import Health
from stream.messages import JointOrigin, PoseFrame, Window
from stream.protocols import ComponentContext, opened
from stream.runtime import lifter_protocol as protocol
from stream.runtime.lifter_client import RemoteLifter
from stream.runtime.lifter_service import LifterService, ServiceSettings
from stream.runtime.pipeline import Pipeline, load_lifter
from stream.security import make_keys

WAIT_S = 60.0
PATIENT_MS = 20_000.0  # a busy machine must not turn an answer into a timeout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(weights: Path, port: int = 0, **settings) -> Iterator[LifterService]:
    """A service of these weights in a thread."""
    context = ComponentContext("lifter-service", health=Health())
    runner = lifter.load(weights, device="cpu", threads=1)
    service = LifterService(runner, ServiceSettings(port=port, **settings), context, "test")
    service.health = context.health
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            service.serve(0.05)

    with opened(service):
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield service
        finally:
            stop.set()
            thread.join()


def settings(weights: Path, endpoint: str, **others) -> LifterSettings:
    defaults = {"weights": str(weights), "device": "cpu", "threads": 1, "timeout_ms": PATIENT_MS}
    return LifterSettings(**(defaults | {"endpoint": endpoint} | others))


def windows(count: int, seed: int = 0, frames: int = 27) -> list[Window]:
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(0, 640, (count, frames, 17, 3)).astype(np.float32)
    keypoints[..., 2] = 0.9
    origin = np.full(frames, JointOrigin.OBSERVED, np.uint8)
    times = np.arange(frames, dtype=np.int64) * 20_000_000
    return [Window(window, origin, times, (640, 480)) for window in keypoints]


def wait_until(condition: Callable[[], object]) -> None:
    until_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until_s, "the condition was not met in time"
        time.sleep(0.01)


def lift_when_possible(remote: RemoteLifter, batch: list[Window]) -> np.ndarray:
    """Poses of a service that may be away for some time."""
    until_s = time.monotonic() + WAIT_S
    while True:
        try:
            return remote.lift(batch)
        except LifterUnavailable:
            assert time.monotonic() < until_s, "the service did not come back"
            time.sleep(0.01)


# Poses


@pytest.mark.parametrize("last", [None, 1, 9])
def test_the_service_gives_the_bits_of_a_local_lifter_for_the_same_batch(tiny_weights, last):
    local = lifter.load(tiny_weights, device="cpu", threads=1)
    with serving(tiny_weights) as service:
        remote = load_lifter(settings(tiny_weights, service.endpoint))
        remote.warm_up()
        for count in (1, 3, 32):
            poses = remote.lift(windows(count), last)
            np.testing.assert_array_equal(poses, local.lift(windows(count), last))
            assert poses.dtype == np.float32
            assert poses.flags.writeable


def test_more_windows_than_one_request_holds_are_lifted_in_several(tiny_weights):
    local = lifter.load(tiny_weights, device="cpu", threads=1)
    with serving(tiny_weights) as service:
        remote = load_lifter(settings(tiny_weights, service.endpoint))
        remote.warm_up()
        np.testing.assert_allclose(remote.lift(windows(70)), local.lift(windows(70)), atol=1e-5)


def pipeline_config(weights: Path, endpoint: str, seed: int = 0, **others):
    walk = {"type": "synthetic", "pace": "full", "frames": 60, "persons": 2, "seed": seed}
    section = {"weights": str(weights), "device": "cpu", "threads": 1, "timeout_ms": PATIENT_MS, **others}
    if endpoint:
        section["endpoint"] = endpoint
    return resolve({"sources": {"walk": walk}, "lifter": section, "sinks": {"out": {"type": "memory"}}})


def poses_of(pipeline: Pipeline) -> list[np.ndarray]:
    sent = pipeline.sink_threads["out"].sink.messages
    return [person.xyz for message in sent if isinstance(message, PoseFrame) for person in message.persons]


def run(pipeline: Pipeline) -> None:
    with pipeline:
        assert pipeline.wait(WAIT_S)
    assert pipeline.error is None


def test_two_pipelines_share_a_service_and_publish_what_a_local_lifter_gives(tiny_weights):
    with serving(tiny_weights) as service:
        shared = [Pipeline(pipeline_config(tiny_weights, service.endpoint, seed)) for seed in (0, 1)]
        threads = [threading.Thread(target=run, args=[pipeline]) for pipeline in shared]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert service.health.counter("lifter-service", "windows") > 0
    for seed, pipeline in enumerate(shared):
        local = Pipeline(pipeline_config(tiny_weights, "", seed))
        run(local)
        assert len(poses_of(pipeline)) == len(poses_of(local)) == 120
        for shared_pose, local_pose in zip(poses_of(pipeline), poses_of(local), strict=True):
            np.testing.assert_allclose(shared_pose, local_pose, atol=1e-5)
        assert pipeline.health.counter("lifter-service", "windows") > 0
        assert pipeline.health.report()["states"]["lifter-service"]["state"] == "ok"


class GatedRunner:
    """A lifter that waits for permission before every batch; keeps the sizes of its batches."""

    def __init__(self, weights: Path) -> None:
        self._runner = lifter.load(weights, device="cpu", threads=1)
        self.spec = self._runner.spec
        self.entered, self.go_on, self.batches = threading.Event(), threading.Event(), list[int]()

    def lift(self, batch, last=None):
        self.batches.append(len(batch))
        self.entered.set()
        assert self.go_on.wait(WAIT_S)
        return self._runner.lift(batch, last)


def test_requests_that_arrive_during_a_batch_are_lifted_in_one_batch(tiny_weights):
    runner = GatedRunner(tiny_weights)
    service = LifterService(runner, ServiceSettings(port=0), ComponentContext("s", health=Health()))
    stop = threading.Event()
    local = lifter.load(tiny_weights, device="cpu", threads=1)
    results: dict[int, np.ndarray] = {}

    def serve() -> None:
        while not stop.is_set():
            service.serve(0.05)

    def ask(seed: int) -> None:
        remotes[seed].warm_up()
        ready.wait()
        results[seed] = remotes[seed].lift(windows(2, seed), 1 + seed)

    with opened(service):
        server = threading.Thread(target=serve)
        server.start()
        remotes = [load_lifter(settings(tiny_weights, service.endpoint)) for _ in range(4)]
        ready = threading.Barrier(4)
        clients = [threading.Thread(target=ask, args=[seed]) for seed in range(4)]
        for client in clients:
            client.start()
        assert runner.entered.wait(WAIT_S)
        time.sleep(0.5)  # the other three requests arrive
        runner.go_on.set()
        for client in clients:
            client.join()
        stop.set()
        server.join()
    assert sum(runner.batches) == 8
    assert len(runner.batches) < 4
    for seed, poses in results.items():
        assert poses.shape == (2, 1 + seed, 17, 3)
        np.testing.assert_allclose(poses, local.lift(windows(2, seed), 1 + seed), atol=1e-5)


def test_the_command_serves_the_weights_of_a_config_until_it_is_stopped(tiny_weights, tmp_path):
    config = tmp_path / "many.yaml"
    sources, sinks = "walk: {type: synthetic}", "out: {type: memory}"
    config.write_text(f"sources: {{{sources}}}\nlifter: {{weights: {tiny_weights}}}\nsinks: {{{sinks}}}\n")
    command = [sys.executable, "-m", "stream.cli", "serve-lifter", str(config), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        remote = load_lifter(settings(tiny_weights, first.split()[-1]))
        assert lift_when_possible(remote, windows(3)).shape == (3, 27, 17, 3)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
    assert first.startswith("tiny (weights ")
    assert process.returncode == 0
    assert "stopped. 3 windows in 1 batches" in output


# The service is away


def test_without_a_service_lifting_is_postponed_and_goes_on_when_it_comes(tiny_weights):
    port, context = free_port(), ComponentContext("lift", health=Health())
    remote = load_lifter(settings(tiny_weights, f"tcp://127.0.0.1:{port}"))
    remote.count_in(context)
    with pytest.raises(LifterUnavailable, match=f"127.0.0.1:{port}: it is away"):
        remote.lift(windows(1))
    assert context.health.counter("lifter-service", "postponed") == 1
    with serving(tiny_weights, port):
        first = lift_when_possible(remote, windows(2))
    wait_until(lambda: not lifts(remote))
    assert context.health.report()["states"]["lifter-service"]["state"] == "retrying"
    with serving(tiny_weights, port):
        np.testing.assert_array_equal(lift_when_possible(remote, windows(2)), first)
    assert context.health.counter("lifter-service", "lost") >= 1


def test_with_a_fallback_every_batch_is_lifted_also_without_the_service(tiny_weights):
    port, context = free_port(), ComponentContext("lift", health=Health())
    local = lifter.load(tiny_weights, device="cpu", threads=1)
    remote = load_lifter(
        settings(tiny_weights, f"tcp://127.0.0.1:{port}", fallback="local", timeout_ms=2000.0)
    )
    remote.count_in(context)
    expected = local.lift(windows(2), 5)
    np.testing.assert_array_equal(remote.lift(windows(2), 5), expected)
    assert context.health.counter("lifter-service", "lifted_locally") == 2
    with serving(tiny_weights, port):
        wait_until(
            lambda: (
                np.array_equal(remote.lift(windows(2), 5), expected)
                and context.health.counter("lifter-service", "windows")
            )
        )
    np.testing.assert_array_equal(remote.lift(windows(2), 5), expected)


def test_a_service_that_does_not_answer_costs_one_time_limit_and_then_nothing(tiny_weights):
    runner = GatedRunner(tiny_weights)
    service = LifterService(runner, ServiceSettings(port=0), ComponentContext("s", health=Health()))
    with opened(service):
        remote = load_lifter(settings(tiny_weights, service.endpoint, timeout_ms=200.0))
        greeter = threading.Thread(target=lambda: service.serve(2.0))
        greeter.start()
        remote.warm_up()
        greeter.join()
        with pytest.raises(LifterUnavailable, match="no answer within 200 ms"):
            remote.lift(windows(1))
        for _ in range(100):
            with pytest.raises(LifterUnavailable, match="it is away"):
                remote.lift(windows(1))


def test_a_running_pipeline_publishes_all_frames_after_the_service_returns(tiny_weights):
    port = free_port()
    config = pipeline_config(tiny_weights, f"tcp://127.0.0.1:{port}", timeout_ms=500.0)
    pipeline = Pipeline(config)
    with pipeline:
        wait_until(lambda: pipeline.health.counter("lifter-service", "postponed"))
        assert poses_of(pipeline) == []
        with serving(tiny_weights, port):
            assert pipeline.wait(WAIT_S)
    assert pipeline.error is None
    assert len(poses_of(pipeline)) == 120


def test_a_service_that_is_away_is_logged_once_and_not_for_every_batch(tiny_weights, caplog):
    remote = load_lifter(settings(tiny_weights, f"tcp://127.0.0.1:{free_port()}"))
    remote.warm_up()
    for _ in range(50):
        with pytest.raises(LifterUnavailable):
            remote.lift(windows(1))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert warnings[0].endswith("no answer yet; frames wait for it")


# Another model


def other_weights(folder: Path) -> Path:
    import torch

    torch.manual_seed(1)
    spec = LifterSpec(name="other", frames=27, in_channels=3, config={"width": 8, "depth": 1, "heads": 2})
    path = folder / "other.safetensors"
    save(path, build(spec), spec)
    return path


def test_a_service_of_another_model_is_refused_at_the_start(tiny_weights, tmp_path):
    with serving(other_weights(tmp_path)) as service:
        pipeline = Pipeline(pipeline_config(tiny_weights, service.endpoint))
        expected = r"expected a service of tiny \(.*\), got other \(.*\) at tcp.*; give both the same weights"
        with pytest.raises(ConfigError, match=expected), pipeline:
            pass


def test_a_service_that_returns_with_another_model_lifts_nothing(tiny_weights, tmp_path):
    port = free_port()
    remote = load_lifter(settings(tiny_weights, f"tcp://127.0.0.1:{port}", timeout_ms=2000.0))
    with serving(tiny_weights, port):
        lift_when_possible(remote, windows(1))
    context = ComponentContext("lift", health=Health())
    remote.count_in(context)
    with serving(other_weights(tmp_path), port) as service:
        wait_until(
            lambda: (
                not lifts(remote)
                and "got other" in context.health.report()["states"]["lifter-service"]["detail"]
            )
        )
        assert service.health.counter("lifter-service", "windows") == 0
    with serving(tiny_weights, port):
        lift_when_possible(remote, windows(1))


def lifts(remote: RemoteLifter) -> bool:
    try:
        remote.lift(windows(1))
    except LifterUnavailable:
        return False
    return True


def test_models_that_differ_in_their_pruning_alone_have_different_keys(tiny_weights):
    spec = lifter.load(tiny_weights, device="cpu").spec
    renamed = msgspec.structs.replace(spec, name="renamed", licence="none")
    unpruned = msgspec.structs.replace(spec, schedule=None)
    assert protocol.model_of(renamed).key == protocol.model_of(spec).key
    assert protocol.model_of(unpruned).key != protocol.model_of(spec).key


# Strangers


def request(service: LifterService, **changes) -> bytes:
    fields = {"number": 7, "key": service.model.key, "last": 1, "wait_ms": 1e4, "sizes_wh": [(640, 480)]}
    return protocol.encode(protocol.Lift(**(fields | changes)))


def junk(service: LifterService) -> list[list[bytes]]:
    keypoints = np.stack([window.keypoints for window in windows(1)])
    broken = keypoints.copy()
    broken[0, 3, 4, 0] = np.nan
    return [
        [b""],
        [b"\x00" * 100],
        [b"\xc1"],
        [b"x" * 100_000],
        [protocol.encode(["lift"])],
        [protocol.encode(["welcome", 1, [b"x" * 16, "", "", 1, 1], ""])],
        [request(service), keypoints.tobytes(), b"a third part"],
        [request(service)],
        [request(service), keypoints.tobytes()[:-1]],
        [request(service), broken.tobytes()],
        [request(service, last=28), keypoints.tobytes()],
        [request(service, last=0), keypoints.tobytes()],
        [request(service, wait_ms=-1.0), keypoints.tobytes()],
        [request(service, sizes_wh=[]), b""],
        [request(service, sizes_wh=[(0, 480)]), keypoints.tobytes()],
        [request(service, sizes_wh=[(640, 480)] * 33), keypoints.tobytes()],
        [b"part"] * 40,
    ]


def test_junk_is_counted_and_other_clients_are_served(tiny_weights):
    with serving(tiny_weights) as service, zmq.Context() as context:
        remote = load_lifter(settings(tiny_weights, service.endpoint))
        remote.warm_up()
        before = remote.lift(windows(1))
        messages = junk(service)
        with context.socket(zmq.DEALER) as stranger:
            stranger.set(zmq.LINGER, 0)
            stranger.connect(service.endpoint)
            for parts in messages:
                stranger.send_multipart(parts)
            wait_until(lambda: service.health.counter("lifter-service", "drop.junk") == len(messages))
            stranger.send_multipart([request(service, key=b"x" * 16), b""])
            assert stranger.poll(WAIT_S * 1000)
            answer = protocol.decode_answer(stranger.recv_multipart()[0])
        assert answer == protocol.Refused(7, f"this service has {service.model.text()}")
        np.testing.assert_array_equal(remote.lift(windows(1)), before)


def test_a_message_larger_than_any_request_ends_its_connection_alone(tiny_weights):
    with serving(tiny_weights) as service, zmq.Context() as context:
        remote = load_lifter(settings(tiny_weights, service.endpoint))
        remote.warm_up()
        with context.socket(zmq.DEALER) as stranger:
            stranger.set(zmq.LINGER, 0)
            monitor = stranger.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            stranger.connect(service.endpoint)
            stranger.send(b"x" * (1 << 22))
            assert monitor.poll(WAIT_S * 1000)
            stranger.disable_monitor()
            monitor.close()
        assert remote.lift(windows(1)).shape == (1, 27, 17, 3)


@pytest.mark.parametrize(
    "answer",
    [
        [b"junk"],
        [protocol.encode(protocol.Poses(3)), b"short"],
        [protocol.encode(protocol.Poses(3)), b"", b""],
    ],
)
def test_a_service_whose_answer_cannot_be_read_counts_as_away(tiny_weights, answer):
    with zmq.Context() as context, context.socket(zmq.ROUTER) as service:
        port = service.bind_to_random_port("tcp://127.0.0.1")
        remote = load_lifter(settings(tiny_weights, f"tcp://127.0.0.1:{port}"))
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                if service.poll(50):
                    client, header, *_ = service.recv_multipart()
                    call = protocol.decode_request(header)
                    if isinstance(call, protocol.Hello):
                        model = protocol.model_of(remote.spec)
                        service.send_multipart(
                            [client, protocol.encode(protocol.Welcome(call.number, model, ""))]
                        )
                    else:
                        parts = [part.replace(b"\x03", bytes([call.number])) for part in answer]
                        service.send_multipart([client, *parts])

        thread = threading.Thread(target=serve)
        thread.start()
        remote.warm_up()
        with pytest.raises(LifterUnavailable, match="its answer cannot be read"):
            remote.lift(windows(1))
        stop.set()
        thread.join()


# Who may connect


def test_an_address_other_machines_reach_needs_keys_or_the_word_insecure():
    with pytest.raises(ConfigError, match="curve_secret_file and curve_clients_folder, or insecure: true"):
        ServiceSettings(host="0.0.0.0")
    assert ServiceSettings(host="0.0.0.0", insecure=True).insecure


def test_with_curve_only_listed_nodes_are_served(tiny_weights, tmp_path):
    (tmp_path / "clients").mkdir()
    for name in ("service", "stranger"):
        make_keys(tmp_path / f"{name}.key_secret", tmp_path / f"{name}.key")
    make_keys(tmp_path / "node.key_secret", tmp_path / "clients" / "node.key")
    keys = {
        "curve_secret_file": str(tmp_path / "service.key_secret"),
        "curve_clients_folder": str(tmp_path / "clients"),
    }

    def remote(name: str) -> RemoteLifter:
        files = {
            "curve_secret_file": str(tmp_path / f"{name}.key_secret"),
            "curve_server_file": str(tmp_path / "service.key"),
        }
        return load_lifter(settings(tiny_weights, service.endpoint, **files))

    with serving(tiny_weights, **keys) as service:
        assert lift_when_possible(remote("node"), windows(1)).shape == (1, 27, 17, 3)
        stranger = remote("stranger")
        stranger.warm_up()
        with pytest.raises(LifterUnavailable):
            stranger.lift(windows(1))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"endpoint": "localhost"}, "lifter.endpoint: expected an address like tcp://127.0.0.1:5560"),
        ({"timeout_ms": 0.0}, "lifter.timeout_ms: expected 1 to 60000 ms"),
        ({"curve_secret_file": "a"}, "CURVE needs both curve_secret_file and curve_server_file"),
    ],
)
def test_wrong_settings_are_refused_with_the_remedy(changes, expected):
    with pytest.raises(ConfigError, match=expected):
        LifterSettings(**changes)
