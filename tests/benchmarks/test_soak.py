"""A short soak: every kind of fault once, while poses of a steady person go on."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MINUTES = 1.25
TIMEOUT_S = 900.0
KINDS = 11  # of faults


def test_a_node_survives_every_kind_of_fault_without_stale_poses_or_late_losses():
    command = [sys.executable, "benchmarks/soak.py", str(MINUTES), "--every-s", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["wrong"] == []
    assert len(summary["faults"]) == KINDS
    assert summary["zeromq"]["poses"] > 500
    assert summary["mqtt"]["poses"] > 100
