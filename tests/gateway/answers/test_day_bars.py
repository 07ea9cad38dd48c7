"""Bars of closed days in memory: the same answers, no store asked again, and nothing of a day that has changed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gateway import arrow
from gateway.answers import bars
from gateway.answers.answer import QueryAnswer
from gateway.answers.day_bars import CachedSlice, DayBars
from gateway.answers.execution import Execution
from gateway.query import Query
from gateway.rest.formats import Json
from tapehouse.clock import DAY, HOUR, MINUTE, now_ns, parse_ns
from tapehouse.model import BARS, TRADES
from tests.gateway.world import World, trades_of
from tests.reads import whole

_DAY = parse_ns("2024-02-26")
_KEY = ("V", "A", "1m", _DAY)


def _batch(first: int, count: int) -> pa.RecordBatch:
    times = _DAY + MINUTE * (first + np.arange(count))
    columns = [
        pa.array(times, field.type)
        if field.name == "ts"
        else pa.array(["V"] * count, field.type)
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        else pa.array(np.ones(count), field.type)
        for field in arrow.schema(BARS.name, BARS.names)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=arrow.schema(BARS.name, BARS.names))


def _times(found: CachedSlice | None) -> list[int]:
    assert found is not None
    return [(int(ts) - _DAY) // MINUTE for ts in arrow.times_ns(found.bars, BARS)]


def test_a_part_of_a_day_is_found_within_what_was_added_and_by_its_digest_alone() -> None:
    known = DayBars(2**20)
    known.add(_KEY, "one", _DAY + 10 * MINUTE, _DAY + 60 * MINUTE, _batch(12, 4))
    assert _times(known.find(_KEY, "one", _DAY + 10 * MINUTE, _DAY + 60 * MINUTE)) == [12, 13, 14, 15]
    assert _times(known.find(_KEY, "one", _DAY + 13 * MINUTE, _DAY + 15 * MINUTE)) == [13, 14]
    # No bar starts there, and that is known.
    assert _times(known.find(_KEY, "one", _DAY + 40 * MINUTE, _DAY + 50 * MINUTE)) == []
    assert known.find(_KEY, "one", _DAY + 9 * MINUTE, _DAY + 60 * MINUTE) is None
    assert known.find(_KEY, "one", _DAY + 10 * MINUTE, _DAY + 61 * MINUTE) is None
    assert known.find(_KEY, "two", _DAY + 10 * MINUTE, _DAY + 60 * MINUTE) is None
    assert known.find(("V", "B", "1m", _DAY), "one", _DAY + 10 * MINUTE, _DAY + 60 * MINUTE) is None
    assert (known.has_part(_KEY, "one"), known.has_part(_KEY, "two")) == (True, False)


def test_the_days_used_last_are_kept_within_the_bytes() -> None:
    one = _batch(0, 100)
    known = DayBars(2**20)
    known.add(_KEY, "d", _DAY, _DAY + DAY, one)
    most = 3 * known.bytes
    known = DayBars(most)
    keys = [("V", f"S{place}", "1m", _DAY) for place in range(4)]
    for key in keys[:3]:
        known.add(key, "d", _DAY, _DAY + DAY, one)
    assert known.find(keys[0], "d", _DAY, _DAY + DAY) is not None
    known.add(keys[3], "d", _DAY, _DAY + DAY, one)
    assert [known.has_part(key, "d") for key in keys] == [True, False, True, True]
    assert 0 < known.bytes <= most
    # What replaces a day takes its place; what is larger than all is not kept.
    known.add(keys[3], "e", _DAY, _DAY + DAY, one)
    assert 0 < known.bytes <= most
    known.add(keys[0], "e", _DAY, _DAY + DAY, _batch(0, 400))
    assert known.bytes == 0


def test_a_cached_day_does_not_keep_the_batch_that_it_was_cut_from() -> None:
    known = DayBars(2**20)
    known.add(_KEY, "d", _DAY, _DAY + DAY, _batch(0, 1000).slice(5, 10))
    found = known.find(_KEY, "d", _DAY, _DAY + DAY)
    assert found is not None
    columns = found.bars.columns
    assert sum(buffer.size for column in columns for buffer in column.buffers() if buffer) < 10_000


def test_the_json_of_cached_bars_counts_and_leaves_with_them() -> None:
    known = DayBars(2**20)
    known.add(_KEY, "d", _DAY, _DAY + DAY, _batch(0, 100))
    without = known.bytes
    found = known.find(_KEY, "d", _DAY + 10 * MINUTE, _DAY + 12 * MINUTE)
    assert found is not None
    assert not found.is_encoded
    rows = json.loads(b"[" + known.json(found) + b"]")
    assert [row["ts"] for row in rows] == ["2024-02-26T00:10:00.000000000Z", "2024-02-26T00:11:00.000000000Z"]
    assert all(row["final"] for row in rows)
    assert found.is_encoded
    both = known.bytes
    assert both > without + 100 * len(known.json(found)) // 3
    assert known.json(found) == known.json(found)
    assert known.bytes == both
    # What the memory has no room for is still an answer.
    small = DayBars(both - 1)
    small.add(_KEY, "d", _DAY, _DAY + DAY, _batch(0, 100))
    found = small.find(_KEY, "d", _DAY, _DAY + DAY)
    assert found is not None
    assert len(json.loads(b"[" + small.json(found) + b"]")) == 100
    assert small.bytes == 0


@pytest.fixture
def world() -> World:
    world = World({TRADES.name: trades_of("A", _DAY, 3, 4_000)})
    world.refresh()
    return world


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The spans that are read from the stores, in hours from the first day on."""
    read_spans: list[tuple[int, int]] = []
    read = bars._read_stores

    def reading(execution: Execution, start_ns: int, end_ns: int) -> pa.RecordBatch:
        read_spans.append(((start_ns - _DAY) // HOUR, (end_ns - _DAY) // HOUR))
        return read(execution, start_ns, end_ns)

    monkeypatch.setattr(bars, "_read_stores", reading)
    return read_spans


def _query(first: int, last: int, interval: str = "1m") -> Query:
    return Query("bars", "V", ("A",), _DAY + first * HOUR, _DAY + last * HOUR, interval=interval)


def _segments(answer: QueryAnswer) -> list[tuple[int, int]]:
    return [(segment["rows"], segment["cached"]) for segment in answer.segments]


@pytest.mark.parametrize("interval", ["1m", "4h", "1d"])
def test_days_asked_for_before_are_not_read_again(
    world: World, interval: str, spans: list[tuple[int, int]]
) -> None:
    first = QueryAnswer(_query(24, 72, interval), world)
    expected = whole(first)
    assert [cached for _, cached in _segments(first)] == [0]
    asked = list(spans)
    assert (asked[0][0], asked[-1][1]) == (24, 72)
    again = QueryAnswer(_query(24, 72, interval), world)
    assert whole(again).equals(expected)
    assert _segments(again) == [(expected.height, expected.height)]
    part = QueryAnswer(_query(48, 72, interval), world)
    assert whole(part).equals(expected.filter(expected["ts"].dt.day() == 28))
    assert spans == asked


def test_another_part_of_a_day_brings_the_whole_day_and_a_change_all_of_it_anew(
    world: World, spans: list[tuple[int, int]]
) -> None:
    for first, last in ((30, 40), (32, 38), (35, 45), (24, 48), (20, 28)):
        whole(QueryAnswer(_query(first, last), world))
    assert spans == [(30, 40), (24, 48), (20, 24)]
    # Of a day that is being written to nothing is taken from memory, and nothing is kept.
    world.note_written(TRADES.name, _DAY + DAY)
    for _ in range(2):
        answer = QueryAnswer(_query(30, 40), world)
        whole(answer)
        assert [cached for _, cached in _segments(answer)] == [0]
    assert spans[3:] == [(30, 40), (30, 40)]


@pytest.mark.parametrize("interval", ["1m", "30m", "1d"])
def test_the_json_of_days_in_memory_is_that_of_the_bars_as_they_were_read(
    world: World, interval: str, spans: list[tuple[int, int]]
) -> None:
    query = _query(20, 72, interval)
    assert QueryAnswer(query, world).cached_json() is None
    answer = QueryAnswer(query, world)
    encoder = Json("bars", answer.schema)
    expected = b"".join([encoder.begin(), *map(encoder.batch, answer), encoder.end([], None)])
    read = list(spans)
    for _ in range(2):
        again = QueryAnswer(query, world)
        cached = again.cached_json()
        assert cached is not None
        assert Json.page(cached.rows(), None, []) == expected
        assert cached.is_encoded
        rows = len(json.loads(expected)["rows"])
        assert _segments(again) == [(rows, rows)]
    assert spans == read


@pytest.mark.parametrize(
    "other",
    [
        {"columns": ("ts", "close")},
        {"fill": "flat"},
        {"limit": 3},
        {"limit": 3, "last": True},
        {"after": (_DAY + 30 * HOUR, "V", "A")},
        {"interval": "1w"},
        {"kind": "trades", "interval": None},
    ],
    ids=str,
)
def test_other_queries_are_not_answered_with_json_from_memory(world: World, other: dict[str, Any]) -> None:
    query = _query(24, 72)
    whole(QueryAnswer(query, world))
    assert QueryAnswer(query, world).cached_json() is not None
    assert QueryAnswer(replace(query, **other), world).cached_json() is None


def test_bars_that_are_not_final_and_days_without_bars_are_not_answered_from_memory(world: World) -> None:
    query = _query(24, 72)
    whole(QueryAnswer(query, world))
    grace_ns = now_ns() - (_DAY + 3 * DAY)
    assert QueryAnswer(query, world, grace_ns=grace_ns).cached_json() is not None
    assert QueryAnswer(query, world, grace_ns=grace_ns + HOUR).cached_json() is None
    empty = replace(query, symbols=("of no trade",))
    whole(QueryAnswer(empty, world))
    # Whoever asks for it has to be told whether there is such a symbol.
    assert QueryAnswer(empty, world).cached_json() is None
