import numpy as np
import pytest

from stream.rotations import (
    axis_rotation,
    cross,
    level_axes,
    look_at,
    matrices,
    matrix_from_quaternion,
    quaternion_from_matrix,
    quaternions,
    shortest_arcs,
)

HALF = np.sqrt(0.5)


def random_rotations(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    matrices = [np.linalg.qr(random.normal(size=(3, 3)))[0] for _ in range(count)]
    return [matrix * np.sign(np.linalg.det(matrix)) for matrix in matrices]


def test_a_matrix_survives_the_way_through_a_quaternion():
    for matrix in random_rotations(50):
        quat = quaternion_from_matrix(matrix)
        assert quat[3] >= 0
        assert np.linalg.norm(quat) == pytest.approx(1)
        assert matrix_from_quaternion(quat) == pytest.approx(matrix)


def test_half_turns_have_a_quaternion():
    for axis in range(3):
        quat = quaternion_from_matrix(axis_rotation(axis, np.pi))
        assert np.abs(quat) == pytest.approx(np.eye(4)[axis], abs=1e-9)


def test_a_quaternion_of_any_length_is_normalised():
    assert matrix_from_quaternion((0.0, 0.0, 3.0, 3.0)) == pytest.approx(axis_rotation(2, np.pi / 2))


@pytest.mark.parametrize(
    ("axis", "start", "end"),
    [(0, (0, 1, 0), (0, 0, 1)), (1, (0, 0, 1), (1, 0, 0)), (2, (1, 0, 0), (0, 1, 0))],
)
def test_a_quarter_turn_about_an_axis_takes_the_next_axis_to_the_one_after(axis, start, end):
    assert axis_rotation(axis, np.pi / 2) @ start == pytest.approx(end)


@pytest.mark.parametrize(
    ("forward", "right", "down"),
    [((2, 0, 0), (0, -1, 0), (0, 0, -1)), ((0, 0.5, -0.5), (1, 0, 0), (0, -HALF, -HALF))],
)
def test_a_level_camera_looks_forward_with_its_right_side_horizontal(forward, right, down):
    expected = [right, down, np.array(forward) / np.linalg.norm(forward)]
    np.testing.assert_allclose(look_at(forward).T, expected, atol=1e-12)


def test_level_axes_have_z_up_and_x_towards_the_level_part_of_forward():
    up = np.array([0.0, -1.0, 0.0])
    axes = level_axes(up, np.array([0.0, 0.6, 0.8]))
    np.testing.assert_allclose(axes, [[0, 0, 1], [-1, 0, 0], up], atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1)


@pytest.mark.parametrize("start", [*np.eye(3), (0.6, 0.8, 0.0), (0.0, 0.6, -0.8)])
def test_the_smallest_rotation_between_opposite_vectors_is_a_half_turn(start):
    arc = shortest_arcs(np.array(start), -np.array(start))
    np.testing.assert_allclose(arc @ start, -np.array(start), atol=1e-12)
    np.testing.assert_allclose(arc @ arc.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(arc) == pytest.approx(1)


def test_cross_products_are_those_of_numpy():
    random = np.random.default_rng(1)
    a, b = random.normal(size=(4, 5, 3)), random.normal(size=(5, 3))
    np.testing.assert_array_equal(cross(a, b), np.cross(a, b))


def test_many_matrices_survive_the_way_through_quaternions():
    turned = np.array([*random_rotations(50), *(axis_rotation(axis, np.pi) for axis in range(3)), np.eye(3)])
    quats = quaternions(turned)
    assert np.linalg.norm(quats, axis=1) == pytest.approx(1)
    np.testing.assert_allclose(matrices(quats), turned, atol=1e-12)
