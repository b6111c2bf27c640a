"""Normalisation: the input is independent of a person's position, distance and size in the image."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from lifter import normalise
from lifter.spec import ASSUMED_FOCAL
from stream.errors import ConfigError, ShapeError

PERSON = SimpleNamespace(normalise="person", in_channels=3)
SCREEN = SimpleNamespace(normalise="screen", in_channels=2)
IMAGE = SimpleNamespace(normalise="image", in_channels=3)
SIZE = torch.tensor([[1280.0, 720.0]])
FOCAL = ASSUMED_FOCAL * 1280
# A standing adult, camera axes (y down), root at 0.
BODY = torch.tensor(
    [[0, 0, 0], [-0.09, 0, 0], [-0.1, 0.41, 0], [-0.1, 0.84, 0], [0.09, 0, 0], [0.1, 0.41, 0], [0.1, 0.84, 0],
     [0, -0.22, 0], [0, -0.5, 0], [0, -0.6, -0.08], [0, -0.75, -0.02], [0.18, -0.5, 0], [0.22, -0.22, 0],
     [0.24, 0.02, -0.05], [-0.18, -0.5, 0], [-0.22, -0.22, 0], [-0.24, 0.02, -0.05]]
)  # fmt: skip


def project(root: tuple[float, float, float], frames: int = 27, turn: Tensor | None = None) -> Tensor:
    """Keypoints (1, F, 17, 3) of the body at `root`, rotated by `turn`, with score 1."""
    xyz = (BODY if turn is None else BODY @ turn.T) + torch.tensor(root)
    xy = xyz[:, :2] / xyz[:, 2:] * FOCAL + SIZE / 2
    keypoints = torch.cat([xy, torch.ones(17, 1)], dim=-1)
    return keypoints.expand(1, frames, 17, 3).clone()


def facing(root: tuple[float, float, float]) -> Tensor:
    """Rotation (3, 3) after which a body at this position faces the camera as it does straight ahead."""
    direction = torch.tensor(root) / torch.tensor(root).norm()
    ahead = torch.tensor([0.0, 0.0, 1.0])
    v = torch.linalg.cross(ahead, direction)
    skew = torch.tensor([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return torch.eye(3) + skew + skew @ skew / (1 + ahead @ direction)


def test_screen_coordinates_equal_those_of_the_paper() -> None:
    keypoints = torch.zeros(1, 1, 2, 3)
    keypoints[0, 0, 1] = torch.tensor([1280.0, 720.0, 0.5])
    inputs, _ = normalise.encode(keypoints, SIZE, SCREEN)
    torch.testing.assert_close(inputs[0, 0], torch.tensor([[-1.0, -0.5625], [1.0, 0.5625]]))


def test_the_input_is_the_same_at_every_position_in_the_image() -> None:
    ahead, _ = normalise.encode(project((0, 0, 4)), SIZE, PERSON)
    place = (1.5, -0.6, 3.6)
    scaled = tuple(c * 4 / math.dist((0, 0, 0), place) for c in place)
    aside, _ = normalise.encode(project(scaled, turn=facing(place)), SIZE, PERSON)
    # The trunk's centre is not the root the body was turned around: a centimetre of difference remains.
    torch.testing.assert_close(aside, ahead, atol=0.015, rtol=0)


def test_one_unit_is_about_one_metre_at_any_distance() -> None:
    near, _ = normalise.encode(project((0, 0, 3)), SIZE, PERSON)
    far, _ = normalise.encode(project((0, 0, 9)), SIZE, PERSON)
    for inputs in (near, far):
        height = inputs[0, 0, 3, 1] - inputs[0, 0, 10, 1]
        assert 1.45 < height < 1.75  # 1.59 m from ankle to head


def test_the_input_is_the_same_at_every_resolution() -> None:
    keypoints = project((0.5, 0, 4))
    small, _ = normalise.encode(keypoints, SIZE, PERSON)
    doubled = keypoints * torch.tensor([2.0, 2.0, 1.0])
    large, _ = normalise.encode(doubled, 2 * SIZE, PERSON)
    torch.testing.assert_close(small, large, atol=1e-5, rtol=0)


def test_decoding_undoes_the_rotation_to_the_person() -> None:
    poses = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 27, 17, 3))).float()
    poses = poses - poses[:, :, :1]
    _, context = normalise.encode(project((1.4, 0.5, 3)), SIZE, PERSON)
    there = normalise.to_network_axes(poses, context)
    assert (there - poses).abs().max() > 0.1
    torch.testing.assert_close(normalise.decode(there, context), poses, atol=3e-6, rtol=0)


def test_the_rotation_is_the_smallest_that_centres_the_person() -> None:
    root = torch.tensor([1.4, 0.5, 3.0])
    _, context = normalise.encode(project((1.4, 0.5, 3.0)), SIZE, PERSON)
    axes = torch.cat([torch.zeros(1, 3), torch.eye(3)])  # decoding makes all relative to the first
    turn = normalise.to_network_axes(axes.expand(1, 27, 4, 3), context)[0, 0, 1:].T
    torch.testing.assert_close(turn @ turn.T, torch.eye(3), atol=1e-6, rtol=0)
    assert turn.det() == pytest.approx(1, abs=1e-6)
    towards = turn @ (root / root.norm())
    torch.testing.assert_close(towards, torch.tensor([0.0, 0.0, 1.0]), atol=0.1, rtol=0)  # of the trunk
    torch.testing.assert_close(turn[0, 1], turn[1, 0], atol=1e-6, rtol=0)  # no roll
    wanted = (axes[1:].expand(1, 27, 3, 3) @ turn)[0, 0]
    got = normalise.decode(axes.expand(1, 27, 4, 3), context)[0, 0, 1:]
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=0)


def test_encoding_does_not_change_its_argument() -> None:
    keypoints = (
        project((1.4, 0.5, 3)).permute(3, 2, 0, 1).contiguous().permute(2, 3, 1, 0)
    )  # the layout inside
    before = keypoints.clone()
    normalise.encode(keypoints, SIZE, PERSON)
    assert keypoints.equal(before)


def test_decoding_makes_poses_root_relative() -> None:
    poses = BODY.expand(1, 27, 17, 3) + 5.0
    _, context = normalise.encode(project((0, 0, 4)), SIZE, SCREEN)
    torch.testing.assert_close(normalise.decode(poses, context)[0, 0], BODY, atol=1e-6, rtol=0)


def test_poses_in_image_units_are_scaled_to_an_average_adult() -> None:
    _, context = normalise.encode(project((0, 0, 4)), SIZE, IMAGE)
    poses = normalise.decode(0.37 * BODY.expand(1, 27, 17, 3) + 1.0, context)
    total = sum((poses[0, 0, a] - poses[0, 0, b]).norm() for a, b in normalise.SIZE_BONES)
    assert float(total) == pytest.approx(normalise.SIZE_M, rel=1e-5)


def test_a_joint_with_score_0_does_not_change_the_other_joints() -> None:
    clean = project((0.3, 0.2, 4))
    lost = clean.clone()
    lost[:, :, 13] = torch.tensor([5000.0, -3000.0, 0.0])
    inputs, _ = normalise.encode(lost, SIZE, PERSON)
    wanted, _ = normalise.encode(clean, SIZE, PERSON)
    others = [joint for joint in range(17) if joint != 13]
    # The forearm no longer has a say in how large the person is: 2 % at most.
    torch.testing.assert_close(inputs[:, :, others], wanted[:, :, others], atol=0.02, rtol=0)
    assert inputs[:, :, 13].eq(0).all()  # never detected, so at the centre


def test_an_outlier_changes_the_input_little() -> None:
    clean = project((0, 0, 4))
    hit = clean.clone()
    hit[:, 13, 16, :2] += 900
    inputs, _ = normalise.encode(hit, SIZE, PERSON)
    wanted, _ = normalise.encode(clean, SIZE, PERSON)
    rest = [joint for joint in range(17) if joint != 16]
    assert (inputs[:, :, rest, :2] - wanted[:, :, rest, :2]).abs().max() < 0.05


def test_the_input_is_continuous_when_the_window_advances() -> None:
    time = torch.arange(61) / 50
    frames = [project((float(t) - 0.6, 0.05 * math.sin(6 * t), 4 - float(t)), 1) for t in time]
    video = torch.cat(frames, dim=1)
    a, first = normalise.encode(video[:, :60], SIZE, PERSON)
    b, second = normalise.encode(video[:, 1:], SIZE, PERSON)
    # Away from the ends, the same frame looks the same in both windows.
    torch.testing.assert_close(a[:, 21:40], b[:, 20:39], atol=6e-3, rtol=0)
    assert first.reflection is not None
    assert second.reflection is not None
    torch.testing.assert_close(first.reflection[:, 21:40], second.reflection[:, 20:39], atol=4e-3, rtol=0)


def test_a_window_with_score_0_everywhere_is_finite() -> None:
    inputs, context = normalise.encode(torch.zeros(2, 27, 17, 3), SIZE.expand(2, 2), PERSON)
    assert inputs.isfinite().all()
    assert normalise.decode(torch.zeros(2, 27, 17, 3), context).isfinite().all()


def test_the_mirrored_keypoints_give_the_mirrored_input() -> None:
    keypoints = project((0.8, 0.1, 4))
    mirrored = keypoints.clone()
    mirrored[..., 0] = SIZE[0, 0] - mirrored[..., 0]
    inputs, _ = normalise.encode(keypoints, SIZE, PERSON)
    other, _ = normalise.encode(mirrored, SIZE, PERSON)
    torch.testing.assert_close(other[..., 0], -inputs[..., 0], atol=1e-5, rtol=0)


def test_nearness_rises_when_the_person_comes_nearer() -> None:
    spec = SimpleNamespace(normalise="person", in_channels=4)
    near, far = (normalise.encode(project((0, 0, metres)), SIZE, spec)[0][..., 3] for metres in (2.25, 4.5))
    torch.testing.assert_close(near - far, torch.full_like(near, math.log(2)), atol=0.1, rtol=0)
    assert far.abs().max() < 0.5


def test_inputs_are_clamped_at_three_units() -> None:
    keypoints = project((0, 0, 4))
    keypoints[:, :, 13, 0] += 100_000
    keypoints[:, :, 16, 0] -= 100_000
    inputs, _ = normalise.encode(keypoints, SIZE, PERSON)
    assert inputs[..., 13, 0].unique().tolist() == [3.0]
    assert inputs[..., 16, 0].unique().tolist() == [-3.0]


def test_other_shapes_and_conventions_raise() -> None:
    with pytest.raises(ShapeError, match=r"expected \(B, F, J, 3\)"):
        normalise.encode(torch.zeros(1, 27, 17, 2), SIZE, PERSON)
    with pytest.raises(ConfigError, match="expected 'screen', 'image' or 'person', got 'pixels'"):
        normalise.encode(torch.zeros(1, 27, 17, 3), SIZE, SimpleNamespace(normalise="pixels", in_channels=3))


def test_poses_in_image_units_are_scaled_alike_in_all_frames_by_the_mean_size_of_the_window() -> None:
    _, context = normalise.encode(project((0, 0, 4)), SIZE, IMAGE)
    scale = torch.linspace(1, 2, 27)[None, :, None, None]
    poses = normalise.decode(0.37 * scale * BODY, context)
    bones = torch.stack([poses[0, :, a] - poses[0, :, b] for a, b in normalise.SIZE_BONES])
    sizes_m = bones.norm(dim=-1).sum(dim=0)
    torch.testing.assert_close(sizes_m, normalise.SIZE_M / 1.5 * scale[0, :, 0, 0], rtol=1e-5, atol=0)
