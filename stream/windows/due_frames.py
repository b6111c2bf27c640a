"""How many pending frames a pass takes, counted on their grid positions, which never decrease.

`bisect_right` counts the frames up to a position, `bisect_left` the frames before it.
"""

from bisect import bisect_left, bisect_right


def count_due(positions: list[int], lookahead: int, full: bool, ending: bool) -> int:
    """How many frames have their look-ahead, or will never get it."""
    if ending and not full:
        return len(positions)
    with_lookahead = bisect_right(positions, positions[-1] - lookahead)
    return max(with_lookahead, 1) if full else with_lookahead


def limit_to_hop(positions: list[int], due: int, hop: int) -> tuple[int, bool]:
    """At most the frames of one hop from the first, and whether all of them have come and are due."""
    hop_end = positions[0] + hop
    in_hop = bisect_left(positions, hop_end)
    complete = positions[-1] >= hop_end - 1  # no later frame can belong to this hop
    return min(due, in_hop), complete and due >= in_hop


def limit_to_window(positions: list[int], due: int, lookahead: int, window_span: int) -> tuple[int, int]:
    """At most the frames that one window from the first spans, look-ahead included; and how many it sees."""
    in_window = bisect_right(positions, positions[0] + window_span)
    if in_window < len(positions):
        due = min(due, max(1, bisect_right(positions, positions[in_window - 1] - lookahead)))
    visible_until = bisect_left(positions, positions[due - 1] + lookahead) + 1
    return due, max(due, min(in_window, visible_until))
