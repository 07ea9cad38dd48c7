"""Protocols of the messages in captures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ingest.venues.binance import parser as binance
from ingest.venues.coinbase import parser as coinbase
from ingest.venues.kraken import parser as kraken
from ingest.venues.venue import VenueParser


class CaptureParser(VenueParser, Protocol):
    """A parser whose state can be saved and restored."""

    numbering: dict[str, str]
    """By kind, what seq is, from the first row on."""

    def state(self) -> dict[str, Any]:
        """What `restore` needs, of JSON's types; only while no message waits."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""


@dataclass(frozen=True)
class CaptureProtocol:
    """One protocol."""

    title: str
    """Its name in texts."""
    kinds: frozenset[str]
    """The kinds in its messages."""
    make_parser: Callable[[str, frozenset[str], str | None, int], CaptureParser]
    """(venue of the rows, kinds, symbol where messages name none, unit of the venue's clock in ns) -> parser."""


PROTOCOLS: dict[str, CaptureProtocol] = {
    "binance": CaptureProtocol("Binance", frozenset({"trades", "quotes", "depth"}), binance.Parser),
    "coinbase": CaptureProtocol(
        "Coinbase",
        frozenset(coinbase.KINDS),
        lambda venue, kinds, symbol, unit_ns: coinbase.Parser(venue, kinds),
    ),
    "kraken": CaptureProtocol(
        "Kraken",
        frozenset(kraken.KINDS),
        lambda venue, kinds, symbol, unit_ns: kraken.Parser(venue, kinds),
    ),
}
"""By the name that quarantine stores with a rejected message."""
