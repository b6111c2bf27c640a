"""Khronos' glTF validator accepts .glb and .vrma files without errors or warnings.

Needs node and the npm package gltf-validator; NODE_PATH names the folder that holds it.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from scripts.proofs.blender import write
from scripts.proofs.proof import report
from sinks.gltf import GLTF
from stream.protocols import ComponentContext
from tests.rig_examples import dance

VALIDATE = """
const validator = require("gltf-validator"), fs = require("fs");
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1])))
    .then(report => console.log(JSON.stringify(report.issues)));
"""


def main() -> None:
    numbers: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("glb", "vrma"):
            path = Path(folder) / f"person.{suffix}"
            write(GLTF(GLTF.Settings(path=str(path)), ComponentContext("proof")), dance(2))
            done = subprocess.run(
                ["node", "-e", VALIDATE, path], check=True, stdout=subprocess.PIPE, text=True
            )
            issues = json.loads(done.stdout)
            numbers |= {f"{suffix}_errors": issues["numErrors"], f"{suffix}_warnings": issues["numWarnings"]}
            numbers[f"{suffix}_messages"] = sorted({issue["code"] for issue in issues["messages"]})
    passed = not any(value for name, value in numbers.items() if name.endswith(("errors", "warnings")))
    report("glTF validator: GLB and VRMA", passed, **numbers)


if __name__ == "__main__":
    main()
