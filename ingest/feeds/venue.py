"""What a live venue is to the feed: addresses, subscriptions, a parser, and what its REST answers heal.

One file a venue; `VENUES` in `ingest/feeds/venues.py` lists them, and one suite of tests holds all to this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ingest.feeds.parsed import Message, Parsed


@dataclass(frozen=True)
class Stream:
    """Rows of one kind of one symbol, as the venue spells it."""

    kind: str
    symbol: str


@dataclass(frozen=True)
class Wanted:
    """Trades that are missing: ids `first` to `last` inclusive (None: up to now), from about `ts` on, ns."""

    symbol: str
    first: int
    last: int | None
    ts: int


@dataclass(frozen=True)
class Ask:
    """A GET request: path and query behind the venue's REST address, and headers."""

    path: str
    headers: dict[str, str]
    pause_s: float
    """Until the next request, so that the venue's limit is never reached."""


class VenueParser(Protocol):
    """Messages -> batches. The same messages give the same rows however calls cut them.

    Rows of a kind that is numbered by time come with seq 0: the feed numbers them.
    """

    @property
    def told(self) -> Mapping[str, int]:
        """By symbol, the last trade id that the venue told of beside the trades themselves: trades up to there
        have been, received or not. Empty where it tells of none."""

    @property
    def holding(self) -> bool:
        """Messages are held back until a later one tells what they lack."""

    def feed(self, messages: Sequence[Message], where: Callable[[int], str]) -> Parsed:
        """The rows of messages in the order they were received; `where` names the place of one of them.

        Never raises for what a message holds: a message is accepted, refused with its reason, or counted as
        ignored.
        """

    def finish(self) -> Parsed:
        """The rows of what was held back, without waiting longer. The parser can be fed on."""


class Venue(Protocol):
    """One venue's protocol."""

    name: str
    """As it is asked for on the command line, and the venue of its rows unless settings say otherwise."""
    kinds: frozenset[str]
    """What it offers."""
    numbering: Mapping[str, str]
    """By kind, what seq is: the name of the venue's ids, or `time` where the rows have none."""
    contiguous: frozenset[str]
    """The kinds whose ids rise by exactly one within a symbol. Updates of a book chain by nature."""
    socket: str
    """The address of its websocket."""
    rest: str
    """The address of its REST interface."""
    streams_at_most: int
    """Streams that one connection may carry."""
    lifetime_s: float | None
    """When the venue cuts a connection; None where it says nothing."""
    overlaps: bool
    """Rows have ids, so that two connections may bring the same ones."""
    commands_per_s: float
    """Messages that it takes from us."""

    def parser(self, venue: str, kinds: Iterable[str]) -> VenueParser:
        """A fresh parser of rows of `venue`."""

    def reader(self, kinds: Iterable[str]) -> dict[str, Any]:
        """How to read a refused message again: what the quarantine keeps with it."""

    def url(self, socket: str) -> str:
        """The address to connect to."""

    def commands(self, streams: Sequence[Stream]) -> list[str]:
        """What to send to subscribe."""

    def ask_trades(self, wanted: Wanted, key: str) -> Ask | None:
        """The page of trades that begins nearest to `wanted.first`; None where the venue answers none.

        `key` is the user's, empty where there is none.
        """

    def trades(self, answer: bytes, venue: str, symbol: str, received_ns: int) -> Parsed:
        """The trades of a page."""

    def ask_book(self, symbol: str) -> Ask | None:
        """The snapshot of a book; None where the venue has none or none is needed."""

    def book(self, answer: bytes, symbol: str) -> bytes:
        """The snapshot as a message that the parser reads."""
