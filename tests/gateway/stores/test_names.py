"""Symbols and venues are any text, to every statement: also such as a store could take for something else."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.query import Query
from gateway.stores.contract import Store
from tapehouse.batch import Batch, Strings
from tapehouse.clock import DAY, MINUTE, parse_ns
from tapehouse.model import DEPTH, GAPS, QUOTES, TRADES, Kind
from tapehouse.stores.questdb import QuestReader
from tests.batches import batch
from tests.gateway.stores.stored_rows import Stores, rows_of

_FIRST_DAY = parse_ns("1982-01-01")
WORDS = (
    *("null", "NULL", "Null", "None", "true", "false", "nan", "NaN", "Infinity", "now()", "default", "\\N", "\\0"),
    *("1", "0", "-1", "1.5", "1e5", "0x10", "1970-01-01", "2024-01-01T00:00:00Z", "2024-01-01;1d"),
    *("'", "''", "'a", '"', '""', "`", "\\", "\\\\", "\\'", "a\\", "\\n", "\\x41", "\\u0041"),
    *("{", "}", "{}", "{symbol:String}", "{name:String}", "{venue:String}", "{a,b}", "{null}", "[", "[]", "['a']"),
    *("(1)", "$1", "$$", "$a$", "%", "%s", "%%", "%(a)s", "?", ":a", "@a", "--", "/*", ";", "a,b", "#", "~"),
    *(" ", "  ", " a", "a ", "\t", "\n", "\r\n", "\x01", "\b", "\x0b", "\x1b[0m", "\x7f", "\x85", "\u200b", "\ufeff"),
    *("a\u0301", "á", "ß", "İ", "ı", "A", "a", "\u2028", "\ud7ff", "\uffff", "\U0001f600", "\U0010ffff", "ä" * 256),
)  # fmt: skip
_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
_NAMES = st.lists(st.one_of(st.sampled_from(WORDS), _TEXTS), min_size=3, max_size=3, unique=True)
_KINDS = (TRADES, QUOTES, DEPTH, GAPS)
_days = itertools.count(_FIRST_DAY, DAY)


def _rows(kind: Kind, venue: str, symbols: tuple[str, ...], day: int) -> Batch:
    """A row for each symbol, a minute apart, numbered from 1; trades take part in bars."""
    count = len(symbols)
    whole = batch(kind, count, 1, venue=venue)
    own: dict[str, Any] = {
        "ts_event": day + np.arange(count) * MINUTE,
        "symbol": Strings(symbols, np.arange(count, dtype=np.int32)),
        "seq": np.arange(count) + 1,
    }
    if kind is TRADES:
        own["flags"] = np.zeros(count, np.int16)
    return replace(whole, columns={**whole.columns, **own})


def _asked(kind: str, venue: str, symbols: tuple[str, ...], day: int, **more: Any) -> Query:
    return Query(kind, venue, symbols, day, day + DAY, **more)


def _found(
    store: Store, kinds: Sequence[Kind], venue: str, symbols: tuple[str, ...], day: int
) -> Iterator[tuple[str, list[str]]]:
    """By statement the symbols that a store finds, sorted."""
    for kind in kinds:
        query = _asked(kind.name, venue, symbols, day)
        yield kind.name, sorted(rows_of(store, kind, query)["symbol"])
        yield f"newest {kind.name}", sorted(symbols)[: store.count_newest(query, day, day + DAY, 1_000)[0]]
    for interval in ("15s", "1m", "1h", "1d"):
        bars, _ = store.bars(_asked("bars", venue, symbols, day, interval=interval), day, day + DAY)
        yield interval, sorted(bars.column("symbol").to_pylist())
    # Read one by one by a store.
    few = symbols[:: len(symbols) // 8 or 1]
    query = _asked("bars", venue, few, day, interval="1m")
    lost = [name for name in few if store.last_bar_time(query, name, day, day + DAY) is None]
    yield "last", sorted({*symbols} - {*lost})
    latest = {*store.latest(venue, few).column("symbol").to_pylist()}
    yield "latest", sorted({*symbols} - {*few} | latest)


def _finds(store: Store, kinds: Sequence[Kind], venue: str, symbols: tuple[str, ...], day: int) -> None:
    """Every statement of the store finds all of the symbols, which are stored, and nothing else."""
    for statement, found in _found(store, kinds, venue, symbols, day):
        assert found == sorted(symbols), (statement, venue, symbols)


@pytest.fixture(scope="module")
def words(stores: Stores) -> tuple[str, int]:
    """A venue and a day with rows of all the words in every store."""
    venue, day = f"T{secrets.token_hex(4).upper()}", next(_days)
    for kind in _KINDS:
        stores.put(_rows(kind, venue, WORDS, day))
    return venue, day


def test_all_words_are_found_together(store: Store, words: tuple[str, int]) -> None:
    venue, day = words
    _finds(store, _KINDS, venue, WORDS, day)
    listed = store.symbols(TRADES, day, day + DAY, exact=True)
    assert sorted(listed.filter(listed["venue"] == venue)["symbol"]) == sorted(WORDS)


def test_each_word_is_found_alone_over_the_wire(stores: Stores, words: tuple[str, int]) -> None:
    venue, day = words
    with QuestReader(stores.settings.questdb) as reader:
        for word in WORDS:
            (page,) = reader.rows(TRADES, venue, [word], day, day + DAY)
            assert page["symbol"].to_list() == [word]
            query = _asked("bars", venue, (word,), day, interval="1h")
            assert stores.hot.bars(query, day, day + DAY)[0].column("symbol").to_pylist() == [word]


@settings(max_examples=1, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(names=_NAMES)
def test_pairs_of_any_venue_and_symbol_are_told_apart(stores: Stores, names: list[str]) -> None:
    day = next(_days)
    pairs = [(name, names[(place + 1) % len(names)]) for place, name in enumerate(names)]
    kinds = (TRADES, GAPS)
    for kind in kinds:
        stores.put(*(_rows(kind, venue, pair, day) for venue, pair in zip(names, pairs, strict=True)))
    for store in (stores.hot, stores.cold):
        for venue, pair in zip(names, pairs, strict=True):
            _finds(store, kinds, venue, pair, day)
            _finds(store, (), venue, pair[1:], day)
            stranger = next(name for name in names if name not in pair)
            assert rows_of(store, TRADES, _asked("trades", venue, (stranger,), day)).height == 0
