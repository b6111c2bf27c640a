"""Mutated inputs for every decoder and file reader: each is read or refused, in bounded memory and time."""

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fuzz import mutate
from tests.fuzz.run import CORPUS, MAX_MEMORY_BYTES, run, seeds_of
from tests.fuzz.targets import TARGETS, Read, Target

INPUTS = 10_000  # per target; slow readers get fewer, see Target.cost
TIMEOUT_S = 1800.0
ROOT = Path(__file__).parents[2]


def test_every_input_is_read_or_refused_with_the_documented_error():
    # In a process of its own: an input that ends the interpreter must not end the other tests.
    command = [sys.executable, "-m", "tests.fuzz.run", str(INPUTS), "--scaled"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", sorted(folder.name for folder in CORPUS.iterdir()))
def test_inputs_that_once_failed_are_refused_or_read(name: str):
    (target,) = (target for target in TARGETS if target.name == name)
    inputs = len(seeds_of(target))
    result = run(target, inputs)
    assert (result.inputs, result.failures) == (inputs, {})


def test_a_decoder_that_raises_another_error_or_takes_too_much_fails():
    @contextmanager
    def broken() -> Iterator[Read]:
        def read(data: bytes) -> None:
            if len(data) > 60:
                raise KeyError("not documented")
            if len(data) > 50:
                bytearray(2 * MAX_MEMORY_BYTES)

        yield read

    target = Target("broken", broken, lambda: [bytes(50)], [mutate.mutate_bytes], (ValueError,))
    places = sorted(place for _, place in run(target, 300).failures.values())
    assert places == [
        "KeyError in test_fuzz.py:read: 'not documented'",
        f"took {2 * MAX_MEMORY_BYTES / 2**20:.0f} MiB",
    ]


def test_mutations_are_the_same_for_the_same_seed_and_change_the_input():
    data = b'{"a": [1, 2.5, "x"], "b": {"c": null}}'
    one, two = ([mutate.as_json(random.Random(n), data, [data]) for n in range(200)] for _ in range(2))
    assert one == two
    assert len(set(one)) > 150
    assert sum(changed == data for changed in one) < 5
