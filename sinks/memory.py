"""Memory sink: keeps messages in a list, for tests and for programs that run the pipeline themselves."""

from collections import deque

import msgspec

from stream.errors import ConfigError
from stream.messages import Message
from stream.protocols import ComponentContext


class Memory:
    """Keeps the latest messages in `messages`, oldest first."""

    endpoint = ""
    close_timeout_s = 0.0

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """keep: maximum number of messages; the oldest are dropped first."""

        keep: int = 10_000

        def __post_init__(self) -> None:
            if self.keep < 1:
                raise ConfigError(f"memory keep: expected a number from 1, got {self.keep}")

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self.messages: deque[Message] = deque(maxlen=settings.keep)

    def open(self) -> None:
        """Do nothing: `messages` is always ready."""

    def close(self) -> None:
        """Do nothing: the messages stay readable."""

    def send(self, message: Message) -> None:
        """Append a message."""
        self.messages.append(message)
