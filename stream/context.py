"""What every source and sink is told about the place it runs in."""

from dataclasses import dataclass, field

from stream.clock import Clock, SystemClock
from stream.health import Health


@dataclass(frozen=True, slots=True)
class Context:
    """name: of this component ("cam0"); node: of the daemon; session: one id per run."""

    name: str
    node: str = "poselift"
    session: str = ""
    clock: Clock = field(default_factory=SystemClock)
    health: Health = field(default_factory=Health)
