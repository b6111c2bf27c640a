"""Motion capture is read, played, filmed and seen as the model of the world says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lifter.data import mocap as motion
from lifter.synthesis import body_shapes as body
from lifter.synthesis import rare_poses as rare
from lifter.synthesis.detector_noise import detect, fill
from lifter.synthesis.virtual_camera import NEAR_M, film
from lifter.training import dry_run as dry
from stream.errors import ConfigError
from stream.skeletons import SKELETONS


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def walking(tmp_path: Path) -> motion.Motion:
    clips = {f"clip/walk/{i}": dry.motion(60 + i, seed=i).astype(np.float32) for i in range(3)}
    np.savez(tmp_path / "clips.npz", fps=np.float32(50), **clips)
    return motion.read(tmp_path / "clips.npz")


def _windows(source: motion.Motion, windows: int = 8, frames: int = 30) -> Tensor:
    clip = source.draw(windows, _generator())
    return source.play(clip, torch.zeros(windows), torch.ones(windows), frames)


def test_a_clip_at_its_own_speed_is_the_clip(walking: motion.Motion) -> None:
    played = walking.play(torch.tensor([1]), torch.tensor([0.0]), torch.tensor([1.0]), 61)
    np.testing.assert_allclose(played[0, :, :17], dry.motion(61, seed=1), atol=1e-5)


def test_a_clip_that_ends_is_played_backwards(walking: motion.Motion) -> None:
    played = walking.play(torch.tensor([0]), torch.tensor([0.0]), torch.tensor([1.0]), 100)
    torch.testing.assert_close(played[0, 60:], played[0, 19:59].flip(0), atol=1e-5, rtol=0)


def test_half_speed_lies_between_frames(walking: motion.Motion) -> None:
    played = walking.play(torch.tensor([0]), torch.tensor([10.0]), torch.tensor([0.5]), 3)[0]
    torch.testing.assert_close(played[1], (played[0] + played[2]) / 2, atol=1e-6, rtol=0)


def test_the_packed_layout_says_the_same_as_clips(tmp_path: Path, walking: motion.Motion) -> None:
    xyz = walking.xyz[:60].numpy()
    root = xyz[:, 0]
    rel = np.round((xyz - root[:, None]) * 1e4).astype(np.int16)
    np.savez(
        tmp_path / "packed.npz", root=root, rel=rel, start=np.array([0]), length=np.array([60]),
        source=np.array(["a"]), subject=np.array(["b"]), fps=np.float32(50),
    )  # fmt: skip
    packed = motion.read(tmp_path / "packed.npz")
    torch.testing.assert_close(packed.xyz, walking.xyz[:60], atol=6e-5, rtol=0)


def test_sources_are_drawn_by_their_shares_and_people_by_the_root_of_their_time() -> None:
    length = torch.tensor([100, 400, 100])
    source, subject = np.array(["cmu_a", "cmu_b", "gym"]), np.array(["1", "2", "3"])
    weight = motion._weights(source, subject, length, {"cmu": 0.6, "gym": 0.4})
    np.testing.assert_allclose(weight, [0.2, 0.4, 0.4])


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", poses=np.zeros(3))
    with pytest.raises(ConfigError, match="expected arrays clip/<name>"):
        motion.read(tmp_path / "other.npz")
    np.savez(tmp_path / "short.npz", fps=np.float32(50), **{"clip/a": np.zeros((1, 17, 3))})
    with pytest.raises(ConfigError, match="clip/a: expected"):
        motion.read(tmp_path / "short.npz")


def test_bodies_have_the_asked_proportions_and_one_size(walking: motion.Motion) -> None:
    xyz, scale = _windows(walking), body.random_scale(8, _generator(1))
    resized = body.resize(xyz, scale)
    before = (xyz[:, :, 2] - xyz[:, :, 1]).norm(dim=-1) / (xyz[:, :, 13] - xyz[:, :, 12]).norm(dim=-1)
    after = (resized[:, :, 2] - resized[:, :, 1]).norm(dim=-1) / (resized[:, :, 13] - resized[:, :, 12]).norm(
        dim=-1
    )
    torch.testing.assert_close(after / before, (scale[:, 2] / scale[:, 13])[:, None].expand(8, 30))
    total = sum((resized[:, :, a] - resized[:, :, b]).norm(dim=-1) for a, b in body.SIZE_BONES)
    torch.testing.assert_close(torch.as_tensor(total).mean(dim=1), torch.full((8,), body.SIZE_M))


def test_a_mirrored_person_is_left_handed(walking: motion.Motion) -> None:
    xyz = _windows(walking, 2)
    mirrored = body.mirror(xyz, torch.tensor([True, False]))
    for left, right in SKELETONS["h36m17"].flip_pairs:
        torch.testing.assert_close(mirrored[0, :, left], xyz[0, :, right] * torch.tensor([-1.0, 1, 1]))
    torch.testing.assert_close(mirrored[1], xyz[1])


def test_cameras_keep_shapes_and_stand_off(walking: motion.Motion) -> None:
    xyz = _windows(walking, 64)
    view = film(xyz, _generator(2))
    assert view.xyz[..., 2].min() >= NEAR_M - 0.2
    before = (xyz[:, :, :, None] - xyz[:, :, None]).norm(dim=-1)
    after = (view.xyz[:, :, :, None] - view.xyz[:, :, None]).norm(dim=-1)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)


def test_cameras_do_not_mirror_and_mostly_see_heads_above_feet(walking: motion.Motion) -> None:
    xyz = _windows(walking, 64)
    view = film(xyz, _generator(2))
    basis = [torch.stack([v[:, 0, 1] - v[:, 0, 0], v[:, 0, 3] - v[:, 0, 0], v[:, 0, 16] - v[:, 0, 0]], -1)
             for v in (xyz, view.xyz)]  # fmt: skip
    torch.testing.assert_close(torch.linalg.det(basis[0]), torch.linalg.det(basis[1]), atol=1e-4, rtol=0)
    assert (view.xyz[:, 0, 10, 1] < view.xyz[:, 0, 3, 1]).all()  # y is down


def test_projection_is_that_of_a_pinhole_without_distortion(walking: motion.Motion) -> None:
    view = film(_windows(walking, 16), _generator(3))
    straight = view.k1 == 0
    pixels = view.project(view.xyz)[straight]
    xyz, focal = view.xyz[straight], view.focal_px[straight]
    wanted = (
        xyz[..., :2] / xyz[..., 2:] * focal[:, None, None, None] + view.size_wh[straight][:, None, None] / 2
    )
    torch.testing.assert_close(pixels, wanted)


def test_keypoints_are_near_the_truth_and_scores_know_how_near(walking: motion.Motion) -> None:
    view = film(_windows(walking, 256), _generator(4))
    keypoints = detect(view, _generator(5))
    assert keypoints.shape == (256, 30, 17, 3)
    assert keypoints.isfinite().all()
    score = keypoints[..., 2]
    assert (score.min(), score.max()) >= (0, 0)
    assert score.max() <= 1
    metre_px = view.focal_px[:, None, None] / view.xyz[:, :, :1, 2]
    error = (keypoints[..., :2] - view.project(view.xyz[:, :, :17])).norm(dim=-1) / metre_px
    assert error[score > 0.8].median() < 0.05
    low = (score > 0) & (score < 0.3)
    assert error[low].median() > 1.5 * error[score > 0.8].median()


def test_what_was_not_seen_is_interpolated_or_held() -> None:
    xy = torch.arange(6.0)[None, :, None, None].repeat(1, 1, 2, 2)
    seen = torch.ones(1, 6, 2, dtype=torch.bool)
    seen[0, [0, 2, 3, 5], 0] = False
    xy[~seen] = 99.0
    filled = fill(xy, seen)
    assert filled[0, :, 0, 0].tolist() == [1, 1, 2, 3, 4, 4]
    assert filled[0, :, 1, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_joint_never_seen_stands_in_the_middle_of_the_others() -> None:
    xy = torch.rand(1, 4, 3, 2, generator=_generator())
    seen = torch.ones(1, 4, 3, dtype=torch.bool)
    seen[:, :, 1] = False
    torch.testing.assert_close(fill(xy, seen)[:, :, 1], (xy[:, :, 0] + xy[:, :, 2]) / 2)


def test_a_seated_person_has_thighs_ahead_and_keeps_bone_lengths(walking: motion.Motion) -> None:
    xyz = _windows(walking, 16)
    seated = rare._seated(xyz, _generator())
    ahead = torch.tensor([0.0, -1.0, 0.0])  # the figure faces -y
    assert ((seated[:, :, 2] - seated[:, :, 1]) @ ahead > 0.1).all()
    for joint in (2, 3, 5, 6):
        torch.testing.assert_close(
            (seated[:, :, joint] - seated[:, :, joint - 1]).norm(dim=-1),
            (xyz[:, :, joint] - xyz[:, :, joint - 1]).norm(dim=-1),
        )
    torch.testing.assert_close(seated[:, :, 7:], xyz[:, :, 7:])


def test_a_bent_person_leans_forward_on_the_same_legs(walking: motion.Motion) -> None:
    xyz = _windows(walking)
    bent = rare._bent(xyz, _generator())
    legs = [0, 1, 2, 3, 4, 5, 6]
    torch.testing.assert_close(bent[:, :, legs], xyz[:, :, legs])
    trunk, upright = bent[:, :, 8] - bent[:, :, 0], xyz[:, :, 8] - xyz[:, :, 0]
    torch.testing.assert_close(trunk.norm(dim=-1), upright.norm(dim=-1))
    right = xyz[:, :, 1] - xyz[:, :, 4]
    ahead = torch.stack([-right[..., 1], right[..., 0], torch.zeros_like(right[..., 0])], dim=-1)
    leaning = ((trunk - upright) * ahead).sum(dim=-1).mean(dim=1)  # (B,)
    assert (leaning > 0).all()
    assert (trunk[..., 2] < upright[..., 2]).float().mean() > 0.8


def test_a_reaching_person_moves_nothing_but_the_arms(walking: motion.Motion) -> None:
    xyz = _windows(walking)
    reaching = rare._reaching(xyz, _generator())
    still = [joint for joint in range(19) if joint not in (12, 13, 15, 16)]
    torch.testing.assert_close(reaching[:, :, still], xyz[:, :, still])
    for above, below in ((11, 12), (12, 13), (14, 15), (15, 16)):
        length = (reaching[:, :, below] - reaching[:, :, above]).norm(dim=-1)
        torch.testing.assert_close(length, (xyz[:, :, below] - xyz[:, :, above]).norm(dim=-1))
    assert (reaching[:, :, 13] - xyz[:, :, 13]).norm(dim=-1).mean() > 0.1


def test_limbs_of_two_people_meet_at_the_pelvis(walking: motion.Motion) -> None:
    xyz = _windows(walking, 4)
    mixed = rare._combined(xyz)
    torch.testing.assert_close(mixed[:, :, :7], xyz[:, :, :7])
    torch.testing.assert_close(
        (mixed[:, :, 8] - mixed[:, :, 0]).norm(dim=-1),
        (xyz[:, :, 8] - xyz[:, :, 0]).norm(dim=-1).roll(1, dims=0),
    )
