import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.validation import invalid_rows
from ingest.venues.coinbase.parser import Parser
from ingest.venues.coinbase.venue import EXCHANGE
from ingest.venues.parse_result import ParseResult
from ingest.venues.venue import MissingTrades, VenueStream
from tapehouse.batch import Batch
from tapehouse.clock import SECOND, parse_ns
from tapehouse.errors import UsageError
from tapehouse.stream.wire import pack

NOW = parse_ns("2022-10-19T23:28:22.1Z")
BOTH = ("trades", "quotes")


def match(number: int, **other: Any) -> bytes:
    return orjson.dumps(
        {
            "type": "match",
            "trade_id": number,
            "maker_order_id": "ac928c66-ca53-498f-9c13-a110027a60e8",
            "taker_order_id": "132fb6ae-456b-4654-b4e0-d681ac05cea1",
            "side": "sell",
            "size": "5.23512",
            "price": "400.23",
            "product_id": "BTC-USD",
            "sequence": 50 + number,
            "time": f"2022-10-19T23:28:22.{number % 10**6:06}Z",
        }
        | other
    )


def ticker(number: int, **other: Any) -> bytes:
    return orjson.dumps(
        {
            "type": "ticker",
            "sequence": number,
            "product_id": "ETH-USD",
            "price": "1285.22",
            "open_24h": "1310.79",
            "volume_24h": "245532.79269678",
            "low_24h": "1280.52",
            "high_24h": "1313.8",
            "volume_30d": "9788783.60117027",
            "best_bid": "1285.04",
            "best_bid_size": "0.46688654",
            "best_ask": "1285.27",
            "best_ask_size": "1.56637040",
            "side": "buy",
            "time": "2022-10-19T23:28:22.061769Z",
            "trade_id": 370843401,
            "last_size": "11.4396987",
        }
        | other
    )


HEARTBEAT = (
    b'{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD",'
    b'"time":"2014-11-07T08:19:28.464459Z"}'
)
SUBSCRIPTIONS = (
    b'{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"],"account_ids":null}]}'
)


def parsed(*messages: bytes, kinds: tuple[str, ...] = BOTH) -> ParseResult:
    return Parser("coinbase", kinds).feed(at(messages), "line {}".format)


def at(messages: tuple[bytes, ...] | list[bytes]) -> list[tuple[int, bytes]]:
    return [(NOW + place, message) for place, message in enumerate(messages)]


def only(found: ParseResult) -> Batch:
    (batch,) = found.batches
    assert not found.rejected
    assert not invalid_rows(batch, NOW + SECOND)
    return batch


def values(batch: Batch, row: int = 0) -> dict[str, Any]:
    found = {}
    for name in batch.columns:
        column = batch.columns[name]
        found[name] = (
            column[row].item() if isinstance(column, np.ndarray) else batch.strings(name).to_list()[row]
        )
    return found


def test_a_match_is_a_trade_of_the_side_that_took() -> None:
    assert values(only(parsed(match(10)))) == {
        "ts_event": parse_ns("2022-10-19T23:28:22.00001Z"),
        "ts_recv": NOW,
        "symbol": "BTC-USD",
        "seq": 10,
        "price": 400.23,
        "size": 5.23512,
        "side": 1,
        "flags": 0,
        "exchange": None,
        "conditions": None,
        "trade_id": None,
    }
    assert values(only(parsed(match(11, side="buy"))))["side"] == -1


def test_the_last_match_before_a_subscription_is_a_trade_as_any() -> None:
    assert only(parsed(match(9, type="last_match"), match(10))).array("seq").tolist() == [9, 10]


def test_a_ticker_is_the_best_quotes() -> None:
    assert values(only(parsed(ticker(37475248783)))) == {
        "ts_event": parse_ns("2022-10-19T23:28:22.061769Z"),
        "ts_recv": NOW,
        "symbol": "ETH-USD",
        "seq": 37475248783,
        "bid": 1285.04,
        "bid_size": 0.46688654,
        "ask": 1285.27,
        "ask_size": 1.5663704,
        "flags": 0,
    }


def test_an_empty_side_has_neither_price_nor_size() -> None:
    row = values(only(parsed(ticker(1, best_bid="0", best_bid_size="0"))))
    assert np.isnan(row["bid"])
    assert np.isnan(row["bid_size"])
    assert row["ask"] == 1285.27


def test_times_are_floored_to_microseconds() -> None:
    row = values(only(parsed(match(1, time="2022-10-19T23:28:22.123456789Z"))))
    assert row["ts_event"] == parse_ns("2022-10-19T23:28:22.123456Z")
    assert values(only(parsed(match(1, time="2022-10-19T23:28:22Z"))))["ts_event"] % SECOND == 0


def test_heartbeats_tell_the_last_trade_there_is() -> None:
    parser = Parser("coinbase", BOTH)
    unknown = HEARTBEAT.replace(b'"last_trade_id":20', b'"last_trade_id":0')
    found = parser.feed(at([HEARTBEAT, unknown, HEARTBEAT.replace(b"20,", b'"x",')]), str)
    assert parser.announced_trade_ids == {"BTC-USD": 20}
    assert found.ignored == {"heartbeat": 3}
    again = Parser("coinbase", BOTH)
    again.restore(json.loads(json.dumps(parser.state())))
    assert again.announced_trade_ids == parser.announced_trade_ids


def test_other_messages_are_counted_and_errors_are_shown() -> None:
    error = b'{"type":"error","message":"Failed to subscribe","reason":"BTC-EURR is not a valid product"}'
    found = parsed(
        SUBSCRIPTIONS, b'{"type":"l2update"}', b'{"type":"brand_new"}', error, match(1), kinds=("quotes",)
    )
    assert found.ignored == {"subscriptions": 1, "l2update": 1, "other": 1, "match": 1}
    (refused,) = found.rejected
    assert refused.original == b"%d %s" % (NOW + 3, error)
    assert "BTC-EURR is not a valid product" in refused.reason
    assert not found.batches


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"{", "expected JSON"),
        (b"[]", "expected an object with a type, was a list"),
        (b"7", "expected an object with a type, was 7"),
        (b'{"type":["match"]}', "expected an object with a type"),
        (match(1, trade_id="1"), "trade_id: expected a whole number, was '1'"),
        (match(1, trade_id=-1), "trade_id: expected 0 to"),
        (match(1, price=400.23), "price: expected a decimal in a string, was 400.23"),
        (match(1, price="nan"), "price: expected a decimal"),
        (match(1, size="-1"), "size: expected 0 to"),
        (match(1, side="both"), "side: expected buy or sell, was 'both'"),
        (match(1, side=["buy"]), "side: expected buy or sell, was a list"),
        (match(1, time="yesterday"), "time: expected a time"),
        (match(1, product_id=""), "product_id: expected a name"),
        (b'{"type":"match","trade_id":1}', "expected the key product_id, was without"),
        (ticker(1, best_ask=None), "best_ask: expected a decimal"),
    ],
)
def test_an_unsound_message_is_refused_as_it_came(message: bytes, reason: str) -> None:
    found = parsed(match(1), message, match(2), ticker(3))
    (refused,) = found.rejected
    assert refused.original == b"%d %s" % (NOW + 1, message)
    assert reason in refused.reason
    assert refused.where == "line 1"
    assert [batch.rows for batch in found.batches] == [1, 2]


MESSAGES = st.one_of(
    st.integers(0, 50).map(match),
    st.integers(0, 50).map(ticker),
    st.integers(0, 50).map(lambda number: match(number, product_id="ETH-USD", side="buy")),
    st.sampled_from((HEARTBEAT, SUBSCRIPTIONS, b"{", b'{"type":"match"}', match(1, size="x"), b"null")),
)


@given(st.lists(MESSAGES, max_size=40), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_the_same_messages_give_the_same_however_calls_cut_them(messages: list[bytes], size: int) -> None:
    whole = Parser("coinbase", BOTH).feed(at(messages), str)
    parser = Parser("coinbase", BOTH)
    cut = at(messages)
    pieces = ParseResult.concat(
        parser.feed(cut[i : i + size], lambda place, i=i: str(i + place)) for i in range(0, len(cut), size)
    )
    assert [pack(batch) for batch in pieces.batches] == [pack(batch) for batch in whole.batches]
    assert (pieces.rejected, pieces.ignored) == (whole.rejected, whole.ignored)
    rows = sum(batch.rows for batch in whole.batches)
    assert rows + len(whole.rejected) + sum(whole.ignored.values()) == len(messages)


def test_more_messages_than_are_decoded_together_are_one_batch() -> None:
    batch = only(parsed(*(match(number) for number in range(5_000))))
    assert batch.array("seq").tolist() == list(range(5_000))


def test_kinds_that_are_not_offered_are_named() -> None:
    with pytest.raises(UsageError, match="expected some of trades quotes, was depth"):
        Parser("coinbase", ["depth"])


def test_one_command_subscribes_to_all_and_to_heartbeats() -> None:
    streams = [VenueStream(kind, symbol) for symbol in ("BTC-USD", "ETH-USD") for kind in BOTH]
    (command,) = EXCHANGE.commands(streams)
    products = ["BTC-USD", "ETH-USD"]
    assert json.loads(command) == {
        "type": "subscribe",
        "channels": [{"name": name, "product_ids": products} for name in ("heartbeat", "matches", "ticker")],
    }


@pytest.mark.parametrize(
    ("first", "last", "query"),
    [
        (101, None, "limit=1000&after=1101"),
        (101, 105, "limit=5&after=106"),
        (1, 9_999, "limit=1000&after=1001"),
    ],
)
def test_missed_trades_are_asked_for_by_the_id_above_them(first: int, last: int | None, query: str) -> None:
    ask = EXCHANGE.trades_request(MissingTrades("BTC-USD", first, last, NOW), "")
    assert ask.path == f"/products/BTC-USD/trades?{query}"


def rest_row(number: int) -> dict[str, Any]:
    trade = json.loads(match(number))
    return {key: trade[key] for key in ("time", "trade_id", "price", "size", "side")}


def test_a_trade_is_the_same_by_socket_and_by_rest() -> None:
    answer = orjson.dumps([rest_row(number) for number in (12, 11, 10)])
    by_rest = only(EXCHANGE.parse_trades(answer, "coinbase", "BTC-USD", NOW))
    by_socket = only(parsed(match(10), match(11), match(12)))
    by_socket.columns["ts_recv"] = by_rest.columns["ts_recv"]
    assert pack(by_rest) == pack(by_socket)


def test_what_is_unsound_in_an_answer_is_refused_as_a_message() -> None:
    answer = orjson.dumps([rest_row(12), rest_row(11) | {"price": "x"}, 7])
    found = EXCHANGE.parse_trades(answer, "coinbase", "BTC-USD", NOW)
    assert found.batches[0].array("seq").tolist() == [12]
    assert [item.where for item in found.rejected] == [
        "trades of BTC-USD by REST, row 3",
        "trades of BTC-USD by REST, row 2",
    ]
    received, _, message = found.rejected[1].original.partition(b" ")
    assert int(received) == NOW
    assert orjson.loads(message) == rest_row(11) | {"price": "x", "type": "match", "product_id": "BTC-USD"}


@pytest.mark.parametrize("answer", [b"", b"<html>", b"{}", b'{"message":"NotFound"}', b"null"])
def test_an_answer_without_trades_is_refused(answer: bytes) -> None:
    found = EXCHANGE.parse_trades(answer, "coinbase", "BTC-USD", NOW)
    assert not found.batches
    assert [item.original for item in found.rejected] == [b"%d %s" % (NOW, answer)]


def test_an_answer_may_be_empty() -> None:
    assert EXCHANGE.parse_trades(b"[]", "coinbase", "BTC-USD", NOW) == ParseResult((), (), {})
