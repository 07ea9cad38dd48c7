"""Signals that stop a run: the first asks for a stop, the second is told what a third does, the third kills."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

KILLED = 130
"""Exit status of a run that was killed by a third signal."""


class StopSignals:
    """Counts SIGINT and SIGTERM from now to the end of the process. SIGHUP is the first of them or nothing.

    The running loop is that of the main thread. `say` gets a line for the user, `kill` ends what is left without grace.
    """

    def __init__(self, say: Callable[[str], None], kill: Callable[[], None]) -> None:
        self.killed = False
        """Whether a third signal was received."""
        self._say = say
        self._kill = kill
        self._received = 0
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # A process started by nohup ignores SIGHUP, and keeps running when the terminal is closed.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                # Not `loop.add_signal_handler`: that ends with the loop, and a later Ctrl-C shows a traceback.
                signal.signal(number, self._signalled)

    @property
    def asked(self) -> bool:
        """Whether a signal has asked for the stop."""
        return self._stop.is_set()

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Return when `work` does, or cancel it at the first signal. Raises what `work` raises."""
        working = asyncio.create_task(work)
        asked = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            working.cancel()
            await asyncio.gather(working, asked, return_exceptions=True)
        if not working.cancelled():
            working.result()

    def _signalled(self, number: int, _: FrameType | None) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._receive, number)

    def _receive(self, number: int) -> None:
        if number == signal.SIGHUP and self._received:
            return
        self._received += 1
        if self._received == 1:
            self._stop.set()
        elif self._received == 2:
            self._say("still stopping; once more kills every part at once")
        elif not self.killed:
            self.killed = True
            self._say("killed every part at once")
            self._kill()
