"""MotionAGFormer: attention and graph convolution side by side, fused token by token (seq2seq)."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from lifter.h2ot.hourglass import Hourglass
from lifter.layers import (
    Attention,
    DropPath,
    LiftingNetwork,
    Mlp,
    check_windows,
    fuse_streams,
    group_by_joint,
    init_equal_shares,
    module_list,
    repeat_per_joint,
    take,
)
from lifter.spec import Schedule, frames_in_blocks
from stream.errors import ConfigError

# Joints (Human3.6M order) whose features each joint gathers. The released models are not symmetric:
# the pelvis omits the left hip and the thorax both shoulders, while those three gather from them.
NEIGHBOURS = (
    (1, 7), (2, 0), (3, 1), (2,), (5, 0), (6, 4), (5,), (0, 8), (7, 9),
    (8, 10), (9,), (12, 8), (13, 11), (12,), (15, 8), (16, 14), (15,),
)  # fmt: skip


class MotionAGFormer(LiftingNetwork):
    """Lifts 2D keypoints with scores (B, F, 17, C) float32 to poses (B, F, 17, 3) float32.

    Input and output are in normalised image space; `lifter.normalise` takes the output to metres.
    A prune at block b sits before layer b. There is no temporal position embedding. The temporal graph
    of a layer has batch-norm statistics per token, so weights fit one schedule (one list `keep`) only.
    `heads` and `neighbours` cannot be read from the weights and must travel with them: 8 and 2 in
    MotionAGFormer's own release. Names follow the released state dicts.
    """

    def __init__(
        self,
        frames: int = 243,
        joints: int = 17,
        in_channels: int = 3,
        width: int = 128,
        depth: int = 16,
        heads: int = 8,
        neighbours: int = 2,
        mlp_ratio: float = 4.0,
        rep_width: int = 512,
        drop_path: float = 0.0,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__()
        if joints != len(NEIGHBOURS):
            raise ConfigError(f"MotionAGFormer: expected the 17 joints of its graph, got {joints}")
        if neighbours < 1:
            raise ConfigError(f"MotionAGFormer: expected neighbours of at least 1, got {neighbours}")
        self.shape = (frames, joints, in_channels)
        self.joints_embed = nn.Linear(in_channels, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, joints, width))
        self.norm = nn.LayerNorm(width)
        self.hourglass = Hourglass(schedule, frames, depth, width, heads, qkv_bias=False)
        hidden = int(width * mlp_ratio)
        self.layers = module_list(
            DualStreamLayer(width, heads, hidden, alive, neighbours, drop_path)
            for alive in frames_in_blocks(schedule, frames, depth)
        )
        self.rep_logit = nn.Sequential(OrderedDict(fc=nn.Linear(width, rep_width), act=nn.Tanh()))
        self.head = nn.Linear(rep_width, 3)

    def forward(self, x: Tensor, rows: slice | None = None, cached: Tensor | None = None) -> Tensor:
        """Poses (B, F, J, 3), or of `rows` alone; cached: `encode_frames` of the input frames."""
        return self.hourglass.recover(*self.encode(x, rows, cached), self.regress, rows)

    @property
    def supports_frame_cache(self) -> bool:
        """True unless a prune before the first layer depends on, or changes, its tokens."""
        hourglass = self.hourglass
        return hourglass.at[:1] != (0,) or (hourglass.samples_input and not hourglass.positions)

    def encode_frames(self, x: Tensor) -> Tensor:
        """Both streams (..., 2, J, D) of x (..., J, C) after the first mixing of joints, frame by frame."""
        return torch.stack(self.layers[0].over_joints(self.joints_embed(x) + self.pos_embed[0]), dim=-3)

    def encode(
        self, x: Tensor, rows: slice | None = None, cached: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, K, J, D) of the last layer and their frames' window positions (K,) or (B, K)."""
        check_windows(x, self)
        frame_indices = self.hourglass.input_frames
        if cached is None:
            tokens = self.joints_embed(take(x, frame_indices)) + self.pos_embed  # (B, K, J, D)
        for i, layer in enumerate(self.layers):
            if i == 0 and cached is not None:
                attention, graph = cached.unbind(dim=2)
            else:
                tokens, frame_indices = self.hourglass.prune(
                    i, tokens, frame_indices, x, layer.attention_received
                )
                attention, graph = layer.over_joints(tokens)
            query_index, frame_indices = self.hourglass.output_tokens(i, frame_indices, rows)
            tokens = layer.over_time(attention, graph, query_index)
        return self.norm(tokens), frame_indices

    def regress(self, tokens: Tensor) -> Tensor:
        """Poses (B, K, J, 3) from tokens (B, K, J, D)."""
        poses: Tensor = self.head(self.rep_logit(tokens))
        return poses


class DualStreamLayer(nn.Module):
    """An attention stream and a graph-convolution stream, each first over joints, then over time."""

    def __init__(
        self, width: int, heads: int, hidden: int, frames: int, neighbours: int, drop_path: float
    ) -> None:
        super().__init__()

        def block(mixer: nn.Module) -> MixerBlock:
            return MixerBlock(mixer, width, hidden, drop_path)

        self.att_spatial = block(Attention(width, heads, qkv_bias=False))
        self.att_temporal = block(Attention(width, heads, qkv_bias=False))
        self.graph_spatial = block(SpatialGraph(width))
        self.graph_temporal = block(TemporalGraph(width, frames, neighbours))
        self.fusion = nn.Linear(2 * width, 2)
        init_equal_shares(self.fusion)

    def over_joints(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Attention and graph stream (..., J, D) of x (..., J, D), each frame without the others."""
        return self.att_spatial.over_joints(x), self.graph_spatial.over_joints(x)

    def over_time(self, attention: Tensor, graph: Tensor, query_index: Tensor | None) -> Tensor:
        """Fused tokens (B, K, J, D) of both streams, or of the frames at query_index (n,) or (B, n) alone."""
        attention = self.att_temporal.over_time(attention, query_index)
        graph = self.graph_temporal.over_time(graph, query_index)
        return fuse_streams(self.fusion, attention, graph)

    def attention_received(self, x: Tensor) -> Tensor:
        """Attention (B, K) that each frame of x (B, K, J, D) would receive in this layer."""
        attention: Attention = self.att_temporal.mixer  # type: ignore[assignment]
        return attention.attention_received(self.att_temporal.norm1(x))


class MixerBlock(nn.Module):
    """A mixer of T tokens (N, T, D), the joints of a frame or the frames of a joint, then an MLP."""

    def __init__(self, mixer: nn.Module, width: int, hidden: int, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixer = mixer
        self.mlp = Mlp(width, hidden)
        self.layer_scale_1 = nn.Parameter(torch.full((width,), 1e-5))
        self.layer_scale_2 = nn.Parameter(torch.full((width,), 1e-5))
        self.drop_path = DropPath(drop_path)

    def over_joints(self, x: Tensor) -> Tensor:
        """(..., J, D) -> (..., J, D), each frame without the others."""
        return self._add(x, self.mixer(self.norm1(x).flatten(0, -3)).view(x.shape))

    def over_time(self, x: Tensor, query_index: Tensor | None) -> Tensor:
        """(B, K, J, D) -> (B, K, J, D), each joint without the others, or the frames at query_index alone."""
        B, _, J, D = x.shape
        mixed = self.mixer(group_by_joint(self.norm1(x)), repeat_per_joint(query_index, J))
        x = x if query_index is None else take(x, query_index)
        return self._add(x, mixed.view(B, J, -1, D).transpose(1, 2))

    def _add(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.drop_path(self.layer_scale_1 * mixed)
        output: Tensor = x + self.drop_path(self.layer_scale_2 * self.mlp(self.norm2(x)))
        return output


class GraphConvolution(nn.Module):
    """Graph convolution of T nodes: relu(x + BatchNorm(A V x + U x)), A normalised by its rows' degrees."""

    def __init__(self, width: int, nodes: int) -> None:
        super().__init__()
        self.U, self.V = nn.Linear(width, width), nn.Linear(width, width)
        self.batch_norm = nn.BatchNorm1d(nodes)
        for linear in (self.U, self.V):
            nn.init.normal_(linear.weight, std=(2 / width) ** 0.5)

    def forward(self, x: Tensor, query_index: Tensor | None = None) -> Tensor:
        """(N, T, D) -> (N, T, D), or the nodes at query_index (n,) or (N, n) alone (inference only)."""
        edges = self.edges(x)  # (T, T) or (N, T, T), 1 where the row's node gathers the column's
        scale = edges.sum(dim=-1, keepdim=True) ** -0.5
        edges = scale * edges * scale.mT
        if query_index is None:
            full: Tensor = (x + self.batch_norm(edges @ self.V(x) + self.U(x))).relu()
            return full
        own = take(x, query_index)
        norm = self.batch_norm
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        gain = norm.weight * (variance + norm.eps).rsqrt()
        offset = norm.bias - mean * gain
        mixed = take(edges, query_index) @ self.V(x) + self.U(own)
        part: Tensor = (own + mixed * gain[query_index, None] + offset[query_index, None]).relu()
        return part

    def edges(self, x: Tensor) -> Tensor:
        """Adjacency (T, T) or (N, T, T) of the nodes of x (N, T, D)."""
        raise NotImplementedError


class SpatialGraph(GraphConvolution):
    """Nodes are the joints of a frame; every frame has the edges of the body (`NEIGHBOURS`)."""

    adjacency: Tensor  # (J, J)

    def __init__(self, width: int) -> None:
        super().__init__(width, len(NEIGHBOURS))
        adjacency = torch.zeros(len(NEIGHBOURS), len(NEIGHBOURS))
        for joint, others in enumerate(NEIGHBOURS):
            adjacency[joint, list(others)] = 1
        self.register_buffer("adjacency", adjacency, persistent=False)

    def edges(self, x: Tensor) -> Tensor:
        return self.adjacency


class TemporalGraph(GraphConvolution):
    """Nodes are the frames of a joint; each gathers from its `neighbours` most similar frames, and ties."""

    def __init__(self, width: int, frames: int, neighbours: int) -> None:
        super().__init__(width, frames)
        self.neighbours = neighbours

    def edges(self, x: Tensor) -> Tensor:
        similarity = _similarity(x)  # (N, T, T)
        threshold = similarity.topk(min(self.neighbours, x.shape[1]), dim=-1).values[..., -1:]
        return (similarity >= threshold).to(x.dtype)


def _similarity(x: Tensor) -> Tensor:
    """Products (N, T, T) of all pairs of nodes of x (N, T, D), in float32 under mixed precision, too."""
    if x.device.type not in ("cpu", "cuda") or not torch.is_autocast_enabled(x.device.type):
        return x @ x.transpose(1, 2)
    with torch.autocast(x.device.type, enabled=False):  # bfloat16 would round other frames to ties
        return x.float() @ x.float().transpose(1, 2)
