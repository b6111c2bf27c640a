"""Detector models put together from the networks that a wheel of mediapipe carries.

A `.task` file is a zip, stored without compression, of two TensorFlow Lite networks. The landmark
network in the wheel lacks the metadata that says how its input is normalised; it is written here.
Every byte is determined by the two networks, so that the result has a known SHA-256.
"""

import io
import struct
import zipfile

# Slots in the tables of the TensorFlow Lite schema.
_MODEL_BUFFERS, _MODEL_METADATA = 4, 6
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA = 0
_NORMALIZATION_OPTIONS = 1  # in the union ProcessUnitOptions of its metadata schema


def task(detector: bytes, landmarks: bytes) -> bytes:
    """The `.task` file of a pose detector network and a landmark network."""
    file = io.BytesIO()
    networks = {"pose_detector.tflite": detector, "pose_landmarks_detector.tflite": landmarks}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as bundle:
        for name, network in networks.items():
            member = zipfile.ZipInfo(name)  # dated 1980: the bytes must not depend on today,
            member.create_system = 3  # nor on the operating system
            bundle.writestr(member, network)
    return file.getvalue()


def normalised(network: bytes, mean: float, std: float) -> bytes:
    """`network` with metadata saying that it takes (value - mean) / std of pixel values 0..255.

    Everything stays where it is: a name and the metadata are added at the end, and the first metadata
    entry (the least runtime version, which no runtime reads) is pointed at them.
    """
    file = bytearray(network)
    model = _follow(file, 0)
    entry = _follow(file, _element(_follow(file, _slot(file, model, _MODEL_METADATA)), 0))
    (number,) = struct.unpack_from("<I", file, _slot(file, entry, _METADATA_BUFFER))
    buffer = _follow(file, _element(_follow(file, _slot(file, model, _MODEL_BUFFERS)), number))
    _point(file, _slot(file, entry, _METADATA_NAME), b"TFLITE_METADATA")
    _point(file, _slot(file, buffer, _BUFFER_DATA), _normalization(mean, std))
    return bytes(file)


# Reading a flatbuffer: an offset counts from the place it stands at.


def _follow(file: bytearray, at: int) -> int:
    (offset,) = struct.unpack_from("<I", file, at)
    return at + int(offset)


def _element(vector: int, number: int) -> int:
    return vector + 4 + 4 * number


def _slot(file: bytearray, table: int, slot: int) -> int:
    (to_layout,) = struct.unpack_from("<i", file, table)
    (offset,) = struct.unpack_from("<H", file, table - to_layout + 4 + 2 * slot)
    return table + int(offset)


def _point(file: bytearray, slot: int, content: bytes) -> None:
    """Let `slot` point at `content`, added at the end of the file as a string or vector of bytes."""
    file += bytes((12 - len(file)) % 16)  # behind its length, content starts at a multiple of 16
    struct.pack_into("<I", file, slot, len(file) - slot)
    file += struct.pack("<I", len(content)) + content + b"\0"


# Writing one: what a table or vector points at follows it, so that the bytes fit in anywhere.


def _normalization(mean: float, std: float) -> bytes:
    """Metadata of a model with one input, an image."""
    options = _table(struct.pack("<If", 1, mean), struct.pack("<If", 1, std))
    image = _table(None, None, None, None, _vector(_table(_NORMALIZATION_OPTIONS, options)))
    model = _table(None, None, None, _vector(_table(None, None, _vector(image))))
    return struct.pack("<I4s", 8, b"M001") + model


def _table(*slots: int | bytes | None) -> bytes:
    """A table of numbers and children, its layout, its children."""
    size = 4 + 4 * len(slots)
    offsets = [0 if slot is None else 4 + 4 * index for index, slot in enumerate(slots)]
    layout = struct.pack(f"<{2 + len(slots)}H", 4 + 2 * len(slots), size, *offsets)
    layout += bytes(-len(layout) % 4)
    table, children = struct.pack("<i", -size), b""
    for slot in slots:
        if isinstance(slot, bytes):
            table += struct.pack("<I", size + len(layout) + len(children) - len(table))
            children += slot
        else:
            table += struct.pack("<I", slot or 0)
    return table + layout + children


def _vector(child: bytes) -> bytes:
    """A vector of one child."""
    return struct.pack("<II", 1, 4) + child
