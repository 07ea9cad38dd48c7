"""The threads that wait for the stores.

Some for each store, so that one that hangs does not hold up the other; and of those some for first rows and some for
further ones, so that long answers do not hold up short ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

from gateway.rest.problems import BUSY, TIME_OUT, ProblemError

Side = Literal["hot", "cold", "both"]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Limits:
    """How much at once, and how long."""

    answers: int = 512
    """Under way, those of clients that take their time included."""
    threads: int = 4
    """For the first rows of each of the stores, for the further ones, and for what may need both."""
    waiting: int = 256
    """Answers that wait for the first rows of one store."""
    first_s: float = 30
    """Until the first rows."""
    piece_s: float = 120
    """From rows to the next ones."""
    held_bytes: int = 2**28
    """Of all answers together; with more nothing is read before it is asked for."""
    idle_s: float = 60
    """A client that takes nothing for so long is cut off."""


class Readers:
    """Threads by side."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held = 0
        """Bytes of all answers that are read and not sent."""
        self._first, self._more = _pools(limits.threads), _pools(limits.threads)
        self._answers = 0
        self._waiting = dict.fromkeys(self._first, 0)

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for an answer, for the length of the context. Raises ProblemError (503) where none is left."""
        if self._answers >= self.limits.answers:
            raise ProblemError(
                BUSY,
                f"answers: expected at most {self.limits.answers} at once, was one more",
                remedy="Ask again in a while, and close answers that are not read any more.",
            )
        self._answers += 1
        try:
            yield
        finally:
            self._answers -= 1

    @contextmanager
    def turn(self, side: Side) -> Iterator[None]:
        """A place among those that wait for the first rows of a side; raises as `place`."""
        if self._waiting[side] >= self.limits.waiting:
            raise ProblemError(
                BUSY,
                f"answers: expected at most {self.limits.waiting} that wait for a store, was one more",
                remedy="Ask again in a while; `tapehouse status` shows whether the store answers.",
            )
        self._waiting[side] += 1
        try:
            yield
        finally:
            self._waiting[side] -= 1

    def submit(self, side: Side, work: Callable[[], _T], *, first: bool) -> Future[_T]:
        """Have a thread of the side do it, one of those for first rows or for further ones."""
        return (self._first if first else self._more)[side].submit(work)

    async def heard(self, working: Future[_T], within_s: float) -> _T:
        """What it returns; a thread that is at it goes on when this is cancelled.

        Raises ProblemError (504) where it takes longer than `within_s`.
        """
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.wrap_future(working)
        except TimeoutError:
            raise ProblemError(
                TIME_OUT,
                f"stores: expected rows within {within_s:g} s, was none",
                remedy="Ask for less, or look at `tapehouse status`.",
            ) from None

    async def done(self, work: Callable[[], _T]) -> _T:
        """What `work`, which may need both stores, returns. Raises ProblemError as the others."""
        with self.place(), self.turn("both"):
            return await self.heard(self.submit("both", work, first=True), self.limits.first_s)

    def close(self) -> None:
        """Let the threads end; what waits for one is not begun."""
        for pool in (*self._first.values(), *self._more.values()):
            pool.shutdown(wait=False, cancel_futures=True)


def _pools(threads: int) -> dict[Side, ThreadPoolExecutor]:
    sides: tuple[Side, ...] = ("hot", "cold", "both")
    return {side: ThreadPoolExecutor(threads, thread_name_prefix=side) for side in sides}
