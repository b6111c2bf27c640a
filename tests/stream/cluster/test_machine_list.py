"""When sources go back to their place, and when a silent head ends the node."""

from typing import Any

import pytest

from stream.cluster.machine_list import MachineList
from stream.errors import PoseliftError

SECOND = 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.s = 0

    def now_ns(self) -> int:
        return self.s * SECOND


def machine(name: str, near: str = "", alive: bool = True) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Labels": {"near": near} if near else {}}


@pytest.fixture
def clock(monkeypatch) -> Any:
    monkeypatch.delenv("RAY_gcs_rpc_server_reconnect_timeout_s", raising=False)
    return Clock()


def test_sources_go_back_once_a_machine_of_their_place_has_been_up_for_a_while(clock: Any):
    machines = MachineList(clock)
    machines.update([machine("a")])
    assert not machines.returned("hall", "a", (), after_s=10)
    machines.update([machine("a"), machine("b", "hall")])
    clock.s = 9
    assert not machines.returned("hall", "a", (), after_s=10)
    clock.s = 10
    assert machines.returned("hall", "a", (), after_s=10)
    assert not machines.returned("hall", "b", (), after_s=10), "they are there already"
    assert not machines.returned("", "a", (), after_s=10), "they may run anywhere"
    assert not machines.returned("hall", "a", {"b"}, after_s=10), "the machine is emptied"
    assert not machines.returned("hall", "c", (), after_s=10), "nothing is known of the machine"


def test_a_machine_that_comes_and_goes_counts_anew(clock: Any):
    machines = MachineList(clock)
    machines.update([machine("a"), machine("b", "hall")])
    clock.s = 8
    machines.update([machine("a"), machine("b", "hall", alive=False)])
    machines.update([machine("a"), machine("b", "hall")])
    clock.s = 12
    assert not machines.returned("hall", "a", (), after_s=10)
    clock.s = 18
    assert machines.returned("hall", "a", (), after_s=10)


def test_a_head_that_stays_silent_ends_the_node_with_the_remedy(clock: Any, monkeypatch):
    monkeypatch.setattr("stream.cluster.machine_list.nodes", no_answer)
    machines = MachineList(clock)
    machines.open()
    for clock.s in range(31):
        machines.turn()
    clock.s = 31
    with pytest.raises(PoseliftError, match=r"head has not answered for 31 s.*cluster up"):
        machines.turn()
    machines.close()


def test_the_silence_of_a_process_that_was_held_up_is_not_that_of_the_head(clock: Any, monkeypatch):
    monkeypatch.setattr("stream.cluster.machine_list.nodes", no_answer)
    machines = MachineList(clock)
    machines.open()
    machines.turn()
    clock.s = 3600
    machines.turn()
    machines.close()


def no_answer() -> None:
    raise ConnectionError
