"""The progress line of a long download, on a terminal or in a notebook."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from tapehouse.printable import one_line

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_DELAY_S: Final = 1.0
"""A shorter download shows no progress."""
_UPDATE_S: Final = 0.2


class DownloadProgress:
    """Shown after one second and removed at the end. `total`: the expected rows, None if unknown."""

    def __init__(self, what: str, total: int | None = None) -> None:
        self._what = what
        self._total = total
        self._rows = self._bytes = 0
        self._began = self._updated = time.monotonic()
        self._line: _Terminal | _Notebook | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line is not None:
            self._line.end()

    def add(self, rows: int, size: int) -> None:
        """Count received rows and bytes, and update the line."""
        self._rows += rows
        self._bytes += size
        now = time.monotonic()
        if now - self._began < _DELAY_S or now - self._updated < _UPDATE_S:
            return
        self._updated = now
        self._line = self._line or _progress_line(self._what, self._total)
        if self._line is not None:
            self._line.update(self._rows, f"{self._rows:,} rows, {self._bytes / 1e6:,.0f} MB")


class _Terminal:
    def __init__(self, what: str, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar: Bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[done]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(one_line(what), total=total, done="")
        self._bar.start()

    def update(self, rows: int, done: str) -> None:
        self._bar.update(self._task, completed=rows, done=done)

    def end(self) -> None:
        self._bar.stop()


class _Notebook:
    """A line of text, because rich's progress bar needs ipywidgets in a notebook."""

    def __init__(self, what: str, display: Any) -> None:
        self._what = what
        self._display = display({"text/plain": what}, raw=True, display_id=True)

    def update(self, rows: int, done: str) -> None:
        self._display.update({"text/plain": f"{self._what}: {done}"}, raw=True)

    def end(self) -> None:
        self._display.update({"text/plain": "", "text/html": ""}, raw=True)


def _progress_line(what: str, total: int | None) -> _Terminal | _Notebook | None:
    """The line for the terminal or notebook; None if the output is neither."""
    # Look up IPython only if it has been imported already: a notebook has done so.
    kernel = sys.modules.get("ipykernel.zmqshell")
    shell = sys.modules.get("IPython")
    if kernel is not None and shell is not None and shell.get_ipython() is not None:
        return _Notebook(what, shell.display.display)
    return _Terminal(what, total) if sys.stderr.isatty() else None
