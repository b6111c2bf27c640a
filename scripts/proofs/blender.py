"""Blender imports BVH and GLB files; every joint is within 1 mm of the pose that was written.

Needs the command blender.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from scripts.proofs.proof import report
from sinks.bvh import BVH, NAMES
from sinks.gltf import GLTF
from stream.protocols import ComponentContext, Sink, opened
from stream.rig import HUMANOID
from tests.rig_examples import HZ, dance, pose_frames

ROWS = (0, 40, 99, 150)
MAX_ERROR_MM = 1.0


def write(sink: Sink, frames: list[np.ndarray]) -> None:
    with opened(sink):
        for frame in pose_frames(frames):
            sink.send(frame)


def imported(path: Path) -> list[dict[str, list[float]]]:
    """Heads of bones by name, in Blender's world, in each of ROWS."""
    output = path.with_suffix(".json")
    script = Path(__file__).with_name("blender_import.py")
    options = ["--background", "--factory-startup", "--python-exit-code", "3", "--python", script, "--"]
    subprocess.run(
        ["blender", *options, path, str(HZ), output, *map(str, ROWS)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    heads: list[dict[str, list[float]]] = json.loads(output.read_text())
    return heads


def error_mm(frames: list[np.ndarray], heads: list[dict[str, list[float]]], names: list[str]) -> float:
    """Largest distance of a joint from the pelvis against the pose that was written."""
    errors = []
    for row, found in zip(ROWS, heads, strict=True):
        for name, joint in zip(names, HUMANOID.heads, strict=True):
            x, y, z = np.array(found[name]) - np.array(found[names[0]])
            # Blender's axes are (X, -Z, Y) of a file; a file's are (x, -y, -z) of the camera.
            errors.append(np.linalg.norm((x, -z, y) - frames[row][joint]))
    return 1000 * float(max(errors))


def main() -> None:
    frames, context = dance(4), ComponentContext("proof")
    vrm = [bone[0].lower() + bone[1:] for bone in HUMANOID.bones]
    bvh = [NAMES.get(bone, bone) for bone in HUMANOID.bones]
    with tempfile.TemporaryDirectory() as folder:
        errors_mm = {}
        for bones in ("tpose", "lafan1"):
            path = Path(folder) / f"{bones}.bvh"
            write(BVH(BVH.Settings(path=str(path), bones=bones), context), frames)  # type: ignore[arg-type]
            errors_mm[f"bvh_{bones}_mm"] = error_mm(frames, imported(path), bvh)
        path = Path(folder) / "person.glb"
        write(GLTF(GLTF.Settings(path=str(path)), context), frames)
        errors_mm["glb_mm"] = error_mm(frames, imported(path), vrm)
    passed = max(errors_mm.values()) < MAX_ERROR_MM
    report("Blender: BVH and GLB", passed, **{name: round(value, 4) for name, value in errors_mm.items()})


if __name__ == "__main__":
    main()
