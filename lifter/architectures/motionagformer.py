"""MotionAGFormer: attention and graph convolution side by side, fused token by token (seq2seq)."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from lifter.h2ot.hourglass import Hourglass
from lifter.layers import Attention, DropPath, Mlp, by_joint, expect_windows, module_list, per_joint, take
from lifter.spec import Schedule, frames_in_blocks
from stream.errors import ConfigError

# Which joints (Human3.6M order) each joint gathers from. It is not symmetric in the released models:
# the pelvis leaves out the left hip, the thorax both shoulders, though all three gather from them.
NEIGHBOURS = (
    (1, 7), (2, 0), (3, 1), (2,), (5, 0), (6, 4), (5,), (0, 8), (7, 9),
    (8, 10), (9,), (12, 8), (13, 11), (12,), (15, 8), (16, 14), (15,),
)  # fmt: skip


class MotionAGFormer(nn.Module):
    """Lifts 2D keypoints with scores (B, F, 17, C_in) float32 to poses (B, F, 17, 3) float32.

    Input and output are in normalised image space; `lifter.normalise` takes the output to metres.
    A prune at block b sits before layer b. The temporal graph of each layer normalises over its frames,
    so weights belong to one schedule (and its counts `keep`). There is no temporal position embedding.
    `heads` and `neighbours` leave no trace in the weights and must travel with them: 8 and 2 in
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
            Layer(width, heads, hidden, alive, neighbours, drop_path)
            for alive in frames_in_blocks(schedule, frames, depth)
        )
        self.rep_logit = nn.Sequential(OrderedDict(fc=nn.Linear(width, rep_width), act=nn.Tanh()))
        self.head = nn.Linear(rep_width, 3)

    def forward(self, x: Tensor, asked: slice | None = None, known: Tensor | None = None) -> Tensor:
        """Poses of the rows asked for; known: what `by_frame` says of the frames entering, if at hand."""
        return self.hourglass.recover(*self.encode(x, asked, known), self.regress, asked)

    @property
    def remembers(self) -> bool:
        """Whether `by_frame` can be told ahead: not where a prune before the first layer changes tokens."""
        hourglass = self.hourglass
        return hourglass.at[:1] != (0,) or (hourglass.samples_first and not hourglass.positions)

    def by_frame(self, x: Tensor) -> Tensor:
        """What one frame tells without the others: the first streams (..., 2, J, D) of x (..., J, C)."""
        return torch.stack(self.layers[0].over_joints(self.joints_embed(x) + self.pos_embed[0]), dim=-3)

    def encode(
        self, x: Tensor, asked: slice | None = None, known: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, K, J, D) of the last layer and the places (K,) or (B, K) of their frames."""
        expect_windows(x, self)
        kept = self.hourglass.entering
        if known is None:
            tokens = self.joints_embed(take(x, kept)) + self.pos_embed  # (B, K, J, D)
        for i, layer in enumerate(self.layers):
            if i == 0 and known is not None:
                attended, gathered = known.unbind(dim=2)
            else:
                tokens, kept = self.hourglass.prune(i, tokens, kept, x, layer.received)
                attended, gathered = layer.over_joints(tokens)
            needed, kept = self.hourglass.narrow(i, kept, asked)
            tokens = layer.over_time(attended, gathered, needed)
        return self.norm(tokens), kept

    def regress(self, tokens: Tensor) -> Tensor:
        """Poses (B, K, J, 3) from tokens (B, K, J, D)."""
        return self.head(self.rep_logit(tokens))


class Layer(nn.Module):
    """A stream of attention and a stream of graph convolution, each first over joints, then over time."""

    def __init__(
        self, width: int, heads: int, hidden: int, frames: int, neighbours: int, drop_path: float
    ) -> None:
        super().__init__()

        def part(mixer: nn.Module) -> MixerBlock:
            return MixerBlock(mixer, width, hidden, drop_path)

        self.att_spatial = part(Attention(width, heads, qkv_bias=False))
        self.att_temporal = part(Attention(width, heads, qkv_bias=False))
        self.graph_spatial = part(SpatialGraph(width))
        self.graph_temporal = part(TemporalGraph(width, frames, neighbours))
        self.fusion = nn.Linear(2 * width, 2)
        nn.init.zeros_(self.fusion.weight)
        nn.init.constant_(self.fusion.bias, 0.5)

    def over_joints(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams (..., J, D) of x (..., J, D), each frame on its own."""
        return self.att_spatial.over_joints(x), self.graph_spatial.over_joints(x)

    def over_time(self, attended: Tensor, gathered: Tensor, asked: Tensor | None) -> Tensor:
        """(B, K, J, D) of both streams, of the frames at `asked` if given."""
        attended = self.att_temporal.over_time(attended, asked)
        gathered = self.graph_temporal.over_time(gathered, asked)
        share = self.fusion(torch.cat((attended, gathered), dim=-1)).softmax(dim=-1)  # (B, K, J, 2)
        return attended * share[..., :1] + gathered * share[..., 1:]

    def received(self, x: Tensor) -> Tensor:
        """How much attention each frame of x (B, K, J, D) would get here, (B, K)."""
        attention: Attention = self.att_temporal.mixer  # type: ignore[assignment]
        return attention.received(self.att_temporal.norm1(x))


class MixerBlock(nn.Module):
    """A mixer over sets of tokens (N, T, D), joints of a frame or frames of a joint, and an MLP."""

    def __init__(self, mixer: nn.Module, width: int, hidden: int, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixer = mixer
        self.mlp = Mlp(width, hidden)
        self.layer_scale_1 = nn.Parameter(torch.full((width,), 1e-5))
        self.layer_scale_2 = nn.Parameter(torch.full((width,), 1e-5))
        self.drop_path = DropPath(drop_path)

    def over_joints(self, x: Tensor) -> Tensor:
        """(..., J, D) -> (..., J, D), each frame on its own."""
        return self._add(x, self.mixer(self.norm1(x).flatten(0, -3)).view(x.shape))

    def over_time(self, x: Tensor, asked: Tensor | None) -> Tensor:
        """(B, K, J, D) -> (B, K, J, D), each joint on its own, or only the frames at `asked`."""
        B, _, J, D = x.shape
        mixed = self.mixer(by_joint(self.norm1(x)), per_joint(asked, J))
        x = x if asked is None else take(x, asked)
        return self._add(x, mixed.view(B, J, -1, D).transpose(1, 2))

    def _add(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.drop_path(self.layer_scale_1 * mixed)
        return x + self.drop_path(self.layer_scale_2 * self.mlp(self.norm2(x)))


class Graph(nn.Module):
    """Graph convolution of T nodes: relu(x + BatchNorm(A V x + U x)), A normalised by its rows' degrees."""

    def __init__(self, width: int, nodes: int) -> None:
        super().__init__()
        self.U, self.V = nn.Linear(width, width), nn.Linear(width, width)
        self.batch_norm = nn.BatchNorm1d(nodes)
        for linear in (self.U, self.V):
            nn.init.normal_(linear.weight, std=(2 / width) ** 0.5)

    def forward(self, x: Tensor, asked: Tensor | None = None) -> Tensor:
        """(N, T, D) -> (N, T, D), or of the nodes at `asked` (n,) or (N, n) alone; not while training."""
        edges = self.edges(x)  # (T, T) or (N, T, T), 1 where the row's node gathers from the column's
        scale = edges.sum(dim=-1, keepdim=True) ** -0.5
        edges = scale * edges * scale.mT
        if asked is None:
            return (x + self.batch_norm(edges @ self.V(x) + self.U(x))).relu()
        here = take(x, asked)
        norm = self.batch_norm
        mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        gain = norm.weight * (variance + norm.eps).rsqrt()
        offset = norm.bias - mean * gain
        mixed = take(edges, asked) @ self.V(x) + self.U(here)
        return (here + mixed * gain[asked, None] + offset[asked, None]).relu()

    def edges(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class SpatialGraph(Graph):
    """The body: every frame has the same edges."""

    adjacency: Tensor  # (J, J)

    def __init__(self, width: int) -> None:
        super().__init__(width, len(NEIGHBOURS))
        adjacency = torch.zeros(len(NEIGHBOURS), len(NEIGHBOURS))
        for joint, others in enumerate(NEIGHBOURS):
            adjacency[joint, list(others)] = 1
        self.register_buffer("adjacency", adjacency, persistent=False)

    def edges(self, x: Tensor) -> Tensor:
        return self.adjacency


class TemporalGraph(Graph):
    """Frames gather from the `neighbours` frames most similar to them (ties let in more)."""

    def __init__(self, width: int, frames: int, neighbours: int) -> None:
        super().__init__(width, frames)
        self.neighbours = neighbours

    def edges(self, x: Tensor) -> Tensor:
        similarity = x @ x.transpose(1, 2)  # (N, T, T)
        threshold = similarity.topk(min(self.neighbours, x.shape[1]), dim=-1).values[..., -1:]
        return (similarity >= threshold).to(x.dtype)
