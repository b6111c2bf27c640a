"""`scripts/on-gpu` is rehearsed on the CPU, with no package beyond those that its description names."""

import json
import os
import subprocess
import sys
from pathlib import Path

# Packages that the project uses and a rented machine may lack.
ABSENT = (
    "rich", "typer", "click", "matplotlib", "cv2", "scipy", "zmq", "msgpack", "aiomqtt", "mediapipe",
    "pytest", "websockets", "flatbuffers", "mcap", "cyclonedds", "PIL", "onnx", "onnxruntime", "openvino",
)  # fmt: skip
PROGRAM = f"""
import runpy, sys
for name in {ABSENT}:
    sys.modules[name] = None
runpy.run_module("scripts.on_gpu", run_name="__main__", alter_sys=True)
"""


def test_a_rehearsal_tests_measures_and_trains(tmp_path: Path):
    command = [sys.executable, "-c", PROGRAM, "1", str(tmp_path), "--rehearse"]
    environment = os.environ | {"PYTHONPATH": ".", "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["tests"]["not run"].startswith("pytest is not installed")
    assert report["speed"]["small, float32"]["engine"] in ("onednn", "eager")
    assert report["training"]["steps"] >= 1
    assert report["training"]["after"]["clips"] >= 1
    assert {"report.json", "bench-small-float32.json", "medium.safetensors", "log.csv"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert all(path.stat().st_size < 15e6 for path in tmp_path.iterdir())
