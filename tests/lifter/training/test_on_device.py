"""Batches rendered on a GPU wait for nothing from the host; torch's "meta" device stands in for the GPU."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from lifter.data.mocap import MocapClips
from lifter.training import mocap_batches
from lifter.training.recipe import load

HABITS = "data.detector={exchanges: 0.5, low_joints: 0.5, knee_wobble_m: 0.02, ghosts: 0.5}"


TRANSFERS = (torch.tensor, torch.as_tensor, torch.from_numpy, torch.Tensor.new_tensor, torch.Tensor.item)
TRANSFERS += (torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu, torch.Tensor.__bool__)
INDEXING = (torch.Tensor.__getitem__, torch.Tensor.__setitem__)


class HostOperations(TorchFunctionMode):
    """Collects the calls that copy between host and device, or that compute on the host."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [value for value in tree_leaves((args, kwargs, result)) if isinstance(value, torch.Tensor)]
        on_host = any(tensor.device.type == "cpu" for tensor in tensors)
        # Torch copies a list of integers to the device.
        lists = func in INDEXING and any(isinstance(part, list | tuple) for part in _parts(args[1]))
        if func in TRANSFERS or lists or on_host:
            self.names.append(getattr(func, "__name__", str(func)))
        return result


def _parts(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> mocap_batches.MocapBatches:
    recipe = load("configs/train/small.yaml", ["stages.0.batch=4", HABITS])
    clips = MocapClips(
        torch.rand(200, 19, 3),
        torch.tensor([0, 100]),
        torch.tensor([100, 100]),
        torch.tensor([0.5, 0.5], dtype=torch.float64),
        np.array(["a", "b"]),
        50.0,
    )
    # This device has no random numbers of its own.
    monkeypatch.setattr(mocap_batches, "step_generator", lambda *seeds: None)
    return mocap_batches.MocapBatches(clips, recipe)


def test_a_batch_is_rendered_on_the_device_alone(batches):
    batches.to(torch.device("meta"))
    batches.make(0)  # makes the constants, once per device
    with HostOperations() as host:
        batch = batches.make(1)
    assert host.names == []
    assert batch.inputs.device.type == batch.targets.device.type == "meta"
    assert batch.inputs.shape == (4, 9, 17, 4)


def test_operations_of_the_host_are_seen(batches):
    with HostOperations() as host:
        batches.make(1)
    assert len(host.names) > 100
