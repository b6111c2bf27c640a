"""Draws a box figure that joint rotations drive, to look at: front faces are red, left sides green.

python scripts/draw_rig.py -o rig.png
"""

import argparse
import sys
from pathlib import Path

import matplotlib

sys.path.insert(0, str(Path(__file__).parents[1]))
matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from sinks.humanoid import RigFrame, rig_frame
from stream.rig import HUMANOID
from stream.rotations import F64, matrices
from tests.rig_examples import about, joints, pose_frames

TURN_DEG = (0, 45, 90, 135, 180, 225, 270, 315)
# Half sizes of the boxes across their bones, in rest axes (to the left, up, ahead), m.
THIN, THICK = 0.04, 0.09
FRONT, LEFT, OTHER = "#e05040", "#40b060", "#b0c4de"
ENDS = {
    "Head": (0.0, 0.2, 0.0),
    "LeftHand": (0.12, 0.0, 0.0),
    "RightHand": (-0.12, 0.0, 0.0),
    "LeftFoot": (0.0, -0.05, 0.16),
    "RightFoot": (0.0, -0.05, 0.16),
}
SIGNS = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)])
# Corners of the faces, by index into SIGNS: left, right, top, bottom, front, back.
FACES = ((4, 5, 7, 6), (0, 1, 3, 2), (2, 3, 7, 6), (0, 1, 5, 4), (1, 3, 7, 5), (0, 2, 6, 4))
COLOURS = (LEFT, OTHER, OTHER, OTHER, FRONT, OTHER)


def postures() -> dict[str, list[F64]]:
    """Joints (17, 3) m of a person who faces the camera; the last of each list is drawn."""
    walk = {
        "LeftUpperArm": about(z=-75) @ about(x=-20),
        "LeftLowerArm": about(y=-60),
        "RightUpperArm": about(z=75),
        "RightLowerArm": about(y=20),
        "LeftUpperLeg": about(x=-35),
        "LeftLowerLeg": about(x=45),
    }
    turning = [joints(Hips=about(y=float(turn)), **walk) for turn in range(0, 316, 5)]
    hips, knees = about(x=-90), about(x=90)
    sitting = joints(LeftUpperLeg=hips, RightUpperLeg=hips, LeftLowerLeg=knees, RightLowerLeg=knees)
    overhead = [
        joints(LeftUpperArm=about(z=float(up)), RightUpperArm=about(z=-float(up))) for up in range(0, 86, 5)
    ]
    named = {f"turned by {turn} degrees": turning[: turn // 5 + 1] for turn in TURN_DEG}
    return named | {"sitting": [sitting] * 5, "arms overhead": overhead}


def boxes(rig: RigFrame) -> tuple[list[F64], list[str]]:
    """Faces (4, 3) m of a box along every bone, and their colours."""
    local = matrices(rig.quat)
    heads, world = HUMANOID.forward(local, rig.rest, rig.hips), HUMANOID.world_rotations(local)
    faces, colours = [], []
    for bone, name in enumerate(HUMANOID.bones):
        children = [n for n, parent in enumerate(HUMANOID.parents) if parent == bone]
        end = np.array(ENDS.get(name, rig.rest[children[0]] if children else (0.0, 0.0, 0.0)))
        if name in ("Hips", "Chest"):
            end = np.array((0.0, 0.1, 0.0)) if name == "Hips" else rig.rest[HUMANOID.index["Neck"]]
        half = (
            np.array([THIN, THIN, THIN]) if "Arm" in name or "Leg" in name else np.array([THICK, THIN, THIN])
        )
        half = np.where(np.abs(end) > 0.6 * np.linalg.norm(end), 0.0, half)
        low, high = np.minimum(end, 0) - half, np.maximum(end, 0) + half
        corners = heads[bone] + (low + SIGNS * (high - low)) @ world[bone].T
        faces += [corners[list(face)] for face in FACES]
        colours += COLOURS
    return faces, colours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("rig.png"))
    figure = plt.figure(figsize=(20, 8))
    for number, (title, frames) in enumerate(postures().items()):
        frame = pose_frames(frames)[-1]
        rig = rig_frame(frame, frame.persons[0])
        assert rig is not None
        axes = figure.add_subplot(2, 5, number + 1, projection="3d")
        faces, colours = boxes(rig)
        # Seen as by a viewer whom the person faces: x to the viewer's right, up is up.
        drawn = [(face - rig.hips * (1, 0, 1))[:, [0, 2, 1]] * (1, -1, 1) for face in faces]
        axes.add_collection3d(
            Poly3DCollection(drawn, facecolors=colours, edgecolors="#333333", linewidths=0.4)
        )
        axes.set(xlim=(-0.9, 0.9), ylim=(-0.9, 0.9), zlim=(0, 1.8), title=title)
        axes.set_box_aspect((1, 1, 1))
        axes.view_init(elev=12, azim=-90)
        axes.set_axis_off()
    figure.tight_layout()
    figure.savefig(parser.parse_args().output, dpi=70)


if __name__ == "__main__":
    main()
