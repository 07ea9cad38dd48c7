"""What a venue's far side says: the half of its protocol that the replay speaks. One file a venue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ingest.feeds.venue import Stream
from tapehouse.batch import Batch

HISTORY = 200_000
"""Trades of a symbol that REST remembers."""


@dataclass(frozen=True)
class Recorded:
    """One message of a recording: when it was received, ns UTC, what it is of, and its bytes."""

    at_ns: int
    stream: Stream
    message: bytes
    snapshot: bool = False
    """A REST answer with a whole book, not a message of the socket."""


@dataclass
class Past:
    """What the venue has sent, or would have sent while nobody listened: what REST answers come from."""

    trades: dict[str, dict[int, bytes]] = field(default_factory=dict)
    """By symbol and id, in the order of the ids."""
    books: dict[str, bytes] = field(default_factory=dict)
    """The last snapshot by symbol."""

    def remember(self, symbol: str, trade: int, message: bytes) -> None:
        """Keep a trade; the oldest of too many is forgotten."""
        trades = self.trades.setdefault(symbol, {})
        trades[trade] = message
        if len(trades) > HISTORY:
            del trades[next(iter(trades))]


class Dialect(Protocol):
    """One venue's side of a socket and of REST."""

    name: str
    """The venue's, as in `VENUES`."""
    path: str
    """Of the websocket."""

    def subscribed(self, command: bytes) -> tuple[list[Stream], list[bytes]]:
        """The streams that a command asks for, and the answers to it."""

    def trade_id(self, message: bytes) -> int:
        """The id of a message of a trades stream; of its last trade, where it holds several."""

    def answer(self, path: str, query: Mapping[str, str], past: Past) -> bytes | None:
        """What REST answers; None where there is nothing (yet)."""

    def render(self, batches: Iterable[Batch]) -> Iterator[Recorded]:
        """Rows as the venue's messages, by time received; rows of one moment in their own order."""
