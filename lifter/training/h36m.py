"""Human3.6M as VideoPose3D keeps it: `data_3d_h36m.npz` and `data_2d_h36m_<detector>.npz` in one folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifter.training import safe
from lifter.training.evaluate import Sequence
from stream.errors import ConfigError

TRAIN, TEST = ("S1", "S5", "S6", "S7", "S8"), ("S9", "S11")
# The 17 joints among the 32 of the motion capture.
JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
_SIZES_WH = (
    (1000, 1002),
    (1000, 1000),
    (1000, 1000),
    (1000, 1002),
)  # cameras 54138969 55011271 58860488 60457274
# How the four cameras stood for each subject: quaternions (w, x, y, z) from camera to world axes, as the
# dataset publishes them. Poses are root-relative, so where the cameras stood does not matter.
_ORIENTATION = {
    "S1": (
        (0.1407056450843811, -0.1500701755285263, -0.755240797996521, 0.6223280429840088),
        (0.6157187819480896, -0.764836311340332, -0.14833825826644897, 0.11794740706682205),
        (0.14651472866535187, -0.14647851884365082, 0.7653023600578308, -0.6094175577163696),
        (0.5834008455276489, -0.7853162288665771, 0.14548823237419128, -0.14749594032764435),
    ),
    "S5": (
        (0.1467377245426178, -0.162370964884758, -0.7551892995834351, 0.6178938746452332),
        (0.6159758567810059, -0.7626792192459106, -0.15728192031383514, 0.1189815029501915),
        (0.14291371405124664, -0.12907841801643372, 0.7678384780883789, -0.6110143065452576),
        (0.5920479893684387, -0.7814217805862427, 0.1274748593568802, -0.15036417543888092),
    ),
    "S6": (
        (0.1337897777557373, -0.15692396461963654, -0.7571090459823608, 0.6198879480361938),
        (0.6147197484970093, -0.7628812789916992, -0.16174767911434174, 0.11819244921207428),
        (0.1529948115348816, -0.13529130816459656, 0.7646096348762512, -0.6112781167030334),
        (0.5916101336479187, -0.7804774045944214, 0.12832270562648773, -0.1561593860387802),
    ),
    "S7": (
        (0.1435241848230362, -0.1631336808204651, -0.7548328638076782, 0.6188824772834778),
        (0.6141672730445862, -0.7638262510299683, -0.1596645563840866, 0.1177929937839508),
        (0.14550060033798218, -0.12874816358089447, 0.7660516500473022, -0.6127139329910278),
        (0.5912848114967346, -0.7821764349937439, 0.12445473670959473, -0.15196487307548523),
    ),
    "S8": (
        (0.14110587537288666, -0.15589867532253265, -0.7561917304992676, 0.619644045829773),
        (0.6169601678848267, -0.7647668123245239, -0.14846350252628326, 0.11158157885074615),
        (0.1471444070339203, -0.13377119600772858, 0.7670128345489502, -0.6100369691848755),
        (0.5927824378013611, -0.7825870513916016, 0.12147816270589828, -0.14631995558738708),
    ),
    "S9": (
        (0.15540587902069092, -0.15548215806484222, -0.7532095313072205, 0.6199594736099243),
        (0.618784487247467, -0.7634735107421875, -0.14132238924503326, 0.11933968216180801),
        (0.13357827067375183, -0.1367100477218628, 0.7689454555511475, -0.6100738644599915),
        (0.5879399180412292, -0.7823407053947449, 0.1427614390850067, -0.14794869720935822),
    ),
    "S11": (
        (0.15232472121715546, -0.15442320704460144, -0.7547563314437866, 0.6191070079803467),
        (0.6189449429512024, -0.7600917220115662, -0.15300633013248444, 0.1255258321762085),
        (0.14943228662014008, -0.15650227665901184, 0.7681233882904053, -0.6026304364204407),
        (0.5894251465797424, -0.7818877100944519, 0.13991211354732513, -0.14715361595153809),
    ),
}


def sequences(
    folder: Path, split: str, detector: str = "cpn_ft_h36m_dbb", every: int = 1
) -> Iterator[Sequence]:
    """Videos of the "train" or "test" subjects; the row is the action, "Walking 1" counting as "Walking".

    every: take each `every`-th frame (Table 9 of the paper: 1, 2, 3, 4 are 50, 25, 16.7, 12.5 Hz).
    """
    world = safe.read_npz(folder / "data_3d_h36m.npz")["positions_3d"]
    pixels = safe.read_npz(folder / f"data_2d_h36m_{detector}.npz")["positions_2d"]
    for subject in TRAIN if split == "train" else TEST:
        if subject not in world or subject not in pixels:
            raise ConfigError(f"h36m: expected subject {subject} in both files in {folder}, it is missing")
        for action, xyz in world[subject].items():
            if action not in pixels[subject]:
                continue  # S11 "Directions" has no usable video
            for camera, xy in enumerate(pixels[subject][action]):
                yield _sequence(action, xyz, xy, subject, camera, every)


def _sequence(action: str, xyz: Any, xy: Any, subject: str, camera: int, every: int) -> Sequence:
    if xy.shape[1:] != (17, 2) or xyz.shape[1] not in (17, 32):
        raise ConfigError(
            f"h36m {subject} {action}: expected (F, 17, 2) and (F, 32, 3), got {xy.shape} and {xyz.shape}"
        )
    length = min(len(xyz), len(xy))  # detections run a few frames past the motion capture
    joints = xyz[:length:every, list(JOINTS)] if xyz.shape[1] == 32 else xyz[:length:every]
    relative = (joints - joints[:, :1]).astype(np.float64)
    truth = relative @ _rotation(_ORIENTATION[subject][camera])
    keypoints = np.concatenate([xy[:length:every], np.ones((len(truth), 17, 1))], axis=-1)
    return Sequence(
        action.split(" ")[0],
        keypoints.astype(np.float32),
        truth.astype(np.float32),
        _SIZES_WH[camera],
        rate_hz=50 / every,
    )


def _rotation(quaternion: tuple[float, float, float, float]) -> NDArray[np.float64]:
    """Rotation (3, 3) from camera to world axes; rows of vectors times it go from world to camera."""
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
