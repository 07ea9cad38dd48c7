"""Trades through the gateway as an Arrow stream, beside the bare statement on the same database.

Peers, in turns: the statement of the same columns and rows with the same ORDER BY, as QuestDB exports it (Parquet,
read into Arrow) and as ClickHouse writes it (an Arrow stream). One day of SPY and all five; from each store. Then the
memory of the gateway while a stream of 20 million rows goes through it, and how long the first row of a large answer
takes.
"""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa

from analytics.mirror.ledger import Ledger, LedgerEntry
from bench.stand import SPY, Stand, ingested, own_mb, stand, tapehouse
from gateway.query import Query
from gateway.stores.clickhouse import ClickHouseStore
from gateway.stores.questdb import QuestDBStore
from tapehouse.clock import DAY, day_of, iso, parse_ns
from tapehouse.model import TRADES
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stores.questdb_export import QuestExport

_PAIRS = 9
_SPANS = {"day": ("2013-10-08", "2013-10-09"), "week": ("2013-10-07", "2013-10-12")}
_COPIES = 10
_CHUNK = 2**18


def measure() -> dict[str, Any]:
    """Rows a second of both, medians, and the median of their ratios, by store and span; MB; ms."""
    never = {
        "TAPEHOUSE_MIRROR__EVERY_S": "1000000",
        "TAPEHOUSE_MIRROR__AT": "",
        "TAPEHOUSE_MIRROR__VERIFY_AT": "",
    }
    found: dict[str, Any] = {}
    with stand(**never) as platform:
        ingested(platform, SPY, "SPY")
        for span in _SPANS:
            found[f"questdb_{span}"] = _pairs(platform, span, _hot)
        found["first_row_ms_questdb"] = _first_row_ms(platform)
        tapehouse(platform, "mirror", "run")
        tapehouse(platform, "mirror", "retain", "--hot-days", "1")
        _until_cold(platform)
        for span in _SPANS:
            found[f"clickhouse_{span}"] = _pairs(platform, span, _cold)
        found["first_row_ms_clickhouse"] = _first_row_ms(platform)
        found["memory"] = _memory(platform)
    ratios = {
        name: each["ratio"] for name, each in found.items() if isinstance(each, dict) and "ratio" in each
    }
    return {**found, "peer": "the same statement by its database, bare", "ratio": min(ratios.values())}


def _pairs(platform: Stand, span: str, bare: Callable[[Stand, Query], int]) -> dict[str, Any]:
    start, end = _SPANS[span]
    query = Query.from_user("trades", venue="CTA", symbols="SPY", start=start, end=end)
    ours, others = [], []
    for pair in range(_PAIRS + 1):
        for rates, way in ((ours, _ours), (others, bare)):
            began = time.perf_counter()
            rows = way(platform, query)
            took = time.perf_counter() - began
            if pair:
                rates.append(rows / took)
    ratios = [one / other for one, other in zip(ours, others, strict=True)]
    return {
        "rows": rows,
        "rows_s": round(statistics.median(ours)),
        "peer_rows_s": round(statistics.median(others)),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 2) for ratio in ratios],
    }


def _ours(platform: Stand, query: Query) -> int:
    with pa.ipc.open_stream(_asked(platform, query)) as stream:
        return int(stream.read_all().num_rows)


def _asked(platform: Stand, query: Query) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", platform.gateway_port())
    words = {
        "venue": query.venue,
        "symbol": query.symbols[0],
        "start": iso(query.start_ns),
        "end": iso(query.end_ns),
        "format": "arrow",
    }
    connection.request("GET", "/v1/trades?" + urlencode(words))
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    return answer


def _hot(platform: Stand, query: Query) -> int:
    store = QuestDBStore(platform.settings.questdb)
    statement = _whole(store.statement(query, query.start_ns, query.end_ns))
    store.close()
    with QuestExport(platform.settings.questdb, 60) as export:
        return int(export.table(statement).num_rows)


def _cold(platform: Stand, query: Query) -> int:
    store = ClickHouseStore(platform.settings.clickhouse)
    statement = _whole(store.statement(query, query.start_ns, query.end_ns).partition("; ")[2])
    store.close()
    client = ClickHouseClient(platform.settings.clickhouse, reading=True)
    bound = {"venue": query.venue, "name": query.symbols[0], "start": query.start_ns, "end": query.end_ns}
    rows = pa.ipc.open_stream(client.arrow(statement, bound)).read_all().num_rows
    client.close()
    return int(rows)


def _whole(statement: str) -> str:
    """A statement with all columns of the answer: the gateway does not ask for what is the same in all rows."""
    return f"SELECT {', '.join(TRADES.names)} FROM " + statement.partition(" FROM ")[2]


def _first_row_ms(platform: Stand) -> float:
    """From the request to the first record batch of five days, the median."""
    took = []
    for _ in range(_PAIRS):
        query = Query.from_user(
            "trades", venue="CTA", symbols="SPY", start=_SPANS["week"][0], end=_SPANS["week"][1]
        )
        began = time.perf_counter()
        answer = _asked(platform, query)
        pa.ipc.open_stream(answer).read_next_batch()
        took.append(time.perf_counter() - began)
        # What is given up goes on for a while: the next would be measured beside it.
        while answer.read1(_CHUNK):
            pass
    return round(1e3 * statistics.median(took), 1)


def _until_cold(platform: Stand) -> None:
    deadline = time.monotonic() + 60
    query = Query.from_user(
        "trades", venue="CTA", symbols="SPY", start=_SPANS["day"][0], end=_SPANS["day"][1]
    )
    while "clickhouse" not in (_asked(platform, query).getheader("Tapehouse-Segments") or ""):
        assert time.monotonic() < deadline, "waited 60 s for the gateway to see the day handed over"
        time.sleep(0.2)


def _memory(platform: Stand) -> dict[str, Any]:
    """MB of the gateway before, and at most during, a stream of more than 20 million rows."""
    client = ClickHouseClient(platform.settings.clickhouse)
    ledger = Ledger(client)
    stored = "venue, symbol, seq_code, price, size, side, flags, exchange, conditions, delay"
    for copy in range(1, _COPIES + 1):
        shift = copy * 7 * DAY
        client.command(
            f"INSERT INTO trades (ts_event, {stored}) SELECT fromUnixTimestamp64Nano("
            f"toUnixTimestamp64Nano(ts_event) + {shift}, 'UTC'), {stored} FROM trades "
            "WHERE ts_event < toDateTime64('2013-10-13', 9, 'UTC')"
        )
    # The last day comes last: where it is known all are.
    held = client.fetch("SELECT toUnixTimestamp(toDate(ts_event)), count() FROM trades GROUP BY 1 ORDER BY 1")
    for day, rows in held:
        entry = LedgerEntry("trades", day_of(day * 10**9))
        ledger.put(replace(entry, owner="cold", rows=rows, fingerprint="bench", proven_ns=1))
    client.close()
    query = Query.from_user(
        TRADES.name,
        venue="CTA",
        symbols="SPY",
        start="2013-10-07",
        end=parse_ns("2013-10-13") + _COPIES * 7 * DAY,
    )
    _until_known(platform, query)
    pid = platform.pid("gateway")
    before = most = own_mb(pid)
    answer, size = _asked(platform, query), 0
    began = time.perf_counter()
    rows = 0
    stream = pa.ipc.open_stream(answer)
    for batch in stream:
        rows += batch.num_rows
        size += batch.nbytes
        most = max(most, own_mb(pid))
    took = time.perf_counter() - began
    assert rows == sum(count for _, count in held), rows
    return {
        "rows": rows,
        "mb": round(size / 1e6),
        "rows_s": round(rows / took),
        "gateway_mb_before": before,
        "gateway_mb_most": most,
    }


def _until_known(platform: Stand, query: Query) -> None:
    """Until the gateway has read the ledger again: its plan ends in the cold store."""
    deadline = time.monotonic() + 60
    late = replace(query, start_ns=query.end_ns - 4 * DAY)
    while "clickhouse" not in (_asked(platform, late).getheader("Tapehouse-Segments") or ""):
        assert time.monotonic() < deadline, "waited 60 s for the gateway to read the ledger"
        time.sleep(0.2)
