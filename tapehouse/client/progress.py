"""A line that tells how far a long pull is, on a terminal or in a notebook."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_QUIET_S: Final = 1.0
"""A pull that is done by then shows nothing."""
_EVERY_S: Final = 0.2


class Progress:
    """Shown once a pull has taken a second, taken away at its end. `total`: rows, None where that is not known."""

    def __init__(self, what: str, total: int | None = None) -> None:
        self._what = what
        self._total = total
        self._rows = self._bytes = 0
        self._began = self._told = time.monotonic()
        self._line: _Terminal | _Notebook | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line is not None:
            self._line.end()

    def add(self, rows: int, size: int) -> None:
        """Rows that have come, and their bytes."""
        self._rows += rows
        self._bytes += size
        now = time.monotonic()
        if now - self._began < _QUIET_S or now - self._told < _EVERY_S:
            return
        self._told = now
        self._line = self._line or _line(self._what, self._total)
        if self._line is not None:
            self._line.tell(self._rows, f"{self._rows:,} rows, {self._bytes / 1e6:,.0f} MB")


class _Terminal:
    def __init__(self, what: str, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar: Bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(what, total=total, done="")
        self._bar.start()

    def tell(self, rows: int, done: str) -> None:
        self._bar.update(self._task, completed=rows, done=done)

    def end(self) -> None:
        self._bar.stop()


class _Notebook:
    """A line of text: rich's bar needs ipywidgets there."""

    def __init__(self, what: str, display: Any) -> None:
        self._what = what
        self._display = display({"text/plain": what}, raw=True, display_id=True)

    def tell(self, rows: int, done: str) -> None:
        self._display.update({"text/plain": f"{self._what}: {done}"}, raw=True)

    def end(self) -> None:
        self._display.update({"text/plain": "", "text/html": ""}, raw=True)


def _line(what: str, total: int | None) -> _Terminal | _Notebook | None:
    """None where nobody looks."""
    # A notebook has loaded it; nobody else is made to.
    kernel = sys.modules.get("ipykernel.zmqshell")
    shell = sys.modules.get("IPython")
    if kernel is not None and shell is not None and shell.get_ipython() is not None:
        return _Notebook(what, shell.display.display)
    return _Terminal(what, total) if sys.stderr.isatty() else None
