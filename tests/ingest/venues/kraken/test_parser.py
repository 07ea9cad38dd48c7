import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.validation import invalid_rows
from ingest.venues.kraken.parser import Parser
from ingest.venues.kraken.venue import SPOT
from ingest.venues.parse_result import ParseResult
from ingest.venues.venue import MissingTrades, VenueStream
from tapehouse.batch import Batch
from tapehouse.clock import MILLISECOND, MIN_TS, SECOND, parse_ns
from tapehouse.errors import UsageError
from tapehouse.model import Flags
from tapehouse.stream.wire import pack

NOW = parse_ns("2023-09-25T09:04:32Z")
BOTH = ("trades", "quotes")


def trade(number: int, **other: Any) -> dict[str, Any]:
    return {
        "symbol": "MATIC/USD",
        "side": "sell",
        "price": 0.5117,
        "qty": 40.0,
        "ord_type": "market",
        "trade_id": number,
        "timestamp": f"2023-09-25T09:04:31.{number % 10**6:06}Z",
    } | other


def quote(number: int, **other: Any) -> dict[str, Any]:
    return {
        "symbol": "ALGO/USD",
        "bid": 0.10025,
        "bid_qty": 740.0,
        "ask": 0.10036,
        "ask_qty": 1361.44813783,
        "last": 0.10035,
        "volume": 997038.98383185,
        "vwap": 0.10148,
        "low": 0.09979,
        "high": 0.10285,
        "change": -0.00017,
        "change_pct": -0.17,
        "timestamp": f"2023-09-25T09:04:31.{number:06}Z",
    } | other


def untimed(number: int) -> dict[str, Any]:
    return {key: value for key, value in quote(number).items() if key != "timestamp"}


def message(channel: str, *rows: Any, type: str = "update") -> bytes:  # noqa: A002 - the venue's own word
    return orjson.dumps({"channel": channel, "type": type, "data": list(rows)})


def reply(at_ns: int) -> bytes:
    """The answer to a subscription, sent at a time of the venue's clock."""
    sent = f"{np.datetime64(at_ns // 1_000, 'us')}Z".encode()
    return (
        b'{"method":"subscribe","result":{"channel":"ticker","event_trigger":"bbo","snapshot":true,'
        b'"symbol":"ALGO/USD"},"success":true,"time_in":"%b","time_out":"%b"}' % (sent, sent)
    )


HEARTBEAT = b'{"channel":"heartbeat"}'
STATUS = (
    b'{"channel":"status","type":"update","data":[{"version":"2.0.0","system":"online",'
    b'"api_version":"v2","connection_id":13834774380200032777}]}'
)
REFUSAL = (
    b'{"error":"Currency pair not supported ALGO/XYZ","method":"subscribe","success":false,'
    b'"symbol":"ALGO/XYZ","time_in":"2023-09-25T09:04:31.742648Z","time_out":"2023-09-25T09:04:31.742648Z"}'
)


def at(messages: tuple[bytes, ...] | list[bytes]) -> list[tuple[int, bytes]]:
    return [(NOW + place * MILLISECOND, message) for place, message in enumerate(messages)]


def parsed(*messages: bytes, kinds: tuple[str, ...] = BOTH) -> ParseResult:
    return Parser("kraken", kinds).feed(at(messages), "line {}".format)


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


def test_a_trade_has_the_side_that_took_and_its_order_type() -> None:
    assert values(only(parsed(message("trade", trade(4665906))))) == {
        "ts_event": parse_ns("2023-09-25T09:04:31.665Z"),
        "ts_recv": NOW,
        "symbol": "MATIC/USD",
        "seq": 4665906,
        "price": 0.5117,
        "size": 40.0,
        "side": -1,
        "flags": 0,
        "exchange": None,
        "conditions": "market",
        "trade_id": None,
    }
    buy = message("trade", trade(1, side="buy", ord_type="limit"), type="snapshot")
    assert [values(only(parsed(buy)))[name] for name in ("side", "conditions")] == [1, "limit"]


def test_a_message_may_hold_several_trades_of_several_symbols() -> None:
    batch = only(
        parsed(message("trade", trade(7), trade(3, symbol="AAPLx/USD", qty=1)), message("trade", trade(8)))
    )
    assert batch.strings("symbol").to_list() == ["MATIC/USD", "AAPLx/USD", "MATIC/USD"]
    assert batch.array("seq").tolist() == [7, 3, 8]
    assert batch.array("ts_recv").tolist() == [NOW, NOW, NOW + MILLISECOND]
    assert batch.array("size").tolist() == [40.0, 1.0, 40.0]


@given(st.decimals("1e-8", "1e9", places=8))
def test_numbers_are_the_doubles_nearest_to_their_text(number: Any) -> None:
    text = format(number, "f")
    sent = message("trade", trade(1)).replace(b"0.5117", text.encode())
    assert only(parsed(sent)).array("price")[0] == float(text)


def test_a_ticker_is_the_best_quotes_without_an_id() -> None:
    parser = Parser("kraken", BOTH)
    assert parser.numbering == {"trades": "trade id", "quotes": "time"}
    assert values(only(parser.feed(at([message("ticker", quote(123_456))]), str))) == {
        "ts_event": parse_ns("2023-09-25T09:04:31.123Z"),
        "ts_recv": NOW,
        "symbol": "ALGO/USD",
        "seq": 0,
        "bid": 0.10025,
        "bid_size": 740.0,
        "ask": 0.10036,
        "ask_size": 1361.44813783,
        "flags": 0,
    }


def test_an_empty_side_has_neither_price_nor_size() -> None:
    row = values(only(parsed(message("ticker", quote(1, ask=0.0, ask_qty=0)))))
    assert np.isnan(row["ask"])
    assert np.isnan(row["ask_size"])
    assert row["bid"] == 0.10025


def test_without_a_time_it_is_estimated_from_what_was_sent_before() -> None:
    """The reply says that the receive clock is 250 ms ahead, the trades behind it that it is more."""
    sent = message("trade", trade(1, timestamp=f"{np.datetime64(NOW // 1_000 - 748_000, 'us')}Z"))
    early = [message("ticker", untimed(1) | {"bid": bid}) for bid in (1, 2, 3)]
    timed = message("ticker", quote(5))
    found = parsed(early[0], reply(NOW - 249 * MILLISECOND), early[1], sent, sent, early[2], timed)
    batch = found.batches[0]
    assert (batch.array("ts_recv") - batch.array("ts_event")).tolist()[:3] == [
        0,
        250 * MILLISECOND,
        751 * MILLISECOND,
    ]
    assert batch.array("flags").tolist() == [Flags.ESTIMATED_TIME] * 3 + [0]


def test_a_ticker_that_says_the_same_again_is_passed_over() -> None:
    other = message("ticker", quote(1, symbol="BTC/USD"))
    first, again = message("ticker", quote(1)), message("ticker", quote(1), type="snapshot")
    found = parsed(first, other, again, first, message("ticker", quote(2)), first)
    assert found.batches[0].rows == 4
    assert found.ignored == {"repeated ticker": 2}


def test_a_snapshot_of_old_trades_tells_no_time() -> None:
    old = message("trade", trade(1), type="snapshot")
    batch = parsed(old, message("ticker", untimed(1))).batches[0]
    assert batch.array("ts_event").tolist() == [NOW + MILLISECOND]


def test_other_messages_are_counted_and_refusals_are_shown() -> None:
    empty = message("trade", type="snapshot")
    pong = b'{"method":"pong","req_id":101,"time_in":"2023-09-24T14:10:23.799685Z","time_out":"x"}'
    found = parsed(
        HEARTBEAT, STATUS, reply(NOW), pong, empty, message("book", {}), REFUSAL, message("trade", {})
    )
    assert found.ignored == {"heartbeat": 1, "status": 1, "reply": 2, "trade": 1, "book": 1}
    assert [item.original.partition(b" ")[2] for item in found.rejected] == [REFUSAL, message("trade", {})]
    assert "Currency pair not supported ALGO/XYZ" in found.rejected[0].reason
    assert parsed(message("ticker", {}), kinds=("trades",)).ignored == {"ticker": 1}


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (b"{", "expected JSON"),
        (b"[]", "expected an object, was a list"),
        (b'"x"', "expected an object, was 'x'"),
        (b"{}", "channel: expected trade or ticker, was None"),
        (b'{"channel":["trade"],"data":[1]}', "channel: expected trade or ticker, was a list"),
        (b'{"channel":"trade"}', "data: expected a list, was None"),
        (b'{"channel":"trade","data":{"x":1}}', "data: expected a list, was an object"),
        (message("trade", 7), "data: expected objects, was 7"),
        (message("trade", {"symbol": "X"}), "expected the key trade_id, was without"),
        (message("trade", trade(1), trade(2, price="x")), "price: expected"),
        (message("trade", trade(1, price="x")), "price: expected a decimal, was 'x'"),
        (message("trade", trade(1, price=True)), "price: expected a number, was True"),
        (message("trade", trade(1, price=1e13)), "price: expected -1e+12 to 1e+12, was 10000000000000.0"),
        (message("trade", trade(1, qty=-1)), "qty: expected 0 to"),
        (message("trade", trade(1, side="b0th")), "side: expected buy or sell, was 'b0th'"),
        (message("trade", trade(1, side={})), "side: expected buy or sell, was an object"),
        (message("trade", trade(1, ord_type=None)), "ord_type: expected a name, was None"),
        (message("trade", trade(0)), "trade_id: expected 1 or more, was 0"),
        (message("trade", trade(1, trade_id=1.0)), "trade_id: expected a whole number, was 1.0"),
        (message("trade", trade(1, timestamp="x")), "timestamp: expected a time"),
        (message("trade", trade(1, timestamp=-1.0)), "timestamp: expected seconds from 1970"),
        (message("trade", trade(1, symbol="")), "symbol: expected a name, was ''"),
        (message("ticker", quote(1, bid=None)), "bid: expected a number, was None"),
        (message("ticker", quote(1, timestamp=17)), "timestamp: expected a time"),
        (message("ticker", quote(1), 7), "data: expected objects, was 7"),
    ],
)
def test_an_unsound_message_is_refused_whole_as_it_came(odd: bytes, reason: str) -> None:
    found = parsed(message("trade", trade(1)), odd, message("trade", trade(2)), message("ticker", quote(3)))
    (refused,) = found.rejected
    assert refused.original == b"%d %s" % (NOW + MILLISECOND, odd)
    assert reason in refused.reason
    assert refused.where == "line 1"
    assert [batch.rows for batch in found.batches] == [1, 2]


def test_an_estimate_outside_of_time_is_refused() -> None:
    parser = Parser("kraken", BOTH)
    found = parser.feed([(NOW, reply(NOW - 5 * SECOND)), (SECOND, message("ticker", untimed(1)))], str)
    assert not found.batches
    assert "expected 1970 to 2261" in found.rejected[0].reason


MESSAGES = st.one_of(
    st.integers(1, 50).map(lambda number: message("trade", trade(number))),
    st.integers(1, 50).map(
        lambda number: message("trade", trade(number), trade(number + 1, symbol="BTC/USD"))
    ),
    st.integers(0, 50).map(lambda number: message("ticker", quote(number))),
    st.integers(0, 5).map(lambda number: message("ticker", untimed(number) | {"bid": number})),
    st.integers(0, 999).map(lambda number: reply(NOW - number * MILLISECOND)),
    st.sampled_from(
        (
            HEARTBEAT,
            REFUSAL,
            b"{",
            message("trade", trade(1, qty="x")),
            message("trade", trade(1, timestamp=7)),
            message("trade", trade(1, timestamp="2023-09-25T09:04:31Z"), type="snapshot"),
        )
    ),
)


def rows_in(found: ParseResult) -> list[bytes]:
    return [pack(batch) for batch in found.batches]


@given(st.lists(MESSAGES, max_size=40), st.integers(1, 7))
@settings(max_examples=100, deadline=None)
def test_the_same_messages_give_the_same_however_calls_cut_them(messages: list[bytes], size: int) -> None:
    whole = Parser("kraken", BOTH).feed(at(messages), str)
    parser = Parser("kraken", BOTH)
    cut = at(messages)
    pieces = []
    for start in range(0, len(cut), size):
        pieces.append(parser.feed(cut[start : start + size], lambda place, start=start: str(start + place)))
        state = json.loads(json.dumps(parser.state()))
        parser = Parser("kraken", BOTH)
        parser.restore(state)
    joined = ParseResult.concat(pieces)
    assert rows_in(joined) == rows_in(whole)
    assert (joined.rejected, joined.ignored) == (whole.rejected, whole.ignored)


@given(st.lists(MESSAGES, max_size=40))
@settings(max_examples=50, deadline=None)
def test_quotes_are_the_same_whether_trades_are_asked_for_or_not(messages: list[bytes]) -> None:
    alone = parsed(*messages, kinds=("quotes",))
    with_trades = parsed(*messages)
    assert rows_in(alone) == [pack(batch) for batch in with_trades.batches if batch.kind.name == "quotes"]


def test_many_unsound_times_do_not_change_the_skew_that_is_left() -> None:
    sound = [message("trade", trade(number + 1)) for number in range(150)]
    odd = [message("trade", trade(1, timestamp="x"))] * 120
    last = message("ticker", untimed(1))
    whole = parsed(*sound, *odd, last).batches[0]
    parser = Parser("kraken", BOTH)
    messages = at([*sound, *odd, last])
    for start in range(0, len(messages), 40):
        found = parser.feed(messages[start : start + 40], str)
    assert found.batches[0].array("ts_event").tolist() == whole.array("ts_event").tolist()


def test_kinds_that_are_not_offered_are_named() -> None:
    with pytest.raises(UsageError, match="expected some of trades quotes, was depth"):
        Parser("kraken", ["depth"])


def test_a_command_a_channel_subscribes_to_all() -> None:
    streams = [VenueStream(kind, symbol) for symbol in ("BTC/USD", "ETH/USD") for kind in BOTH]
    commands = [json.loads(command) for command in SPOT.commands(streams)]
    symbols = ["BTC/USD", "ETH/USD"]
    trades = {"channel": "trade", "symbol": symbols, "snapshot": True}
    quotes = {"channel": "ticker", "symbol": symbols, "snapshot": True, "event_trigger": "bbo"}
    assert [command["params"] for command in commands] == [quotes, trades]
    assert {command["method"] for command in commands} == {"subscribe"}


def test_missed_trades_are_asked_for_by_the_time_before_them() -> None:
    ask = SPOT.trades_request(MissingTrades("BTC/USD", 7, 9, NOW), "")
    assert ask.path == f"/0/public/Trades?pair=BTC%2FUSD&since={NOW - 1}&count=1000"


def answer(*rows: Any) -> bytes:
    return orjson.dumps({"error": [], "result": {"XXBTZUSD": rows, "last": "1688671969993150842"}})


def test_trades_by_rest_are_rows_of_the_socket() -> None:
    """The rows of the venue's documentation."""
    sent = (
        b'{"error":[],"result":{"XXBTZUSD":[["30243.40000","0.34507674",1688669597.8277369,"b","m","",61044952],'
        b'["30243.30000","0.00376960",1688669598.2804112,"s","l","",61044953]],"last":"1688671969993150842"}}'
    )
    batch = only(SPOT.parse_trades(sent, "kraken", "BTC/USD", NOW))
    assert values(batch) == {
        "ts_event": 1688669597_827 * MILLISECOND,
        "ts_recv": NOW,
        "symbol": "BTC/USD",
        "seq": 61044952,
        "price": 30243.4,
        "size": 0.34507674,
        "side": 1,
        "flags": 0,
        "exchange": None,
        "conditions": "market",
        "trade_id": None,
    }
    assert [values(batch, 1)[name] for name in ("side", "conditions")] == [-1, "limit"]


@given(
    st.integers(MIN_TS // 1_000, NOW // 1_000),
    st.decimals("1e-8", "1e6", places=8),
    st.booleans(),
    st.booleans(),
)
def test_a_trade_is_the_same_by_socket_and_by_rest(us: int, price: Any, buy: bool, market: bool) -> None:
    """The time by REST is the double nearest to the microseconds of the socket."""
    text = format(price, "f")
    row = trade(
        5,
        symbol="BTC/USD",
        price=float(text),
        side="buy" if buy else "sell",
        ord_type="market" if market else "limit",
        timestamp=f"{np.datetime64(us, 'us')}Z",
    )
    by_socket = only(Parser("kraken", BOTH).feed([(NOW, message("trade", row))], str))
    seconds = us / 1e6 if us % 10**6 else us // 10**6
    sent = [text, "40.00000000", seconds, "b" if buy else "s", "m" if market else "l", "", 5]
    assert pack(only(SPOT.parse_trades(answer(sent), "kraken", "BTC/USD", NOW))) == pack(by_socket)


def test_what_is_unsound_in_an_answer_is_refused_as_a_message_that_can_be_read_again() -> None:
    good = ["1.5", "2", 1688669597.5, "b", "m", "", 1]
    found = SPOT.parse_trades(answer(good, ["1.5", "2"], 7, [*good[:6], 0]), "kraken", "BTC/USD", NOW)
    assert found.batches[0].array("seq").tolist() == [1]
    assert [item.where for item in found.rejected] == [
        f"trades of BTC/USD by REST, row {n}" for n in (2, 3, 4)
    ]
    received, _, refused = found.rejected[2].original.partition(b" ")
    mended = refused.replace(b'"trade_id":0', b'"trade_id":2')
    again = Parser("kraken", BOTH).feed([(int(received), mended)], str)
    assert only(again).array("price").tolist() == [1.5]


@pytest.mark.parametrize("sent", [b"", b"<html>", b"[]", b'{"error":["EQuery:Unknown asset pair"]}', b"null"])
def test_an_answer_without_trades_is_refused(sent: bytes) -> None:
    found = SPOT.parse_trades(sent, "kraken", "BTC/USD", NOW)
    assert not found.batches
    assert [item.original for item in found.rejected] == [b"%d %s" % (NOW, sent)]
    assert "Unknown asset pair" in found.rejected[0].reason or b"Unknown" not in sent


def test_an_answer_may_be_empty() -> None:
    assert SPOT.parse_trades(answer(), "kraken", "BTC/USD", NOW) == ParseResult((), (), {})
