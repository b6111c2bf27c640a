"""One pose of many hypotheses, with cameras of known geometry."""

import torch

from lifter.architectures.d3dp_aggregate import joint_best, jpma, pose_best, project, solve_root

# Human3.6M's camera 54138969 in screen units: bent by its lens.
BENT = torch.tensor([[2.2900, 2.2876, 0.0251, 0.0289, -0.2071, 0.2478, -0.0031, -0.0010, -0.0009]])
PLAIN = torch.tensor([[2.0, 3.0, 0.1, -0.2, 0, 0, 0, 0, 0]])


def person(seed: int = 0) -> torch.Tensor:
    """Poses (1, 4, 17, 3) of about human size, root at the origin."""
    poses = torch.randn(1, 4, 17, 3, generator=torch.Generator().manual_seed(seed)) * 0.4
    return poses - poses[:, :, :1]


def test_projection_without_distortion_equals_the_formula():
    points = torch.tensor([[[1.0, -2.0, 4.0], [0.0, 0.0, 1.0]]])
    expected = torch.tensor([[[2.0 * 0.25 + 0.1, 3.0 * -0.5 - 0.2], [0.1, -0.2]]])
    torch.testing.assert_close(project(points, PLAIN), expected)


def test_projection_with_distortion_equals_the_formula():
    x, y = 0.3, -0.2
    r2 = x * x + y * y
    bend = 1 - 0.2071 * r2 + 0.2478 * r2**2 - 0.0031 * r2**3 - 0.0010 * x - 0.0009 * y
    expected = [2.2900 * (x * bend - 0.0010 * r2) + 0.0251, 2.2876 * (y * bend - 0.0009 * r2) + 0.0289]
    assert torch.allclose(
        project(torch.tensor([[[0.9, -0.6, 3.0]]]), BENT), torch.tensor([[expected]]), atol=1e-6
    )


def test_the_root_of_a_projected_pose_is_recovered():
    root = torch.tensor([[[0.5, -0.3, 5.0]], [[0.4, 0.2, 4.0]], [[-1.0, 0.0, 3.0]], [[0.0, 0.0, 8.0]]])[None]
    keypoints = project(person() + root, PLAIN)
    torch.testing.assert_close(solve_root(person(), keypoints, PLAIN), root, atol=1e-3, rtol=0)


def test_each_joint_comes_from_the_hypothesis_that_projects_nearest():
    truth, root = person(), torch.tensor([0.2, -0.1, 5.0]).expand(1, 4, 1, 3)
    right = torch.randint(3, (1, 4, 17), generator=torch.Generator().manual_seed(2))
    shift = torch.tensor([0.3, 0.2, 0.0])
    hypotheses = torch.stack([truth + shift * (right != h)[..., None] for h in range(3)], dim=1)
    keypoints = project(truth + root, BENT)
    torch.testing.assert_close(jpma(hypotheses, keypoints, BENT, root), truth)


def test_without_a_root_that_of_the_mean_hypothesis_is_used():
    truth, root = person(), torch.tensor([0.2, -0.1, 5.0]).expand(1, 4, 1, 3)
    wobble = torch.randn(1, 8, 4, 17, 3, generator=torch.Generator().manual_seed(3)) * 0.1
    hypotheses = truth[:, None] + wobble
    keypoints = project(truth + root, PLAIN)
    error = (jpma(hypotheses, keypoints, PLAIN) - truth)[..., :2].norm(dim=-1).mean()
    assert error < 0.4 * wobble[..., :2].norm(dim=-1).mean()


def test_the_root_is_finite_when_all_keypoints_coincide():
    assert solve_root(person(), torch.zeros(1, 4, 17, 2), PLAIN).isfinite().all()


def test_the_best_pose_is_one_hypothesis_for_the_whole_window():
    truth = torch.cat([person(), person(5)])
    shift = torch.zeros(2, 3, 4, 17, 3)
    shift[..., 0] = 0.1
    shift[0, 1], shift[1, 2] = 0.01, 0.02  # of the first window the second is nearest, of the other the third
    shift[0, 0, :3] = 0  # better in three frames of four, and worse on the whole
    shift[0, 0, 3] = 0.3
    expected = truth + torch.stack([shift[0, 1], shift[1, 2]])
    torch.testing.assert_close(pose_best(truth[:, None] + shift, truth, list(range(17))), expected)


def test_the_best_pose_is_selected_by_the_given_joints():
    shift = torch.zeros(1, 2, 4, 17, 3)
    shift[:, 0, :, 3:], shift[:, 1, :, :3] = 1.0, 0.1
    best = pose_best(person()[:, None] + shift, person(), [0, 1, 2])
    torch.testing.assert_close(best, person() + shift[:, 0])


def test_the_best_joints_come_from_the_nearest_hypotheses():
    right = torch.randint(3, (1, 4, 17), generator=torch.Generator().manual_seed(2))
    miss = 0.1 * torch.stack([right != h for h in range(3)], dim=1)[..., None]
    torch.testing.assert_close(joint_best(person()[:, None] + miss, person()), person())
