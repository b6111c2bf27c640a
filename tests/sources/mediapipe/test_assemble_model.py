"""The assembled model, made of the networks in a real wheel and used by the real MediaPipe."""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sources.mediapipe import MediaPipe, assemble_model, model_files
from stream.messages import Frame, Header
from stream.protocols import ComponentContext, opened
from stream.skeletons import skeleton_named


@pytest.fixture(scope="module")
def assembled() -> bytes:
    """The full model, assembled from the networks in the wheel."""
    return model_files.assemble(model_files.ASSEMBLED["full"])


def networks_in(task: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(task)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def normalisation_of(network: bytes) -> tuple[float, float]:
    """Mean and std of the input image, read with the readers in the package mediapipe."""
    schema = pytest.importorskip("mediapipe.tasks.metadata.schema_py_generated")
    metadata_schema = pytest.importorskip("mediapipe.tasks.metadata.metadata_schema_py_generated")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(network, 0))
    assert (len(model.subgraphs[0].inputs), model.version) == (1, 3)
    (entry,) = [entry for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    root = metadata_schema.ModelMetadata.GetRootAs(bytes(model.buffers[entry.buffer].data), 0)
    metadata = metadata_schema.ModelMetadataT.InitFromObj(root)
    (image,) = metadata.subgraphMetadata[0].inputTensorMetadata
    (unit,) = image.processUnits
    return unit.options.mean[0], unit.options.std[0]


def test_the_assembled_model_has_the_pinned_digest(assembled: bytes) -> None:
    digest = model_files.FileDigest(len(assembled), hashlib.sha256(assembled).hexdigest())
    assert digest == model_files.ASSEMBLED["full"]


def test_both_networks_are_stored_uncompressed_with_the_normalisation_of_their_images(
    assembled: bytes,
) -> None:
    with zipfile.ZipFile(io.BytesIO(assembled)) as archive:
        assert [member.compress_type for member in archive.infolist()] == [zipfile.ZIP_STORED] * 2
    normalisations = {name: normalisation_of(network) for name, network in networks_in(assembled).items()}
    assert normalisations == {
        "pose_detector.tflite": (127.5, 127.5),
        "pose_landmarks_detector.tflite": (0.0, 255.0),
    }


def test_metadata_of_a_network_can_be_replaced_and_its_weights_keep_their_place(assembled: bytes) -> None:
    network = networks_in(assembled)["pose_landmarks_detector.tflite"]
    changed = assemble_model.with_normalisation(network, mean=127.5, std=64.0)
    assert normalisation_of(changed) == (127.5, 64.0)
    before, after = (np.frombuffer(data, np.uint8, len(network)) for data in (network, changed))
    assert np.count_nonzero(before != after) <= 8  # two references of four bytes


def test_mediapipe_detects_a_person_with_the_assembled_model(assembled: bytes, tmp_path: Path) -> None:
    path = tmp_path / "assembled.task"
    path.write_bytes(assembled)
    astronaut = np.asarray(pytest.importorskip("skimage.data").astronaut())
    detector = MediaPipe(MediaPipe.Settings(path=str(path)), ComponentContext("cam0"))
    with opened(detector):
        (person,) = detector.detect(Frame(Header("cam0", 0, 0, 0), astronaut)).persons
    nose = skeleton_named("blazepose33").joints.index("nose")
    np.testing.assert_allclose(person.xy[nose], (223, 132), atol=8)
