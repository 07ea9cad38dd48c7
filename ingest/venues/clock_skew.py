"""Clock skew: how far the receive clock is ahead of the venue's, measured on timed messages."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence

WINDOW = 101
"""Number of timed messages that the median is taken of."""


class ClockSkew:
    """Receive clock minus venue clock, ns: the lower median over the last 101 timed messages.

    It includes the delay of the messages. It depends on the messages alone: a repeat of the same source gives the
    same numbers however the messages are split into calls.
    """

    def __init__(self, last: Iterable[int] = ()) -> None:
        self._last = deque(last, WINDOW)
        self._ordered = sorted(self._last)

    @property
    def known(self) -> bool:
        """A timed message was seen."""
        return bool(self._last)

    @property
    def median(self) -> int:
        """The skew as of the last message added, ns; only where `known`."""
        return self._ordered[(len(self._ordered) - 1) // 2]

    def state(self) -> list[int]:
        """The argument of a new ClockSkew that goes on from here."""
        return list(self._last)

    def add(self, difference: int) -> None:
        """Add the difference of one timed message, ns."""
        if len(self._last) == WINDOW:
            del self._ordered[bisect_left(self._ordered, self._last[0])]
        self._last.append(difference)
        insort(self._ordered, difference)

    def extend(self, differences: Sequence[int]) -> None:
        """Add the differences of timed messages in order."""
        if len(differences) < WINDOW:
            for difference in differences:
                self.add(difference)
        else:
            self._last.extend(differences)
            self._ordered = sorted(self._last)
