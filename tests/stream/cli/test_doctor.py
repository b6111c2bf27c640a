import socket

import pytest

from stream.cli import doctor
from stream.cli.doctor import Finding, check_port, clock
from stream.cli.main import main


def test_doctor_looks_at_every_topic(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code in (0, None)
    topics = {line[2:].split()[0] for line in capsys.readouterr().out.splitlines()}
    assert topics == {"python", "package", "engine", "model", "camera", "port", "clock", "disk"}


def test_a_taken_port_gets_advice():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finding = check_port(port, "sinks.zeromq.port")
        assert finding.text == f"{port}: Address already in use"
        assert finding.advice == "end that program or set sinks.zeromq.port"
    assert check_port(port, "sinks.zeromq.port").advice == ""


@pytest.mark.parametrize(
    ("unix_s", "synchronised", "advice"),
    [(0.0, True, "set the clock"), (1.8e9, False, "switch on NTP"), (1.8e9, None, ""), (1.8e9, True, "")],
)
def test_a_wrong_clock_gets_advice(unix_s: float, synchronised: bool | None, advice: str):
    assert clock(unix_s, synchronised).advice.startswith(advice)
    assert bool(clock(unix_s, synchronised).advice) == bool(advice)


def test_a_missing_package_gets_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(doctor, "PACKAGES", (("no_such_module", "no-such", "lift", "lift poses"),))
    missing = Finding("package", "no-such is missing", "to lift poses: pip install 'poselift[lift]'")
    assert missing in list(doctor.findings())
