"""Research commands as typed: FLOPs, imported checkpoints that lift, lag curves, evaluation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lifter.paper import tables as paper
from lifter.spec import Schedule
from lifter.training import dry_run as dry
from lifter.weights import read_spec
from stream.cli.main import main
from stream.files import keypoints as keypoint_files
from stream.files.keypoints import PACKAGED_RECORDING
from stream.messages import PoseFrame
from stream.wire.codec import decode
from tests.lifter.recipe import regenerate

ORACLE = Path(__file__).parents[2] / "lifter" / "oracle"
# The settings that each reference's weights need, and the spec of the imported weights.
MIXSTE = {"frames": 27, "channel": 64}
MOTIONBERT = {"maxlen": 27, "dim_feat": 64, "dim_rep": 128}
MHFORMER = {"frames": 81, "channel": 64, "d_hid": 128}
MOTIONAGFORMER = {"n_layers": 4, "dim_feat": 32, "dim_rep": 64, "num_heads": 8, "neighbour_num": 2}
RELEASES = {
    "mixste": ("mixste_small", MIXSTE, "mixste, 27 frames, sequence"),
    "hot_mixste": ("hot_mixste_small", MIXSTE | {"token_num": 9}, "mixste, 27 frames, sequence"),
    "tpc_mixste": ("tpc_mixste_small", MIXSTE | {"token_num": 9}, "mixste, 27 frames, centre"),
    "mhformer": ("mhformer_small_F81", MHFORMER, "mhformer, 81 frames, centre"),
    "tpc_mhformer": ("tpc_mhformer_small", MHFORMER | {"token_num": 27}, "mhformer, 81 frames, centre"),
    "motionbert": ("motionbert_small", MOTIONBERT, "motionbert, 27 frames, sequence"),
    "hot_motionbert": (
        "hot_motionbert_small",
        MOTIONBERT | {"mlp_hidden": 256, "token_num": 9, "layer_index": 1},
        "motionbert, 27 frames, sequence",
    ),
    "motionagformer": (
        "motionagformer_small", MOTIONAGFORMER | {"n_frames": 27}, "motionagformer, 27 frames, sequence"
    ),
    "hot_motionagformer": (
        "hot_motionagformer_small",
        MOTIONAGFORMER | {"maxlen": 27, "token_num": 9, "layer_index": 2},
        "motionagformer, 27 frames, sequence",
    ),
    "d3dp": ("d3dp_small", MIXSTE, "d3dp, 27 frames, sequence"),
}  # fmt: skip


@pytest.fixture
def poselift(capsys):
    """Runs `poselift ARGUMENTS`; returns exit code, stdout and stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def released(reference, folder):
    """A checkpoint file with a reference's weights in the format of its authors."""
    keys = torch.load(ORACLE / f"{reference}.pt", weights_only=True)["keys"]
    state = {f"module.{key}": value for key, value in regenerate(keys).items()}
    path = folder / f"{reference}.bin"
    torch.save([state, {"lr": 1e-3}] if "diffpose" in reference else {"epoch": 7, "model_pos": state}, path)
    return path


def as_options(settings):
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def imported(poselift, folder, arch):
    reference, settings, _ = RELEASES[arch]
    output = folder / f"{arch}.safetensors"
    answer = poselift(
        "import-weights", arch, released(reference, folder), "-o", output, *as_options(settings)
    )
    return output, answer


@pytest.mark.parametrize("arch", RELEASES)
def test_every_released_model_is_imported(poselift, tmp_path, arch):
    output, (code, out, err) = imported(poselift, tmp_path, arch)
    assert (code, err) == (0, "")
    assert out == f"{output}: {RELEASES[arch][2]}, sha256 {read_spec(output).sha256[:12]}\n"


def test_diffpose_is_imported_from_two_files_and_pruned(poselift, tmp_path):
    output, pose = tmp_path / "both.safetensors", released("mixste_small", tmp_path)
    graph = released("diffpose_gcn", tmp_path)
    words = as_options(MIXSTE | {"pose": pose})
    code, out, _ = poselift(
        "import-weights", "diffpose", graph, "-o", output, *words, "--keep=13,9", "--at=0,3"
    )
    assert (code, out.split(", sha256")[0]) == (0, f"{output}: diffpose, 27 frames, sequence")
    schedule = read_spec(output).schedule
    assert schedule is not None
    assert (schedule.keep, schedule.at) == ((13, 9), (0, 3))


def test_released_weights_are_imported_with_any_pruning_and_as_seq2frame(poselift, tmp_path):
    file, output = released("mixste_small", tmp_path), tmp_path / "pruned.safetensors"
    words = ("import-weights", "mixste", file, "-o", output, *as_options(MIXSTE), "--keep=13,9", "--at=0,3")
    for pruner in ("tps", "tpc", "tpa", "tpmo"):
        assert poselift(*words, "--pruner", pruner, "--recoverer", "centre")[0] == 0
        spec = read_spec(output)
        assert (spec.output, spec.schedule) == ("centre", Schedule((13, 9), (0, 3), pruner, "centre"))
    assert poselift(*words, "--pruner", "tpmo")[0] == 0
    assert (read_spec(output).output, read_spec(output).schedule.recoverer) == ("sequence", "tri")
    code, _, err = poselift(*words, "--recoverer", "tra")
    assert (code, "hourglass.positions.0" in err) == (1, True)


def test_hypotheses_and_steps_of_d3dp_are_set_at_import_and_in_evaluation(poselift, tmp_path):
    file, output = released("d3dp_small", tmp_path), tmp_path / "d3dp.safetensors"
    words = as_options(MIXSTE | {"num_proposals": 3, "sampling_timesteps": 2})
    assert poselift("import-weights", "d3dp", file, "-o", output, *words)[0] == 0
    assert (read_spec(output).config["hypotheses"], read_spec(output).config["steps"]) == (3, 2)
    np.savez(tmp_path / "x.npz", allow_pickle=False, fps=np.float32(50), **{"clip/a/b": dry.motion(20)})
    evaluate = ("evaluate", output, "--data", tmp_path / "x.npz", "--device", "cpu")
    answers = {
        (h, k): poselift(*evaluate, *(("--hypotheses", h, "--steps", k) if h else ()))[1]
        for h, k in ((None, None), (3, 2), (1, 2), (3, 1))
    }
    assert answers[None, None] == answers[3, 2]
    assert len(set(answers.values())) == 3
    code, _, err = poselift("evaluate", "small", "--data", tmp_path / "x.npz", "--steps", "2")
    assert (code, "steps: expected a diffusion lifter, got mixste" in err) == (2, True)


def test_a_single_stage_of_samples_can_be_plotted(poselift, tmp_path, tiny_weights):
    words = ("--model", tiny_weights, "--keep", "9", "--at", "0", "--windows", "3")
    code, _, err = poselift("plot", "selected", "-o", tmp_path / "kept.png", *words)
    assert (code, err) == (0, "")


def test_the_output_is_named_after_the_checkpoint(poselift, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = poselift(
        "import-weights", "mixste", released("mixste_small", tmp_path), *as_options(MIXSTE)
    )
    assert (code, out.split(":")[0]) == (0, "mixste_small.safetensors")
    assert read_spec("mixste_small.safetensors").name == "mixste_small"


@pytest.mark.parametrize("arch", ["mixste", "motionbert", "motionagformer"])
def test_imported_weights_lift(poselift, tmp_path, arch):
    weights, _ = imported(poselift, tmp_path, arch)
    output = tmp_path / "poses.jsonl"
    code, _, err = poselift("lift", PACKAGED_RECORDING, "-o", output, "--weights", weights)
    assert code == 0, err
    frames = [
        message for line in output.read_bytes().splitlines() if isinstance(message := decode(line), PoseFrame)
    ]
    assert len(frames) == len(list(keypoint_files.read(PACKAGED_RECORDING)))
    poses = np.stack([person.xyz for frame in frames for person in frame.persons])
    assert np.isfinite(poses).all()
    assert {frame.model.name for frame in frames} == {arch}
    assert not poses[:, 0].any()  # root-relative


def test_weights_that_output_the_centre_frame_only_are_refused_live(poselift, tmp_path):
    weights, _ = imported(poselift, tmp_path, "mhformer")
    code, _, err = poselift("lift", PACKAGED_RECORDING, "-o", tmp_path / "poses.jsonl", "--weights", weights)
    assert code == 2
    assert "mhformer gives only the middle of 81 frames, 40 frames late" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("mixtse", "FILE"), "arch: expected one of mixste, hot_mixste, "),
        (("mixste", "nothing.bin"), "nothing.bin: expected a checkpoint file, got none"),
        (("mixste", "FILE"), "Temporal_pos_embed should be (1, 243, 512) and is (1, 27, 64)"),
        (("motionbert", "FILE"), "expected weights of MotionBERT"),
        (("motionagformer", "FILE"), "expected a value for num_heads"),
        (("diffpose", "FILE"), "expected pose=FILE"),
        (("diffpose", "FILE", "--set", "pose=12"), "12: expected a checkpoint file, got none"),
        (("diffpose_gcn", "FILE"), "got a part of one; import diffpose"),
        (("mixste", "FILE", "--set", "channel"), "--set channel: expected key=value"),
        (("mixste", "FILE", "--set", "channel={"), "--set channel={: not valid YAML"),
        (("mixste", "FILE", "--set", "channel=[1]"), "mixste does not accept {'channel': [1]}"),
        (("mixste", "FILE", "--set", "colour=3"), "got 'colour'"),
        (("mixste", "FILE", "--keep", "13"), "--keep and --at go together"),
        (("mixste", "FILE", "--keep", "a", "--at", "0"), "expected whole numbers such as 121,81, got 'a'"),
        (("hot_mixste", "FILE", "--keep", "13", "--at", "0"), "has the pruning of its release"),
        (("mixste", "FILE", "-o", "x.bin"), "x.bin: expected an output ending in .safetensors"),
        (
            ("mixste", "FILE", "-o", "nowhere/x.safetensors", *as_options(MIXSTE)),
            "nowhere/x.safetensors: the weights cannot be written: ",
        ),
        (("mixste", "cut.bin"), "cut.bin: expected a checkpoint saved by torch"),
        (("mixste", "empty.bin"), "empty.bin: expected a checkpoint saved by torch, got an empty file"),
        (
            ("mixste", "text.bin"),
            "text.bin: expected a checkpoint saved by torch, got a file that begins with",
        ),
        (("mixste", "evil.bin"), "evil.bin: expected "),
    ],
)
def test_a_failed_import_is_a_one_line_error(poselift, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    file = released("mixste_small", tmp_path)
    Path("cut.bin").write_bytes(file.read_bytes()[:20000])
    Path("empty.bin").touch()
    Path("text.bin").write_text("epoch 1: 50 mm")
    torch.save({"model_pos": {}, "evil": Evil()}, "evil.bin")
    code, out, err = poselift("import-weights", *(str(file) if word == "FILE" else word for word in words))
    assert code in (1, 2)  # 2: an argument must be changed
    assert out == ""
    assert message in err
    assert err.startswith("error: ")
    assert not list(tmp_path.glob("*.safetensors*"))
    assert not Path("evil-was-here").exists()


class Evil:
    """Creates a file when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("evil-was-here"),)


def test_flops_prints_a_table(poselift):
    code, out, _ = poselift("flops", "mixste")
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["part", "parameters", "M", "GFLOPs", "(paper)", "GFLOPs", "(all)"],
        ["total", "33.78", "277.25", "294.85"],
    ]


def test_flops_of_a_pruned_model_are_printed_as_json(poselift):
    code, out, _ = poselift("flops", "mixste", "--keep", "121,81", "--at", "0,3", "--json")
    total = json.loads(out)
    assert (code, total["part"]) == (0, "total")
    assert round(total["paper_flops"] / 1e9, 2) == 118.23
    assert round(total["all_flops"] / 1e9, 2) == 121.43
    assert round(total["parameters"] / 1e6, 2) == 33.78


def test_flops_of_a_live_update_fall_step_by_step(poselift):
    code, out, _ = poselift("flops", "mixste", "--keep", "121,81", "--at", "0,3", "--live", "1", "--json")
    assert code == 0
    assert [(row["part"], round(row["paper_flops"] / 1e9, 2)) for row in json.loads(out)] == [
        ("paper's computation", 118.23),
        ("unneeded tokens skipped", 109.53),
        ("only the newest poses", 105.25),
        ("with the frame cache", 96.69),
    ]
    code, _, err = poselift("flops", "mixste", "--live", "244")
    assert code == 2
    assert "expected 1 to 243 new frames and poses, got 244" in err


def test_flops_of_every_block_add_up(poselift):
    _, out, _ = poselift("flops", "motionbert", "--table", "--json", "--frames", "27")
    total, *parts = json.loads(out)
    assert total["part"] == "total"
    for field in ("parameters", "paper_flops", "all_flops"):
        assert total[field] == sum(part[field] for part in parts)
    _, table, _ = poselift("flops", "motionbert", "--table", "--frames", "27")
    assert [line.split()[0] for line in table.splitlines()] == ["part", "total", *(p["part"] for p in parts)]


def test_rows_of_the_paper_are_printed_beside_our_counts(poselift, monkeypatch):
    monkeypatch.setattr(
        paper, "ROWS", [row for row in paper.ROWS if row.arch == "mhformer"] + [paper.ROWS[0]]
    )
    code, out, _ = poselift("flops", "mhformer", "--paper")
    assert code == 0
    assert poselift("flops", "--paper")[1].startswith(out)
    assert [line.split() for line in out.splitlines()][1:] == [
        ["7", "MHFormer", "31.52", "31.52", "14.15", "14.15", "43.0"],
        ["7", "TPC", "w.", "MHFormer", "31.52", "31.52", "8.22", "8.22", "43.0"],
        ["7", "TPM", "w.", "MHFormer", "31.52", "31.52", "6.74", "6.74", "43.2"],
    ]
    _, out, _ = poselift("flops", "mhformer", "--paper", "--json")
    assert json.loads(out)[2] == {
        "table": 7, "model": "TPM w. MHFormer", "parameters_m": 31.52, "our_parameters_m": 31.52,
        "gflops": 6.74, "our_gflops": 6.74, "mpjpe_mm": 43.2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "expected an architecture, such as mixste, or --paper"),
        (("mixtse",), "arch: expected one of mixste, "),
        (("mixtse", "--paper"), "ARCH: expected one of mixste, "),
        (("mixste", "--frames", "0"), "lifter.frames: expected more than 0, got 0"),
        (("mhformer", "--frames", "80"), "multiple of 9"),
        (("mixste", "--keep", "81"), "--keep and --at go together"),
        (("mixste", "--keep", "300", "--at", "0"), "at most 243 frames"),
        (("mixste", "--keep", "81", "--at", "8"), "block indices below 8"),
        (("mixste", "--keep", "81", "--at", "3", "--pruner", "tsp"), "expected one of tps, "),
        (("mixste", "--keep", "81", "--at", "3", "--recoverer", "x"), "expected one of tri, "),
    ],
)
def test_wrong_arguments_of_flops_are_one_line_errors(poselift, words, message):
    code, out, err = poselift("flops", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("error: ")


def test_the_lag_curve_is_measured_drawn_and_written_into_a_document(poselift, tmp_path, tiny_weights):
    clips = {f"clip/anna/{i}": dry.motion(60, i).astype(np.float32) for i in range(3)}
    np.savez(tmp_path / "motion.npz", allow_pickle=False, fps=np.float32(50), **clips)
    document = tmp_path / "doc.md"
    document.write_text("<!-- lag-curve -->\n<!-- /lag-curve -->\n")
    words = ("lag-curve", tiny_weights, "--data", tmp_path / "motion.npz", "--clips", "2", "--frames", "10")
    some = ("--lags", "0,3", "--hops", "1,5", "-o", tmp_path / "curve.png", "--markdown", document)
    code, out, err = poselift(*words, *some)
    assert code == 0, err
    assert out.startswith("| lag, frames |")
    assert document.read_text() == f"<!-- lag-curve -->\n\n{out}\n<!-- /lag-curve -->\n"
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    answer = json.loads(poselift(*words, "--json")[1])
    assert (answer["weights"], answer["clips"], answer["frames"]) == ("tiny", 2, 20)
    # The default lags that fit a window of 27 frames.
    assert [row["lag"] for row in answer["lags"]] == [0, 1, 2, 3, 4, 8, 16]
    assert [row["hop"] for row in answer["hops"]] == [1, 5, 10]
    assert answer["rate_hz"] == 50.0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--lags", "243"), "expected lags from 0 to 242 for small, got [243]"),
        (("--lags", "few"), "--lags: expected whole numbers"),
        (("-o", "curve.gif"), "curve.gif: expected an output ending in .png"),
        (("--markdown", "none.md"), "none.md: cannot be read"),
        (("--clips", "0"), "expected 1 clip or more"),
    ],
)
def test_wrong_arguments_of_lag_curve_are_one_line_errors(poselift, words, message):
    code, out, err = poselift("lag-curve", "small", "--data", PACKAGED_RECORDING, *words)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--aggregate", "best"), "--aggregate: expected one of mean, jpma, p-best, j-best"),
        (("--aggregate", "jpma", "--flip"), "--flip and --aggregate exclude each other"),
        (("--aggregate", "jpma"), "chooses among D3DP's hypotheses"),
    ],
)
def test_aggregates_of_a_model_without_hypotheses_are_refused(poselift, tmp_path, words, message):
    np.savez(tmp_path / "x.npz", allow_pickle=False, fps=np.float32(50), **{"clip/a/b": dry.motion(20)})
    code, out, err = poselift("evaluate", "small", "--data", tmp_path / "x.npz", *words)
    assert (code, out) == (2, "")
    assert message in err


def test_hypotheses_of_d3dp_are_aggregated_by_the_given_method(poselift, tmp_path):
    weights, _ = imported(poselift, tmp_path, "d3dp")
    np.savez(tmp_path / "x.npz", allow_pickle=False, fps=np.float32(50), **{"clip/a/b": dry.motion(20)})
    words = ("evaluate", weights, "--data", tmp_path / "x.npz")
    mean, best = poselift(*words), poselift(*words, "--aggregate", "j-best")
    assert (mean[0], best[0]) == (0, 0)
    assert best[1].endswith("\nhypotheses: j-best\n")
    errors = [float(out.splitlines()[1].split()[1]) for _, out, _ in (mean, best)]
    assert errors[1] < errors[0]
