"""Progress of a drill: a bar and a status line on a terminal, one line a fault when piped."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich import progress

from ops.drill.plan import PlannedFault
from ops.drill.report import describe_outcome
from ops.drill.run import Outcome
from ops.terminal import console, echo, text, text_column
from tapehouse.printable import one_line


class DrillProgress:
    """A context manager that shows the bar. Each outcome is printed at once, and stays."""

    def __init__(self, moments: int) -> None:
        self._bar = progress.Progress(
            text_column("{task.completed}/{task.total}"),
            progress.BarColumn(20),
            progress.TimeElapsedColumn(),
            text_column("{task.description}"),
            console=console(),
            transient=True,
            disable=not sys.stdout.isatty(),
        )
        self._task = self._bar.add_task("", total=moments)
        self._prefix = ""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def began(self, moment: PlannedFault) -> None:
        """Show which fault is next."""
        self._prefix = f"{moment.fault} of {moment.part}: "

    def say(self, what: str) -> None:
        """Show the current step."""
        self._bar.update(self._task, description=one_line(self._prefix + what))

    def ended(self, outcome: Outcome) -> None:
        """Print the outcome of a fault."""
        self._print(describe_outcome(outcome))

    def broke(self, reason: str) -> None:
        """Print why the platform did not recover from a fault."""
        self._print(f"not recovered: {reason}")

    def _print(self, what: str) -> None:
        self._prefix = ""
        self._bar.update(self._task, advance=1)
        if sys.stdout.isatty():
            self._bar.print(text(what))
        else:
            echo(what)
