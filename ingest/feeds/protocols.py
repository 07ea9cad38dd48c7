"""The protocols whose messages a capture may hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ingest.feeds import binance, coinbase_parser, kraken_parser
from ingest.feeds.venue import VenueParser


class CaptureParser(VenueParser, Protocol):
    """A parser that can go on from where another has stopped."""

    numbering: dict[str, str]
    """By kind, what seq is, from the first row on."""

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here, of JSON's types; only while nothing is held."""

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken."""


@dataclass(frozen=True)
class Spoken:
    """One protocol."""

    title: str
    """For people."""
    kinds: frozenset[str]
    """What its messages bring."""
    fresh: Callable[[str, frozenset[str], str | None, int], CaptureParser]
    """Makes a parser of rows of a venue and kinds: where messages leave it open, of a symbol, by a clock's unit."""


PROTOCOLS: dict[str, Spoken] = {
    "binance": Spoken("Binance", frozenset({"trades", "quotes", "depth"}), binance.Parser),
    "coinbase": Spoken(
        "Coinbase",
        frozenset(coinbase_parser.KINDS),
        lambda venue, kinds, symbol, unit_ns: coinbase_parser.Parser(venue, kinds),
    ),
    "kraken": Spoken(
        "Kraken",
        frozenset(kraken_parser.KINDS),
        lambda venue, kinds, symbol, unit_ns: kraken_parser.Parser(venue, kinds),
    ),
}
"""By the name that the quarantine keeps with a refused message."""
