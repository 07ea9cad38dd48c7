"""The TimescaleDB schema: what it creates, each documented statement and query, and the traps it avoids."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tapehouse.errors import MigrationError
from tapehouse.model import ACCOUNT_TRADES
from tapehouse.stores.migrations import Migration, migrate, migrations
from tapehouse.stores.timescale_schema import TimescaleMigrations
from tests.timescale.server import TimescaleServer

_FILES = migrations("timescale")
_HEADER = ("Purpose:", "Grain:", "Key:", "Retention:")
_NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
_VIEWS = {"1m": 1, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}
"""Name -> minutes."""
Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def schema(timescale: TimescaleServer) -> Iterator[Connection]:
    """A connection to the schema, whose background jobs do not run by themselves."""
    ledger = TimescaleMigrations(timescale.settings)
    migrate(ledger, _FILES)
    ledger.close()
    with timescale.connect() as connection:
        connection.execute(
            "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs WHERE job_id >= 1000"
        )
        yield connection


@pytest.fixture
def db(schema: Connection) -> Connection:
    """The same, with empty tables."""
    for table in ("trades", "diverted_trades", "candlesticks", *(f"candlesticks_{view}" for view in _VIEWS)):
        schema.execute(f"TRUNCATE {table}".encode())
    return schema


def _insert(db: Connection, rows: list[tuple[Any, ...]]) -> None:
    """Rows of (id, account, time, nanos, amount, trx_amount)."""
    with db.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO trades (id, account_id, timestamp, nanos, amount, trx_amount, total_done, trans_type) "
            "VALUES (%s, %s, %s, %s, %s, %s, 0, 1)",
            rows,
        )


def _candles(db: Connection, view: str) -> list[tuple[Any, ...]]:
    return db.execute(
        f"SELECT interval_start, account_id, open_price, high_price, low_price, close_price, volume, trades "
        f"FROM candlesticks_{view} ORDER BY 1, 2".encode()
    ).fetchall()


def _refresh(db: Connection) -> None:
    """Refresh what each policy would, from the smallest interval to the largest.

    The jobs themselves go bucket by bucket, which takes minutes in WebAssembly.
    """
    for view in _VIEWS:
        span = "now() - INTERVAL '30 days', now() - INTERVAL '1 minute'"
        db.execute(f"CALL refresh_continuous_aggregate('candlesticks_{view}', {span})".encode())


def test_the_files_are_numbered_consecutively() -> None:
    assert [file.number for file in _FILES] == list(range(1, len(_FILES) + 1))


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.name)
def test_a_file_is_one_table_or_view_with_a_header(file: Migration) -> None:
    lines = file.statement.splitlines()
    heads = [line.split()[1] for line in lines if line.startswith("-- ") and line[3] != " "]
    assert tuple(heads[:4]) == _HEADER
    assert all(len(line) <= 120 for line in lines)
    made = re.findall(
        r"^CREATE (?:TABLE|VIEW|MATERIALIZED VIEW|EXTENSION IF NOT EXISTS) (\w+)", file.statement, re.M
    )
    assert made == [file.name[5:-4]]


def test_an_applied_file_is_not_applied_again_and_must_not_change(
    timescale: TimescaleServer, db: Connection
) -> None:
    ledger = TimescaleMigrations(timescale.settings)
    assert migrate(ledger, _FILES) == []
    changed = [Migration(1, _FILES[0].name, "SELECT 1"), *_FILES[1:]]
    with pytest.raises(
        MigrationError, match="migration 0001 was applied, but its file has been changed since"
    ):
        migrate(ledger, changed)
    ledger.close()


def test_a_rejected_file_leaves_nothing(timescale: TimescaleServer, db: Connection) -> None:
    ledger = TimescaleMigrations(timescale.settings)
    bad = Migration(99, "0099_bad.sql", "CREATE TABLE half (n INT); SELECT * FROM nothing_here;")
    with pytest.raises(MigrationError, match=r"0099_bad.sql: .*nothing_here"):
        migrate(ledger, [*_FILES, bad])
    ledger.close()
    assert db.execute("SELECT to_regclass('half')").fetchone() == (None,)
    assert db.execute("SELECT count(*) FROM migrations WHERE number = 99").fetchone() == (0,)


def test_the_view_of_account_trades_has_the_columns_of_the_kind(db: Connection) -> None:
    found = dict(
        db.execute(
            "SELECT column_name, upper(data_type) FROM information_schema.columns WHERE table_name = 'account_trades'"
        ).fetchall()
    )
    for column in ACCOUNT_TRADES.columns:
        assert found[column.name] == column.types.timescale.partition("(")[0], column.name
    numeric = db.execute(
        "SELECT DISTINCT numeric_precision, numeric_scale FROM information_schema.columns "
        "WHERE table_name IN ('trades', 'diverted_trades') AND data_type = 'numeric'"
    ).fetchall()
    assert numeric == [(38, 18)]


def test_trades_and_candlesticks_are_hypertables_with_their_chunks(db: Connection) -> None:
    found = db.execute(
        "SELECT hypertable_name, column_name, time_interval FROM timescaledb_information.dimensions "
        "WHERE hypertable_name IN ('trades', 'candlesticks') ORDER BY 1"
    ).fetchall()
    assert found == [
        ("candlesticks", "interval_start", timedelta(days=7)),
        ("trades", "timestamp", timedelta(days=1)),
    ]


@pytest.mark.parametrize(
    ("index", "definition"),
    [
        ("idx_trades_time", 'ON public.trades USING brin ("timestamp")'),
        ("idx_trades_account", 'ON public.trades USING btree (account_id, "timestamp" DESC)'),
        (
            "idx_candlesticks_lookup",
            "ON public.candlesticks USING btree (account_id, interval_type, interval_start DESC)",
        ),
    ],
)
def test_a_documented_index_is_there(db: Connection, index: str, definition: str) -> None:
    found = db.execute("SELECT indexdef FROM pg_indexes WHERE indexname = %s", [index]).fetchone()
    assert found is not None
    assert found[0].endswith(definition)


def test_no_index_is_there_twice(db: Connection) -> None:
    found = db.execute(
        "SELECT split_part(indexdef, ' USING ', 2), count(*) FROM pg_indexes "
        "WHERE tablename IN ('trades', 'candlesticks') GROUP BY 1 HAVING count(*) > 1"
    ).fetchall()
    assert found == []


@pytest.mark.parametrize(
    ("proc", "table", "key", "value"),
    [
        ("policy_compression", "trades", "compress_after", "7 days"),
        ("policy_retention", "trades", "drop_after", "30 days"),
        ("policy_retention", "candlesticks", "drop_after", "7 years"),
        *(("policy_retention", f"candlesticks_{name}", "drop_after", "7 years") for name in _VIEWS),
        *(
            ("policy_refresh_continuous_aggregate", f"candlesticks_{name}", "start_offset", "30 days")
            for name in _VIEWS
        ),
    ],
)
def test_a_documented_policy_is_there(db: Connection, proc: str, table: str, key: str, value: str) -> None:
    found = db.execute(
        "SELECT config->>%s FROM timescaledb_information.jobs WHERE proc_name = %s AND hypertable_name = %s",
        [key, proc, table],
    ).fetchall()
    assert found == [(value,)]


def test_the_documented_insert_works_as_written(db: Connection) -> None:
    db.execute(
        "INSERT INTO trades (id, total_done, trx_amount, amount, trans_type, account_id, timestamp) "
        "VALUES (110574616, 500000.0, 4.5115767058272E-4, 1.10826E9, 1, 1, '2024-11-05T22:02:53Z')"
    )
    found = db.execute("SELECT * FROM account_trades").fetchall()
    at = datetime(2024, 11, 5, 22, 2, 53, tzinfo=UTC)
    ns = int(at.timestamp()) * 10**9
    amounts = (Decimal(500_000), Decimal("0.00045115767058272"), Decimal(1_108_260_000))
    assert found == [(at, 0, ns, ns, 1, 110574616, *amounts, 1)]


def test_amounts_of_20_digits_before_and_18_behind_the_point_are_exact(db: Connection) -> None:
    most = Decimal("12345678901234567890.123456789012345678")
    _insert(db, [(n, 2**62 + 1, _NOW, 999, most, most) for n in range(9)])
    assert db.execute("SELECT DISTINCT amount, account_id FROM trades").fetchall() == [(most, 2**62 + 1)]
    for view in _VIEWS:
        ((_, _, *prices, volume, trades),) = _candles(db, view)
        assert prices == [most] * 4
        assert (volume, trades) == (Decimal("111111110111111111011.111111101111111102"), 9)


def test_latest_trades_as_documented(db: Connection) -> None:
    now = datetime.now(UTC)
    ages = {1: timedelta(hours=23), 2: timedelta(hours=25), 3: timedelta(minutes=1)}
    _insert(db, [(n, 7, now - age, 0, n, 1) for n, age in ages.items()])
    _insert(db, [(4, 8, now, 0, 1, 1)])
    found = db.execute(
        "SELECT * FROM trades WHERE account_id = %s AND timestamp >= NOW() - INTERVAL '24 hours' "
        "ORDER BY timestamp DESC",
        [7],
    ).fetchall()
    assert [row[0] for row in found] == [3, 1]


def _put_candles(db: Connection) -> list[datetime]:
    now = datetime.now(UTC)
    starts = [now - timedelta(minutes=minutes) for minutes in (20, 50, 80)]
    for start in starts:
        for kind in ("30m", "1h"):
            db.execute("INSERT INTO candlesticks VALUES (%s, %s, 7, 1, 4, 0.5, 2, 100)", [start, kind])
    return starts


def test_the_latest_candlestick_as_documented(db: Connection) -> None:
    starts = _put_candles(db)
    found = db.execute(
        "SELECT * FROM candlesticks WHERE account_id = %s AND interval_type = '30m' "
        "AND interval_start >= NOW() - INTERVAL '30 minutes'",
        [7],
    ).fetchall()
    assert [row[0] for row in found] == starts[:1]


def test_historical_candlesticks_as_documented(db: Connection) -> None:
    starts = _put_candles(db)
    found = db.execute(
        "SELECT * FROM candlesticks WHERE account_id = %s AND interval_type = %s "
        "AND interval_start BETWEEN %s AND %s ORDER BY interval_start",
        [7, "30m", starts[2], starts[1]],
    ).fetchall()
    assert [row[0] for row in found] == [starts[2], starts[1]]


def test_open_and_close_are_those_of_the_least_and_the_greatest_time_and_id(db: Connection) -> None:
    rows = [
        (5, 1, _NOW, 1, 50, 1),
        (9, 1, _NOW, 0, 90, 1),
        (3, 1, _NOW, 0, 30, 1),
        (2**63 - 2, 1, _NOW, 0, 70, 1),
        (1, 1, _NOW + timedelta(seconds=59, microseconds=999_999), 999, 10, 1),
        (2**63 - 2, 1, _NOW + timedelta(seconds=59, microseconds=999_999), 998, 20, 1),
    ]
    _insert(db, rows)
    for view in _VIEWS:
        ((_, account, *prices, volume, trades),) = _candles(db, view)
        assert (account, volume, trades) == (1, 6, 6)
        assert prices == [30, 90, 10, 10]


def _spread(days: float) -> list[tuple[Any, ...]]:
    """Trades of two accounts with ties in time, up to now, over several chunks."""
    start = datetime.now(UTC) - timedelta(days=days)
    step = timedelta(days=days) / 200
    return [(n, n % 2, start + n // 4 * 4 * step, n % 3, (n * 37) % 101, n) for n in range(200)]


def _expected(rows: list[tuple[Any, ...]], minutes: int) -> list[tuple[Any, ...]]:
    found: dict[tuple[datetime, int], list[tuple[Any, ...]]] = {}
    for row in rows:
        ns = row[2].timestamp() // (minutes * 60) * minutes * 60
        found.setdefault((datetime.fromtimestamp(ns, UTC), row[1]), []).append(row)
    candles = []
    for (start, account), members in sorted(found.items()):
        ordered = sorted(members, key=lambda row: (row[2], row[3], row[0]))
        amounts = [row[4] for row in ordered]
        volume = sum(row[5] for row in ordered)
        candles.append(
            (start, account, amounts[0], max(amounts), min(amounts), amounts[-1], volume, len(ordered))
        )
    return candles


def test_candles_are_equal_to_a_rebuild_before_and_after_a_refresh_over_several_chunks(
    db: Connection,
) -> None:
    rows = _spread(9.5)
    _insert(db, rows)
    for _ in range(2):
        for view, minutes in _VIEWS.items():
            assert _candles(db, view) == _expected(rows, minutes), view
        _refresh(db)


def test_the_policies_themselves_refresh_compress_and_drop(db: Connection) -> None:
    now = datetime.now(UTC)
    recent = [(1, 1, now - timedelta(minutes=3), 0, 5, 1), (2, 1, now - timedelta(minutes=2), 0, 7, 1)]
    _insert(
        db, [*recent, (3, 1, now - timedelta(days=10), 0, 1, 1), (4, 1, now - timedelta(days=40), 0, 1, 1)]
    )
    jobs = db.execute(
        "SELECT job_id FROM timescaledb_information.jobs WHERE hypertable_name IN ('trades', 'candlesticks_1d') "
        "ORDER BY job_id"
    ).fetchall()
    assert len(jobs) == 4
    for (job,) in jobs:
        db.execute(f"CALL run_job({job})".encode())
    assert db.execute("SELECT id FROM trades ORDER BY id").fetchall() == [(1,), (2,), (3,)]
    compressed = db.execute(
        "SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_name = 'trades' AND is_compressed"
    ).fetchone()
    assert compressed == (1,)
    assert sum(candle[-1] for candle in _candles(db, "1d")) == 3


def test_a_new_trade_in_an_open_bucket_is_seen_at_once_after_a_refresh(db: Connection) -> None:
    rows = _spread(2)
    _insert(db, rows)
    _refresh(db)
    more = [(1000, 1, datetime.now(UTC), 0, 5000, 1)]
    _insert(db, more)
    for view, minutes in _VIEWS.items():
        assert _candles(db, view) == _expected(rows + more, minutes), view


@pytest.mark.parametrize("compressed", [False, True])
def test_a_late_trade_and_a_correction_are_seen_after_the_next_refresh(
    db: Connection, compressed: bool
) -> None:
    rows = _spread(20)
    _insert(db, rows)
    _refresh(db)
    if compressed:
        chunks = db.execute(
            "SELECT compress_chunk(c) FROM show_chunks('trades', older_than => INTERVAL '7 days') AS c"
        ).fetchall()
        assert len(chunks) > 5
    late = (1001, 0, rows[10][2] + timedelta(microseconds=1), 0, 777, 3)
    _insert(db, [late])
    corrected = (*rows[20][:4], 999, 9)
    db.execute(
        "INSERT INTO trades (id, account_id, timestamp, nanos, amount, trx_amount, total_done, trans_type) "
        "VALUES (%s, %s, %s, %s, %s, %s, 0, 1) ON CONFLICT (timestamp, nanos, account_id, id) "
        "DO UPDATE SET amount = excluded.amount, trx_amount = excluded.trx_amount",
        corrected,
    )
    rows = [*rows[:20], corrected, *rows[21:], late]
    _refresh(db)
    for view, minutes in _VIEWS.items():
        assert _candles(db, view) == _expected(rows, minutes), view


def test_candles_of_dropped_trades_stay_when_the_policies_run_again(db: Connection) -> None:
    # 29 days of trades are refreshed, then each chunk is dropped that the retention could drop.
    rows = _spread(29)
    _insert(db, rows)
    _refresh(db)
    before = {view: _candles(db, view) for view in _VIEWS}
    db.execute("SELECT drop_chunks('trades', older_than => now() - INTERVAL '30 days')")
    _refresh(db)
    assert {view: _candles(db, view) for view in _VIEWS} == before


def test_nobody_takes_the_memory_setting_for_one(db: Connection) -> None:
    found = db.execute(
        "SELECT count(*) FROM pg_settings WHERE name = 'timescaledb.max_memory_size'"
    ).fetchone()
    assert found == (0,)
