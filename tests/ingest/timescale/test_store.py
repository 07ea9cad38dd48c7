"""Loading account trades into TimescaleDB: exact, once, by key, and what is too old is diverted."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from ingest.timescale.candlesticks import CandlestickFiller
from ingest.timescale.store import LoadedUpTo, TimescaleLoader
from tapehouse.clock import DAY, HOUR, MINUTE, SECOND, day_of, now_ns
from tapehouse.errors import TimescaleConflictError, TimescaleError
from tapehouse.stores.migrations import migrate, migrations
from tapehouse.stores.timescale import TimescaleClient
from tapehouse.stores.timescale_schema import TimescaleMigrations
from tests.batches import DECIMAL_MAX
from tests.ingest.timescale.account_trades import AccountTrade, as_batch, candles, exact, last_of_each_key
from tests.timescale.server import TimescaleServer

_TABLES = "trades, diverted_trades, stale_days, loads, candlesticks, filled"
_CREATED = 17
_MIDNIGHT = now_ns() // DAY * DAY
_ZERO = LoadedUpTo(0)


@pytest.fixture(scope="module")
def schema(timescale: TimescaleServer) -> Iterator[TimescaleClient]:
    ledger = TimescaleMigrations(timescale.settings)
    migrate(ledger, migrations("timescale"))
    ledger.close()
    client = TimescaleClient(timescale.settings)
    client.fetch(
        "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs WHERE job_id >= 1000"
    )
    yield client
    client.close()


@pytest.fixture
def db(schema: TimescaleClient) -> TimescaleClient:
    schema.execute(f"TRUNCATE {_TABLES}")
    for view in ("1m", "30m", "1h", "4h", "1d"):
        schema.execute(f"TRUNCATE candlesticks_{view}")
    return schema


@pytest.fixture
def loader(timescale: TimescaleServer, db: TimescaleClient) -> Iterator[TimescaleLoader]:
    loader = TimescaleLoader(timescale.settings)
    yield loader
    loader.close()


def _stored(db: TimescaleClient) -> list[tuple[Any, ...]]:
    return db.fetch(
        "SELECT ts_event, account_id, id, amount, trx_amount, ts_recv FROM account_trades ORDER BY 1, 2, 3"
    )


def _expected(*rows: AccountTrade) -> list[tuple[Any, ...]]:
    return [
        (*row.key, exact(row.amount), exact(row.trx_amount), row.ts_event + 5)
        for row in last_of_each_key(rows)
    ]


def test_every_digit_and_nanosecond_arrives(loader: TimescaleLoader, db: TimescaleClient) -> None:
    amounts = [0, 1, -1, DECIMAL_MAX, -DECIMAL_MAX, 10**18, 12345678901234567890123456789012345678, 500]
    times = [_MIDNIGHT - 1, _MIDNIGHT, _MIDNIGHT + 999, _MIDNIGHT + 1_000, _MIDNIGHT + 999_999_999]
    rows = [
        AccountTrade(
            times[n % 5], (0, 2**63 - 2, 7)[n % 3], (n, 2**63 - 2 - n)[n % 2], amount, amounts[-1 - n]
        )
        for n, amount in enumerate(amounts)
    ]
    after = loader.load([as_batch(rows[:3]), as_batch(rows[3:])], _CREATED, _ZERO, 5, 99)
    assert after == loader.floor(_CREATED) == LoadedUpTo(5, len(rows), 0, 99)
    assert _stored(db) == _expected(*rows)


def test_the_last_of_a_key_wins_within_a_load_and_later(loader: TimescaleLoader, db: TimescaleClient) -> None:
    first, second, third = (AccountTrade(_MIDNIGHT, 1, 1, amount, amount) for amount in (1, 2, 3))
    floor = loader.load([as_batch([first, second])], _CREATED, _ZERO, 1)
    assert _stored(db) == _expected(second)
    loader.load([as_batch([third])], _CREATED, floor, 2)
    assert _stored(db) == _expected(third)


def test_corrections_among_new_keys_are_stored_in_the_order_they_came(
    loader: TimescaleLoader, db: TimescaleClient
) -> None:
    rows = [AccountTrade(_MIDNIGHT - n * MINUTE, n % 5, n, n, n) for n in range(400)]
    sent: list[AccountTrade] = []
    floor = _ZERO
    for number in range(40):
        part = rows[number * 10 : number * 10 + 10]
        if number in (7, 8, 35):
            # More loads than go by the temporary table lie between the last two.
            part = [
                row._replace(amount=1_000 + number, trx_amount=-1) for row in rows[number * 5 :][:20]
            ] + part
        floor = loader.load([as_batch(part)], _CREATED, floor, number + 1)
        sent += part
    assert _stored(db) == _expected(*sent)
    assert floor.rows == len(sent)


def test_a_load_that_is_repeated_or_comes_from_elsewhere_is_refused_whole(
    loader: TimescaleLoader, db: TimescaleClient
) -> None:
    row = AccountTrade(_MIDNIGHT, 1, 1, 1, 1)
    loader.load([as_batch([row])], _CREATED, _ZERO, 3)
    with pytest.raises(TimescaleConflictError, match="expected message 0 to be the last one loaded, was 3"):
        loader.load([as_batch([row._replace(amount=9)])], _CREATED, _ZERO, 2)
    assert _stored(db) == _expected(row)
    assert loader.floor(_CREATED).seq == 3
    assert loader.floor(18) == LoadedUpTo(0)


def test_a_load_that_fails_leaves_neither_rows_nor_a_floor(
    loader: TimescaleLoader, db: TimescaleClient
) -> None:
    db.execute("ALTER TABLE loads ADD CONSTRAINT never CHECK (seq < 4)")
    try:
        with pytest.raises(TimescaleError, match="never"):
            loader.load([as_batch([AccountTrade(_MIDNIGHT, 1, 1, 1, 1)])], _CREATED, _ZERO, 4)
    finally:
        db.execute("ALTER TABLE loads DROP CONSTRAINT never")
    assert _stored(db) == []
    assert loader.floor(_CREATED) == LoadedUpTo(0)
    loader.load([as_batch([AccountTrade(_MIDNIGHT, 1, 1, 1, 1)])], _CREATED, _ZERO, 4)
    assert len(_stored(db)) == 1


def test_trades_older_than_the_retention_are_diverted_and_not_lost(
    loader: TimescaleLoader, db: TimescaleClient
) -> None:
    oldest = _MIDNIGHT - 28 * DAY
    kept = AccountTrade(oldest, 1, 1, 1, 1)
    diverted = [AccountTrade(oldest - 1, 1, 2, 2, 2), AccountTrade(oldest - 1000 * DAY, 1, 3, 3, 3)]
    floor = loader.load([as_batch([kept, *diverted])], _CREATED, _ZERO, 1)
    assert floor == LoadedUpTo(1, 3, 2)
    assert db.fetch("SELECT id FROM trades") == [(1,)]
    assert db.fetch("SELECT id FROM diverted_trades ORDER BY id") == [(2,), (3,)]
    assert _stored(db) == _expected(kept, *diverted)


def test_a_diverted_correction_is_the_one_that_is_read_and_one_that_is_taken_again_replaces_it(
    loader: TimescaleLoader, db: TimescaleClient
) -> None:
    old = AccountTrade(_MIDNIGHT - 29 * DAY, 1, 1, 1, 1)
    ((job,),) = db.fetch(
        "SELECT job_id FROM timescaledb_information.jobs "
        "WHERE proc_name = 'policy_retention' AND hypertable_name = 'trades'"
    )
    longer = (
        "SELECT alter_job(job_id, config => jsonb_set(config, '{drop_after}', to_jsonb(%s::text))) "
        "FROM timescaledb_information.jobs WHERE job_id = %s"
    )
    db.fetch(longer, ["60 days", job])
    floor = loader.load([as_batch([old])], _CREATED, _ZERO, 1)
    db.fetch(longer, ["30 days", job])
    floor = _reading_anew(loader).load([as_batch([old._replace(amount=2)])], _CREATED, floor, 2)
    assert floor.diverted == 1
    assert _stored(db) == _expected(old._replace(amount=2))
    db.fetch(longer, ["60 days", job])
    _reading_anew(loader).load([as_batch([old._replace(amount=3)])], _CREATED, floor, 3)
    db.fetch(longer, ["30 days", job])
    assert _stored(db) == _expected(old._replace(amount=3))
    assert db.fetch("SELECT * FROM diverted_trades") == []


def _reading_anew(loader: TimescaleLoader) -> TimescaleLoader:
    """The same one, which reads the retention anew."""
    loader._tables._limit_read_at = float("-inf")
    return loader


def test_without_a_policy_of_retention_nothing_is_diverted(
    loader: TimescaleLoader, db: TimescaleClient
) -> None:
    db.fetch("SELECT remove_retention_policy('trades')")
    old = AccountTrade(_MIDNIGHT - 9_000 * DAY, 1, 1, 1, 1)
    assert loader.load([as_batch([old])], _CREATED, _ZERO, 1).diverted == 0
    db.fetch("SELECT add_retention_policy('trades', INTERVAL '30 days')")
    db.fetch(
        "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs WHERE job_id >= 1000"
    )
    assert db.fetch("SELECT id FROM trades") == [(1,)]


def test_days_of_late_trades_are_marked_and_those_of_live_ones_are_not(
    loader: TimescaleLoader, db: TimescaleClient
) -> None:
    floor = loader.load([as_batch([AccountTrade(now_ns() - SECOND, 1, 1, 1, 1)])], _CREATED, _ZERO, 1)
    assert db.fetch("SELECT day FROM stale_days") == []
    late = [AccountTrade(_MIDNIGHT - days * DAY - 1, 1, 2, 1, 1) for days in (0, 0, 3)]
    loader.load([as_batch(late)], _CREATED, floor, 2)
    days = [date.fromisoformat(day_of(row.ts_event)) for row in (late[2], late[0])]
    assert db.fetch("SELECT day FROM stale_days ORDER BY day") == [(day,) for day in days]


def _filled(db: TimescaleClient) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = {}
    for name, *row in db.fetch(
        "SELECT interval_type, (extract(epoch FROM interval_start) * 1000000000)::BIGINT, account_id, open_price, "
        "high_price, low_price, close_price, volume FROM candlesticks ORDER BY interval_start, account_id"
    ):
        found.setdefault(name, []).append(tuple(row))
    return found


def _closed(rows: list[AccountTrade], interval: str, length: int) -> list[tuple[Any, ...]]:
    until = (now_ns() - MINUTE) // length * length
    return [candle[:-1] for candle in candles(rows, interval) if candle[0] < until]


def test_the_documented_table_has_the_closed_candles(
    timescale: TimescaleServer, loader: TimescaleLoader, db: TimescaleClient
) -> None:
    now = now_ns()
    rows = [AccountTrade(now - n * 97 * MINUTE, n % 2, n, n * 37 % 101 * 10**18, n) for n in range(60)]
    floor = loader.load([as_batch(rows)], _CREATED, _ZERO, 1)
    filler = CandlestickFiller(timescale.settings)
    assert filler.fill() > 0
    lengths = {"30m": 30 * MINUTE, "1h": HOUR, "4h": 4 * HOUR, "1d": DAY}
    assert _filled(db) == {name: _closed(rows, name, length) for name, length in lengths.items()}
    assert filler.fill() == 0
    if timescale.is_full:
        # A late trade shows once every aggregate was refreshed after it.
        rows.append(AccountTrade(now - 2 * DAY, 0, 1000, 10**21, 10**18))
        loader.load([as_batch(rows[-1:])], _CREATED, floor, 2)
        filler.fill()
        db.execute("UPDATE stale_days SET marked = marked - INTERVAL '10 minutes'")
        assert db.fetch("SELECT count(*) FROM stale_days") != [(0,)]
        jobs = "proc_name = 'policy_refresh_continuous_aggregate'"
        db.fetch(
            f"SELECT alter_job(job_id, scheduled => true, next_start => now()) "
            f"FROM timescaledb_information.jobs WHERE {jobs}"
        )
        db.fetch("SELECT 1")
        _await_jobs(db, jobs)
        filler.fill()
        assert db.fetch("SELECT * FROM stale_days") == []
        assert _filled(db) == {name: _closed(rows, name, length) for name, length in lengths.items()}
        db.fetch(
            f"SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs WHERE {jobs}"
        )
    filler.close()


def _await_jobs(db: TimescaleClient, jobs: str) -> None:
    """Wait until each background job has run since the marks, to see what they missed."""
    deadline = now_ns() + 120 * SECOND
    while now_ns() < deadline:
        ((waiting,),) = db.fetch(
            "SELECT count(*) FILTER (WHERE last_run_status IS DISTINCT FROM 'Success' "
            "OR last_run_started_at < (SELECT max(marked) + INTERVAL '2 minutes' FROM stale_days)) "
            f"FROM timescaledb_information.jobs LEFT JOIN timescaledb_information.job_stats USING (job_id) WHERE {jobs}"
        )
        if not waiting:
            return
    pytest.fail("waited 120 s for the refresh policies to run")
