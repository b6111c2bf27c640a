"""Keypoints of other programs over MQTT."""

import asyncio
import contextlib
import threading
from collections.abc import Callable

import msgspec

from sources.keypoint_receiver import Receiver
from stream import security as broker
from stream.errors import ConfigError, PoseliftError, SourceLost, SourceUnavailable
from stream.messages import KeypointFrame
from stream.protocols import ComponentContext
from stream.queues import DropOldestQueue

_WAITING = 64  # messages between the broker and the reader; more are dropped, oldest first
_ANSWER_S = 5.0  # how long the broker may take for each answer


class MQTT:
    """Subscribes to `keypoints2d` messages at a broker, MessagePack or JSON.

    One source may bring many cameras: every message keeps its own source name. Retained messages
    are ignored: nobody knows how old they are.
    """

    live = True

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """host, port: of the broker; topic: may hold the wildcards + and #.

        username: null for a broker that asks for none; password_env: the environment variable its
        password is in. tls: encrypt and check the broker's certificate, with ca_file when its
        authority is not one the system knows. timeout_s: seconds of silence after which the source
        counts as lost.
        """

        host: str = "127.0.0.1"
        port: int = 1883
        topic: str = "poselift/+/keypoints2d"
        username: str | None = None
        password_env: str = "POSELIFT_MQTT_PASSWORD"
        tls: bool = False
        ca_file: str | None = None
        timeout_s: float = 5.0

        def __post_init__(self) -> None:
            if not 0 < self.port < 65536:
                raise ConfigError(f"mqtt port: expected 1 to 65535, got {self.port}")
            if not self.topic:
                raise ConfigError("mqtt topic: expected for example poselift/+/keypoints2d, got nothing")
            if self.timeout_s <= 0:
                raise ConfigError(f"mqtt timeout_s: expected a number above 0, got {self.timeout_s}")

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self._settings = settings
        self._context = context
        self._where = f"mqtt://{settings.host}:{settings.port}"
        self._password = broker.password(settings.username, settings.password_env)
        self._tls = broker.tls_context(settings.tls, settings.ca_file)
        self._receiver = Receiver(context, settings.timeout_s)
        self._frames: DropOldestQueue[KeypointFrame] = DropOldestQueue(_WAITING, on_drop=self._dropped)
        self._thread: threading.Thread | None = None
        self._cancel: Callable[[], object] = lambda: None
        self._settled = threading.Event()  # subscribed, or failed
        self._error: PoseliftError | None = None

    def open(self) -> None:
        settings = self._settings
        if settings.username and not settings.tls:
            broker.warn_of_clear_password(self._context.name, self._where, settings.host)
        self._receiver.start()
        self._thread = threading.Thread(target=self._run, name=f"mqtt:{self._context.name}", daemon=True)
        self._thread.start()
        self._settled.wait()
        if self._error is not None:
            self.close()
            raise self._error

    def close(self) -> None:
        if self._thread is not None:
            with contextlib.suppress(RuntimeError):  # its loop has just ended by itself
                self._cancel()
            self._thread.join(2 * _ANSWER_S)
            self._thread = None

    def read(self, timeout_s: float) -> KeypointFrame | None:
        """The next message's keypoints."""
        frame = self._frames.get(timeout_s)
        if frame is not None:
            return frame
        if self._frames.drained:
            raise SourceLost(str(self._error or f"{self._where} is closed"))
        if silence := self._receiver.silence():
            raise SourceLost(f"{self._where}, topic {self._settings.topic}: {silence}")
        return None

    def _dropped(self) -> None:
        self._context.health.increment(self._context.name, "drop.reader_behind")

    def _run(self) -> None:
        import aiomqtt

        try:
            # The only kind of loop that works on every system.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._listen())
        except asyncio.CancelledError:
            pass
        except aiomqtt.MqttError as error:
            why = broker.with_hint(error, self._settings.password_env)
            self._error = SourceUnavailable(f"{self._where}: {why}")
        except ValueError as error:  # the topic
            self._error = ConfigError(f"{self._context.name}.topic {self._settings.topic!r}: {error}")
        finally:
            self._frames.close()
            self._settled.set()

    async def _listen(self) -> None:
        import aiomqtt

        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        settings, dropped = self._settings, self._dropped

        class Newest(asyncio.Queue[aiomqtt.Message]):
            """Under a flood the oldest message goes; aiomqtt would drop the newest, uncounted."""

            def put_nowait(self, item: aiomqtt.Message) -> None:
                if self.full():
                    self.get_nowait()
                    dropped()
                super().put_nowait(item)

        async with aiomqtt.Client(
            settings.host,
            settings.port,
            username=settings.username,
            password=self._password,
            tls_context=self._tls,
            timeout=_ANSWER_S,
            queue_type=Newest,
            max_queued_incoming_messages=_WAITING,
        ) as client:
            await client.subscribe(settings.topic)
            self._settled.set()
            async for message in client.messages:
                if message.retain:
                    self._context.health.increment(self._context.name, "drop.retained")
                elif frame := self._receiver.frame(message.payload):
                    self._frames.put(frame)
