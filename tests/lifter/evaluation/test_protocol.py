"""The paper protocol gives the figures of the releases' evaluation code, which is written again here.

Everything from the files to the figure is recomputed without the package: the axes of the cameras, the
normalisation, the windows, the flip, the root and the metrics. Only the network is shared.
"""

import pickle
from collections import defaultdict

import numpy as np
import pytest
import torch

from lifter import weights
from lifter.evaluation.evaluate import evaluate
from lifter.evaluation.protocol import FlipAverageOfSameFrames, protocol_named
from lifter.evaluation.score import ScoreSettings, score, sequences
from lifter.spec import LifterSpec, Schedule
from lifter.training import dry_run as dry
from stream.errors import ConfigError
from stream.skeletons import skeleton_named

F = 9
JOINTS_OF_32 = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
# Orientation of the cameras (w, x, y, z) as VideoPose3D publishes them.
QUATERNIONS = {
    "S9": [
        (0.15540587902069092, -0.15548215806484222, -0.7532095313072205, 0.6199594736099243),
        (0.618784487247467, -0.7634735107421875, -0.14132238924503326, 0.11933968216180801),
        (0.13357827067375183, -0.1367100477218628, 0.7689454555511475, -0.6100738644599915),
        (0.5879399180412292, -0.7823407053947449, 0.1427614390850067, -0.14794869720935822),
    ],
    "S11": [
        (0.15232472121715546, -0.15442320704460144, -0.7547563314437866, 0.6191070079803467),
        (0.6189449429512024, -0.7600917220115662, -0.15300633013248444, 0.1255258321762085),
        (0.14943228662014008, -0.15650227665901184, 0.7681233882904053, -0.6026304364204407),
        (0.5894251465797424, -0.7818877100944519, 0.13991211354732513, -0.14715361595153809),
    ],
}
HEIGHTS = [1002, 1000, 1000, 1002]
VIDEOS = {"Walking 1": 40, "Walking": 23, "Sitting": 5, "Eating 2": 18}
SWAPPED = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]
TINY = {"width": 16, "depth": 2, "heads": 2}
H2OT = Schedule((5, 3), (0, 1))
TPC = Schedule((4,), (1,), "tpc", "tra")
MHFORMER = {"width": 16, "hidden": 32, "depth": 3, "heads": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Human3.6M in VideoPose3D's files: two subjects, four videos of different lengths, four cameras."""
    path = tmp_path_factory.mktemp("h36m")
    world, pixels = {}, {}
    for subject in QUATERNIONS:
        world[subject], pixels[subject] = {}, {}
        for number, (action, frames) in enumerate(VIDEOS.items()):
            xyz = np.zeros((frames, 32, 3), np.float32)
            xyz[:, JOINTS_OF_32] = dry.motion(frames, number)
            world[subject][action] = xyz
            random = np.random.default_rng(number)
            # The detector has two frames more than the motion capture.
            pixels[subject][action] = [
                random.uniform(200, 800, (frames + 2, 17, 2)).astype(np.float32) for _ in range(4)
            ]
    for name, key, value in (("3d_h36m", "positions_3d", world), ("2d_h36m_gt", "positions_2d", pixels)):
        np.savez(path / f"data_{name}.npz", allow_pickle=True, **{key: np.array(value, dtype=object)})
    return path


def built(arch, schedule=None, output="sequence", in_channels=2, normalise="screen", spread=0.2, **config):
    spec = LifterSpec(
        name="tiny", arch=arch, frames=F, schedule=schedule, output=output, in_channels=in_channels,
        normalise=normalise, config=config or TINY,
    )  # fmt: skip
    torch.manual_seed(3)
    model = weights.build(spec)
    for name, value in model.named_parameters():
        torch.nn.init.normal_(value, std=spread)
        if name.endswith("A_hat"):  # weights of a graph's edges, whose sum is under a root
            torch.nn.init.uniform_(value, 0.1, 1.0)
    return model, spec


def saved(folder, model, spec):
    path = folder / f"{spec.arch}-{id(model)}.safetensors"
    weights.save(path, model, spec)
    return path


def rotated_to_camera(xyz, quaternion):
    """VideoPose3D's `qrot` with the inverse quaternion."""
    w, vector = quaternion[0], -np.array(quaternion[1:])
    cross = np.cross(np.broadcast_to(vector, xyz.shape), xyz)
    return xyz + 2 * (w * cross + np.cross(np.broadcast_to(vector, xyz.shape), cross))


def loaded(folder):
    """Action, screen coordinates (L, 17, 2) and root-relative truth (L, 17, 3) m of every test video."""
    world = np.load(folder / "data_3d_h36m.npz", allow_pickle=True)["positions_3d"].item()
    pixels = np.load(folder / "data_2d_h36m_gt.npz", allow_pickle=True)["positions_2d"].item()
    for subject, cameras in QUATERNIONS.items():
        for action, xyz in world[subject].items():
            for camera, quaternion in enumerate(cameras):
                truth = rotated_to_camera(xyz[:, JOINTS_OF_32].astype(np.float64), quaternion)
                xy = pixels[subject][action][camera][: len(truth)].astype(np.float64)
                screen = xy / 1000 * 2 - [1, HEIGHTS[camera] / 1000]
                yield action.split(" ")[0], screen, truth - truth[:, :1]


def padded(video, start, end):
    """Frames `start` to `end` of a video whose ends are repeated, by numpy's own padding."""
    before, after = max(0, -start), max(0, end - len(video))
    pad = np.pad(video, [(before, after), (0, 0), (0, 0)], mode="edge")
    return pad[start + before : end + before]


def chunks_of_hot(length):
    """Windows side by side, centred on the video, as in HoT's generator."""
    count = (length + F - 1) // F
    offset = (count * F - length) // 2
    return [(i * F - offset, (i + 1) * F - offset) for i in range(count)]


def chunks_of_mixste(length):
    """Windows side by side; the last one is the last F frames (`eval_data_prepare`)."""
    count = -(-length // F)
    chunks = [(i * F, (i + 1) * F) for i in range(count - 1)]
    return [*chunks, (max(length, F) - F, max(length, F))]


def chunks_around_every_frame(length):
    return [(i - F // 2, i - F // 2 + F) for i in range(length)]


def lifted(model, x, flip):
    """Poses of a window, averaged with those of the mirrored window, with joint 0 at the origin."""
    with torch.inference_mode():
        tensor = torch.from_numpy(x).float()[None]
        poses = model(tensor)[0].double().numpy()
        if flip:
            mirrored = tensor[:, :, SWAPPED] * torch.tensor([-1.0] + [1.0] * (tensor.shape[-1] - 1))
            poses = (poses + model(mirrored)[0].double().numpy()[:, SWAPPED] * [-1.0, 1.0, 1.0]) / 2
    poses[:, 0] = 0
    return poses


def mpjpe_mm(a, b):
    return 1000 * np.linalg.norm(a - b, axis=-1).mean(axis=-1)


def p_mpjpe_mm(predicted, target):
    """Procrustes analysis as in VideoPose3D's `loss.py`."""
    mu_x, mu_y = target.mean(1, keepdims=True), predicted.mean(1, keepdims=True)
    x0, y0 = target - mu_x, predicted - mu_y
    norm_x, norm_y = (np.sqrt((v**2).sum((1, 2), keepdims=True)) for v in (x0, y0))
    u, s, vt = np.linalg.svd(np.matmul((x0 / norm_x).transpose(0, 2, 1), y0 / norm_y))
    v = vt.transpose(0, 2, 1)
    sign = np.sign(np.linalg.det(np.matmul(v, u.transpose(0, 2, 1))))[:, None]
    v[:, :, -1] *= sign
    s[:, -1] *= sign[:, 0]
    rotation = np.matmul(v, u.transpose(0, 2, 1))
    scale = s.sum(1)[:, None, None] * norm_x / norm_y
    return mpjpe_mm(scale * np.matmul(predicted - mu_y, rotation) + mu_x, target)


def official(model, folder, chunks, flip, centre=False):
    """Mean over actions of MPJPE and P-MPJPE in mm, every frame of every window counted."""
    errors = defaultdict(list)
    for action, screen, truth in loaded(folder):
        for start, end in chunks(len(truth)):
            poses, target = lifted(model, padded(screen, start, end), flip), padded(truth, start, end)
            if centre:
                target = target[F // 2 : F // 2 + 1]
                poses = poses if len(poses) == 1 else poses[F // 2 : F // 2 + 1]
            errors[action].append((mpjpe_mm(poses, target), p_mpjpe_mm(poses, target)))
    actions = [np.concatenate(rows, axis=1).mean(axis=1) for rows in errors.values()]
    return np.mean(actions, axis=0)


DIFFUSION = {**TINY, "hypotheses": 2, "steps": 2}
GRAPH = {"width": 8, "layers": 1, "heads": 2}
FAMILIES = {
    "mixste": (built("mixste"), chunks_of_mixste, True),
    "h2ot-mixste": (built("mixste", H2OT), chunks_of_hot, True),
    "hot-mixste": (built("mixste", Schedule((4,), (1,), "tpa", "tra")), chunks_of_hot, False),
    "d3dp": (built("d3dp", **DIFFUSION), chunks_of_mixste, False),
    "h2ot-d3dp": (built("d3dp", H2OT, **DIFFUSION), chunks_of_mixste, False),
    "diffpose": (built("diffpose", spread=0.1, graph=GRAPH, **TINY), chunks_of_mixste, False),
    "mhformer": (built("mhformer", output="centre", **MHFORMER), chunks_around_every_frame, True),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_the_paper_protocol_gives_the_figure_of_the_release_on_human36m(folder, family):
    (model, spec), chunks, flip = FAMILIES[family]
    settings = ScoreSettings(detector="gt", combination="flip" if flip else "mean", device="cpu")
    row = score(saved(folder, model, spec), folder, settings).rows()["mean of rows"]
    expected = official(model, folder, chunks, flip, centre=spec.output == "centre")
    assert (row["mpjpe"], row["p_mpjpe"]) == pytest.approx(tuple(expected), abs=1e-3)


def test_a_seq2frame_figure_is_that_of_the_centres_of_all_windows(folder):
    model, spec = built("mixste", H2OT)
    settings = ScoreSettings(detector="gt", mode="seq2frame", device="cpu")
    row = score(saved(folder, model, spec), folder, settings).rows()["mean of rows"]
    expected = official(model, folder, chunks_around_every_frame, False, centre=True)
    assert (row["mpjpe"], row["p_mpjpe"]) == pytest.approx(tuple(expected), abs=1e-3)


def test_our_protocol_scores_every_frame_once_and_subtracts_the_root(folder):
    model, spec = built("mixste")
    frames, errors = 0, defaultdict(list)
    for action, screen, truth in loaded(folder):
        video = np.full(truth.shape, np.nan)
        for start, end in chunks_of_hot(len(truth)):
            with torch.inference_mode():
                poses = model(torch.from_numpy(padded(screen, start, end)).float()[None])[0].numpy()
            inside = slice(max(start, 0), min(end, len(truth)))
            video[inside] = poses[inside.start - start : inside.stop - start]
        errors[action].append(mpjpe_mm(video - video[:, :1], truth))
        frames += len(truth)
    settings = ScoreSettings(detector="gt", protocol="ours", device="cpu")
    row = score(saved(folder, model, spec), folder, settings).rows()["mean of rows"]
    expected = np.mean([np.concatenate(values).mean() for values in errors.values()])
    assert row["mpjpe"] == pytest.approx(expected, abs=1e-3)
    assert frames == 8 * sum(VIDEOS.values())


def test_videos_are_lifted_at_the_rate_of_the_training_or_at_a_named_rate(folder):
    model, spec = built("mixste")
    slow = LifterSpec(name="slow", frames=F, rate_hz=16.7, config=TINY)
    at_16_hz = score(saved(folder, model, slow), folder, ScoreSettings(detector="gt", device="cpu")).rows()
    named = ScoreSettings(detector="gt", rate_hz=16.7, device="cpu")
    assert score(saved(folder, model, spec), folder, named).rows() == at_16_hz
    every_third = [len(video.at_rate(16.7).keypoints) for video in sequences(folder, detector="gt")]
    assert every_third == 2 * [n for frames in VIDEOS.values() for n in 4 * [-(-frames // 3)]]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"rate_hz": -1.0}, "rate: expected a rate above 0 Hz, got -1"),
        ({"rate_hz": 0.0}, "rate: expected a rate above 0 Hz, got 0"),
        ({"every": 0}, "every: expected a number from 1, got 0"),
    ],
)
def test_impossible_settings_of_a_score_are_refused(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        ScoreSettings(**settings)


def test_a_missing_detector_is_an_error_that_names_those_in_the_folder(folder):
    model, spec = built("mixste")
    with pytest.raises(
        ConfigError, match=r"expected data_2d_h36m_cpn_ft_h36m_dbb.npz, found keypoints of gt"
    ):
        score(saved(folder, model, spec), folder, ScoreSettings(device="cpu"))


SOURCES = {  # name of the video -> action, frames
    "s_09_act_02_subact_01_ca_01": ("02", 25), "s_09_act_05_subact_02_ca_01": ("05", 18),
    "s_11_act_05_subact_02_ca_03": ("05", 9), "s_11_act_03_subact_01_ca_02": ("03", 4),
    "s_11_act_02_subact_02_ca_04": ("02", 18),
}  # fmt: skip


@pytest.fixture(scope="module")
def pickled(tmp_path_factory):
    """Human3.6M in MotionBERT's pickle, with one mislabelled video and one shorter than a window."""
    random, total = np.random.default_rng(0), sum(frames for _, frames in SOURCES.values())
    lengths = [frames for _, frames in SOURCES.values()]
    part = {
        "joint_2d": random.uniform(0, 1000, (total, 17, 2)).astype(np.float32),
        "confidence": random.uniform(0, 1, (total, 17)).astype(np.float32),
        "joint3d_image": random.uniform(300, 700, (total, 17, 3)).astype(np.float32),
        "camera_name": np.repeat(["54138969", "55011271", "58860488", "60457274", "54138969"], lengths),
        "source": np.repeat(list(SOURCES), lengths),
        "2.5d_factor": random.uniform(3, 5, total),
        "action": np.repeat([action for action, _ in SOURCES.values()], lengths),
    }
    path = tmp_path_factory.mktemp("pickle") / "h36m.pkl"
    path.write_bytes(pickle.dumps({"train": part, "test": part}))
    return path


def split_clips(sources):
    """Frame numbers of MotionBERT's test clips: whole windows, or a short video stretched to one window."""
    clips, start = [], 0
    for end in range(1, len(sources) + 1):
        if end < len(sources) and sources[end] == sources[start]:
            continue
        whole = [range(first, first + F) for first in range(start, end - F + 1, F)]
        clips += whole or [start + np.linspace(0, end - start, num=F, endpoint=False, dtype=int)]
        start = end
    return clips


def official_image(model, path, flip):
    """MotionBERT's `evaluate`: pixels times factor, root-relative, mean of every frame's clips."""
    part = pickle.loads(path.read_bytes())["test"]
    errors, count = np.zeros((2, len(part["source"]))), np.zeros(len(part["source"]))
    for clip in split_clips(part["source"]):
        frames = np.array(clip)
        if part["source"][frames[0]][:-6] in (
            "s_09_act_05_subact_02", "s_09_act_10_subact_02", "s_09_act_13_subact_01"
        ):  # fmt: skip
            continue
        height = 1002 if part["camera_name"][frames[0]] in ("54138969", "60457274") else 1000
        xy = part["joint_2d"][frames] / 1000 * 2 - [1, height / 1000]
        x = np.concatenate([xy, part["confidence"][frames][..., None]], axis=-1)
        poses = lifted(model, x, flip)
        pixels = (poses + np.array([1, height / 1000, 0])) * 500
        factor = part["2.5d_factor"][frames][:, None, None]
        target = part["joint3d_image"][frames].astype(np.float64) * factor
        predicted = pixels * factor
        predicted, target = predicted - predicted[:, :1], target - target[:, :1]
        errors[:, frames] += mpjpe_mm(predicted, target) / 1000, p_mpjpe_mm(predicted, target) / 1000
        count[frames] += 1
    scored = errors[0] > 0
    by_action = [
        (errors[:, scored & (part["action"] == action)] / count[scored & (part["action"] == action)]).mean(1)
        for action in np.unique(part["action"][scored])
    ]
    return np.mean(by_action, axis=0)


@pytest.mark.parametrize("schedule", [None, H2OT, TPC])
@pytest.mark.parametrize("arch", ["motionbert", "motionagformer"])
def test_the_paper_protocol_gives_the_figure_of_the_release_on_motionberts_pickle(pickled, arch, schedule):
    config = TINY if arch == "motionbert" else TINY | {"neighbours": 2}
    model, spec = built(arch, schedule, in_channels=3, normalise="image", **config)
    flip = schedule is None or schedule.pruner == "tps"
    settings = ScoreSettings(combination="flip" if flip else "mean", device="cpu")
    row = score(saved(pickled.parent, model, spec), pickled, settings).rows()["mean of rows"]
    expected = official_image(model, pickled, flip)
    assert (row["mpjpe"], row["p_mpjpe"]) == pytest.approx(tuple(expected), abs=1e-3)


def test_3dhp_is_scored_on_the_fourteen_joints_of_its_official_script(tmp_path):
    dry.WRITERS["mpi3dhp"](tmp_path, {}, 20)
    model, spec = built("mixste", H2OT)
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.02)  # near the truth: some joints are correct
    rows = score(saved(tmp_path, model, spec), tmp_path, ScoreSettings(device="cpu")).rows()
    data = np.load(tmp_path / "data_test_3dhp.npz", allow_pickle=True)["data"].item()
    to_h36m = [14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4]
    for name, video in data.items():
        width, height = (1920, 1080) if name == "TS5" else (2048, 2048)
        screen = video["data_2d"][:, to_h36m].astype(np.float64) / width * 2 - [1, height / width]
        truth = video["data_3d"] / 1000
        truth = truth - truth[:, 14:15]
        near = []
        for start, end in chunks_of_hot(20):
            poses = np.zeros((F, 17, 3))
            poses[:, to_h36m] = lifted(model, padded(screen, start, end), False)
            near.append(1000 * np.linalg.norm(poses - padded(truth, start, end), axis=-1)[:, :14])
        distance = np.concatenate(near)
        assert rows[name]["pck"] == pytest.approx(100 * (distance < 150).mean(), abs=1e-6)
        thresholds = [(distance < threshold).mean() for threshold in range(0, 151, 5)]
        assert rows[name]["auc"] == pytest.approx(100 * np.mean(thresholds), abs=1e-6)
        assert 0 < rows[name]["pck"] < 100


def test_the_mirrored_pass_keeps_the_frames_of_the_straight_pass():
    model, _ = built("mixste", Schedule((4,), (1,), "tpc", "none"))
    x, choices = 10 * torch.randn(3, F, 17, 2), []
    pruner = model.hourglass.pruners[0]
    hook = pruner.register_forward_hook(lambda module, inputs, index: choices.append(index))
    average = FlipAverageOfSameFrames(model)
    with torch.inference_mode():
        poses = average(x)
        hook.remove()
        straight, other = model(x), average.mirror(model(average.mirror(x)))
        pruner.register_forward_hook(lambda module, inputs, index: choices[0])
        mirrored = average.mirror(model(average.mirror(x)))
    assert not torch.equal(choices[0], choices[1])  # on its own, the mirrored pass keeps other frames
    assert not torch.allclose(mirrored, other)
    torch.testing.assert_close(poses, (straight + mirrored) / 2)


def test_the_protocol_of_papers_needs_a_dataset_of_papers(folder):
    _, spec = built("mixste")
    with pytest.raises(ConfigError, match=r"paper needs Human3\.6M or MPI-INF-3DHP"):
        protocol_named("paper", spec, "other")
    with pytest.raises(ConfigError, match="expected paper or ours, got 'theirs'"):
        protocol_named("theirs", spec, "h36m")


def test_the_joints_left_out_of_3dhp_are_those_without_a_group_in_its_script():
    _, spec = built("mixste")
    scored = protocol_named("paper", spec, "mpi3dhp").pck_joints
    names = skeleton_named("h36m17").joints
    left_out = {name for joint, name in enumerate(names) if joint not in scored}
    assert left_out == {"pelvis", "spine", "neck_nose"}


def test_a_mislabelled_video_counts_in_our_protocol_alone(pickled):
    model, spec = built("motionbert", in_channels=3, normalise="image")
    videos = [video for video in sequences(pickled) if video.row == "Greeting"]
    assert [video.video for video in videos] == ["s_09_act_05_subact_02_ca_01", "s_11_act_05_subact_02_ca_03"]
    ours = evaluate(model, spec, videos).rows()["Greeting"]["mpjpe"]
    paper = evaluate(model, spec, videos, protocol=protocol_named("paper", spec, "motionbert"))
    alone = evaluate(model, spec, videos[1:], protocol=protocol_named("paper", spec, "motionbert"))
    assert paper.rows() == alone.rows()
    assert paper.rows()["Greeting"]["mpjpe"] != ours
