"""The result of a proof, as one line of JSON that `scripts/proofs/run` collects."""

import json
import sys
from typing import Any


def report(name: str, passed: bool, **numbers: Any) -> None:
    """Print the result and end with exit code 0 if the proof passed, else 1."""
    print(json.dumps({"proof": name, "passed": passed, **numbers}))
    sys.exit(not passed)
