"""The commands, links, configs and programs in the documents work."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import typer
import yaml
import zmq

from stream.cli.main import app
from stream.config.load import resolve

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands() -> Iterator[str]:
    for path in DOCUMENTS:
        shell = "\n".join(blocks(path, "(?:ba)?sh"))
        yield from re.findall(r"^poselift .*?(?=\s+#|$)", shell, flags=re.MULTILINE)
        yield from re.findall(r"`(poselift [a-z-]+ [^`\n]+)`", path.read_text())


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_every_command_in_the_documents_is_valid(line: str):
    group = typer.main.get_command(app)
    name, *arguments = shlex.split(line)[1:]
    assert name in group.commands, name
    group.commands[name].make_context(name, arguments)  # raises an error for an unknown option


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_linked_file_exists(path: Path):
    for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / link).exists(), link


def test_the_scripts_in_the_readme_are_executable():
    for script in set(re.findall(r"\bscripts/\w+", (ROOT / "README.md").read_text())):
        assert (ROOT / script).stat().st_mode & 0o100, script


def test_the_config_in_the_readme_is_valid():
    for block in blocks(ROOT / "README.md", "yaml"):
        assert resolve(yaml.safe_load(block)).sources


def free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(zmq.Context.instance().socket(zmq.PUB)) for _ in range(n)]
        return [socket.bind_to_random_port("tcp://127.0.0.1") for socket in sockets]


@contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.timeout(120)
def test_the_programs_in_the_documents_receive_poses(tiny_weights: Path):
    incoming, outgoing = map(str, free_ports(2))
    subscriber, sender = blocks(ROOT / "README.md", "python")
    plain_subscriber = blocks(ROOT / "docs" / "wire.md", "python")[0]
    changes = [f"lifter.weights={tiny_weights}", f"sinks.zeromq.port={outgoing}"]
    changes.append(f"source.endpoint=tcp://127.0.0.1:{incoming}")
    options = [part for change in changes for part in ("--set", change)]

    def program(text: str) -> tuple[str, ...]:
        return sys.executable, "-u", "-c", text.replace("5557", incoming).replace("5555", outgoing)

    with ExitStack() as stack:
        stack.enter_context(started(sys.executable, "-m", "stream.cli", "run", "keypoints", *options))
        stack.enter_context(started(*program(sender)))
        ours = stack.enter_context(started(*program(subscriber)))
        plain = stack.enter_context(started(*program(plain_subscriber)))
        for process in (ours, plain):
            assert process.stdout is not None
            words = process.stdout.readline().split()
            assert words[0] == "cam0", words
            assert len(words[1]) == 5  # the person's id
            assert words[2] in ("new", "ok", "predicted"), words
