"""Which days the cold store owns: what the hot store must not be asked for."""

from __future__ import annotations

from datetime import date

from gateway.query import Query
from tapehouse.clickhouse import ClickHouseClient
from tapehouse.clock import day_of
from tapehouse.model import TRADES


def cold_days(client: ClickHouseClient, query: Query) -> list[str]:
    """The days, YYYY-MM-DD, that a query reaches into and the cold store owns, in order.

    Raises ConnectError where ClickHouse does not answer.
    """
    # Bars are made of trades.
    kind = TRADES.name if query.kind == "bars" else query.kind
    found = client.fetch(
        "SELECT day FROM ledger FINAL WHERE owner = 'cold' AND kind = {kind:String} "
        "AND day BETWEEN {first:Date32} AND {last:Date32} AND rows > 0 ORDER BY day",
        {
            "kind": kind,
            "first": date.fromisoformat(day_of(query.start_ns)),
            "last": date.fromisoformat(day_of(query.end_ns - 1)),
        },
    )
    return [day.isoformat() for (day,) in found]
