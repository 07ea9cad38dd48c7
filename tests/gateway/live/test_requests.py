"""Requests of sockets: what is taken, and what each refusal says."""

from __future__ import annotations

import json

import pytest

from gateway.live.requests import Ping, Subscribe, Unsubscribe, parse_request
from tapehouse.errors import UsageError

_BARS = {"op": "subscribe", "id": 1, "channel": "bars", "symbol": "A", "interval": "1m"}
_CANDLES = {"op": "subscribe", "id": 1, "channel": "account_candles", "account": 7, "interval": "4h"}
_RANKINGS = {"op": "subscribe", "id": 1, "channel": "rankings"}


def test_what_is_left_out_has_its_default() -> None:
    assert parse_request(json.dumps(_BARS)) == Subscribe(1, "bars", "", "A", "1m", 100)
    assert parse_request(json.dumps({**_BARS, "after": [5, 6], "full": True, "last": 2000})) == Subscribe(
        1, "bars", "", "A", "1m", 2000, full=True, after=(5, 6)
    )
    assert parse_request(json.dumps(_RANKINGS)) == Subscribe(1, "rankings")
    assert parse_request(json.dumps(_CANDLES)) == Subscribe(
        1, "account_candles", interval="4h", last=100, account="7"
    )
    assert parse_request(json.dumps({**_CANDLES, "account": "0007"})) == parse_request(json.dumps(_CANDLES))
    assert parse_request('{"op": "unsubscribe", "id": 0}') == Unsubscribe(0)
    assert parse_request('{"op": "ping", "sent": [1]}') == Ping([1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "request: expected a JSON object"),
        ("[1]", "request: expected a JSON object, was list"),
        ('{"op": "subscribe"}', "id: expected 0 to 2,147,483,647, was nothing"),
        ('{"op": "subscribe", "id": true}', "id: expected 0 to .*, was True"),
        ('{"op": "subscribe", "id": -1}', "id: expected 0 to .*, was -1"),
    ],
)
def test_a_request_without_an_id_is_refused_as_nobodys(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        parse_request(text)
    assert "id" not in raised.value.fields


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"op": "shout", "id": 1}, "op: expected subscribe, unsubscribe or ping, was 'shout'"),
        ({**_BARS, "channel": "news"}, "channel: expected bars trades .*, was 'news'"),
        ({**_BARS, "channel": ["bars"]}, "channel: expected bars trades"),
        ({**_BARS, "window": "1h"}, "window: bars take full interval last symbol venue"),
        ({**_BARS, "symbol": ""}, "symbol: expected a name, was ''"),
        ({**_BARS, "symbol": 5}, "symbol: expected text, was 5"),
        ({**_BARS, "symbol": None}, "symbol: expected text, was nothing"),
        ({**_BARS, "interval": "7m"}, "interval: expected one of 15s"),
        ({**_BARS, "interval": None}, "interval: expected text, was nothing"),
        ({**_BARS, "last": 0}, "last: expected 1 to 2,000, was 0"),
        ({**_BARS, "last": 1.0}, r"last: expected 1 to 2,000, was 1\.0"),
        ({**_BARS, "full": 1}, "full: expected true or false, was 1"),
        ({**_BARS, "after": [1]}, r"after: expected \[epoch, n\] as received, was \[1\]"),
        ({**_BARS, "after": [1, "2"]}, "after: expected"),
        ({**_RANKINGS, "window": "2h"}, "window: expected 1h 24h 7d, was '2h'"),
        ({**_RANKINGS, "measure": "price"}, "measure: expected .*, was 'price'"),
        ({**_RANKINGS, "limit": 201}, "limit: expected 1 to 200, was 201"),
        ({**_CANDLES, "account": -1}, "account: expected its id, 0 to 9223372036854775806, was -1"),
        ({**_CANDLES, "account": True}, "account: expected its id, .*, was True"),
        ({**_CANDLES, "account": "x"}, "account: expected its id, .*, was 'x'"),
        ({**_CANDLES, "account": None}, "account: expected its id, .*, was nothing"),
        ({**_CANDLES, "account": 2**63 - 1}, "account: expected its id"),
        ({**_CANDLES, "symbol": "A"}, "symbol: account_candles take account interval last"),
        ({"op": "subscribe", "id": 1, "channel": "gaps", "symbol": "A"}, "symbol: gaps take nothing more"),
    ],
)
def test_a_refusal_says_what_was_expected_and_whose_request_it_was(
    request_: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        parse_request(json.dumps(request_))
    assert raised.value.fields["id"] == 1
