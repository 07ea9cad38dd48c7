"""The names of symbols: `VENUE:SYMBOL`, so that several venues can have one symbol."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from gateway.surface import QuerySurface
from tapehouse.errors import UnknownSeriesError
from tapehouse.model import TRADES

_MAX_NEAR = 3
_Names = Mapping[str, Collection[str]]
"""Symbols by venue."""


class Series(NamedTuple):
    """A symbol of a venue."""

    venue: str
    symbol: str

    @property
    def full_name(self) -> str:
        """The name in UDF."""
        return f"{self.venue}:{self.symbol}"


class SeriesNames:
    """Finds symbols that have trades by their names. Thread-safe; reads the stores."""

    def __init__(self, surface: QuerySurface) -> None:
        self._surface = surface
        self._found: dict[str, Series] = {}
        """By full name. What is stored once stays so."""

    def venues(self) -> list[str]:
        """All venues with trades, sorted."""
        return sorted(self._surface.names(TRADES.name))

    def of_venue(self, venue: str) -> list[Series]:
        """All symbols of a venue, sorted. Raises UnknownSeriesError if there are none."""
        symbols = self._surface.names(TRADES.name).get(venue)
        if not symbols:
            symbols = self._surface.names(TRADES.name, fresh=True).get(venue)
        if not symbols:
            raise UnknownSeriesError(
                f"{venue}: expected one of {' '.join(self.venues()[:10]) or 'no venues'}"
            )
        return [Series(venue, symbol) for symbol in sorted(symbols)]

    def find(self, name: str) -> Series:
        """The symbol that a name means; upper and lower case are alike where no symbol is written so.

        Raises UnknownSeriesError where there is none, or where several venues have it.
        """
        known = self._found.get(name)
        if known is not None:
            return known
        for fresh in (False, True):
            names = self._surface.names(TRADES.name, fresh=fresh)
            found = _matching(name, names) or _matching_any_case(name, names)
            if len(found) == 1:
                if name == found[0].full_name:
                    self._found[name] = found[0]
                return found[0]
            if found:
                several = " ".join(one.full_name for one in found[:10])
                raise UnknownSeriesError(f"{name}: expected one of {several}")
        raise UnknownSeriesError(f"{name}: {_near(name, names)}")

    def search(self, query: str, venue: str, limit: int) -> list[Series]:
        """The symbols whose full name contains a text, those that begin with it first."""
        wanted = query.casefold()
        ranked = []
        for one in _all(self._surface.names(TRADES.name)):
            symbol = one.symbol.casefold()
            if (not venue or one.venue == venue) and wanted in one.full_name.casefold():
                place = symbol.find(wanted)
                ranked.append((symbol != wanted, place if place >= 0 else len(symbol), one))
        return [one for _, _, one in sorted(ranked)[:limit]]


def _all(names: _Names) -> Iterator[Series]:
    return (Series(venue, symbol) for venue, symbols in names.items() for symbol in symbols)


def _matching(name: str, names: _Names) -> list[Series]:
    """The series of a full name, or all of a symbol; a venue or symbol may have colons itself."""
    splits = [Series(name[:place], name[place + 1 :]) for place, letter in enumerate(name) if letter == ":"]
    full = [one for one in splits if one.symbol in names.get(one.venue, ())]
    return full or [Series(venue, name) for venue, symbols in sorted(names.items()) if name in symbols]


def _matching_any_case(name: str, names: _Names) -> list[Series]:
    wanted = name.casefold()
    found = [one for one in _all(names) if one.full_name.casefold() == wanted]
    return sorted(found or [one for one in _all(names) if one.symbol.casefold() == wanted])


def _near(name: str, names: _Names) -> str:
    written = {text.casefold(): one.full_name for one in _all(names) for text in (one.symbol, one.full_name)}
    near = difflib.get_close_matches(name.casefold(), sorted(written), _MAX_NEAR)
    return f"near: {' '.join(dict.fromkeys(written[text] for text in near))}" if near else "not stored"
