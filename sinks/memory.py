"""Messages kept in a list, for tests and for programs that run the pipeline themselves."""

from collections import deque
from typing import Self

import msgspec

from stream.errors import ConfigError
from stream.messages import Message
from stream.protocols import ComponentContext


class Memory:
    """Keeps the latest messages in `messages`, oldest first."""

    class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Settings of the store in memory.

        keep: Maximum number of messages; the oldest are dropped.
        """

        keep: int = 10_000

        def __post_init__(self) -> None:
            if self.keep < 1:
                raise ConfigError(f"memory keep: expected a number from 1, got {self.keep}")

    def __init__(self, settings: Settings, context: ComponentContext) -> None:
        self.messages: deque[Message] = deque(maxlen=settings.keep)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass  # what was received stays readable

    def send(self, message: Message) -> None:
        self.messages.append(message)
