"""The contract of a live venue: addresses, subscriptions, a parser, and REST requests that heal gaps.

One folder a venue. `VENUES` in `ingest/venues/registry.py` lists them, and one test suite holds all to this contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ingest.venues.parse_result import Message, ParseResult


@dataclass(frozen=True)
class VenueStream:
    """One kind of one symbol, as the venue spells it: the unit of subscription."""

    kind: str
    symbol: str


@dataclass(frozen=True)
class MissingTrades:
    """Trades to request: ids `first` to `last` inclusive (None: up to the newest), from about `ts`, ns UTC, on."""

    symbol: str
    first: int
    last: int | None
    ts: int


@dataclass(frozen=True)
class RestRequest:
    """A GET request: path and query after the venue's REST address, and headers."""

    path: str
    headers: dict[str, str]
    pause_s: float
    """Pause before the next request that keeps within the venue's rate limit."""


class VenueParser(Protocol):
    """Parses messages into batches. The same messages give the same rows however they are split into calls.

    Rows of a kind that is numbered by time have seq 0: the feed numbers them.
    """

    @property
    def announced_trade_ids(self) -> Mapping[str, int]:
        """By symbol, the newest trade id that the venue announced apart from the trades, as in heartbeats; empty
        where it announces none."""

    @property
    def has_pending(self) -> bool:
        """Messages wait for a later one that carries what they lack."""

    def feed(self, messages: Sequence[Message], where: Callable[[int], str]) -> ParseResult:
        """The rows of messages in the order of receipt; `where(i)` names the origin of message i.

        Never raises for the content of a message: it is parsed, rejected with a reason, or counted as ignored.
        """

    def finish(self) -> ParseResult:
        """The rows of messages that still wait. More messages may be fed afterwards."""


class Venue(Protocol):
    """One venue's protocol."""

    name: str
    """Its name on the command line, and the venue of its rows unless settings give another."""
    kinds: frozenset[str]
    """The kinds it offers."""
    numbering: Mapping[str, str]
    """By kind, what seq is: the name of the venue's ids, or `time` where the rows have none."""
    clock_unit_ns: int
    """The unit of its clock: every time is floored to it, whichever way it came."""
    contiguous: frozenset[str]
    """The kinds whose ids rise by exactly one within a symbol."""
    socket: str
    """Address of its websocket."""
    rest: str
    """Address of its REST interface."""
    max_streams_per_connection: int
    connection_lifetime_s: float | None
    """After which the venue closes a connection; None where undocumented."""
    allows_overlap: bool
    """Rows have ids, so that rows received by two connections are recognised as the same."""
    commands_per_s: float
    """Messages that the venue accepts from a client."""

    def parser(self, venue: str, kinds: Iterable[str]) -> VenueParser:
        """A new parser; `venue` is the venue of its rows."""

    def rejected_reader(self, kinds: Iterable[str]) -> dict[str, Any]:
        """The options to read a rejected message again, stored with it in quarantine."""

    def websocket_url(self, address: str) -> str:
        """The URL to connect to at a websocket address."""

    def commands(self, streams: Sequence[VenueStream]) -> list[str]:
        """The messages that subscribe to streams."""

    def trades_request(self, missing: MissingTrades, api_key: str) -> RestRequest | None:
        """The request for the page of trades that begins nearest to `missing.first`; None where there is none.

        `api_key` is empty where the user has none.
        """

    def parse_trades(self, body: bytes, venue: str, symbol: str, received_ns: int) -> ParseResult:
        """The trades of an answer to `trades_request`."""

    def book_request(self, symbol: str) -> RestRequest | None:
        """The request for a book snapshot; None where the venue has none or needs none."""

    def book_message(self, body: bytes, symbol: str) -> bytes:
        """An answer to `book_request` as a message that the parser reads."""
