"""The plan: each day at its owner, no hole and no overlap, and bars of which each is whole."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.answers.coverage import ColdDay, Coverage, OpenGap
from gateway.answers.plan import Segment, estimate_read, format_end, plan, read_spans, source_span
from gateway.query import QUERY_KINDS, Query
from gateway.stores.contract import DaySize
from tapehouse.clock import DAY, HOUR, INTERVALS, MAX_TS, MINUTE, parse_ns
from tapehouse.errors import ConnectError
from tapehouse.model import OF_ACCOUNTS

D = parse_ns("2024-02-26")
"""A Monday."""
NOW = D + 100 * DAY + 5 * HOUR


def covered(hot: str = "", cold: str = "", **more: Any) -> Coverage:
    """Of trades: the days behind D, a letter each, that the hot store holds and that the cold one owns.

    `x` is a day with 100 rows, `0` one that is sealed and empty, `!` a damaged one, `.` one that is not there.
    """
    held = {D + at * DAY: DaySize(100, 1_000) for at, letter in enumerate(hot) if letter == "x"}
    owned = {
        D + at * DAY: ColdDay(0 if letter == "0" else 100, f"f{at}", "damaged" if letter == "!" else "")
        for at, letter in enumerate(cold)
        if letter != "."
    }
    return Coverage(
        NOW, {"trades": held}, {"trades": owned}, **{"has_marks": True, "unknown_reason": "", **more}
    )


def asked(start: int = 0, end: int = MAX_TS, **more: Any) -> Query:
    return Query(
        **{"kind": "trades", "venue": "V", "symbols": ("S",), "start_ns": start, "end_ns": end, **more}
    )


def told(segments: list[Segment]) -> list[tuple[str, float, float]]:
    """(store, start, end) in days from D; -1 for the beginning of time, 999 for its end."""
    return [
        (
            one.tier,
            -1 if one.start_ns == 0 else (one.start_ns - D) / DAY,
            999 if one.end_ns == MAX_TS else (one.end_ns - D) / DAY,
        )
        for one in segments
    ]


@pytest.mark.parametrize(
    ("hot", "cold", "segments"),
    [
        ("", "", [("hot", -1, 999)]),
        ("xxx", "", [("hot", -1, 999)]),
        ("...xxx", "xxx", [("cold", -1, 3), ("hot", 3, 999)]),
        # A day that both hold is its owner's.
        ("xxxxxx", "xxx", [("cold", -1, 3), ("hot", 3, 999)]),
        # Days that nobody has, before and between those of the cold store, are sealed: it answers.
        ("......xx", "..x.x", [("cold", -1, 5), ("hot", 5, 999)]),
        # A sealed day without rows.
        (".....xx", "xx00", [("cold", -1, 4), ("hot", 4, 999)]),
        ("", "xx", [("cold", -1, 2), ("hot", 2, 999)]),
        # A day that could not be handed over stays in the middle, or is the first.
        ("..x..xx", "xx.xx", [("cold", -1, 2), ("hot", 2, 3), ("cold", 3, 5), ("hot", 5, 999)]),
        ("x....xx", ".xxxx", [("cold", -1, 0), ("hot", 0, 1), ("cold", 1, 5), ("hot", 5, 999)]),
        (
            ".xx.x.xx",
            "x..x.x",
            [("cold", -1, 1), ("hot", 1, 3), ("cold", 3, 4), ("hot", 4, 5), ("cold", 5, 6), ("hot", 6, 999)],
        ),
    ],
)
def test_each_day_is_asked_of_its_owner(hot: str, cold: str, segments: list[tuple[str, int, int]]) -> None:
    assert told(plan(asked(), covered(hot, cold), NOW)) == segments


@pytest.mark.parametrize(
    ("start", "end", "segments"),
    [
        (D, D + DAY, [("cold", 0, 1)]),
        (D + 2 * DAY, D + 3 * DAY, [("cold", 2, 3)]),
        (D + 3 * DAY, D + 4 * DAY, [("hot", 3, 4)]),
        (D + 3 * DAY - 1, D + 3 * DAY, [("cold", 3 - 1 / DAY, 3)]),
        (D + 3 * DAY - DAY // 4, D + 3 * DAY + DAY // 4, [("cold", 2.75, 3), ("hot", 3, 3.25)]),
        (D + DAY // 2, D + DAY // 2 + DAY // 8, [("cold", 0.5, 0.625)]),
        (0, D + 3 * DAY, [("cold", -1, 3)]),
        (D + 50 * DAY, MAX_TS, [("hot", 50, 999)]),
    ],
)
def test_a_span_is_cut_at_its_bounds_and_at_midnight_alone(
    start: int, end: int, segments: list[tuple[str, float, float]]
) -> None:
    assert told(plan(asked(start, end), covered("...xxx", "xxx"), NOW)) == segments


@given(
    hot=st.text("x.", max_size=12),
    cold=st.text("x0.!", max_size=12),
    first=st.integers(-2 * DAY, 14 * DAY),
    length=st.integers(1, 15 * DAY),
    kind=st.sampled_from([None, *INTERVALS]),
)
def test_there_is_no_hole_and_a_store_twice_in_a_row_is_one(
    hot: str, cold: str, first: int, length: int, kind: str | None
) -> None:
    coverage = covered(hot, cold)
    query = asked(D + first, D + first + length)
    if kind is not None:
        query = asked(D + first, D + first + length, kind="bars", interval=kind)
    segments = plan(query, coverage, NOW)
    start, end = source_span(query)
    assert bool(segments) == (start < end)
    if not segments:
        return
    assert (segments[0].start_ns, segments[-1].end_ns) == (start, end)
    for one, other in pairwise(segments):
        assert one.end_ns == other.start_ns
        assert one.tier != other.tier
        assert one.end_ns % DAY == 0
    # Every day with rows is asked of its owner.
    for segment in segments:
        for day in range(segment.start_ns // DAY * DAY, segment.end_ns, DAY):
            if day in coverage.cold["trades"]:
                assert segment.tier == "cold"
            elif day in coverage.hot["trades"]:
                assert segment.tier == "hot"
        assert segment.start_ns < segment.end_ns


def test_kinds_are_owned_by_themselves() -> None:
    coverage = covered("...x", "xxx")
    for kind in QUERY_KINDS:
        more: dict[str, Any] = {"kind": kind}
        if kind in OF_ACCOUNTS:
            more |= {"venue": "", "symbols": ("1",)}
        if kind in ("bars", "account_candles"):
            more |= {"interval": "1d"}
        stores = [segment.tier for segment in plan(asked(**more), coverage, NOW)]
        assert stores == (["cold", "hot"] if kind in ("trades", "bars") else ["hot"])


def test_where_the_owners_are_not_known_only_the_last_two_days_are_answered_for() -> None:
    unread = Coverage(unknown_reason="clickhouse: no answer")
    safe = NOW // DAY * DAY - DAY
    assert told(plan(asked(safe), unread, NOW)) == [("hot", (safe - D) / DAY, 999)]
    for start in (0, safe - 1):
        with pytest.raises(ConnectError, match="before 2024-06-04 are unknown: clickhouse: no answer"):
            plan(asked(start), unread, NOW)
    # Of bars it is their rows that count.
    assert plan(asked(safe - 1, kind="bars", interval="1d"), unread, NOW)
    with pytest.raises(ConnectError):
        plan(asked(safe - DAY + 1, kind="bars", interval="1h"), unread, NOW)


@pytest.mark.parametrize("interval", INTERVALS)
@given(ats=st.lists(st.integers(0, MAX_TS - 1), min_size=2, max_size=2, unique=True))
def test_bars_are_made_of_the_rows_of_all_that_begin_in_the_span(interval: str, ats: list[int]) -> None:
    start, end = sorted(ats)
    table = INTERVALS[interval]
    first, last = source_span(asked(start, end, kind="bars", interval=interval))
    for bound, found in ((start, first), (end, last)):
        assert bound <= found
        bucket = int(table.bucket(np.array([bound]))[0])
        following = int(table.following(np.array([bucket]))[0])
        assert found == (bound if bucket == bound else min(following, MAX_TS))


def test_a_bar_that_straddles_a_seam_has_its_parts_in_both() -> None:
    query = asked(D, D + 3 * DAY, kind="bars", interval="1w")
    assert told(plan(query, covered("...xxxxx", "xxx"), NOW)) == [("cold", 0, 3), ("hot", 3, 7)]


def test_what_is_to_be_known_of_the_rows_is_said_of_the_segment_it_is_in() -> None:
    gaps = (
        OpenGap("trades", "V", "S", D + DAY, D + DAY + MINUTE),
        OpenGap("trades", "V", "S", D + 4 * DAY, D + 4 * DAY),
        OpenGap("trades", "V", "T", D, D + 9 * DAY),
        OpenGap("quotes", "V", "S", D, D + 9 * DAY),
        OpenGap("trades", "W", "S", D, D + 9 * DAY),
    )
    segments = plan(asked(D), covered("...xxx", "x!!", gaps=gaps), NOW)
    assert [segment.quality for segment in segments] == [("1 open gaps", "2 days damaged"), ("1 open gaps",)]
    segments = plan(asked(D + 2 * DAY, D + 4 * DAY), covered("...xxx", "x!x", gaps=gaps), NOW)
    assert [segment.quality for segment in segments] == [(), ()]
    assert str(segments[0]) == "clickhouse: 2024-02-28T00:00:00Z to 2024-02-29T00:00:00Z, handed over"
    assert format_end(MAX_TS) == "open end"


def test_the_cold_store_is_asked_for_days_with_rows_some_at_a_time() -> None:
    coverage = covered("", "x0x" + "." * 60 + "xx")
    segment = Segment("cold", D + HOUR, D + 64 * DAY + HOUR, "")
    assert list(read_spans(segment, asked(), coverage)) == [
        (D + HOUR, D + 3 * DAY),
        (D + 63 * DAY, D + 64 * DAY + HOUR),
    ]
    hot = Segment("hot", D, D + 900 * DAY, "")
    assert list(read_spans(hot, asked(), coverage)) == [(D, D + 900 * DAY)]


@given(
    rows=st.lists(st.sampled_from([0, 1, 100_000, 240_000, 900_000, 7_000_000]), max_size=70),
    symbols=st.integers(1, 3),
    start=st.integers(0, 80 * DAY),
    length=st.integers(1, 80 * DAY),
)
def test_pieces_leave_out_no_day_with_rows(rows: list[int], symbols: int, start: int, length: int) -> None:
    owned = {D + at * DAY: ColdDay(count, "") for at, count in enumerate(rows)}
    segment = Segment("cold", D + start, D + start + length, "")
    query = asked(symbols=tuple("ABC"[:symbols]))
    found = list(read_spans(segment, query, Coverage(cold={"trades": owned}, unknown_reason="")))
    for one, other in pairwise(found):
        assert one[1] <= other[0]
    for begin, end in found:
        assert segment.start_ns <= begin < end <= segment.end_ns
    for day, known in owned.items():
        begin, end = max(day, segment.start_ns), min(day + DAY, segment.end_ns)
        if known.rows and begin < end:
            inside = sum(max(0, min(end, e) - max(begin, b)) for b, e in found)
            assert inside == end - begin


def test_what_is_to_be_expected_of_a_segment_is_by_days_and_their_parts() -> None:
    held = covered("...xx").hot["trades"]
    assert estimate_read(Segment("hot", D + 3 * DAY, MAX_TS, ""), held) == (200, 2_000)
    assert estimate_read(Segment("hot", D + 3 * DAY + DAY // 2, D + 4 * DAY, ""), held) == (50, 500)
    assert estimate_read(Segment("hot", D + DAY, D + 3 * DAY, ""), held) == (0, 0)
    assert estimate_read(Segment("hot", 0, MAX_TS, ""), {}) == (0, 0)
