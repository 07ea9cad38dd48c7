"""Copies damaged by hand: found, named and healed where the hot store has the rows; else reported and left alone."""

from __future__ import annotations

import asyncio
import contextlib

import pyarrow as pa
from polars.testing import assert_frame_equal

from gateway.query import Query
from gateway.stores.clickhouse import ClickHouseStore
from gateway.stores.contract import Store
from gateway.stores.questdb import QuestDBStore
from tapehouse.clock import DAY, parse_ns
from tapehouse.model import ACCOUNT_TRADES, DEPTH, QUOTES, TRADES, Kind
from tapehouse.stream.bus import Bus
from tests.gateway import oracle
from tests.system.mirrored import Mirrored
from tests.system.pouring import Pouring, closed

_WAITED = "SETTINGS mutations_sync = 2, max_threads = 1"


def _row(mirrored: Mirrored, kind: Kind, day: str, number: int, among: str = "1") -> str:
    """What chooses one row of a day, by its key."""
    key = ", ".join("toUnixTimestamp64Nano(ts_event)" if name == "ts_event" else name for name in kind.key)
    found = mirrored.ask_cold(
        f"SELECT {key} FROM {kind.name} WHERE toYYYYMMDD(ts_event) = {day.replace('-', '')} AND ({among}) "
        f"ORDER BY {key} LIMIT 1 OFFSET {number}"
    )[0]
    values = ", ".join(
        "'" + value.replace("'", "\\'") + "'" if isinstance(value, str) else str(value) for value in found
    )
    return f"({key}) = ({values})"


def _damages(mirrored: Mirrored) -> dict[str, tuple[Kind, str]]:
    """By day: a kind, and what is done to its rows of that day."""

    def trade(day: str, number: int) -> str:
        return _row(mirrored, TRADES, day, number)

    one, other = trade("2022-03-03", 3), trade("2022-03-03", 40)
    swapped = (
        f"price = if({one}, (SELECT price FROM trades WHERE {other}), (SELECT price FROM trades WHERE {one}))"
    )
    quoted = _row(mirrored, QUOTES, "2022-03-06", 0)
    booked = _row(mirrored, DEPTH, "2022-03-07", 2, "length(bid_prices) > 1")
    return {
        "2022-03-01": (TRADES, f"DELETE WHERE {trade('2022-03-01', 7)}"),
        "2022-03-02": (TRADES, f"UPDATE price = price + 0.0001 WHERE {trade('2022-03-02', 7)}"),
        "2022-03-03": (TRADES, f"UPDATE {swapped} WHERE ({one}) OR ({other})"),
        "2022-03-04": (TRADES, f"UPDATE side = if(side = 1, -1, 1) WHERE {trade('2022-03-04', 7)}"),
        "2022-03-05": (
            TRADES,
            f"UPDATE conditions = if(conditions = 'T', '@', 'T') WHERE {trade('2022-03-05', 7)}",
        ),
        "2022-03-06": (QUOTES, f"UPDATE bid = if(isNull(bid), toNullable(0.), NULL) WHERE {quoted}"),
        "2022-03-07": (
            DEPTH,
            "UPDATE bid_sizes = arrayMap((x, i) -> if(i = 1, x + 1, x), bid_sizes, arrayEnumerate(bid_sizes)) "
            f"WHERE {booked}",
        ),
    }


async def test_verify_finds_names_and_heals_every_damage(mirrored: Mirrored) -> None:
    days = [f"2022-03-0{day}" for day in range(1, 9)]
    kinds = (TRADES, QUOTES, DEPTH)
    async with Pouring(mirrored.settings, 31) as feed:
        for day in days:
            await feed.some(day, 100, kinds)
        await feed.written()
        async with Bus.opened(mirrored.settings, "mirror") as bus:
            await closed(bus)
        await asyncio.to_thread(mirrored.mirror)
        damages = _damages(mirrored)
        for day, (kind, damage) in damages.items():
            whole = mirrored.cold(kind, day)
            mirrored.tell_cold(f"ALTER TABLE {kind.name} {damage} {_WAITED}")
            assert not mirrored.cold(kind, day).equals(whole), f"expected damage: {damage}"
        said = mirrored.run("mirror", "verify")
        found = {
            line.split(":")[1].strip(): line for line in said.splitlines() if line.startswith("differs: ")
        }
        assert sorted(found) == sorted(f"{kind.name} of {day}" for day, (kind, _) in damages.items())
        for line in found.values():
            assert "expected " in line
            assert "; V " in line, "expected the symbol"
            assert line.endswith("; healed")
        assert "7 differed, 7 healed, 0 not compared" in said
        for kind in kinds:
            for day in days:
                assert_frame_equal(mirrored.cold(kind, day), feed.expected(kind, day), check_exact=True)
        assert await asyncio.to_thread(mirrored.verified) >= len(kinds) * len(days)


async def test_candles_of_accounts_are_those_of_the_hot_store_once_damage_is_healed(
    mirrored: Mirrored,
) -> None:
    day = "2022-03-20"
    start_ns = parse_ns(day)
    async with Pouring(mirrored.settings, 32) as feed:
        for _ in range(3):
            await feed.some(day, 40, (ACCOUNT_TRADES,))
        await feed.written()
        async with Bus.opened(mirrored.settings, "mirror") as bus:
            await closed(bus)
        await asyncio.to_thread(mirrored.mirror)
        rows = feed.expected(ACCOUNT_TRADES, day)
        accounts = tuple(map(str, rows["account_id"].unique().to_list()))
        query = Query("account_candles", "", accounts, start_ns, start_ns + DAY, "30m")
        expected = oracle.candles_of(rows, "30m")
        with (
            contextlib.closing(QuestDBStore(mirrored.settings.questdb)) as hot,
            contextlib.closing(ClickHouseStore(mirrored.settings.clickhouse)) as cold,
        ):

            def candles(store: Store) -> list[oracle.Candle]:
                found, _ = store.account_candles(query, start_ns, start_ns + DAY)
                columns = [found.column("ts").cast(pa.int64()), *found.columns[1:]]
                return list(zip(*(column.to_pylist() for column in columns), strict=True))

            assert candles(hot) == candles(cold) == expected
            row = _row(mirrored, ACCOUNT_TRADES, day, 5, "trx_amount != 0")
            mirrored.tell_cold(
                f"ALTER TABLE account_trades UPDATE trx_amount = -trx_amount WHERE {row} {_WAITED}"
            )
            assert candles(cold) != expected
            said = mirrored.run("mirror", "verify")
            assert f"differs: account_trades of {day}" in said
            assert "1 differed, 1 healed, 0 not compared" in said
            assert candles(hot) == candles(cold) == expected
