"""Mutated inputs for every decoder and file reader: each is read or refused, in bounded memory and time."""

import random
import subprocess
import sys
from pathlib import Path

from tests.fuzz import mutate

INPUTS = 10_000  # per target; slow readers get fewer, see Target.cost
TIMEOUT_S = 1800.0
ROOT = Path(__file__).parents[2]


def test_every_input_is_read_or_refused_with_the_documented_error():
    # In a process of its own: an input that ends the interpreter must not end the other tests.
    command = [sys.executable, "-m", "tests.fuzz.run", str(INPUTS), "--scaled"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mutations_are_the_same_for_the_same_seed_and_change_the_input():
    data = b'{"a": [1, 2.5, "x"], "b": {"c": null}}'
    one, two = ([mutate.as_json(random.Random(n), data, [data]) for n in range(200)] for _ in range(2))
    assert one == two
    assert len(set(one)) > 150
    assert sum(changed == data for changed in one) < 5
