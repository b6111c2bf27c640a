"""Robustness of a lifter whose poses are known."""

import pytest

from lifter.evaluation import clip_errors, robustness
from lifter.evaluation.clip_errors import errors_of_all_frames
from lifter.evaluation.offline_lifter import OfflineLifter
from lifter.synthesis.synthetic_clips import SyntheticClip


def test_a_curve_begins_without_the_disturbance(clips: list[SyntheticClip], lifter: OfflineLifter) -> None:
    missing, outliers, noise = robustness.disturbance_curves(clips[:1], lifter, quick=True)
    exact = errors_of_all_frames(clips[:1], clip_errors.with_exact_2d(lifter)).mean()
    assert missing.errors[0] == outliers.errors[0] == exact
    assert (missing.levels, outliers.levels, noise.levels) == ((0, 50), (0, 20), (0, 3))
    assert robustness.disturbance_curves(clips[:1], lifter, quick=True) == [missing, outliers, noise]
    assert outliers.errors[1][1] > exact[1]


def test_unchanged_rates_and_cameras_have_the_same_errors(
    clips: list[SyntheticClip], lifter: OfflineLifter
) -> None:
    errors = errors_of_all_frames(clips, clip_errors.with_detector(lifter)).mean()
    assert robustness.at_frame_rates(clips, lifter, [1.0]) == [pytest.approx(errors, rel=1e-3)]
    assert robustness.at_frame_rates_resampled(clips, lifter, [1.0]) == [pytest.approx(errors, rel=1e-3)]
    assert robustness.with_rolled_camera(clips, lifter, 0.0) == pytest.approx(errors, rel=1e-3)


def test_a_symmetric_lifter_has_no_mirror_gap(clips: list[SyntheticClip], lifter: OfflineLifter) -> None:
    assert robustness.mirror_gap_mm(clips, lifter) == pytest.approx(0, abs=0.05)


def test_jitter_of_a_still_person_is_that_of_the_lifter(
    clips: list[SyntheticClip], lifter: OfflineLifter
) -> None:
    # 16 of 17 joints move back by a metre per frame
    assert robustness.standing_jitter_mm(clips, lifter, noisy=False) == pytest.approx(
        1000 * 16 / 17, rel=1e-3
    )
