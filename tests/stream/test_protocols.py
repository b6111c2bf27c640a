import pytest

from stream.protocols import opened


class Component:
    """Records the calls of its methods; `error` is raised when it opens."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[str] = []
        self._error = error

    def open(self) -> None:
        self.calls.append("open")
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.calls.append("close")


def test_opened_gives_the_open_component_and_closes_it() -> None:
    component = Component()
    with opened(component) as entered:
        assert entered is component
        assert component.calls == ["open"]
    assert component.calls == ["open", "close"]


def test_a_component_is_closed_after_an_error_in_the_with_statement() -> None:
    component = Component()
    with pytest.raises(ValueError, match="inside"), opened(component):
        raise ValueError("inside")
    assert component.calls == ["open", "close"]


def test_a_component_that_cannot_be_opened_is_not_closed() -> None:
    component = Component(OSError("busy"))
    with pytest.raises(OSError, match="busy"), opened(component):
        pass
    assert component.calls == ["open"]
