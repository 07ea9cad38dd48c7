"""Bars of closed days in memory: the same answers, no store asked again, and nothing of a day that has changed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from gateway import arrow
from gateway.answers import bars
from gateway.answers.answer import QueryAnswer
from gateway.answers.day_bars import DayBars
from gateway.answers.execution import Execution
from gateway.query import Query
from tapehouse.clock import DAY, HOUR, MINUTE, parse_ns
from tapehouse.model import BARS, TRADES
from tapehouse.tabular import as_frame
from tests.batches import batch
from tests.gateway.world import World
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


def _times(found: pa.RecordBatch | None) -> list[int]:
    assert found is not None
    return [(int(ts) - _DAY) // MINUTE for ts in arrow.times_ns(found, BARS)]


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
    assert sum(buffer.size for column in found.columns for buffer in column.buffers() if buffer) < 10_000


@pytest.fixture
def world() -> World:
    made = batch(TRADES, 4_000, 3, venue="V", start=_DAY, span=3 * DAY)
    world = World({TRADES.name: as_frame(made)})
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


def _query(world: World, first: int, last: int, interval: str = "1m") -> Query:
    rows = world.hot.rows[TRADES.name]
    return Query(
        "bars", "V", (rows["symbol"][0],), _DAY + first * HOUR, _DAY + last * HOUR, interval=interval
    )


def _segments(answer: QueryAnswer) -> list[tuple[int, int]]:
    return [(segment["rows"], segment["cached"]) for segment in answer.segments]


@pytest.mark.parametrize("interval", ["1m", "4h", "1d"])
def test_days_asked_for_before_are_not_read_again(
    world: World, interval: str, spans: list[tuple[int, int]]
) -> None:
    first = QueryAnswer(_query(world, 24, 72, interval), world)
    expected = whole(first)
    assert [cached for _, cached in _segments(first)] == [0]
    asked = list(spans)
    assert (asked[0][0], asked[-1][1]) == (24, 72)
    again = QueryAnswer(_query(world, 24, 72, interval), world)
    assert whole(again).equals(expected)
    assert _segments(again) == [(expected.height, expected.height)]
    part = QueryAnswer(_query(world, 48, 72, interval), world)
    assert whole(part).equals(expected.filter(expected["ts"].dt.day() == 28))
    assert spans == asked


def test_another_part_of_a_day_brings_the_whole_day_and_a_change_all_of_it_anew(
    world: World, spans: list[tuple[int, int]]
) -> None:
    for first, last in ((30, 40), (32, 38), (35, 45), (24, 48), (20, 28)):
        whole(QueryAnswer(_query(world, first, last), world))
    assert spans == [(30, 40), (24, 48), (20, 24)]
    # Of a day that is being written to nothing is taken from memory, and nothing is kept.
    world.note_written(TRADES.name, _DAY + DAY)
    for _ in range(2):
        answer = QueryAnswer(_query(world, 30, 40), world)
        whole(answer)
        assert [cached for _, cached in _segments(answer)] == [0]
    assert spans[3:] == [(30, 40), (30, 40)]
