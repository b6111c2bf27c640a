"""Recorded bytes of version 1 of the wire format, one file per kind and format.

Never change a file: programs in the field send and expect exactly these bytes. `tests.examples` has the
messages they were made of.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent / "wire_v1"

MSGPACK = {path.stem: path.read_bytes() for path in sorted(_FOLDER.glob("*.msgpack"))}
JSON = {path.stem: path.read_bytes() for path in sorted(_FOLDER.glob("*.json"))}
