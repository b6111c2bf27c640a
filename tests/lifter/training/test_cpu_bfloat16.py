"""Training in bfloat16 on a CPU computes approximately the gradients of float32."""

import torch
from torch import Tensor, nn

from lifter.architectures.mixste import MixSTE
from lifter.training.cpu_bfloat16 import CpuBfloat16


def _gradients(model: nn.Module, x: Tensor) -> Tensor:
    model.zero_grad()
    model(x).square().mean().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_gradients_have_the_direction_of_float32_gradients() -> None:
    torch.manual_seed(0)
    model = MixSTE(frames=9, width=32, depth=2, heads=4)
    x = torch.randn(4, 9, 17, 2)
    exact = _gradients(model, x)
    with CpuBfloat16():
        bfloat16 = _gradients(model, x)
    assert torch.nn.functional.cosine_similarity(exact, bfloat16, dim=0) > 0.999
    assert not torch.equal(exact, bfloat16)  # the computation did run in bfloat16


def test_linear_layers_work_without_a_bias_and_for_inputs_of_any_shape() -> None:
    layer = nn.Linear(6, 5, bias=False)
    x = torch.randn(2, 3, 4, 6, requires_grad=True)
    with CpuBfloat16():
        y = layer(x)
    y.sum().backward()
    assert y.shape == (2, 3, 4, 5)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, layer(x), atol=0.05, rtol=0.05)
    assert x.grad is not None
    assert x.grad.dtype == torch.float32
