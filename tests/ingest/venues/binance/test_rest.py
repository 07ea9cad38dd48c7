from typing import Any

import numpy as np
import orjson
import pytest

from ingest.venues.binance.parser import Parser
from ingest.venues.binance.rest import parse_rest_trades
from ingest.venues.parse_result import ParseResult
from tapehouse.clock import MICROSECOND, MILLISECOND
from tapehouse.stream.wire import pack

T0 = 1_723_161_255_342
NOW = T0 * MILLISECOND + 5
SPOT = {"id": 7, "price": "61837.63000000", "qty": "0.02000000", "quoteQty": "1236.75", "time": T0} | {
    "isBuyerMaker": True,
    "isBestMatch": True,
}
USDM = {"id": 8, "price": "61800.30", "qty": "0.006", "quoteQty": "370.8", "time": T0, "isBuyerMaker": False}
COINM = {"id": 9, "price": "61804.8", "qty": "4", "baseQty": "0.006", "time": T0, "isBuyerMaker": True}


def answer(*rows: object, unit_ns: int = MILLISECOND) -> ParseResult:
    return parse_rest_trades(orjson.dumps(rows), "BTCUSDT", NOW, unit_ns, "binance")


def socket(*rows: dict[str, Any]) -> ParseResult:
    messages = []
    for row in rows:
        body = {"e": "trade", "s": "BTCUSDT", "t": row["id"], "p": row["price"], "q": row["qty"]}
        body |= {"T": row["time"], "E": row["time"] + 1, "m": row["isBuyerMaker"], "X": "MARKET"}
        messages.append((NOW, orjson.dumps(body)))
    return Parser("binance", {"trades"}).feed(messages, str)


def test_rows_are_those_of_the_socket() -> None:
    (found,), (expected,) = answer(SPOT, USDM, COINM).batches, socket(SPOT, USDM, COINM).batches
    assert pack(found) == pack(expected)
    assert found.array("seq").tolist() == [7, 8, 9]
    assert set(found.columns) == set(expected.columns)


def test_microseconds_are_floored_to_the_unit_of_the_venue() -> None:
    fine = SPOT | {"time": T0 * 1000 + 999}
    assert answer(fine).batches[0].array("ts_event")[0] == T0 * MILLISECOND
    exact = answer(fine, unit_ns=MICROSECOND).batches[0]
    assert exact.array("ts_event")[0] == T0 * MILLISECOND + 999_000


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (SPOT | {"id": -1}, "id: expected 0 to 9223372036854775806, was -1"),
        (SPOT | {"price": "x"}, "price: expected a decimal, was 'x'"),
        (SPOT | {"qty": 5}, "qty: expected a decimal in a string, was 5"),
        (SPOT | {"time": "now"}, "time: expected a whole number, was 'now'"),
        (SPOT | {"isBuyerMaker": None}, "isBuyerMaker: expected true or false, was None"),
        ({"id": 1}, "message: expected the key price, was without"),
        ([1], "row: expected an object, was a list"),
        (None, "row: expected an object, was None"),
    ],
)
def test_a_bad_row_is_rejected_alone(bad: object, reason: str) -> None:
    parsed = answer(SPOT, bad, USDM)
    (rejected,) = parsed.rejected
    assert (rejected.reason, rejected.where) == (reason, "REST trades of BTCUSDT row 2")
    assert rejected.original == b"%d %b" % (NOW, orjson.dumps(bad))
    assert parsed.batches[0].array("seq").tolist() == [7, 8]
    assert np.all(parsed.batches[0].array("ts_recv") == NOW)


def test_an_answer_without_trades_has_no_rows() -> None:
    assert answer() == ParseResult((), (), {})


@pytest.mark.parametrize("body", [b'{"code":-1121,"msg":"Invalid symbol."}', b"", b"[", b"5", b"<html>"])
def test_what_is_no_list_is_rejected_as_a_whole(body: bytes) -> None:
    parsed = parse_rest_trades(body, "BTCUSDT", NOW, MILLISECOND, "binance")
    (rejected,) = parsed.rejected
    assert rejected.original == b"%d %b" % (NOW, body)
    assert rejected.reason.startswith("answer: expected")
    assert not parsed.batches


def test_a_row_nested_beyond_measure_is_rejected() -> None:
    deep = b'[{"id":%b%b}]' % (b"[" * 600, b"]" * 600)
    parsed = parse_rest_trades(deep, "BTCUSDT", NOW, MILLISECOND, "binance")
    assert [item.reason for item in parsed.rejected] == ["message: expected the key price, was without"]
