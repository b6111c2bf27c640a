import numpy as np
import pytest

from stream.interpolation import fractional_rows, interpolate, neighbours

TIMES_NS = np.array([100, 200, 400], np.int64)
AT_NS = [50, 100, 150, 200, 350, 400, 900]


@pytest.mark.parametrize(
    ("at_ns", "expected"),
    [
        (50, (0, 1, 0.0)),
        (100, (0, 1, 0.0)),
        (150, (0, 1, 0.5)),
        (200, (1, 2, 0.0)),
        (350, (1, 2, 0.75)),
        (400, (2, 2, 0.0)),
        (900, (2, 2, 0.0)),
    ],
)
def test_a_time_lies_between_two_rows_and_the_ends_are_held(at_ns: int, expected: tuple[int, int, float]):
    assert neighbours(TIMES_NS, at_ns) == expected


def test_many_times_have_the_same_rows_as_each_alone():
    rows = fractional_rows(TIMES_NS, np.array(AT_NS))
    assert rows.tolist() == [0, 0, 0.5, 1, 1.75, 2, 2]
    assert rows.tolist() == [
        before + weight for before, _, weight in (neighbours(TIMES_NS, at_ns) for at_ns in AT_NS)
    ]


def test_of_rows_at_one_time_the_last_counts():
    times_ns = np.array([0, 0, 0, 100], np.int64)
    assert neighbours(times_ns, 0) == (2, 3, 0.0)
    assert fractional_rows(times_ns, np.array([0, 50])).tolist() == [2, 2.5]


def test_times_since_1970_keep_their_nanoseconds():
    start_ns = 1_700_000_000_000_000_000
    times_ns = start_ns + np.array([0, 8], np.int64)
    assert fractional_rows(times_ns, start_ns + np.array([2])).tolist() == [0.25]


def test_values_are_interpolated_between_rows():
    values = np.array([[[0.0, 10.0]], [[2.0, 20.0]]], np.float32)
    between = interpolate(values, np.array([0.0, 0.25, 1.0]))
    assert between.tolist() == [[[0, 10]], [[0.5, 12.5]], [[2, 20]]]
    assert between.dtype == np.float32


def test_values_at_whole_rows_are_copies_of_them():
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    rows = interpolate(values, np.array([2.0, 0.0]))
    rows += 1
    assert rows.tolist() == [[5, 6], [1, 2]]
    assert values.tolist() == [[0, 1], [2, 3], [4, 5]]
