"""Parameters and FLOPs of models, compared with every figure of the paper's tables."""

from functools import cache

import msgspec
import pytest

from lifter.paper.flops import FlopCount, count, count_live_update
from lifter.paper.tables import ROWS
from lifter.samples import H2OT_SCHEDULES, full_size_spec
from lifter.spec import Schedule
from stream.errors import ConfigError


@cache
def cost(arch: str, frames: int | None = None, **schedule: object) -> tuple[FlopCount, ...]:
    return tuple(count(full_size_spec(arch, frames, Schedule(**schedule) if schedule else None)))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"table {row.table}: {row.name}")
def test_parameters_and_flops_are_those_of_the_paper(row):
    schedule = {} if row.schedule is None else msgspec.structs.asdict(row.schedule)
    total = cost(row.arch, row.frames, **schedule)[0]
    printed = row.gflops if row.rule_gflops is None else row.rule_gflops
    assert (round(total.parameters / 1e6, 2), round(total.paper_flops / 1e9, 2)) == (
        row.parameters_m,
        printed,
    )


@pytest.mark.parametrize(
    ("arch", "schedule", "gflops"),
    [
        ("mixste", {}, 294.85),
        ("mixste", {"keep": (81,), "at": (3,), "pruner": "tpc", "recoverer": "tra"}, 176.18),
        ("mixste", {"keep": (121, 81), "at": (0, 3)}, 121.43),
        ("mhformer", {}, 16.44),
        ("mhformer", {"keep": (175, 117), "at": (0, 1), "recoverer": "none"}, 7.22),
        ("motionbert", {}, 142.09),
        ("motionbert", {"keep": (121, 81), "at": (0, 1)}, 49.67),
        ("motionagformer", {}, 128.92),
        ("motionagformer", {"keep": (121, 81), "at": (0, 7)}, 43.21),
    ],
)
def test_flops_with_attention_count_every_product(arch, schedule, gflops):
    assert round(cost(arch, None, **schedule)[0].all_flops / 1e9, 2) == gflops


def test_blocks_after_pruning_cost_in_proportion_to_the_kept_frames():
    parts = {row.part: row.paper_flops for row in cost("mixste", None, keep=(81,), at=(4,))}
    assert (
        parts["STEblocks.3"] == parts["TTEblocks.3"] == 3 * parts["STEblocks.4"] == 3 * parts["TTEblocks.7"]
    )


def test_parts_add_up_to_the_total():
    total, *parts = cost("motionagformer")
    assert total.part == "total"
    assert total[1:] == tuple(sum(column) for column in list(zip(*parts, strict=True))[1:])


@pytest.mark.parametrize(
    ("arch", "keep", "at", "gflops"),
    [
        ("mixste", (121, 81), (0, 3), [118.23, 109.53, 105.35, 97.08]),
        (
            "motionbert",
            (121, 81),
            (0, 1),
            [47.98, 47.98, 42.06],
        ),  # no cache: its embedding depends on time
        ("motionagformer", (121, 81), (0, 7), [38.87, 38.87, 37.86, 36.44]),
        ("d3dp", (121, 81), (0, 3), [118.25, 109.54, 105.36]),  # no cache: noise depends on the frame index
        ("diffpose", (121, 81), (0, 3), [118.23, 109.53, 105.35, 97.08]),
    ],
)
def test_an_update_costs_only_the_work_for_its_new_frames_and_poses(arch, keep, at, gflops):
    """Five new frames, five poses: the paper's computation, then with one more saving in each column."""
    counts = count_live_update(full_size_spec(arch, None, Schedule(keep, at)), 5)
    assert [round(totals.paper_flops / 1e9, 2) for totals in counts] == gflops
    assert len({totals.parameters for totals in counts}) == 1


def test_a_model_for_the_centre_frame_skips_the_other_frames_in_its_last_block():
    spec = full_size_spec("mhformer", None, Schedule((175, 117), (0, 1), recoverer="centre"))
    assert [round(totals.paper_flops / 1e9, 2) for totals in count_live_update(spec)] == [6.72, 5.85, 5.85]


@pytest.mark.parametrize("arch", H2OT_SCHEDULES)
def test_the_default_schedule_is_that_of_the_last_h2ot_row_of_the_tables(arch):
    assert H2OT_SCHEDULES[arch] == [row.schedule for row in ROWS if row.arch == arch][-1]


def test_an_unknown_architecture_is_refused():
    with pytest.raises(ConfigError, match="mixste"):
        full_size_spec("mixtse")
