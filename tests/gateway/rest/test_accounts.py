"""The trades and candles of accounts by REST, in every format, to the last digit."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgpack
import polars as pl
import pyarrow as pa
import pytest

import tapehouse
from ingest.writer.store import QuestDBWriter
from tapehouse.clock import DAY, MINUTE, now_ns
from tapehouse.errors import UsageError
from tapehouse.stores.questdb import QuestReader
from tests.batches import DECIMAL_MAX
from tests.conftest import Platform
from tests.gateway import oracle
from tests.gateway.serving import Client, gateway
from tests.gateway.stores.test_account_candles import START as FIRST
from tests.gateway.stores.test_account_candles import trades

# Today, so that the owners of no older day need be known.
_START = now_ns() // DAY * DAY
_SPAN = f"start={_START}&end={_START + DAY}"


@dataclass(frozen=True)
class Served:
    """A gateway, an account with three trades in two candles of half an hour, and one whose sum is too large."""

    client: Client
    account: int
    too_large: int

    @property
    def candles(self) -> str:
        return f"/v1/accounts/{self.account}/candles?interval=30m&{_SPAN}"


@pytest.fixture(scope="module")
def served(provisioned: Platform) -> Iterator[Served]:
    account = secrets.randbits(40)
    at = _START - FIRST
    rows = [(at, 2, DECIMAL_MAX, 5), (at, 1, 7, 10**37), (at + 31 * MINUTE, 3, -1, -3)]
    writer = QuestDBWriter(provisioned.settings.questdb)
    large = trades(account + 1, [(at, 1, 1, DECIMAL_MAX), (at, 2, 1, 1)])
    assert writer.commit([trades(account, rows), large]) == []
    writer.close()
    with QuestReader(provisioned.settings.questdb) as reader:
        reader.wait_applied("account_trades")
    with gateway(provisioned.settings) as client:
        yield Served(client, account, account + 1)


def expected(account: int) -> list[dict[str, Any]]:
    """The candles with decimals as text."""
    most, seven, least = (f"{oracle.amount_of(units):f}" for units in (DECIMAL_MAX, 7, -1))
    volumes = [f"{oracle.amount_of(units):f}" for units in (10**37 + 5, -3)]
    day = str(pl.Series([_START]).cast(pl.Datetime("ns")).dt.date()[0])
    return [
        {"ts": f"{day}T00:00:00.000000000Z", "account_id": account, "open": seven, "high": most, "low": seven,
         "close": most, "volume": volumes[0], "trades": 2},
        {"ts": f"{day}T00:30:00.000000000Z", "account_id": account, "open": least, "high": least, "low": least,
         "close": least, "volume": volumes[1], "trades": 1},
    ]  # fmt: skip


def test_candles_of_an_account_are_a_page_of_json_with_exact_decimals(served: Served) -> None:
    page = served.client.json(served.candles)
    assert page["rows"] == expected(served.account)
    assert page["next"] is None
    assert [segment["store"] for segment in page["segments"]] == ["questdb"]
    same = served.client.json(f"/v1/account_candles?account={served.account}&interval=30m&{_SPAN}")
    assert same["rows"] == page["rows"]


def test_pages_of_candles_go_on_by_cursor(served: Served) -> None:
    first = served.client.json(f"{served.candles}&limit=1")
    second = served.client.json(f"{served.candles}&limit=1&cursor={first['next']}")
    assert first["rows"] + second["rows"] == expected(served.account)
    assert second["next"] is None
    last = served.client.json(f"/v1/accounts/{served.account}/candles?interval=30m&last=1&{_SPAN}")
    assert last["rows"] == expected(served.account)[1:]


def _as_frame(table: Any) -> list[dict[str, Any]]:
    frame = pl.DataFrame(pl.from_arrow(table))
    assert frame.schema["volume"] == pl.Decimal(38, 18)
    times = pl.col("ts").dt.to_string("%Y-%m-%dT%H:%M:%S%.9fZ")
    return frame.with_columns(times, pl.col(pl.Decimal).cast(pl.String)).to_dicts()


def _of_csv(data: bytes) -> list[dict[str, Any]]:
    rows = csv.DictReader(io.StringIO(data.decode()))
    return [{**row, "account_id": int(row["account_id"]), "trades": int(row["trades"])} for row in rows]


def _of_msgpack(data: bytes) -> list[dict[str, Any]]:
    head, *columns, _ = msgpack.Unpacker(io.BytesIO(data))
    found = pl.DataFrame(dict(zip(head["columns"], columns[0], strict=True)))
    times = pl.from_epoch("ts", "ns").dt.to_string("%Y-%m-%dT%H:%M:%S%.9fZ")
    return found.with_columns(times).to_dicts()


@pytest.mark.parametrize(
    ("format_name", "read"),
    [
        ("msgpack", _of_msgpack),
        ("csv", _of_csv),
        ("arrow", lambda data: _as_frame(pa.ipc.open_stream(data).read_all())),
        ("parquet", lambda data: _as_frame(pl.read_parquet(data).to_arrow())),
    ],
)
def test_candles_have_exact_decimals_in_every_format(
    served: Served, format_name: str, read: Callable[[bytes], list[dict[str, Any]]]
) -> None:
    answer = served.client.get(f"{served.candles}&format={format_name}")
    assert answer.status == 200, answer.data
    assert read(answer.data) == expected(served.account)


def test_trades_of_an_account_are_those_of_account_trades(served: Served) -> None:
    rows = served.client.json(f"/v1/accounts/{served.account}/trades?{_SPAN}")["rows"]
    assert [row["id"] for row in rows] == [1, 2, 3]
    assert rows == served.client.json(f"/v1/account_trades?account={served.account}&{_SPAN}")["rows"]


def test_a_sum_that_does_not_fit_is_an_error_that_names_it(served: Served) -> None:
    answer = served.client.get(f"/v1/accounts/{served.too_large}/candles?interval=1d&{_SPAN}")
    assert answer.status == 502, answer.data
    assert f"the sum of account {served.too_large}" in answer.json()["detail"]
    assert "does not fit in 38 digits" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/v1/accounts/x/candles?interval=1h&last=1", "account: expected its id, 0 to "),
        ("/v1/accounts/1/candles?last=1", "interval: expected a value"),
        ("/v1/accounts/1/candles?last=1&interval=1y", "interval: expected one of 15s"),
        ("/v1/accounts/1/candles?last=1&interval=1h&account=2", "account: there is no such parameter"),
        ("/v1/accounts/1/candles?interval=1h", "start: expected a time"),
        ("/v1/accounts/1/trades?last=1&interval=1h", "interval: there is no such parameter"),
        ("/v1/account_candles?interval=1h&last=1", "account: expected a value"),
    ],
)
def test_what_cannot_be_asked_of_an_account(served: Served, path: str, reason: str) -> None:
    assert served.client.json(path, 400)["detail"].startswith(reason)


def test_the_client_has_candles_of_accounts(served: Served) -> None:
    with tapehouse.connect(served.client.url) as db:
        found = db.account_candles([served.account], "30m", _START, _START + DAY)
        assert _as_frame(found.to_arrow()) == expected(served.account)
        assert db.segments["store"].to_list() == ["questdb"]
        explained = db.explain("account_candles", str(served.account), _START, _START + DAY, interval="30m")
        assert "account_trades" in explained.segments["statement"][0]
        with pytest.raises(UsageError, match="account: expected text that matches"):
            db.account_candles("x", "30m", last=1)
        frames = list(db.batches("account_candles", str(served.account), _START, interval="30m"))
        assert sum(frame.height for frame in frames) == 2
