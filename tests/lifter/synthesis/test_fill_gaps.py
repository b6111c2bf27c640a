"""Missing joints of a batch are filled as live windows fill them."""

import numpy as np
import torch

from lifter.synthesis.fill_gaps import fill_missing_joints
from stream.windows.fill_gaps import fill_gaps
from tests.lifter.mocap_clips import seeded


def test_missing_joints_are_interpolated_or_held() -> None:
    xy = torch.arange(6.0)[None, :, None, None].repeat(1, 1, 2, 2)
    visible = torch.ones(1, 6, 2, dtype=torch.bool)
    visible[0, [0, 2, 3, 5], 0] = False
    xy[~visible] = 99.0
    filled = fill_missing_joints(xy, visible)
    assert filled[0, :, 0, 0].tolist() == [1, 1, 2, 3, 4, 4]
    assert filled[0, :, 1, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_joint_that_no_frame_shows_is_at_the_mean_of_the_others() -> None:
    xy = torch.rand(1, 4, 3, 2, generator=seeded())
    visible = torch.ones(1, 4, 3, dtype=torch.bool)
    visible[:, :, 1] = False
    torch.testing.assert_close(fill_missing_joints(xy, visible)[:, :, 1], (xy[:, :, 0] + xy[:, :, 2]) / 2)


def test_a_batch_is_filled_as_a_live_window() -> None:
    xy = 100 * torch.rand(4, 20, 17, 2, generator=seeded())
    visible = torch.rand(4, 20, 17, generator=seeded(1)) < 0.5
    visible[:, :, 0] = True  # every frame shows a joint
    visible[:, :, 5] = False
    filled = fill_missing_joints(xy, visible)
    for window in range(4):
        live = torch.cat([xy[window], visible[window, ..., None].float()], dim=-1).numpy()
        fill_gaps(live, 20_000_000 * np.arange(20))
        np.testing.assert_allclose(filled[window], live[..., :2], rtol=0, atol=1e-4)
