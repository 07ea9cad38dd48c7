"""Queries made by chance, of every shape, about rows that there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import polars as pl

from gateway.query import QUERY_KINDS, Query, RowKey
from tapehouse.clock import DAY, MAX_TS, MINUTE, NAMES, parse_interval
from tapehouse.model import KINDS, OF_ACCOUNTS
from tests.gateway import oracle

CUSTOM = ("45s", "90s", "2m", "7m", "90m", "2h", "5h", "23h", "1000m")
"""Intervals whose bars are merged; some divide no day."""
_FLAT_BARS = 3_000
"""So many intervals are filled at most."""


def drawn(
    chance: Random,
    rows: Mapping[str, pl.DataFrame],
    venue: str,
    symbols: Sequence[str],
    accounts: Sequence[str],
    first_ns: int,
    last_ns: int,
    kinds: Sequence[str] = QUERY_KINDS,
) -> Query:
    """A query about rows from `first_ns` to `last_ns`."""
    kind = chance.choice(kinds)
    names = list(accounts if kind in OF_ACCOUNTS else symbols)
    names = chance.sample(names, chance.randrange(1, len(names) + 1))
    more: dict[str, Any] = {}
    start, end = _span(chance, first_ns, last_ns)
    if kind in ("bars", "account_candles"):
        more["interval"] = chance.choice([*NAMES, *CUSTOM])
        length = parse_interval(more["interval"]).length
        if length < DAY:
            # They are looked for a piece of some bars at a time, whatever there is.
            start = max(start, first_ns - DAY)
            end = min(max(end, start + 1), last_ns + DAY)
        if kind == "bars" and chance.random() < 0.4:
            more["fill"] = "flat"
            start = max(start, first_ns - 2 * length)
            end = min(max(end, start + 1), last_ns + 2 * length, start + _FLAT_BARS * length)
    if "flags" in KINDS[kind].names and chance.random() < 0.2:
        more["flags"] = chance.randrange(1, 8)
    if chance.random() < 0.3:
        more["columns"] = tuple(chance.sample(KINDS[kind].names, chance.randrange(1, 5)))
    query = Query(kind, "" if kind in OF_ACCOUNTS else venue, tuple(names), start, end, **more)
    way = chance.random()
    if way < 0.25:
        return replace(query, last=True, limit=chance.choice([1, 2, 5, 17, 100, 5_000]))
    if way < 0.5:
        query = replace(query, limit=chance.choice([1, 3, 10, 99, 4_000]))
    if way > 0.7 or 0.3 < way < 0.4:
        found = oracle.answer(rows, replace(query, limit=None, columns=()), MAX_TS)
        if found.height:
            query = replace(query, after=key_of(found, kind, chance.randrange(found.height)))
    return query


def key_of(rows: pl.DataFrame, kind: str, row: int) -> RowKey:
    """The key of a row."""
    key = KINDS[kind].key
    return (int(rows[key[0]].cast(pl.Int64)[row]), *rows.select(key[1:]).row(row))


def _span(chance: Random, first_ns: int, last_ns: int) -> tuple[int, int]:
    days = (last_ns - first_ns) // DAY + 1
    found: set[int] = set()
    while len(found) < 2:
        at = chance.choice([0, 1, 2, 3, 4, 5])
        midnight = (first_ns // DAY + chance.randrange(days + 2)) * DAY
        found.add(
            [
                0 if not found else MAX_TS,
                midnight,
                midnight + chance.choice([-1, 1]),
                midnight + chance.randrange(1, 1440) * MINUTE,
                chance.randrange(first_ns, last_ns),
                chance.randrange(first_ns, last_ns),
            ][at]
        )
    start, end = sorted(found)
    return min(start, last_ns), end
