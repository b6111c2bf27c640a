"""Draws lifted poses over true ones: `python scripts/postures.py [FILE] [WEIGHTS]`; postures.png and small.

A synthetic person goes from standing into each posture and holds it. A camera in front of the person or
beside projects the joints without errors, and the lifter lifts them. Every posture has four pictures: for
each camera, the person from the front and from the side. Grey: true; blue and orange: lifted, left and right,
in the size of the true person.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import lifter
from lifter.runner import Runner
from stream.messages import F32, Window
from stream.rotations import F64
from stream.skeletons import skeleton_named
from tests.rig_examples import about, joints

Angles = dict[str, tuple[float, float, float]]  # degrees about x, y, z by bone
ARMS_DOWN: Angles = {"LeftUpperArm": (0, 0, -80), "RightUpperArm": (0, 0, 80)}
ARMS_AHEAD: Angles = {"LeftUpperArm": (0, -85, 0), "RightUpperArm": (0, 85, 0)}


def bent_legs(hips_deg: float, knees_deg: float) -> Angles:
    sides = ("Left", "Right")
    legs: Angles = {f"{side}UpperLeg": (-hips_deg, 0, 0) for side in sides}
    return legs | {f"{side}LowerLeg": (knees_deg, 0, 0) for side in sides}


POSTURES: dict[str, Angles] = {
    "standing": ARMS_DOWN,
    "sitting": ARMS_DOWN | bent_legs(90, 90),
    "arms overhead": {"LeftUpperArm": (0, 0, 85), "RightUpperArm": (0, 0, -85)},
    "T-pose": {},
    "deep knee bend": ARMS_AHEAD | bent_legs(110, 130) | {"Spine": (25, 0, 0)},
    "turned around": ARMS_DOWN | {"Hips": (0, 180, 0)},
}
CAMERA_YAWS_DEG = {"camera in front": 15.0, "camera beside": 75.0}
DRAWN_YAWS_DEG = {"front": 0.0, "side": 90.0}
DISTANCE_M, CAMERA_HEIGHT_M, ANKLE_M = 4.0, 1.2, 0.085
SIZE_WH = 1280, 720
DEFAULT_FOCAL = 0.85  # in image widths
MOVE_FRAMES, DRAWN_FRAME = (60, 120), 200  # the posture is reached, and drawn, at these frames of the window
SKELETON = skeleton_named("h36m17")
ANGLES = {"knee": ((4, 5, 6), (1, 2, 3)), "elbow": ((11, 12, 13), (14, 15, 16))}
WIDTH, HEIGHT, PX_PER_M, TITLE_PX = 190, 250, 105, 40
GREY, LEFT, RIGHT = (170, 176, 182), (0, 114, 178), (213, 94, 0)


def main(path: str = "postures.png", weights: str = "small") -> None:
    """Draw all postures to `path` and print their errors."""
    runner = lifter.load(weights)
    views = [(camera, drawn) for camera in CAMERA_YAWS_DEG for drawn in DRAWN_YAWS_DEG]
    picture = Image.new("RGB", (WIDTH * len(POSTURES), TITLE_PX + HEIGHT * len(views)), "white")
    draw = ImageDraw.Draw(picture)
    for column, (name, posture) in enumerate(POSTURES.items()):
        draw.text((WIDTH * column + 10, 12), name, fill="black", font_size=16)
        for row, (camera, drawn) in enumerate(views):
            yaw_deg = CAMERA_YAWS_DEG[camera]
            true, lifted = lifted_posture(runner, posture, yaw_deg)
            corner = WIDTH * column, TITLE_PX + HEIGHT * row
            draw.text((corner[0] + 10, corner[1]), f"{camera}, {drawn}", fill=GREY, font_size=12)
            for pose, colours in ((true, (GREY, GREY)), (lifted, (LEFT, RIGHT))):
                draw_pose(draw, corner, pose @ about(y=-yaw_deg + DRAWN_YAWS_DEG[drawn]), colours)
            if drawn == "front":
                print(f"{name:15s} {camera:16s} {errors(true, lifted)}")
    picture.save(path)
    print(Path(path).resolve())


def lifted_posture(runner: Runner, posture: Angles, yaw_deg: float) -> tuple[F64, F64]:
    """True and lifted joints (17, 3) m around the pelvis, in camera axes; both have the true size."""
    frames = runner.spec.frames
    shares = np.clip((np.arange(frames) - MOVE_FRAMES[0]) / np.ptp(MOVE_FRAMES), 0, 1)
    true = np.stack([moving(posture, share, yaw_deg, n) for n, share in enumerate(shares)])
    width, height = SIZE_WH
    focal_px = (runner.spec.focal or DEFAULT_FOCAL) * width
    lowest_m = true[:, :, 1].max(axis=1, keepdims=True)[..., None]  # y points down
    camera = true + np.array([0, CAMERA_HEIGHT_M - ANKLE_M, DISTANCE_M]) - np.array([0, 1, 0]) * lowest_m
    xy = camera[..., :2] / camera[..., 2:] * focal_px + np.array([width, height]) / 2
    keypoints = np.concatenate([xy, np.ones((*xy.shape[:2], 1))], axis=2).astype(np.float32)
    times_ns = (np.arange(frames) * 1e9 / runner.spec.rate_hz).astype(np.int64)
    window = Window(keypoints, np.ones(frames, np.uint8), times_ns, SIZE_WH)
    lifted = runner.lift([window])[0, DRAWN_FRAME].astype(float)
    expected = true[DRAWN_FRAME] - true[DRAWN_FRAME, 0]
    return expected, lifted * size(expected) / size(lifted)


def moving(posture: Angles, share: float, yaw_deg: float, frame: int) -> F64:
    """Joints (17, 3) m on the way from standing (share 0) to a posture (1), swaying a little."""
    angles = {
        bone: share * np.array(posture.get(bone, (0, 0, 0)))
        + (1 - share) * np.array(ARMS_DOWN.get(bone, (0, 0, 0)))
        for bone in posture.keys() | ARMS_DOWN.keys()
    }
    hips = angles.pop("Hips", np.zeros(3)) + np.array([0, yaw_deg + 2 * np.sin(frame / 25), 0])
    return joints(Hips=about(*hips), **{bone: about(*turned) for bone, turned in angles.items()})


def size(pose: F64) -> float:
    """Sum of the bone lengths in metres."""
    return float(sum(np.linalg.norm(pose[joint] - pose[parent]) for joint, parent in bones()))


def bones() -> list[tuple[int, int]]:
    return [(joint, parent) for joint, parent in enumerate(SKELETON.parents) if parent >= 0]


def errors(true: F64, lifted: F64) -> str:
    """MPJPE, and by how much knees and elbows are bent, true and lifted."""
    words = [f"MPJPE {1000 * np.linalg.norm(lifted - true, axis=1).mean():4.0f} mm"]
    for name, sides in ANGLES.items():
        bends = ["/".join(f"{bend_deg(pose, *side):.0f}" for side in sides) for pose in (true, lifted)]
        words.append(f"{name} bent by {bends[0]}, lifted {bends[1]} degrees")
    return "   ".join(words)


def bend_deg(pose: F64, start: int, middle: int, end: int) -> float:
    """0 for a straight limb."""
    a, b = pose[middle] - pose[start], pose[end] - pose[middle]
    return float(np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))


def draw_pose(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    pose: F64 | F32,
    colours: tuple[tuple[int, int, int], ...],
) -> None:
    """Draw a pose around the middle of a picture; colours: of the left and of the right side."""
    right = {pair[1] for pair in SKELETON.flip_pairs}
    centre = np.array([corner[0] + WIDTH / 2, corner[1] + HEIGHT * 0.52])
    points = pose[:, :2] * PX_PER_M + centre
    for joint, parent in bones():
        ends = [tuple(points[parent]), tuple(points[joint])]
        draw.line(ends, fill=colours[joint in right], width=3)


if __name__ == "__main__":
    main(*sys.argv[1:])
