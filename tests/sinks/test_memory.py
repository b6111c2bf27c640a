import pytest

from sinks.memory import Memory
from stream.errors import ConfigError
from stream.protocols import ComponentContext, opened
from tests.examples import pose_frame


def test_the_latest_messages_are_kept_after_closing():
    frames = [pose_frame(seq) for seq in range(3)]
    with opened(Memory(Memory.Settings(keep=2), ComponentContext("memory"))) as memory:
        for frame in frames:
            memory.send(frame)
    assert list(memory.messages) == frames[1:]


def test_a_capacity_of_0_is_refused():
    with pytest.raises(ConfigError, match=r"memory keep: expected a number from 1, got 0"):
        Memory.Settings(keep=0)
