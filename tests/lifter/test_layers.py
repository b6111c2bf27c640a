"""Shared layers against their equations, written as loops."""

import pytest
import torch

from lifter.layers import Attention, Block, CrossAttention, DropPath


def eager(q, k, v, heads):
    """Equation 3 of the paper, head by head: softmax(Q K^T / sqrt(d)) V, and the attention maps."""
    outputs, maps = [], []
    for q_h, k_h, v_h in zip(q.chunk(heads, -1), k.chunk(heads, -1), v.chunk(heads, -1), strict=True):
        attention = (q_h @ k_h.transpose(-1, -2) / q_h.shape[-1] ** 0.5).softmax(dim=-1)
        outputs.append(attention @ v_h)
        maps.append(attention)
    return torch.cat(outputs, dim=-1), torch.stack(maps, dim=1)


@pytest.mark.parametrize("bias", [True, False])
def test_self_attention_is_equation_3(bias):
    torch.manual_seed(0)
    attention, x = Attention(16, heads=4, qkv_bias=bias), torch.randn(3, 5, 16)
    expected, _ = eager(*attention.qkv(x).chunk(3, dim=-1), heads=4)
    torch.testing.assert_close(attention(x), attention.proj(expected), atol=1e-5, rtol=1e-5)


def test_cross_attention_is_equation_3():
    torch.manual_seed(0)
    attention, q, kv = CrossAttention(16, heads=2), torch.randn(3, 7, 16), torch.randn(3, 5, 16)
    projected = attention.linear_q(q), attention.linear_k(kv), attention.linear_v(kv)
    expected, _ = eager(*projected, heads=2)
    torch.testing.assert_close(attention(q, kv, kv), attention.proj(expected), atol=1e-5, rtol=1e-5)


def test_attention_received_sums_the_map_over_queries():
    torch.manual_seed(0)
    block, tokens = Block(16, heads=4, hidden=32), torch.randn(2, 5, 3, 16)  # (B, K, J, D)
    received = block.attention_received(tokens)
    q, k, v = block.attn.qkv(block.norm1(tokens)).transpose(1, 2).chunk(3, dim=-1)  # (B, J, K, D)
    maps = torch.stack([eager(q[:, j], k[:, j], v[:, j], heads=4)[1] for j in range(3)])  # (J, B, h, K, K)
    torch.testing.assert_close(received, maps.sum(dim=-2).mean(dim=(0, 2)), atol=1e-5, rtol=1e-5)


def test_drop_path_drops_whole_items_while_training_and_keeps_the_mean():
    torch.manual_seed(0)
    drop, x = DropPath(0.25), torch.ones(4000, 2, 3)
    y = drop.train()(x)
    kept = y[:, 0, 0] != 0
    assert torch.equal(y, kept[:, None, None] / 0.75 * x)
    assert kept.float().mean() == pytest.approx(0.75, abs=0.03)
    assert drop.eval()(x) is x
