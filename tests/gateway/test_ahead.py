"""Pages read ahead: all rows once and in order however they are cut, no more at once than there is room for."""

from __future__ import annotations

import threading
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import ahead
from gateway.ahead import Ahead, pages
from gateway.query import Key, Query
from gateway.stores.contract import Page
from tapehouse.clock import DAY, SECOND, parse_ns
from tapehouse.errors import ConnectError
from tapehouse.model import TRADES
from tapehouse.tabular import as_frame
from tests.batches import batch
from tests.gateway.memory import MemoryStore

START = parse_ns("2024-02-26")
QUERY = Query("trades", "V", ("S",), START, START + DAY)


class _Store(MemoryStore):
    """Counts how many read at once; fails from the read on that is told."""

    def __init__(self, times: list[int]) -> None:
        super().__init__("memory")
        made = as_frame(batch(TRADES, len(times), 1, start=START, span=DAY)).with_columns(
            pl.Series("ts_event", sorted(times), pl.Int64).cast(pl.Datetime("ns", "UTC")),
            pl.Series("seq", range(len(times))),
            venue=pl.lit("V"),
            symbol=pl.lit("S"),
        )
        self.put(TRADES, made)
        self.most_at_once = self.reads = 0
        self.fails_at: int | None = None
        self._at_once = 0
        self._lock = threading.Lock()

    def read(self, query: Query, start_ns: int, end_ns: int, after: Key | None, most: int) -> Page:
        with self._lock:
            self.reads += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            fails = self.reads == self.fails_at
        try:
            if fails:
                raise ConnectError("memory: gone")
            return super().read(query, start_ns, end_ns, after, most)
        finally:
            with self._lock:
                self._at_once -= 1


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("_FIRST_ROWS", 3), ("_WHOLE_ROWS", 5), ("_MOST_ROWS", 10), ("_GROWTH", 2)):
        monkeypatch.setattr(ahead, name, size)


def _seqs(store: _Store, reads_ahead: Ahead, spans: list[tuple[int, int]], left: int | None) -> list[int]:
    found = pages(store, reads_ahead, QUERY, spans, None, left)
    return [seq for page in found for seq in page.batch.column("seq").to_pylist()]


def _has_all_places(reads_ahead: Ahead) -> bool:
    """Whether all places are given back; what was given up may still be under way."""
    return all(reads_ahead._places.acquire(timeout=10) for _ in range(ahead._PLACES))


@given(
    times=st.lists(st.integers(0, DAY // SECOND - 1), max_size=120),
    dense=st.integers(0, 60),
    cuts=st.sets(st.integers(1, DAY // SECOND - 1), max_size=4),
    left=st.none() | st.integers(1, 60),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_of_spans_come_once_and_in_order(
    times: list[int], dense: int, cuts: set[int], left: int | None
) -> None:
    # Many rows share one second, some of them its first nanosecond.
    crowd = [43_200 * SECOND + row // 2 for row in range(dense)]
    store = _Store([START + time for time in [*(second * SECOND for second in times), *crowd]])
    bounds = [START, *(START + cut * SECOND for cut in sorted(cuts)), START + DAY]
    reads_ahead = Ahead("test")
    found = _seqs(store, reads_ahead, list(pairwise(bounds)), left)
    wanted = list(range(len(times) + dense))
    assert found[:left] == wanted[:left]
    assert left is not None or found == wanted
    assert _has_all_places(reads_ahead)
    reads_ahead.close()


def test_some_pages_are_read_side_by_side_and_no_more() -> None:
    store = _Store([START + second * SECOND for second in range(2_000)])
    together = threading.Barrier(2, timeout=10)
    reads_ahead = Ahead("test")
    read = store.read

    def met(query: Query, start_ns: int, end_ns: int, after: Key | None, most: int) -> Page:
        # The second and the third read wait for each other: only side by side they go on.
        if store.reads in (1, 2):
            together.wait()
        return read(query, start_ns, end_ns, after, most)

    store.read = met  # type: ignore[method-assign]
    assert _seqs(store, reads_ahead, [(START, START + DAY)], None) == list(range(2_000))
    assert store.most_at_once <= 2
    reads_ahead.close()


def test_an_answer_is_read_on_where_others_hold_all_places() -> None:
    store = _Store([START + second * SECOND for second in range(500)])
    reads_ahead = Ahead("test")
    done = threading.Event()
    held = [reads_ahead.begun(lambda: done.wait(10)) for _ in range(ahead._PLACES)]  # type: ignore[arg-type,return-value]
    assert _seqs(store, reads_ahead, [(START, START + DAY)], None) == list(range(500))
    assert store.most_at_once == 1
    done.set()
    for page in held:
        assert page is not None
        reads_ahead.taken(page)
    reads_ahead.close()


def test_nothing_is_read_ahead_for_a_slow_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_SLOW_S", -1)
    store = _Store([START + second * SECOND for second in range(100)])
    reads_ahead = Ahead("test")
    found = pages(store, reads_ahead, QUERY, [(START, START + DAY)], None, None)
    for taken, _ in enumerate(found, 1):
        assert store.reads == taken
    reads_ahead.close()


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4])
def test_a_store_that_is_gone_ends_the_answer_with_its_error(fails_at: int) -> None:
    store = _Store([START + second * SECOND for second in range(500)])
    store.fails_at = fails_at
    reads_ahead = Ahead("test")
    with pytest.raises(ConnectError, match="gone"):
        _seqs(store, reads_ahead, [(START, START + DAY)], None)
    assert _has_all_places(reads_ahead)
    reads_ahead.close()


def test_an_answer_that_is_given_up_leaves_its_places() -> None:
    store = _Store([START + second * SECOND for second in range(500)])
    reads_ahead = Ahead("test")
    found = pages(store, reads_ahead, QUERY, [(START, START + DAY)], None, None)
    next(found)
    next(found)
    found.close()
    assert _has_all_places(reads_ahead)
    reads_ahead.close()
