"""How a long computation reports its progress."""

from collections.abc import Callable

ReportProgress = Callable[[int, int | None], None]  # steps done, steps in total or None while unknown
