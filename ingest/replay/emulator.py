"""The contract of an emulated venue: the server side of a venue's websocket and REST protocol. One file a venue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ingest.venues.venue import VenueStream
from tapehouse.batch import Batch

MAX_TRADES = 200_000
"""Trades of a symbol that REST can return."""


@dataclass(frozen=True)
class RecordedMessage:
    """One message of a recording: receive time in ns UTC, stream and bytes."""

    at_ns: int
    stream: VenueStream
    message: bytes
    snapshot: bool = False
    """A REST response with a whole book, not a message of the socket."""


@dataclass
class VenueHistory:
    """What the venue has sent, or would have sent to a subscriber: the source of REST responses."""

    trades: dict[str, dict[int, bytes]] = field(default_factory=dict)
    """By symbol and id, in order of id."""
    books: dict[str, bytes] = field(default_factory=dict)
    """The last snapshot by symbol."""

    def add_trade(self, symbol: str, trade: int, message: bytes) -> None:
        """Add a trade; drops the oldest of more than MAX_TRADES."""
        trades = self.trades.setdefault(symbol, {})
        trades[trade] = message
        if len(trades) > MAX_TRADES:
            del trades[next(iter(trades))]


class VenueEmulator(Protocol):
    """Emulates one venue."""

    name: str
    """The venue's name in `VENUES`."""
    path: str
    """Path of the websocket."""

    def handle_command(self, command: bytes) -> tuple[list[VenueStream], list[bytes]]:
        """(streams that a client's command subscribes to, replies to it)."""

    def trade_id(self, message: bytes) -> int:
        """The trade id of a message of a trades stream; that of its last trade, where it holds several."""

    def rest_response(self, path: str, query: Mapping[str, str], history: VenueHistory) -> bytes | None:
        """The body of a REST response; None where there is none (yet)."""

    def encode(self, batches: Iterable[Batch]) -> Iterator[RecordedMessage]:
        """Rows as the venue's messages, in order of receive time; rows with equal times keep their order."""
