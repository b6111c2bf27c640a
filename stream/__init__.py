"""poselift: live 3D human poses from any camera.

from stream import subscribe
for poses in subscribe("tcp://127.0.0.1:5555"):
    print(poses.header.source, [person.id for person in poses.persons])
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.client import subscribe as subscribe

__all__ = ["subscribe"]


def __getattr__(name: str) -> object:
    # Imported on first use: importing another module of `stream` needs no pyzmq.
    if name == "subscribe":
        from stream.client import subscribe

        return subscribe
    raise AttributeError(f"module 'stream' has no attribute {name!r}")
