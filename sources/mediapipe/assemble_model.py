"""Assembles a pose landmarker model (.task) from the networks inside a wheel of mediapipe.

A `.task` file is an uncompressed zip of two TensorFlow Lite networks. The landmark network in the wheel lacks
the metadata that tells MediaPipe how to normalise its input image; this module adds it. The bytes of the
result depend on the two networks alone, so its SHA-256 can be pinned.

Needs flatbuffers and the schemas of model metadata, which come with mediapipe.
"""

import io
import zipfile
from typing import Any

import flatbuffers
from flatbuffers import encode, packer
from flatbuffers.number_types import Uint32Flags
from flatbuffers.table import Table
from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata_schema

# Fields of the TensorFlow Lite schema, as byte offsets into the vtable: 4 + 2 * field number.
_MODEL_BUFFERS, _MODEL_METADATA = 12, 16
_METADATA_NAME, _METADATA_BUFFER = 4, 6
_BUFFER_DATA = 4

_ALIGNMENT = 16  # bytes, of the data of TensorFlow Lite buffers


def build_task(detector: bytes, landmarks: bytes) -> bytes:
    """The `.task` file of a pose detector network and a landmark network."""
    file = io.BytesIO()
    networks = {"pose_detector.tflite": detector, "pose_landmarks_detector.tflite": landmarks}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, network in networks.items():
            member = zipfile.ZipInfo(name)  # with the date 1980-01-01: equal inputs must give equal bytes,
            member.create_system = 3  # also on every operating system
            archive.writestr(member, network)
    return file.getvalue()


def with_normalisation(network: bytes, mean: float, std: float) -> bytes:
    """`network` with metadata that its input is (value - mean) / std of pixel values 0 to 255.

    The weights keep their place and alignment. The metadata is appended, and the network's first metadata
    entry (the minimum runtime version, which MediaPipe does not read) is redirected to it.
    """
    file = bytearray(network)
    model = Table(file, encode.Get(packer.uoffset, file, 0))
    entry = _table_in_vector(model, _MODEL_METADATA, 0)
    buffer_index = entry.Get(Uint32Flags, _field_position(entry, _METADATA_BUFFER))
    buffer = _table_in_vector(model, _MODEL_BUFFERS, buffer_index)
    _append_bytes(file, _field_position(entry, _METADATA_NAME), b"TFLITE_METADATA")
    _append_bytes(file, _field_position(buffer, _BUFFER_DATA), _normalisation_metadata(mean, std))
    return bytes(file)


def _normalisation_metadata(mean: float, std: float) -> bytes:
    """Model metadata of a network with one input, an image, and its normalisation."""
    options = metadata_schema.NormalizationOptionsT()
    options.mean, options.std = [mean], [std]
    unit = metadata_schema.ProcessUnitT()
    unit.optionsType = metadata_schema.ProcessUnitOptions.NormalizationOptions
    unit.options = options
    image = metadata_schema.TensorMetadataT()
    image.processUnits = [unit]
    subgraph = metadata_schema.SubGraphMetadataT()
    subgraph.inputTensorMetadata = [image]
    model = metadata_schema.ModelMetadataT()
    model.subgraphMetadata = [subgraph]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), file_identifier=b"M001")
    return bytes(builder.Output())


def _field_position(table: Any, field: int) -> int:
    """Byte position of a field of `table` in the file."""
    return int(table.Pos + table.Offset(field))


def _table_in_vector(table: Any, field: int, index: int) -> Any:
    """Element `index` of the vector of tables in `field`."""
    element = table.Vector(table.Offset(field)) + 4 * index
    return Table(table.Bytes, table.Indirect(element))


def _append_bytes(file: bytearray, reference: int, content: bytes) -> None:
    """Append `content` as a string or byte vector and let the reference at byte `reference` point to it.

    Both are a length of 4 bytes and the content, which starts at a multiple of 16.
    """
    file += bytes(-(len(file) + 4) % _ALIGNMENT)
    encode.Write(packer.uoffset, file, reference, len(file) - reference)  # relative to the reference itself
    file += len(content).to_bytes(4, "little") + content + b"\0"
