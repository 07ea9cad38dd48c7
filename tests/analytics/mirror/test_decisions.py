"""Tables of the mirror's decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analytics.mirror.decisions import (
    DayInfo,
    DayState,
    accepts_late_rows,
    days_to_copy,
    days_to_hand_over,
    first_hot_day,
    is_written,
)
from analytics.mirror.ledger import DayKey, LedgerEntry, MarksByShard
from tapehouse.stream.floor import Floor
from tapehouse.stream.mark import DayMark
from tapehouse.stream.seal import common_seal

_KIND, _TODAY = "trades", "2024-03-05"
_ONE, _TWO, _THREE, _FOUR = ("2024-03-01", "2024-03-02", "2024-03-03", "2024-03-04")
_CREATED, _HOT = 77, 1000
_CLOSED: MarksByShard = {0: DayMark(_CREATED, 5, False), 1: DayMark(_CREATED, 6, False)}
_OPEN: MarksByShard = {0: DayMark(_CREATED, 5, False), 1: DayMark(_CREATED, 6, True)}
_ENTRY = LedgerEntry(_KIND, _ONE, marks=_CLOSED, proven_ns=1)
_COLD = replace(_ENTRY, owner="cold")


def _day(
    day: str = _ONE,
    marks: MarksByShard = _CLOSED,
    entry: LedgerEntry | None = None,
    hot: int = 9,
    cold: int = 0,
) -> DayInfo:
    return DayInfo(_KIND, day, marks, entry, hot, hot, cold, cold)


def _days(*days: DayInfo) -> dict[DayKey, DayInfo]:
    return {day.key: day for day in days}


@pytest.mark.parametrize(
    ("day", "proven", "state"),
    [
        (_day(entry=_ENTRY), True, DayState.PROVEN),
        # Never copied; an entry without a proof.
        (_day(), False, DayState.HOT_ONLY),
        (_day(entry=LedgerEntry(_KIND, _ONE)), False, DayState.HOT_ONLY),
        (_day(entry=replace(_ENTRY, proven_ns=0)), False, DayState.HOT_ONLY),
        # Written to since: by a later message, again, by another shard, on another stream.
        (_day(marks={**_CLOSED, 0: DayMark(_CREATED, 7, False)}, entry=_ENTRY), False, DayState.STALE),
        (_day(marks=_OPEN, entry=_ENTRY), False, DayState.STALE),
        (_day(marks={**_CLOSED, 2: DayMark(_CREATED, 1, False)}, entry=_ENTRY), False, DayState.STALE),
        (_day(marks={**_CLOSED, 0: DayMark(_CREATED + 1, 5, False)}, entry=_ENTRY), False, DayState.STALE),
        (_day(marks={}, entry=_ENTRY), False, DayState.STALE),
        # Copied while it was written: equal marks prove nothing.
        (_day(marks=_OPEN, entry=replace(_ENTRY, marks=_OPEN)), False, DayState.STALE),
        (_day(entry=replace(_ENTRY, fault="damaged")), False, DayState.STALE),
        # Owned by ClickHouse: marks no longer count, a fault does.
        (_day(entry=_COLD), True, DayState.COLD_ONLY),
        (_day(marks=_OPEN, entry=_COLD), True, DayState.COLD_ONLY),
        (_day(entry=replace(_COLD, fault="damaged")), False, DayState.STALE),
        # Today, and later.
        (_day(_TODAY), False, DayState.OPEN),
        (_day("2024-03-06"), False, DayState.OPEN),
    ],
)
def test_a_day_is_proven_by_its_marks_and_has_a_state(day: DayInfo, proven: bool, state: DayState) -> None:
    assert day.is_proven is proven
    assert day.state(_TODAY) is state


def test_days_are_copied_that_are_closed_quiet_hot_and_not_proven_oldest_first() -> None:
    days = _days(
        _day(_FOUR),
        _day(_THREE, marks=_OPEN),
        _day(_TWO, entry=_ENTRY),
        _day(_ONE, entry=replace(_ENTRY, fault="damaged")),
        _day("2024-02-29", entry=_COLD),
        _day("2024-02-28", entry=replace(_COLD, fault="damaged")),
        # A copy without a ledger entry.
        _day("2024-02-27", marks={}, hot=0, cold=3),
        _day(_TODAY),
    )
    other = replace(days[_KIND, _ONE], kind="quotes")
    assert [day.key for day in days_to_copy(days | {other.key: other}, _TODAY)] == [
        (_KIND, "2024-02-27"),
        ("quotes", _ONE),
        (_KIND, _ONE),
        (_KIND, _FOUR),
    ]
    assert days_to_copy({}, _TODAY) == []


def _floor(seq: int, hot: int = _HOT, created: int = _CREATED) -> Floor:
    return Floor(created, seq, hot, 0)


@pytest.mark.parametrize(
    ("marks", "floors", "present", "expected"),
    [
        ({}, {}, {0, 1}, True),
        (_CLOSED, {0: _floor(5), 1: _floor(6)}, {0, 1}, True),
        (_CLOSED, {0: _floor(9), 1: _floor(9)}, {0, 1}, True),
        # Not committed yet; being written.
        (_CLOSED, {0: _floor(4), 1: _floor(6)}, {0, 1}, False),
        (_CLOSED, {0: _floor(5), 1: _floor(5)}, {0, 1}, False),
        (_OPEN, {0: _floor(9), 1: _floor(9)}, {0, 1}, False),
        # Committed to another QuestDB, which may have lost it.
        (_CLOSED, {0: _floor(9), 1: _floor(9, _HOT - 1)}, {0, 1}, False),
        # An earlier shard whose writer has ended: its floor does not change any more.
        (_CLOSED, {0: _floor(9), 1: _floor(9, _HOT - 1)}, {0}, True),
        (_CLOSED, {0: _floor(9), 1: _floor(5, _HOT - 1)}, {0}, False),
        # Messages of a deleted stream are committed or gone, whatever their sequences were.
        (_CLOSED, {0: _floor(1, created=78), 1: _floor(0, created=78)}, {0, 1}, True),
        (_CLOSED, {0: _floor(1, 0, 78), 1: _floor(0, created=78)}, {0, 1}, False),
    ],
)
def test_rows_are_written_when_every_floor_has_passed_them_on_the_questdb_that_runs(
    marks: MarksByShard, floors: dict[int, Floor], present: set[int], expected: bool
) -> None:
    assert is_written(marks, floors, present, _HOT) is expected


@pytest.mark.parametrize(
    ("day", "before", "expected"),
    [
        (_day(entry=_ENTRY), _TWO, True),
        (_day(entry=_ENTRY), _ONE, False),
        (_day(entry=_ENTRY), "", False),
        (_day(), _TWO, False),
        (_day(marks=_OPEN, entry=_ENTRY), _TWO, False),
        (_day(entry=replace(_ENTRY, fault="damaged")), _TWO, False),
        (_day(entry=_COLD), _TWO, False),
        (_day(_TWO, entry=_ENTRY), _TWO, False),
        # QuestDB has no rows of it, and that is proven.
        (_day(entry=_ENTRY, hot=0), _TWO, True),
    ],
)
def test_days_are_handed_over_that_are_sealed_and_proven(day: DayInfo, before: str, expected: bool) -> None:
    seal = {_KIND: before} if before else {}
    assert days_to_hand_over(_days(day), _KIND, seal) == ([day] if expected else [])
    assert days_to_hand_over(_days(day), "quotes", {"quotes": _TODAY}) == []


@pytest.mark.parametrize(
    ("days", "seal", "expected"),
    [
        ([], {}, ""),
        ([], {_KIND: _THREE}, _THREE),
        ([_day(entry=_COLD)], {"quotes": _THREE}, ""),
        ([_day(entry=_COLD), _day(_TWO, entry=_COLD)], {_KIND: _THREE}, _THREE),
        ([_day(entry=_COLD), _day(_TWO, entry=_COLD)], {_KIND: _TWO}, _TWO),
        ([_day(entry=_COLD), _day(_TWO, entry=_ENTRY)], {_KIND: _FOUR}, _TWO),
        ([_day(), _day(_TWO, entry=_COLD)], {_KIND: _FOUR}, _ONE),
        # Rows may be under way to a day that has only a mark or an entry.
        ([_day(_TWO, hot=0)], {_KIND: _FOUR}, _TWO),
        ([_day(_TWO, marks={}, entry=_ENTRY, hot=0)], {_KIND: _FOUR}, _TWO),
        ([_day(_TWO, marks={}, hot=0, cold=3)], {_KIND: _FOUR}, _FOUR),
        # A day whose copy is damaged stays in QuestDB as long as it is there.
        ([_day(_ONE, entry=replace(_COLD, fault="damaged"))], {_KIND: _FOUR}, _ONE),
        ([_day(_ONE, entry=replace(_COLD, fault="damaged"), hot=0)], {_KIND: _FOUR}, _FOUR),
        ([replace(_day(), kind="quotes")], {_KIND: _FOUR}, _FOUR),
    ],
)
def test_questdb_keeps_all_days_from_the_first_that_clickhouse_does_not_own(
    days: list[DayInfo], seal: dict[str, str], expected: str
) -> None:
    assert first_hot_day(_days(*days), _KIND, seal) == expected


@pytest.mark.parametrize(
    ("day", "before", "expected"),
    [
        (_day(entry=_COLD), "", True),
        (_day(entry=replace(_COLD, fault="damaged")), "", True),
        (_day(entry=_ENTRY), _TWO, False),
        # QuestDB owns every day that a store has, or may get, rows of, until it is handed over.
        (_day(), _TWO, False),
        (_day(hot=0), _TWO, False),
        (_day(marks={}), _TWO, False),
        (_day(marks={}, entry=_ENTRY, hot=0), _TWO, False),
        # Neither store ever had rows of it.
        (None, _TWO, True),
        (_day(marks={}, hot=0), _TWO, True),
        (None, _ONE, False),
        (None, "", False),
    ],
)
def test_late_rows_are_merged_when_clickhouse_owns_or_may_own_the_day(
    day: DayInfo | None, before: str, expected: bool
) -> None:
    assert accepts_late_rows(day, _ONE, _KIND, {_KIND: before} if before else {}) is expected


@pytest.mark.parametrize(
    ("seals", "expected"),
    [
        ([], {}),
        ([{}], {}),
        ([{"trades": _ONE}, {}], {}),
        ([{"trades": _TWO, "quotes": _ONE}, {"trades": _ONE}], {"trades": _ONE}),
        ([{"trades": _TWO}, {"trades": _TWO, "quotes": _ONE}, {"trades": _THREE}], {"trades": _TWO}),
    ],
)
def test_the_seal_of_all_writers_is_the_least_of_theirs(
    seals: list[dict[str, str]], expected: dict[str, str]
) -> None:
    assert common_seal(seals) == expected
