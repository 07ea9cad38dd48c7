"""What a drill is at: a bar and a line on a terminal, a line for each moment when piped."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich import progress

from tapehouse.drill.plan import Moment
from tapehouse.drill.report import line
from tapehouse.drill.run import Outcome


class Progress:
    """For as long as it is entered. Outcomes are told at once, and stay."""

    def __init__(self, moments: int) -> None:
        self._bar = progress.Progress(
            progress.TextColumn("{task.completed}/{task.total}"),
            progress.BarColumn(20),
            progress.TimeElapsedColumn(),
            progress.TextColumn("{task.description}"),
            transient=True,
            disable=not sys.stdout.isatty(),
        )
        self._task = self._bar.add_task("", total=moments)
        self._what = ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def began(self, moment: Moment) -> None:
        """A moment is next."""
        self._what = f"{moment.fault} of {moment.part}: "

    def say(self, what: str) -> None:
        """What is done now."""
        self._bar.update(self._task, description=self._what + what)

    def ended(self, outcome: Outcome) -> None:
        """A moment is over."""
        self._tell(line(outcome))

    def broke(self, reason: str) -> None:
        """The platform did not recover from a moment."""
        self._tell(f"broken: {reason}")

    def _tell(self, what: str) -> None:
        self._what = ""
        self._bar.update(self._task, advance=1)
        if sys.stdout.isatty():
            self._bar.print(what)
        else:
            print(what, flush=True)  # noqa: T201
