"""Pages read pool: all rows once and in order however they are cut, no more at once than there is room for."""

from __future__ import annotations

import threading
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.answers import read_ahead
from gateway.answers.read_ahead import ReadAheadPool, ReadPosition, read_pages
from gateway.query import Query, RowKey
from gateway.stores.contract import Page
from tapehouse.clock import DAY, SECOND, parse_ns
from tapehouse.errors import ConnectError
from tapehouse.model import TRADES
from tapehouse.tabular import as_frame
from tests.batches import batch
from tests.gateway.memory_store import MemoryStore

START = parse_ns("2024-02-26")
QUERY = Query("trades", "V", ("S",), START, START + DAY)


class _Store(MemoryStore):
    """Counts concurrent reads, and raises ConnectError at the read number `fails_at`."""

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

    def read(self, query: Query, start_ns: int, end_ns: int, after: RowKey | None, most: int) -> Page:
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
    for name, size in (("_FIRST_ROWS", 3), ("_SINGLE_PAGE_ROWS", 5), ("_MAX_PAGE_ROWS", 10), ("_GROWTH", 2)):
        monkeypatch.setattr(read_ahead, name, size)


def _seqs(store: _Store, pool: ReadAheadPool, spans: list[tuple[int, int]], left: int | None) -> list[int]:
    found = read_pages(store, pool, QUERY, spans, ReadPosition(None, left))
    return [seq for page in found for seq in page.batch.column("seq").to_pylist()]


def _all_slots_free(pool: ReadAheadPool) -> bool:
    """Whether all slots are free again; reads that were discarded may still be running."""
    return all(pool._slots.acquire(timeout=10) for _ in range(read_ahead._MAX_PENDING_PAGES))


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
    pool = ReadAheadPool("test")
    found = _seqs(store, pool, list(pairwise(bounds)), left)
    wanted = list(range(len(times) + dense))
    assert found[:left] == wanted[:left]
    assert left is not None or found == wanted
    assert _all_slots_free(pool)
    pool.close()


def test_at_most_two_pages_are_read_concurrently() -> None:
    store = _Store([START + second * SECOND for second in range(2_000)])
    together = threading.Barrier(2, timeout=10)
    pool = ReadAheadPool("test")
    read = store.read

    def met(query: Query, start_ns: int, end_ns: int, after: RowKey | None, most: int) -> Page:
        # The second and the third read wait for each other: they only go on if they run concurrently.
        if store.reads in (1, 2):
            together.wait()
        return read(query, start_ns, end_ns, after, most)

    store.read = met  # type: ignore[method-assign]
    assert _seqs(store, pool, [(START, START + DAY)], None) == list(range(2_000))
    assert store.most_at_once <= 2
    pool.close()


def test_an_answer_is_read_without_read_ahead_while_others_use_all_slots() -> None:
    store = _Store([START + second * SECOND for second in range(500)])
    pool = ReadAheadPool("test")
    done = threading.Event()
    held = [pool.try_submit(lambda: done.wait(10)) for _ in range(read_ahead._MAX_PENDING_PAGES)]  # type: ignore[arg-type,return-value]
    assert _seqs(store, pool, [(START, START + DAY)], None) == list(range(500))
    assert store.most_at_once == 1
    done.set()
    for page in held:
        assert page is not None
        pool.wait_for(page)
    pool.close()


def test_nothing_is_read_ahead_for_a_slow_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "_SLOW_CONSUMER_S", -1)
    store = _Store([START + second * SECOND for second in range(100)])
    pool = ReadAheadPool("test")
    found = read_pages(store, pool, QUERY, [(START, START + DAY)], ReadPosition(None, None))
    for taken, _ in enumerate(found, 1):
        assert store.reads == taken
    pool.close()


@pytest.mark.parametrize("fails_at", [1, 2, 3, 4])
def test_a_store_that_is_gone_ends_the_answer_with_its_error(fails_at: int) -> None:
    store = _Store([START + second * SECOND for second in range(500)])
    store.fails_at = fails_at
    pool = ReadAheadPool("test")
    with pytest.raises(ConnectError, match="gone"):
        _seqs(store, pool, [(START, START + DAY)], None)
    assert _all_slots_free(pool)
    pool.close()


def test_an_answer_that_is_closed_frees_its_slots() -> None:
    store = _Store([START + second * SECOND for second in range(500)])
    pool = ReadAheadPool("test")
    found = read_pages(store, pool, QUERY, [(START, START + DAY)], ReadPosition(None, None))
    next(found)
    next(found)
    found.close()
    assert _all_slots_free(pool)
    pool.close()
