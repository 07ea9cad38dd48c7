"""The thread pools that read the stores.

Each store has its own pools, so that a store that hangs does not block the other; and separate ones for first and for
further rows, so that long answers do not delay short ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

from gateway.rest.problems import BUSY, TIME_OUT, ProblemError

PoolName = Literal["hot", "cold", "timescale", "both"]
"""The stores that a read may block on."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class Limits:
    """Bounds and time-outs of the gateway's answers."""

    max_answers: int = 512
    """Answers in progress, including those to slow clients."""
    threads: int = 4
    """Threads of each pool; there are two pools (first and further rows) for each of hot, cold, timescale and both."""
    max_waiting: int = 256
    """Answers that wait for first rows, for each pool."""
    first_rows_s: float = 30
    """Time-out for the first rows."""
    next_rows_s: float = 120
    """Time-out for further rows."""
    max_buffered_bytes: int = 2**28
    """Bytes read and not yet sent, over all answers; above it nothing is read ahead."""
    request_s: float = 10
    """Time-out for a whole request to arrive."""
    idle_s: float = 60
    """A client that receives nothing for this long is disconnected."""


class Readers:
    """Thread pools by store, with bounded queues. Its methods are for one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.buffered_bytes = 0
        """Bytes read and not yet sent, over all answers."""
        self._first, self._next = _pools(limits.threads), _pools(limits.threads)
        self._answers = 0
        self._waiting = dict.fromkeys(self._first, 0)

    @contextmanager
    def answer_slot(self) -> Iterator[None]:
        """Count an answer while the context lasts. Raises ProblemError (503) at `max_answers`."""
        if self._answers >= self.limits.max_answers:
            raise ProblemError(
                BUSY,
                f"answers: expected at most {self.limits.max_answers} at once, was one more",
                remedy="Retry later, and close answers that are no longer read.",
            )
        self._answers += 1
        try:
            yield
        finally:
            self._answers -= 1

    @contextmanager
    def first_rows_slot(self, pool: PoolName) -> Iterator[None]:
        """Count a wait for first rows while the context lasts. Raises ProblemError (503) at `max_waiting`."""
        if self._waiting[pool] >= self.limits.max_waiting:
            raise ProblemError(
                BUSY,
                f"answers: expected at most {self.limits.max_waiting} waiting for a store, was one more",
                remedy="Retry later; `tapehouse status` shows whether the store answers.",
            )
        self._waiting[pool] += 1
        try:
            yield
        finally:
            self._waiting[pool] -= 1

    def submit(self, pool: PoolName, work: Callable[[], _T], *, first: bool) -> Future[_T]:
        """Run `work` in the pool for first or for further rows."""
        return (self._first if first else self._next)[pool].submit(work)

    async def wait_for(self, future: Future[_T], timeout_s: float) -> _T:
        """The future's result; if this is cancelled, its thread runs on. Raises ProblemError (504) on time-out."""
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise ProblemError(
                TIME_OUT,
                f"stores: expected rows within {timeout_s:g} s, was none",
                remedy="Request a shorter span, or see `tapehouse status`.",
            ) from None

    async def run(self, work: Callable[[], _T]) -> _T:
        """The result of `work`, which may read both stores. Raises ProblemError (503, 504) as the other methods."""
        with self.answer_slot(), self.first_rows_slot("both"):
            return await self.wait_for(self.submit("both", work, first=True), self.limits.first_rows_s)

    def close(self) -> None:
        """Cancel queued work and let the threads end, without waiting."""
        for pool in (*self._first.values(), *self._next.values()):
            pool.shutdown(wait=False, cancel_futures=True)


def _pools(threads: int) -> dict[PoolName, ThreadPoolExecutor]:
    names: tuple[PoolName, ...] = ("hot", "cold", "timescale", "both")
    return {name: ThreadPoolExecutor(threads, thread_name_prefix=name) for name in names}
