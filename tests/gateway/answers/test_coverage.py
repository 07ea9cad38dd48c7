"""What is known of the days: who answers for which, and what must be known for an answer to keep its version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analytics.mirror.ledger import Ledger, LedgerEntry
from gateway.answers.coverage import ColdDay, Coverage, OpenGap
from gateway.answers.plan import StoreTier
from gateway.answers.registry import StoreRegistry
from gateway.stores.contract import DaySize, Store
from gateway.stores.questdb import QuestDBStore
from ingest.writer.store import QuestDBWriter
from tapehouse.batch import Strings
from tapehouse.clock import DAY, MAX_TS, day_of, now_ns, parse_ns
from tapehouse.errors import ConnectError
from tapehouse.model import GAPS, TRADES
from tapehouse.settings import ClickHouse
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stores.questdb import QuestReader
from tapehouse.stream.mark import DayMark, mark_key
from tests.batches import batch
from tests.conftest import Platform

D = parse_ns("2024-02-26")
NOW = D + 9 * DAY
HOT = {D + at * DAY: DaySize(5, 5) for at in (3, 4, 5)}
COLD = {D + at * DAY: ColdDay(5, f"c{at}") for at in (0, 2)}
PROVEN = {D + at * DAY: f"p{at}" for at in (3, 4, 5)}


def known(**more: Any) -> Coverage:
    usual: dict[str, Any] = {
        "read_ns": NOW,
        "hot": {"trades": HOT},
        "cold": {"trades": COLD},
        "proven": {"trades": PROVEN},
        "has_marks": True,
        "unknown_reason": "",
    }
    return Coverage(**{**usual, **more})


def version(coverage: Coverage, first: float = 0, last: float = 6) -> str | None:
    return coverage.version("trades", D + int(first * DAY), D + int(last * DAY))


def test_each_day_has_a_state() -> None:
    coverage = known(
        hot={"trades": {**HOT, D + 6 * DAY: DaySize(7, 7), D + 7 * DAY: DaySize(8, 8)}},
        cold={"trades": {**COLD, D + DAY: ColdDay(3, "c1", "rows are missing")}},
        proven={"trades": {**PROVEN, D + 4 * DAY: ""}},
        marks={"trades": {D + 4 * DAY: "{}", D + 7 * DAY: ""}},
    )
    states = {(day - D) // DAY: (state, rows) for _, day, state, rows in coverage.day_states()}
    assert states == {
        0: ("cold", 5),
        1: ("damaged", 3),
        2: ("cold", 5),
        3: ("proven", 5),
        4: ("stale", 5),
        5: ("proven", 5),
        6: ("stale", 7),
        7: ("open", 8),
    }


def test_the_cold_store_answers_up_to_its_last_day_but_for_those_that_the_hot_one_has() -> None:
    assert known().cold_spans("trades", MAX_TS) == [(0, D + 3 * DAY)]
    assert known().cold_spans("trades", D + DAY // 2) == [(0, D + DAY // 2)]
    assert known().cold_spans("quotes", MAX_TS) == []
    held = {**HOT, D + DAY: DaySize(1, 1)}
    assert known(hot={"trades": held}).cold_spans("trades", MAX_TS) == [
        (0, D + DAY),
        (D + 2 * DAY, D + 3 * DAY),
    ]


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        ({"cold": {"trades": {**COLD, D: ColdDay(5, "other")}}}, [0]),
        ({"cold": {"trades": {**COLD, D + DAY: ColdDay(1, "new")}}}, [1]),
        ({"cold": {"trades": {**COLD, D + 3 * DAY: ColdDay(5, "p3")}}}, []),
        ({"proven": {"trades": {**PROVEN, D + 4 * DAY: "other"}}}, [4]),
        ({"proven": {"trades": PROVEN, "quotes": {D: "x"}}}, []),
        ({"cold": {"trades": COLD, "quotes": {D: ColdDay(1, "x")}}}, []),
        ({"read_ns": NOW + DAY}, []),
    ],
)
def test_the_version_of_a_span_changes_with_its_days_and_no_other(
    change: dict[str, Any], touched: list[int]
) -> None:
    for first in range(6):
        for last in range(first + 1, 7):
            before, after = version(known(), first, last), version(known(**change), first, last)
            assert before is not None
            changed = any(first <= day < last for day in touched)
            moved = 3 in range(first, last) and change.get("cold", {}).get("trades", {}).get(D + 3 * DAY)
            assert (before != after) == changed or moved
    # A part of a day is that day.
    assert version(known(), 0.4, 0.5) == version(known(), 0, 1)


@pytest.mark.parametrize(
    ("change", "first", "last"),
    [
        ({"unknown_reason": "no answer"}, 0, 6),
        ({"has_marks": False}, 0, 6),
        ({"read_ns": D + 5 * DAY + 1}, 5, 6),
        ({"proven": {"trades": {**PROVEN, D + 4 * DAY: ""}}}, 4, 5),
        # A day that is written for the first time: no row of it is seen yet.
        ({"proven": {"trades": {**PROVEN, D + 7 * DAY: ""}}}, 6, 8),
        ({"proven": {"trades": {}}}, 3, 4),
        ({"cold": {"trades": {**COLD, D: ColdDay(5, "c0", "damaged")}}}, 0, 1),
    ],
)
def test_there_is_no_version_where_rows_may_change_unnoticed(
    change: dict[str, Any], first: float, last: float
) -> None:
    assert version(known(), first, last) is not None
    assert version(known(**change), first, last) is None


@pytest.fixture
def registry(provisioned: Platform, cold: ClickHouse) -> Iterator[StoreRegistry]:
    hot = QuestDBStore(provisioned.settings.questdb)
    ledger = ClickHouseClient(cold, reading=True)
    stores: dict[StoreTier, Store] = {"hot": hot, "cold": hot}
    yield StoreRegistry(stores, ledger)
    hot.close()
    ledger.close()


def test_it_is_read_from_both_stores_and_the_marks(
    provisioned: Platform, registry: StoreRegistry, cold: ClickHouse, venue: str
) -> None:
    day = day_of(D)
    ledger = Ledger(client := ClickHouseClient(cold))
    mark = DayMark(1, 7, False)
    entry = LedgerEntry("trades", day, "hot", 3, "digest", {0: mark}, proven_ns=5)
    try:
        for at, change in enumerate(
            (
                {},
                {"marks": {0: DayMark(1, 6, False)}},
                {"fault": "damaged"},
                {"proven_ns": 0},
                {"owner": "cold", "rows": 9},
                {"owner": "cold", "fault": "damaged"},
            )
        ):
            ledger.put(replace(entry, day=day_of(D + at * DAY), **change))  # type: ignore[arg-type]
    finally:
        client.close()
    marks = {mark_key("trades", day_of(D + at * DAY), 0): mark.value() for at in range(6)}
    marks[mark_key("trades", day_of(D + 8 * DAY), 0)] = DayMark(1, 8, True).value()
    registry.refresh(marks)
    found = registry.coverage
    assert found.unknown_reason == ""
    assert found.cold == {
        "trades": {D + 4 * DAY: ColdDay(9, "digest"), D + 5 * DAY: ColdDay(3, "digest", "damaged")}
    }
    proven = found.proven["trades"]
    assert proven[D].startswith("digest")
    assert [bool(proven.get(D + at * DAY)) for at in range(9)] == [True] + [False] * 8
    assert D + 8 * DAY in proven
    assert now_ns() - 60 * 10**9 < found.read_ns <= now_ns()
    # An open mark, or another, is not what was copied.
    for other in (DayMark(1, 7, True), DayMark(2, 7, False)):
        registry.refresh({**marks, mark_key("trades", day, 0): other.value()})
        assert registry.coverage.proven["trades"][D] == ""
    # Marks are remembered; without any it is not known what was touched.
    registry.refresh(marks)
    registry.refresh()
    assert registry.coverage.proven["trades"][D].startswith("digest")
    assert registry.coverage.has_marks


def test_open_gaps_are_known(provisioned: Platform, registry: StoreRegistry, venue: str) -> None:
    gaps = batch(GAPS, 3, venue=venue)
    gaps.columns.update(
        ts_event=np.array([D, D + 1, D + 2]),
        ts_end=np.array([D + 5, D + 6, D + 7]),
        symbol=Strings.of(["A", "B", "A"]),
        seq=np.arange(3),
        kind=Strings.constant("trades", 3),
        closed=np.array([False, True, False]),
    )
    store = QuestDBWriter(provisioned.settings.questdb)
    assert store.commit([gaps]) == []
    store.close()
    with QuestReader(provisioned.settings.questdb) as reader:
        reader.wait_applied(GAPS.name)
    registry.refresh()
    found = [gap for gap in registry.coverage.gaps if gap.venue == venue]
    assert found == [OpenGap("trades", venue, "A", D, D + 5), OpenGap("trades", venue, "A", D + 2, D + 7)]
    assert not registry.coverage.has_marks


def test_where_a_store_is_away_what_was_known_stays(
    provisioned: Platform, registry: StoreRegistry, cold: ClickHouse
) -> None:
    gone = ClickHouseClient(cold.model_copy(update={"http_port": 1}), reading=True)
    unlucky = StoreRegistry(registry.stores, gone)
    for _ in range(2):
        with pytest.raises(ConnectError, match="clickhouse: no answer"):
            unlucky.refresh()
        assert "clickhouse: no answer" in unlucky.coverage.unknown_reason
    registry.refresh()
    unlucky.coverage = registry.coverage
    with pytest.raises(ConnectError):
        unlucky.refresh()
    assert unlucky.coverage is registry.coverage
    assert TRADES.name in registry.coverage.oldest_ns
    gone.close()
