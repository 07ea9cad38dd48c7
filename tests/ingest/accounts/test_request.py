"""Payloads of account trades: what is a trade of them, and why the rest is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.accounts.request import BYTES_MAX, ROWS_MAX, parse_request, to_batch
from tapehouse.errors import UsageError
from tapehouse.model import ACCOUNT_TRADES
from tapehouse.stream.wire import pack, unpack
from tests.batches import same

CAME = 1_730_844_174_000_000_000


def trade(number: object = 1, account: int = 7, amount: str = "1.10826E9") -> str:
    return (
        f'{{"ID": {number}, "Totaldone": 500000.0, "Trx Amount": 4.5115767058272E-4, "Amount": {amount},'
        f' "Transtype": 1, "Accountid": {account}, "Transtime": "2024-11-05T22:02:53Z"}}'
    )


@pytest.mark.parametrize(
    ("payload", "ids"),
    [
        (trade(5), [5]),
        (json.dumps(json.loads(trade(5)), indent=2), [5]),
        (f"\n{trade(5)}\r\n\n{trade(6)}\n", [5, 6]),
        (f"[{trade(5)}]", [5]),
        (f" [\n{trade(5)} ,{trade(6)}\t]\n", [5, 6]),
        (f"\ufeff{trade(5)}", [5]),
        ("[]", []),
        (" [ ] ", []),
    ],
)
def test_an_object_an_array_and_lines_are_read(payload: str, ids: list[int]) -> None:
    request = parse_request(payload.encode(), CAME)
    batch = to_batch([request])
    assert batch.array("id").tolist() == ids
    assert batch.array("ts_recv").tolist() == [CAME] * len(ids)
    assert request.reasons == {}
    if ids:
        assert same(unpack(pack(batch)), batch)


def test_several_requests_are_one_batch_and_each_keeps_its_reasons() -> None:
    payloads = [
        f"[{trade(1)}, {trade('true')}, {trade(2, amount='1E-19')}]",
        f"{trade(-3)}\n{trade(4)}\nID=7\n[1]\n{trade(5, amount='NaN')}",
        trade(6),
    ]
    requests = [parse_request(payload.encode(), CAME + place) for place, payload in enumerate(payloads)]
    batch = to_batch(requests)
    assert batch.array("id").tolist() == [1, 4, 6]
    assert batch.array("ts_recv").tolist() == [CAME, CAME + 1, CAME + 2]
    assert [list(request.rows) for request in requests] == [[0], [1], [0]]
    first, second, third = (request.reasons for request in requests)
    assert first[1] == "id: expected a whole number, was true"
    assert first[2].startswith("amount: expected a number of at most 20 digits before and 18 after the point")
    assert second[0] == "id: expected 0 to 9.22337e+18, was -3"
    assert second[2].startswith("line: expected a JSON object, was no JSON")
    assert second[3] == "record: expected a JSON object, was a list"
    assert second[4].startswith("amount: expected a number")
    assert third == {}
    assert requests[1].original(2) == b"ID=7"


@pytest.mark.parametrize(
    "time", ['"2024-11-05T22:02:53"', '"2024-11-05"', "1730844173", '"1730844173000000000"', "null", '"x"']
)
def test_a_time_has_a_zone(time: str) -> None:
    request = parse_request(trade(1).replace('"2024-11-05T22:02:53Z"', time).encode(), CAME)
    assert to_batch([request]).rows == 0
    assert request.reasons[0].startswith(
        "ts_event: expected a time with a zone, such as 2024-11-05T22:02:53Z"
    )
    offset = parse_request(trade(1).replace("53Z", "53.5+02:00").encode(), CAME)
    assert to_batch([offset]).array("ts_event").tolist() == [CAME - 1_000_000_000 - 7_200 * 10**9 + 5 * 10**8]


def test_an_original_is_on_one_line_and_reads_the_same() -> None:
    written = json.dumps({"ID": "a\nb\u2028", "x": [1.50]}, indent=1, ensure_ascii=False)
    request = parse_request(f"[{written}]".encode(), CAME)
    (reason,) = request.reasons.values()
    assert reason == "id: expected a whole number, was 'a\\nb\\u2028'"
    line = request.original(0)
    assert b"\n" not in line
    assert json.loads(line) == json.loads(written)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "was empty"),
        (b" \n\t ", "was empty"),
        (b"ID=7", "expected JSON, was 'ID=7'"),
        (b"\xff\xfe{\x00", "expected JSON"),
        (b"{" + b"[" * 100_000, "expected JSON"),
        (f"[{trade(1)}".encode(), "none at element 0: expected , or ] at"),
        (f"[{trade(1)},".encode(), "none at element 1"),
        (f"[{trade(1)} {trade(2)}]".encode(), "none at element 0"),
        (f"[{trade(1)}] x".encode(), "expected its end"),
        (b"[" * 100_000, "none at element 0"),
        (b" " * (BYTES_MAX + 1), f"expected at most {BYTES_MAX} bytes, was {BYTES_MAX + 1}"),
        (b"[" + b"1," * ROWS_MAX + b"1]", f"expected at most {ROWS_MAX:,} trades, was more"),
        (b"1\n" * (ROWS_MAX + 1), f"expected at most {ROWS_MAX:,} trades, was more"),
    ],
    ids=range(13),
)
def test_what_cannot_be_read_at_all_is_refused_whole(payload: bytes, reason: str) -> None:
    with pytest.raises(UsageError, match="payload: ") as refused:
        parse_request(payload, CAME)
    assert reason in refused.value.message
    json.dumps(refused.value.message)


value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)
given_trade = st.fixed_dictionaries(
    {name: value | st.just(good) for name, good in json.loads(trade()).items()}
)
piece = given_trade.map(json.dumps) | value.map(json.dumps) | st.text(max_size=8) | st.just(trade())


@settings(max_examples=50)
@given(st.lists(piece, max_size=6), st.booleans(), st.binary(max_size=3))
def test_any_payload_is_refused_or_each_of_its_records_is_a_trade_or_has_a_reason(
    pieces: list[str], array: bool, tail: bytes
) -> None:
    text = "[" + ",".join(pieces) + "]" if array else "\n".join(pieces)
    payload = text.encode(errors="surrogatepass") + tail
    try:
        request = parse_request(payload, CAME)
    except UsageError as refused:
        json.dumps(refused.message).encode()
        return
    batch = to_batch([request])
    assert batch.rows == len(request.rows)
    assert sorted([*request.rows, *request.reasons]) == list(range(len(request.originals)))
    for place, reason in request.reasons.items():
        reason.encode()
        assert b"\n" not in request.original(place)


def test_the_columns_are_those_of_the_model() -> None:
    batch = to_batch([parse_request(trade().encode(), CAME)])
    columns: dict[str, Any] = batch.columns
    assert tuple(columns) == ACCOUNT_TRADES.names
