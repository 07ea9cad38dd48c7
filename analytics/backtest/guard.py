"""Tells a strategy's faults from ours: what it raised, in which line, at which event; and ends what never ends."""

from __future__ import annotations

import linecache
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What ended a run before its end."""

    error: str
    event: str
    """The event that the strategy was called with."""
    file: str
    line: int
    code: str

    def __str__(self) -> str:
        return f"{self.error}\nat {self.event}\nin {Path(self.file).name}, line {self.line}: {self.code}"


class EndlessError(BaseException):
    """A call of the strategy took too long. Not an Exception: a strategy that catches those must not catch it."""


class Guard:
    """Around the calls of a strategy whose code is in `files`.

    An exception that passes through a line of these files becomes `fault`; any other is ours and goes on.
    """

    def __init__(self, files: set[str], describe: Callable[[Any], str] = str) -> None:
        self.fault: Fault | None = None
        self.event: Any = "the start"
        """What the strategy is called with; `describe` makes a text of it where there is a fault."""
        self.calls = 0
        """Rises with each call; a call that lasts keeps it."""
        self.is_calling = False
        self._files = files
        self._describe = describe

    def __enter__(self) -> Guard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or not isinstance(error, (Exception, EndlessError)):
            return False
        line = self._line(trace)
        if line is None:
            return False
        file, number = line
        text = f"{type(error).__name__}: {error}".rstrip(": ")
        code = linecache.getline(file, number).strip()
        self.fault = Fault(text, self._describe(self.event), file, number, code)
        return True

    def _line(self, trace: TracebackType | None) -> tuple[str, int] | None:
        """The innermost line of the strategy's files."""
        found = None
        while trace is not None:
            if trace.tb_frame.f_code.co_filename in self._files:
                found = trace.tb_frame.f_code.co_filename, trace.tb_lineno
            trace = trace.tb_next
        return found


@contextmanager
def limited(guard: Guard, seconds: float) -> Iterator[None]:
    """Raise EndlessError in a call of the strategy that uses more than `seconds` to twice as much of CPU time.

    Works in the main thread alone; in others there is no limit.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = -1

    def look(_: int, __: FrameType | None) -> None:
        nonlocal seen
        if guard.is_calling and guard.calls == seen:
            raise EndlessError(f"the call took more than {seconds:g} s of CPU time")
        seen = guard.calls

    before: Any = signal.signal(signal.SIGVTALRM, look)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        # None: a handler that is not of Python, which cannot be put back.
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL if before is None else before)
