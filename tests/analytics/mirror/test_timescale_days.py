"""Days of TimescaleDB: read in slices, and replaced slice by slice, each all or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from analytics.mirror import fingerprint
from analytics.mirror.hot_store import TimeSlice
from analytics.mirror.timescale_days import TimescaleDays, time_slices
from ingest.timescale.store import LoadedUpTo, TimescaleLoader
from tapehouse.clock import DAY, HOUR, MINUTE, day_of, now_ns
from tapehouse.errors import TapehouseError
from tapehouse.model import ACCOUNT_TRADES
from tapehouse.stores.migrations import migrate, migrations
from tapehouse.stores.timescale import TimescaleClient
from tapehouse.stores.timescale_schema import TimescaleMigrations
from tapehouse.tabular import as_frame
from tests.batches import DECIMAL_MAX
from tests.ingest.timescale.account_trades import AccountTrade, as_batch
from tests.timescale.server import TimescaleServer

_START = now_ns() // DAY * DAY - 3 * DAY
_DAY = day_of(_START)
_CREATED = 17


@pytest.fixture
def days(timescale: TimescaleServer) -> Iterator[TimescaleDays]:
    ledger = TimescaleMigrations(timescale.settings)
    migrate(ledger, migrations("timescale"))
    ledger.close()
    client = TimescaleClient(timescale.settings)
    client.execute("TRUNCATE trades, diverted_trades, stale_days, loads")
    client.close()
    days = TimescaleDays(timescale.settings)
    yield days
    days.close()


def _rows(count: int) -> list[AccountTrade]:
    return [
        AccountTrade(_START + n * (DAY // count) + n % 7, n % 3, n, n * 10**18 + n, -n) for n in range(count)
    ]


def _load(timescale: TimescaleServer, rows: Sequence[AccountTrade]) -> None:
    loader = TimescaleLoader(timescale.settings)
    loader.load([as_batch(rows)], _CREATED, LoadedUpTo(0), 8)
    loader.close()


def _of(rows: Sequence[AccountTrade]) -> fingerprint.Fingerprint:
    return fingerprint.of_frame(ACCOUNT_TRADES, as_frame(as_batch(rows)))


@pytest.mark.parametrize("max_rows", [1, 7, 1_000])
def test_the_fingerprint_of_a_day_is_that_of_its_rows_however_it_is_sliced(
    days: TimescaleDays, timescale: TimescaleServer, max_rows: int
) -> None:
    assert days.fingerprint(_DAY, _CREATED, max_rows) == (0, fingerprint.Fingerprint({}))
    rows = _rows(50)
    next_day = AccountTrade(_START + DAY, 1, 1, 1, 1)
    edges = (DECIMAL_MAX, -DECIMAL_MAX, 1, -1, 10**18, 12345678901234567890123456789012345678)
    rows += [AccountTrade(_START + 5, 2**63 - 2, n, amount, -amount) for n, amount in enumerate(edges)]
    _load(timescale, [*rows, next_day, next_day._replace(ts_event=_START - 1)])
    assert days.fingerprint(_DAY, _CREATED, max_rows) == (8, _of(rows))


def test_a_slice_becomes_what_is_given_and_what_is_around_it_stays(
    days: TimescaleDays, timescale: TimescaleServer
) -> None:
    rows = _rows(48)
    begin, end = _START + 6 * HOUR, _START + 12 * HOUR
    inside = [row for row in rows if begin <= row.ts_event < end]
    around = [row for row in rows if row not in inside]
    _load(timescale, rows)
    wanted = [inside[0]._replace(amount=5), *inside[2:], inside[3]._replace(id=2**40)]
    checked: list[int] = []
    days.replace(TimeSlice(begin, end, len(wanted)), as_frame(as_batch(wanted)), _CREATED, checked.append)
    assert checked == [8]
    assert days.fingerprint(_DAY, _CREATED, 10)[1] == _of([*around, *wanted])
    assert days.is_stale(_DAY)


def test_a_check_that_fails_leaves_the_slice_as_it_was(
    days: TimescaleDays, timescale: TimescaleServer
) -> None:
    rows = _rows(10)
    _load(timescale, rows)

    def check(seq: int) -> None:
        raise TapehouseError(f"written to, up to {seq}")

    with pytest.raises(TapehouseError, match="written to, up to 8"):
        days.replace(TimeSlice(_START, _START + DAY, 1), as_frame(as_batch(rows[:1])), _CREATED, check)
    assert days.fingerprint(_DAY, _CREATED, 10)[1] == _of(rows)


def test_candles_of_every_aggregate_are_those_of_the_trades_after_a_refresh(
    days: TimescaleDays, timescale: TimescaleServer
) -> None:
    _load(timescale, _rows(40))
    days.refresh(_DAY)
    assert days.differing_candles(_DAY) == []
    kept = as_frame(as_batch(_rows(40)[:39]))
    days.replace(TimeSlice(_START, _START + DAY, 39), kept, _CREATED, lambda seq: None)
    assert days.differing_candles(_DAY) == ["1m", "30m", "1h", "4h", "1d"]
    days.refresh(_DAY)
    assert days.differing_candles(_DAY) == []


def test_slices_are_the_whole_day_and_split_no_bucket() -> None:
    chance = np.random.default_rng(3)
    counts = [(_START + n * 10 * MINUTE, int(chance.integers(1, 60))) for n in range(100)]
    slices = time_slices(_DAY, counts, 100)
    assert slices[0].start_ns == _START
    assert slices[-1].end_ns == _START + DAY
    assert [part.end_ns for part in slices[:-1]] == [part.start_ns for part in slices[1:]]
    assert sum(part.rows for part in slices) == sum(rows for _, rows in counts)
    assert max(part.rows for part in slices) <= 100
    assert time_slices(_DAY, [(_START, 500), (_START + MINUTE, 1)], 100) == [
        TimeSlice(_START, _START + MINUTE, 500),
        TimeSlice(_START + MINUTE, _START + DAY, 1),
    ]
    assert time_slices(_DAY, [], 100) == [TimeSlice(_START, _START + DAY, 0)]
