"""The part of the test data that is lifted between epochs: a test costs less than a tenth of the training.

A training step costs about three passes through the network for each of its windows: one forward and two
backward. Sequences are taken evenly over the whole test; where every frame needs a window of its own
(seq2frame), a stretch from the middle of each sequence is scored.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from lifter.data.sequence import LabelledSequence
from lifter.training.recipe import Recipe

MAX_SHARE = 0.1  # of the cost of the epochs between two tests
EVERY_SEQUENCE = 20  # at most one sequence in twenty is lifted
_PASSES_PER_TRAINING_WINDOW = 3


def thinned(sequences: Iterable[LabelledSequence], recipe: Recipe, steps: int) -> list[LabelledSequence]:
    """The part of the test sequences of which a test may be made after every `steps` training steps."""
    candidates = list(sequences)[::EVERY_SEQUENCE]
    budget = MAX_SHARE * _PASSES_PER_TRAINING_WINDOW * steps * recipe.batch
    windows = max(1, int(budget / passes_per_window(recipe)))
    if recipe.pipeline == "seq2frame" or recipe.lifter.output == "centre":
        chosen = candidates[:: max(1, -(-len(candidates) // windows))]
        return [_middle(sequence, windows // len(chosen)) for sequence in chosen]
    costs = [-(-len(sequence.keypoints) // recipe.lifter.frames) for sequence in candidates]
    every = next((n for n in range(1, len(costs)) if sum(costs[::n]) <= windows), max(1, len(costs)))
    return candidates[::every]


def passes_per_window(recipe: Recipe) -> int:
    """Forward passes through the network that one test window takes."""
    passes = 2 if recipe.test_flip else 1
    if recipe.lifter.arch == "d3dp":
        hypotheses, steps = (int(recipe.lifter.config.get(name, 5)) for name in ("hypotheses", "steps"))
        passes *= hypotheses * steps * (2 if recipe.lifter.config.get("flip", True) else 1)
    return passes


def _middle(sequence: LabelledSequence, frames: int) -> LabelledSequence:
    """The sequence with at most `frames` scored frames, from the middle of those that have a truth."""
    length = len(sequence.keypoints)
    labelled = np.arange(length) if sequence.valid is None else np.flatnonzero(sequence.valid)
    first = max(0, (len(labelled) - frames) // 2)
    valid = np.zeros(length, dtype=bool)
    valid[labelled[first : first + frames]] = True
    return replace(sequence, valid=valid)
