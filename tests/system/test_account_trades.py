"""Account trades from files and by request, by the command line through to QuestDB, with exact amounts."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import os
import secrets
import signal
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import nats
import polars as pl
import pytest

import tapehouse
from tapehouse.client.live_records import AccountCandle
from tapehouse.settings import load
from tests.system.test_bad_input import refused
from tests.system.test_real_data import counts
from tests.system.up import Up

AMOUNTS = ["4.5115767058272E-4", "1.10826E9", "12345678901234567890.123456789012345678", "-1E-18", "500000.0"]


@pytest.fixture
def account() -> int:
    """An account of this test alone."""
    return secrets.randbits(40)


def trade(account: int, number: object, amount: str) -> str:
    return (
        f'{{"ID": {number}, "Totaldone": 500000.0, "Trx Amount": {amount}, "Amount": 1.10826E9,'
        f' "Transtype": 1, "Accountid": {account}, "Transtime": "2024-11-05T22:02:53Z"}}'
    )


def stored(up: Up, account: int) -> pl.DataFrame:
    """All trades of an account."""
    return up.query("account_trades", str(account), "", "2024-11-05", "2024-11-06")


async def ask(up: Up, payload: str) -> dict[str, Any]:
    """As the documented example does, again until there is an answer."""
    at = load(up.home).nats
    password = at.passwords["sender"].get_secret_value()
    sender = await nats.connect(at.url, user="sender", password=password, inbox_prefix="_INBOX_sender")
    try:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(nats.errors.Error):
                    reply = await sender.request("accounts.trades", payload.encode(), timeout=1)
                    return dict(json.loads(reply.data))
                await asyncio.sleep(0.05)
    finally:
        await sender.close()


def test_a_file_of_account_trades_is_in_the_store_to_the_last_place(
    up: Up, tmp_path: Path, account: int
) -> None:
    file = tmp_path / f"{account}.jsonl"
    lines = [trade(account, number, amount) for number, amount in enumerate(AMOUNTS)]
    file.write_text("\n".join([*lines, trade(account, '"9"', "1"), trade(account, 9, "1E-19")]))
    said = up.run("ingest", str(file), "--kind", "account_trades")
    assert counts(said) == {"rows": 7, "accepted": 5, "duplicate": 0, "quarantined": 2}
    span = ("--start", "2024-11-05", "--end", "2024-11-06")
    there = list(csv.DictReader(io.StringIO(up.run("query", "account_trades", str(account), *span))))
    assert [int(row["id"]) for row in there] == [0, 1, 2, 3, 4]
    assert [Decimal(row["trx_amount"]) for row in there] == [Decimal(amount) for amount in AMOUNTS]
    kept = {where: reason for *_, where, reason in refused(up, "accounts") if str(account) in where}
    assert kept[f"{file.name} line 6"] == "id: expected a whole number, was '9'"
    assert "18 after the point, was '1E-19'" in kept[f"{file.name} line 7"]

    # The same amounts as CSV are the same rows; another amount corrects one.
    table = tmp_path / f"{account}.csv"
    heading = "ID,Totaldone,Trx Amount,Amount,Transtype,Accountid,Transtime\n"
    table.write_text(
        heading
        + "".join(
            f"{number},500000,{amount},1108260000,1,{account},2024-11-05T22:02:53Z\n"
            for number, amount in enumerate([*AMOUNTS[:4], "0.000000000000000001"])
        )
    )
    said = up.run("ingest", str(table), "--kind", "account_trades", "--venue", "none")
    assert "4 duplicate" in said
    assert "1 corrected" in said
    out = tmp_path / "out.parquet"
    up.run("query", "account_trades", str(account), *span, "--out", str(out))
    found = pl.read_parquet(out)["trx_amount"].to_list()
    assert found == [Decimal(amount) for amount in [*AMOUNTS[:4], "1E-18"]]


async def test_trades_sent_by_request_are_in_the_store_once_though_the_role_is_killed(
    up: Up, account: int
) -> None:
    payload = f"[{trade(account, 0, AMOUNTS[0])}, {trade(account, 'true', '1')}]"
    answer = await ask(up, payload)
    assert answer == {
        "accepted": 1,
        "quarantined": [{"index": 1, "reason": "id: expected a whole number, was true"}],
    }
    asking = [
        asyncio.create_task(ask(up, trade(account, number, AMOUNTS[number % 5]))) for number in range(1, 60)
    ]
    await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
    os.kill(up.pid("accounts"), signal.SIGKILL)
    assert await asyncio.gather(*asking) == [{"accepted": 1, "quarantined": []}] * 59
    assert await ask(up, payload) == answer

    await asyncio.to_thread(up.until, lambda: stored(up, account).height >= 60, "the trades to be in", 60)
    there = stored(up, account)
    assert there["id"].to_list() == list(range(60))
    assert there["trx_amount"].to_list() == [Decimal(AMOUNTS[n % 5]) for n in range(60)]
    kept = [reason for *_, where, reason in refused(up, "accounts") if where == "accounts.trades 1"]
    assert kept == ["id: expected a whole number, was true"]
    await asyncio.to_thread(up.until, lambda: up.status()["ready"], "the role to be ready again", 60)
    assert "accounts" in {report["role"] for report in up.status()["roles"]}


async def test_live_candles_follow_late_and_corrected_trades_to_the_last_place(up: Up, account: int) -> None:
    records: dict[datetime, AccountCandle] = {}
    with tapehouse.connect(home=up.home) as db:
        await ask(up, trade(account, 5, AMOUNTS[0]))

        async def follow() -> None:
            async for candle in stream:
                records[candle.ts] = candle

        def stored() -> list[tuple[Any, ...]]:
            frame = db.account_candles(account, "30m", "2024-11-05", "2024-11-07")
            return frame.select(AccountCandle._fields).rows()

        async def equal(rows: int) -> None:
            def is_equal() -> bool:
                found = stored()
                return sum(row[-1] for row in found) == rows and found == [
                    tuple(candle) for _, candle in sorted(records.items())
                ]

            await asyncio.to_thread(up.until, is_equal, f"live candles of {rows} trades", 60)

        stream = db.live.account_candles(account, "30m")
        following = asyncio.create_task(follow())
        await equal(1)
        # Of one time, with a lower id; then a later day, an earlier time, and another amount of the first.
        await ask(up, trade(account, 3, AMOUNTS[2]))
        await equal(2)
        late = trade(account, 9, AMOUNTS[3])
        await ask(up, f"[{late.replace('11-05T22', '11-06T01')}, {late.replace('22:02', '21:59')}]")
        await ask(up, trade(account, 5, AMOUNTS[4]).replace("1.10826E9", "-7E-18"))
        await equal(4)
        assert [candle.close for _, candle in sorted(records.items())] == [
            Decimal("1.10826E9"),
            Decimal("-7E-18"),
            Decimal("1.10826E9"),
        ]
        await stream.aclose()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
