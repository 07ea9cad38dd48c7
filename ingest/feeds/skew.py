"""How far the receive clock is from the venue's, measured on the messages themselves."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence

WINDOW = 101
"""Timed messages of which the median is taken."""


class Skew:
    """Receive clock minus venue clock, ns: the lower median over the last 101 timed messages.

    The delay of the messages is part of it. It depends on the messages alone, so a repeat of the same source
    gives the same numbers, wherever the calls cut it.
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
        """The skew as of the last message added; only where it is known."""
        return self._ordered[(len(self._ordered) - 1) // 2]

    def state(self) -> list[int]:
        """What a new Skew is made of to go on from here."""
        return list(self._last)

    def add(self, difference: int) -> None:
        """Take in a timed message."""
        if len(self._last) == WINDOW:
            del self._ordered[bisect_left(self._ordered, self._last[0])]
        self._last.append(difference)
        insort(self._ordered, difference)

    def extend(self, differences: Sequence[int]) -> None:
        """Take in timed messages in their order."""
        if len(differences) < WINDOW:
            for difference in differences:
                self.add(difference)
        else:
            self._last.extend(differences)
            self._ordered = sorted(self._last)
