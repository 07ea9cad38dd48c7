"""A query that names TimescaleDB is answered by it alone, on every interface, and no other query is."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import tapehouse
from gateway.query import Query
from gateway.surface import QuerySurface
from ingest.timescale.store import LoadedUpTo, TimescaleLoader
from ops.export.rows import source
from tapehouse.clock import DAY, MINUTE, now_ns
from tapehouse.errors import UsageError
from tapehouse.stores.migrations import migrate, migrations
from tapehouse.stores.timescale_schema import TimescaleMigrations
from tests.conftest import Platform
from tests.gateway.serving import Client, gateway
from tests.ingest.timescale.account_trades import AccountTrade, as_batch, candles
from tests.timescale.server import TimescaleServer

# Yesterday, so that the owners of no older day need be known.
_START = now_ns() // DAY * DAY - DAY
_SPAN = f"start={_START}&end={_START + DAY}"


@dataclass(frozen=True)
class Served:
    """A gateway whose TimescaleDB alone has trades of an account."""

    client: Client
    account: int
    rows: list[AccountTrade]


@pytest.fixture(scope="module")
def served(provisioned: Platform, timescale: TimescaleServer) -> Iterator[Served]:
    ledger = TimescaleMigrations(timescale.settings)
    migrate(ledger, migrations("timescale"))
    ledger.close()
    account = secrets.randbits(40)
    rows = [AccountTrade(_START + n * 7 * MINUTE, account, n, n * n % 17 * 10**18 + 1, n) for n in range(40)]
    loader = TimescaleLoader(timescale.settings)
    loader.load([as_batch(rows)], 1, LoadedUpTo(0), 1)
    loader.close()
    with gateway(provisioned.settings.model_copy(update={"timescale": timescale.settings})) as client:
        yield Served(client, account, rows)


def test_candles_and_trades_come_from_it_where_it_is_named(served: Served) -> None:
    path = f"/v1/accounts/{served.account}/candles?interval=30m&{_SPAN}"
    page = served.client.json(f"{path}&store=timescale")
    expected = candles(served.rows, "30m")
    assert [(row["open"], row["close"], row["volume"], row["trades"]) for row in page["rows"]] == [
        (f"{first:f}", f"{last:f}", f"{volume:f}", count)
        for _, _, first, _, _, last, volume, count in expected
    ]
    assert [segment["store"] for segment in page["segments"]] == ["timescale"]
    trades = served.client.json(f"/v1/accounts/{served.account}/trades?{_SPAN}&store=timescale")
    assert [row["id"] for row in trades["rows"]] == [row.id for row in served.rows]
    last = served.client.json(f"/v1/accounts/{served.account}/trades?last=3&store=timescale")
    assert [row["id"] for row in last["rows"]] == [37, 38, 39]
    without = served.client.json(path)
    assert without["rows"] == []
    assert {segment["store"] for segment in without["segments"]} <= {"questdb", "clickhouse"}


def test_the_plan_names_it_with_its_statement(served: Served) -> None:
    page = served.client.json(
        f"/v1/explain?kind=account_candles&account={served.account}&interval=1h&{_SPAN}&store=timescale"
    )
    (segment,) = page["segments"]
    assert (segment["store"], segment["why"], segment["rows"]) == ("timescale", "named by the query", 40)
    assert "FROM candlesticks_1h" in segment["statement"]


def test_the_client_and_the_command_line_name_it(served: Served, provisioned: Platform) -> None:
    with tapehouse.connect(served.client.url) as db:
        assert db.account_trades(served.account, _START, store="timescale").height == 40
        assert db.account_candles(served.account, "1d", _START, store="timescale")["trades"].to_list() == [40]
    query = Query.from_user("account_trades", symbols=str(served.account), start=_START, store="timescale")
    gateway_settings = provisioned.settings.gateway.model_copy(update={"url": served.client.url})
    settings = provisioned.settings.model_copy(update={"gateway": gateway_settings})
    with source(settings, query) as answering, answering.answer() as rows:
        assert sum(frame.height for frame in rows.frames()) == 40


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v1/accounts/1/trades?last=1&store=questdb", "store"),
        ("/v1/explain?kind=trades&symbol=X&venue=V&last=1&store=timescale", "was asked for trades"),
    ],
)
def test_another_store_or_kind_is_refused(served: Served, path: str, said: str) -> None:
    answer = served.client.get(path)
    assert answer.status in (400, 422)
    assert said in answer.data.decode()


def test_without_one_the_query_says_how_to_have_one(provisioned: Platform) -> None:
    query = Query.from_user("account_trades", symbols="1", start=_START, store="timescale")
    with QuerySurface(provisioned.settings) as surface, pytest.raises(UsageError, match=r"Set timescale.dsn"):
        surface.answer(query)
