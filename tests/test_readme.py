"""The commands, links, configs and programs in the documents work."""

import re
import shlex
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
import zmq

from stream.cli.live import VIEW_CHANGES
from stream.cli.main import app, main
from stream.config.load import CONFIGS, load, resolve
from stream.files import poses as pose_files
from tests.programs import ROOT, next_line, started

README = ROOT / "README.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
MAX_README_LINES = 130


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def shell_lines(path: Path) -> list[str]:
    """Commands of the shell blocks without their comments, each in one line."""
    lines = re.sub(r"\\\n\s*", "", "".join(blocks(path, "(?:ba)?sh"))).splitlines()
    return [line for line in (re.sub(r"\s+#.*", "", line) for line in lines) if line]


def commands() -> Iterator[str]:
    for path in DOCUMENTS:
        yield from (line for line in shell_lines(path) if line.startswith("poselift "))
        yield from re.findall(r"`(poselift [a-z-]+ [^`\n]+)`", path.read_text())


def run_commands() -> list[tuple[str, list[str]]]:
    """Config and `--set` changes of every `poselift run` and `poselift check` of a packaged config."""
    packaged = {path.stem for path in CONFIGS.glob("*.yaml")}
    words = [shlex.split(line)[1:] for line in sorted(set(commands()))]
    lines = [line for line in words if line[0] in ("run", "check") and line[1] in packaged]
    changes = [[change for option, change in pairwise(line) if option == "--set"] for line in lines]
    view = [VIEW_CHANGES if "--view" in line else () for line in lines]
    return [(line[1], [*first, *then]) for line, first, then in zip(lines, view, changes, strict=True)]


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_command_in_the_documents_is_valid(line: str):
    group = typer.main.get_command(app)
    name, *arguments = shlex.split(line)[1:]
    assert name in group.commands, name
    group.commands[name].make_context(name, arguments)  # raises an error for an unknown option


@pytest.mark.parametrize(("config", "changes"), run_commands(), ids=str)
def test_every_packaged_config_in_the_documents_loads_with_its_changes(
    config: str, changes: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("POSELIFT_VIEW_TOKEN", 32 * "a")
    assert load(config, changes).sources


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_script_in_the_documents_exists(path: Path):
    for script in re.findall(r"\bpython ((?:benchmarks|examples|scripts)/\w+\.py)", path.read_text()):
        assert (ROOT / script).is_file(), script
    for script in set(re.findall(r"\bscripts/[\w-]+\b(?!\.)", path.read_text())):
        assert (ROOT / script).stat().st_mode & 0o100, script


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(path: Path):
    for link in re.findall(r"\]\(([^):]+)\)", path.read_text()):
        file, _, heading = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        assert not heading or heading in anchors(target), link


def anchors(path: Path) -> set[str]:
    """Anchors of a Markdown file's headings."""
    headings = re.findall(r"^#+ (.*)", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_readme_is_short_and_begins_with_the_demo_and_the_tests():
    assert len(README.read_text().splitlines()) <= MAX_README_LINES
    assert shell_lines(README)[:2] == ["scripts/demo", "scripts/test"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_config_in_the_documents_is_valid(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOOR_PASSWORD", "tea-time")
    for tree in map(yaml.safe_load, blocks(path, "yaml")):
        if "sources" in tree and "sinks" in tree:
            assert resolve(tree).sources


def test_the_command_of_the_readme_lifts_a_plain_array_of_keypoints(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
):
    (line,) = {line for line in commands() if line.startswith("poselift lift keypoints.npz")}
    monkeypatch.chdir(tmp_path)
    person = [(300 + 9 * joint, 100 + 20 * joint, 0.9) for joint in range(17)]
    np.savez("keypoints.npz", np.full((40, 17, 3), person))
    with pytest.raises(SystemExit) as ended:
        main([*shlex.split(line)[1:], "--weights", str(tiny_weights)])
    assert ended.value.code == 0
    assert [len(frame.persons) for frame in pose_files.read(Path("poses.npz"))] == [1] * 40


def free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(zmq.Context.instance().socket(zmq.PUB)) for _ in range(n)]
        return [socket.bind_to_random_port("tcp://127.0.0.1") for socket in sockets]


@pytest.mark.timeout(120)
def test_the_programs_in_the_documents_receive_poses_of_the_example_that_sends_keypoints(tiny_weights: Path):
    incoming, outgoing = map(str, free_ports(2))
    (subscriber,) = blocks(README, "python")
    plain_subscriber = blocks(ROOT / "docs" / "wire.md", "python")[0]
    changes = [f"lifter.weights={tiny_weights}", f"sinks.zeromq.port={outgoing}"]
    changes.append(f"source.endpoint=tcp://127.0.0.1:{incoming}")
    options = [part for change in changes for part in ("--set", change)]

    with ExitStack() as stack:
        stack.enter_context(started("-m", "stream.cli", "run", "keypoints", *options))
        stack.enter_context(started("examples/send_keypoints.py", f"tcp://127.0.0.1:{incoming}"))
        programs = [text.replace("5555", outgoing) for text in (subscriber, plain_subscriber)]
        processes = [stack.enter_context(started("-u", "-c", text)) for text in programs]
        for words in [next_line(process).split() for process in processes]:
            assert words[0] == "cam0", words
            assert len(words[1]) == 5  # the person's id
            assert words[2] in ("new", "ok", "predicted"), words
        processes[0].send_signal(signal.SIGINT)
        assert processes[0].wait(60.0) == 0
