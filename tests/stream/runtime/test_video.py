"""A video and an image folder are lifted with the real decoder, detector, tracker and default weights."""

import subprocess
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from stream.messages import JointOrigin, PoseFrame
from stream.runtime.offline import config_for, count, lift
from stream.wire.codec import decode

FRAMES = 40
RIGHT_SHOULDER, LEFT_SHOULDER, HEAD, PELVIS = 14, 11, 10, 0


def write_video(path: Path) -> Path:
    """A portrait of a woman facing the camera, drifting a little, visible from the waist up."""
    picture = np.pad(data.astronaut(), ((20, 0), (60, 60), (0, 0)), mode="edge")
    height, width = 500, 560
    shifts = (20 + 15 * np.sin(np.arange(FRAMES) / 9)).astype(int)
    raw = b"".join(picture[:height, x : x + width].tobytes() for x in shifts)
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "25", "-i", "-"]
    command = ["ffmpeg", "-v", "error", "-y", *source, "-pix_fmt", "yuv420p", "-c:v", "libx264"]
    subprocess.run([*command, str(path)], input=raw, check=True)
    return path


def check(output: Path) -> None:
    """One person in nearly all frames, facing the camera."""
    messages = [decode(line) for line in output.read_bytes().splitlines()]
    frames = [message for message in messages if isinstance(message, PoseFrame)]
    assert [frame.header.seq for frame in frames] == list(range(FRAMES))
    people = [person for frame in frames for person in frame.persons if person.state in ("new", "ok")]
    assert len(people) > 0.8 * FRAMES
    assert len({person.id for person in people}) == 1
    person = people[len(people) // 2]
    x, y, z = person.xyz.T
    assert x[RIGHT_SHOULDER] < x[LEFT_SHOULDER]  # she faces the camera: her right is at the left of the image
    assert y[HEAD] < y[RIGHT_SHOULDER] < y[PELVIS] == 0  # y points down
    assert 0.2 < x[LEFT_SHOULDER] - x[RIGHT_SHOULDER] < 0.55
    assert abs(z[LEFT_SHOULDER] - z[RIGHT_SHOULDER]) < 0.3
    assert person.origin[HEAD] == JointOrigin.OBSERVED
    assert person.kp2d is not None


def test_a_video_of_a_person_is_lifted(tmp_path: Path):
    video, output = write_video(tmp_path / "portrait.mp4"), tmp_path / "poses.jsonl"
    assert count(video) == FRAMES
    assert lift(config_for(video, output, {"weights": "small"}, ()), lambda frames: None) == FRAMES
    check(output)


def test_a_folder_of_images_is_lifted(tmp_path: Path):
    (tmp_path / "images").mkdir()
    write_video(tmp_path / "portrait.mp4")
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "portrait.mp4")]
    subprocess.run([*command, str(tmp_path / "images" / "%d.png")], check=True)
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    output = tmp_path / "poses.jsonl"
    assert count(tmp_path / "images") == FRAMES
    config = config_for(tmp_path / "images", output, {"weights": "small"}, ["source.fps=25"])
    assert lift(config, lambda frames: None) == FRAMES
    check(output)


def test_images_without_a_person_give_frames_without_persons(tmp_path: Path):
    (tmp_path / "wall").mkdir()
    for number in range(5):
        Image.new("RGB", (320, 240), (90, 90, 90)).save(tmp_path / "wall" / f"{number}.png")
    output = tmp_path / "poses.jsonl"
    lift(config_for(tmp_path / "wall", output, {"weights": "small"}, ()), lambda frames: None)
    messages = [decode(line) for line in output.read_bytes().splitlines()]
    assert [len(m.persons) for m in messages if isinstance(m, PoseFrame)] == [0] * 5
