"""Runs decoders and file readers on mutated inputs: `python -m tests.fuzz.run INPUTS [TARGET ...]`.

Every input must be read, or refused with the documented error, in bounded memory and time. What falls is
printed and written to tests/fuzz/corpus/TARGET/, from which every later run starts too.
"""

import argparse
import hashlib
import logging
import random
import resource
import sys
import time
import traceback
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.mutate import mutate_bytes
from tests.fuzz.targets import TARGETS, Target

CORPUS = Path(__file__).parent / "corpus"
MAX_CPU_S = 5.0  # for one input; most need less than a millisecond
MAX_MEMORY_BYTES = 100 * 2**20  # beyond what was allocated before; inputs have some kilobytes
MAX_ADDRESS_BYTES = 8 * 2**30  # of the whole process: no input may take the machine's memory
MAX_FAILURES = 20  # of one target, after which its run ends


@dataclass
class Result:
    """What a run of a target gave: inputs, how many were refused, and the failures by their place."""

    inputs: int = 0
    refused: int = 0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    slowest_s: float = 0.0
    failures: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)


def seeds_of(target: Target) -> list[bytes]:
    """The valid inputs of a target, and those that made it fail before."""
    folder = CORPUS / target.name
    return [*target.seeds(), *(path.read_bytes() for path in sorted(folder.glob("*")) if path.is_file())]


def inputs_of(target: Target, count: int, seed: int) -> Iterable[bytes]:
    """The seeds, then mutations of them; the same for the same `seed`."""
    seeds, rng = seeds_of(target), random.Random(f"{target.name} {seed}")
    yield from seeds[:count]
    for _ in range(count - len(seeds)):
        data = rng.choice(seeds)
        mutation = rng.choice(target.mutations)
        changed = mutation(rng, data, seeds)
        yield mutate_bytes(rng, changed, seeds) if rng.random() < 0.05 else changed


def run(target: Target, count: int, seed: int = 0) -> Result:
    """Run a target on `count` inputs."""
    result, started_s = Result(), time.process_time()
    logging.disable()  # warnings of junk
    tracemalloc.start()
    try:
        with warnings.catch_warnings(), target.opened() as read:
            warnings.simplefilter("error", RuntimeWarning)
            for data in inputs_of(target, count, seed):
                _run_one(target, read, data, result)
                if len(result.failures) >= MAX_FAILURES:
                    break
    finally:
        tracemalloc.stop()
        logging.disable(logging.NOTSET)
    result.cpu_s = time.process_time() - started_s
    return result


def _run_one(target: Target, read, data: bytes, result: Result) -> None:  # type: ignore[no-untyped-def]
    result.inputs += 1
    tracemalloc.reset_peak()
    before_bytes, before_s = tracemalloc.get_traced_memory()[0], time.process_time()
    place = ""
    try:
        read(data)
    except target.errors:
        result.refused += 1
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {Path(frame.filename).name}:{frame.name}: {str(error)[:200]}"
        key = f"{type(error).__name__} {frame.filename}:{frame.lineno}"
    spent_s = time.process_time() - before_s
    used_bytes = tracemalloc.get_traced_memory()[1] - before_bytes
    result.slowest_s, result.peak_bytes = max(result.slowest_s, spent_s), max(result.peak_bytes, used_bytes)
    if not place and spent_s > MAX_CPU_S:
        place = key = f"took {spent_s:.1f} s"
    if not place and target.bounded and used_bytes > MAX_MEMORY_BYTES:
        place = key = f"took {used_bytes / 2**20:.0f} MiB"
    if place:
        result.counts[key] += 1
        if key not in result.failures:
            result.failures[key] = data, place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("inputs", type=int, help="inputs per target")
    names = [target.name for target in TARGETS]
    parser.add_argument("targets", nargs="*", help=f"default: all of {', '.join(names)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="write inputs that fail to the corpus")
    parser.add_argument("--scaled", action="store_true", help="fewer inputs for slow readers")
    arguments = parser.parse_intermixed_args()
    if unknown := [name for name in arguments.targets if name not in names]:
        parser.error(f"expected targets among {', '.join(names)}, got {', '.join(unknown)}")
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_BYTES, MAX_ADDRESS_BYTES))
    failed = False
    for target in TARGETS:
        if arguments.targets and target.name not in arguments.targets:
            continue
        result = run(target, arguments.inputs // (target.cost if arguments.scaled else 1), arguments.seed)
        print(
            f"{target.name:20} {result.inputs:9} inputs, {result.refused:9} refused, "
            f"{len(result.failures)} failures, "
            f"{result.cpu_s:7.1f} s of CPU, slowest {1e3 * result.slowest_s:6.1f} ms, "
            f"largest {result.peak_bytes / 2**20:6.1f} MiB",
            flush=True,
        )
        for key, (data, place) in result.failures.items():
            failed = True
            name = hashlib.sha256(data).hexdigest()[:12]
            print(f"    {name} x {result.counts[key]}: {place}", flush=True)
            if arguments.keep:
                (CORPUS / target.name).mkdir(parents=True, exist_ok=True)
                (CORPUS / target.name / name).write_bytes(data)
    sys.exit(failed)


if __name__ == "__main__":
    main()
