import gzip
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.venues.binance.parser import MAX_PENDING, Parser
from ingest.venues.parse_result import Message, ParseResult
from tapehouse.batch import Batch
from tapehouse.clock import MICROSECOND, MILLISECOND
from tapehouse.errors import UsageError
from tapehouse.model import NULL_LONG, Flags
from tapehouse.stream.wire import pack
from tests.market_data import CAPTURES

ALL = {"trades", "quotes", "depth"}
T0 = 1_723_161_255_342
"""ms"""
NOW = T0 * MILLISECOND - 1_270_000_000

SPOT_TRADE = {"e": "trade", "E": T0 + 1, "s": "BTCUSDT", "t": 7, "p": "61837.63000000", "q": "0.02000000"} | {
    "T": T0,
    "m": True,
    "M": True,
}
FUTURES_TRADE = {"e": "trade", "E": T0, "T": T0, "s": "BTCUSDT", "t": 5266583935, "p": "61800.30"} | {
    "q": "0.006",
    "X": "MARKET",
    "m": False,
}
AGGREGATE = {"e": "aggTrade", "E": T0, "s": "BTCUSDT", "a": 99, "p": "1.5", "q": "2", "f": 1, "l": 3} | {
    "T": T0,
    "m": False,
}
SPOT_QUOTE = {"u": 11, "s": "BTCUSDT", "b": "1.5", "B": "2", "a": "1.6", "A": "3"}
FUTURES_QUOTE = {"e": "bookTicker", "T": T0, "E": T0 + 2} | SPOT_QUOTE
SPOT_DEPTH = {"e": "depthUpdate", "E": T0, "s": "BTCUSDT", "U": 10, "u": 12, "b": [["1", "2"]], "a": []}
FUTURES_DEPTH = SPOT_DEPTH | {"T": T0 - 1, "pu": 9}
SPOT_SNAPSHOT = {"lastUpdateId": 12, "bids": [["1", "2"], ["0.9", "0"]], "asks": [["1.1", "5"]]}
FUTURES_SNAPSHOT = SPOT_SNAPSHOT | {"E": T0 + 5, "T": T0 + 4}
FORMS = {
    "spot trade": SPOT_TRADE,
    "futures trade": FUTURES_TRADE,
    "aggregate trade": AGGREGATE,
    "futures quote": FUTURES_QUOTE,
    "spot depth": SPOT_DEPTH,
    "futures depth": FUTURES_DEPTH,
    "futures snapshot": FUTURES_SNAPSHOT | {"symbol": "BTCUSDT"},
}


def message(body: object, received: int = NOW) -> Message:
    return received, orjson.dumps(body)


def place(index: int) -> str:
    return f"message {index}"


def parse(*bodies: object, **options: object) -> ParseResult:
    """The rows of messages received a ms apart, in one call."""
    parser = Parser("binance", ALL, **options)  # type: ignore[arg-type]
    return whole(parser, [message(body, NOW + i * MILLISECOND) for i, body in enumerate(bodies)])


def whole(parser: Parser, messages: list[Message], cuts: list[int] | None = None) -> ParseResult:
    bounds = [0, *sorted(cuts or []), len(messages)]
    parts = []
    for start, stop in pairwise(bounds):
        parts.append(parser.feed(messages[start:stop], lambda i, start=start: place(start + i)))  # type: ignore[misc]
    parts.append(parser.finish())
    kinds: dict[str, list[Batch]] = {}
    ignored: dict[str, int] = {}
    for part in parts:
        for batch in part.batches:
            kinds.setdefault(batch.kind.name, []).append(batch)
        for what, count in part.ignored.items():
            ignored[what] = ignored.get(what, 0) + count
    rejected = tuple(item for part in parts for item in part.rejected)
    return ParseResult(tuple(Batch.concat(kinds[kind]) for kind in sorted(kinds)), rejected, ignored)


def only(parsed: ParseResult) -> Batch:
    assert not parsed.rejected
    (batch,) = parsed.batches
    return batch


def rows(batch: Batch) -> list[dict[str, object]]:
    found = []
    for index in range(batch.rows):
        row: dict[str, object] = {}
        for name, data in batch.columns.items():
            if isinstance(data, np.ndarray):
                row[name] = data[index].item()
            else:
                row[name] = data.row(index).tolist() if hasattr(data, "row") else data.to_list()[index]
        found.append(row)
    return found


def test_spot_trade() -> None:
    assert rows(only(parse(SPOT_TRADE))) == [
        {
            "ts_event": T0 * MILLISECOND,
            "ts_recv": NOW,
            "symbol": "BTCUSDT",
            "seq": 7,
            "price": 61837.63,
            "size": 0.02,
            "side": -1,
            "flags": 0,
            "exchange": None,
            "conditions": None,
            "trade_id": None,
        }
    ]


def test_single_and_combined_streams_give_the_same() -> None:
    for body in FORMS.values():
        combined = {"stream": "btcusdt@something", "data": body}
        assert rows(only(parse(body))) == rows(only(parse(combined)))


def test_a_futures_trade_off_the_book_keeps_its_id_and_stays_out_of_bars() -> None:
    off = [FUTURES_TRADE | {"X": kind, "t": i} for i, kind in enumerate(("MARKET", "INSURANCE_FUND", "ADL"))]
    nothing = FUTURES_TRADE | {"t": 3, "p": "0", "q": "0", "X": "NA"}
    batch = only(parse(*off, nothing))
    assert batch.array("seq").tolist() == [0, 1, 2, 3]
    assert batch.array("flags").tolist() == [0] + [Flags.NOT_IN_BARS] * 3
    assert batch.strings("conditions").to_list() == [None, "INSURANCE_FUND", "ADL", "NA"]


def test_futures_quote_has_the_trade_time() -> None:
    (row,) = rows(only(parse(FUTURES_QUOTE)))
    assert (row["ts_event"], row["seq"], row["bid"], row["ask_size"], row["flags"]) == (
        T0 * MILLISECOND,
        11,
        1.5,
        3.0,
        0,
    )


def test_an_empty_side_of_the_book_has_neither_price_nor_size() -> None:
    (row,) = rows(only(parse(FUTURES_QUOTE | {"b": "0.00", "B": "0.000"})))
    assert np.isnan(row["bid"])  # type: ignore[call-overload]
    assert np.isnan(row["bid_size"])  # type: ignore[call-overload]
    assert row["ask"] == 1.6


def test_spot_depth_has_no_previous_id() -> None:
    (row,) = rows(only(parse(SPOT_DEPTH)))
    assert (row["seq"], row["seq_first"], row["seq_previous"], row["snapshot"]) == (12, 10, NULL_LONG, False)
    assert (row["ts_event"], row["bid_prices"], row["ask_sizes"]) == (T0 * MILLISECOND, [1.0], [])


def test_futures_depth_has_the_previous_id_and_the_trade_time() -> None:
    (row,) = rows(only(parse(FUTURES_DEPTH)))
    assert (row["seq_previous"], row["ts_event"]) == (9, (T0 - 1) * MILLISECOND)


def test_snapshot_without_symbol_takes_the_only_one_seen() -> None:
    update, snapshot = rows(only(parse(SPOT_DEPTH, SPOT_SNAPSHOT)))
    assert update["symbol"] == snapshot["symbol"] == "BTCUSDT"
    assert (snapshot["snapshot"], snapshot["seq"], snapshot["seq_first"]) == (True, 12, NULL_LONG)
    assert snapshot["flags"] == Flags.ESTIMATED_TIME
    assert snapshot["ts_event"] == T0 * MILLISECOND + MILLISECOND


def test_snapshot_waits_for_the_first_symbol() -> None:
    batch = only(parse(FUTURES_SNAPSHOT, FUTURES_DEPTH))
    assert batch.array("snapshot").tolist() == [True, False]
    assert batch.strings("symbol").to_list() == ["BTCUSDT"] * 2
    assert batch.array("ts_event")[0] == (T0 + 4) * MILLISECOND


def test_snapshot_takes_the_symbol_it_is_told_or_that_of_its_stream() -> None:
    assert rows(only(parse(FUTURES_SNAPSHOT, symbol="ETHUSDT")))[0]["symbol"] == "ETHUSDT"
    streamed = {"stream": "bnbusdt@depth20@100ms", "data": SPOT_SNAPSHOT}
    assert rows(only(parse(SPOT_DEPTH, streamed)))[1]["symbol"] == "BNBUSDT"


def test_snapshot_of_one_of_two_symbols_is_rejected() -> None:
    parsed = parse(SPOT_DEPTH, SPOT_DEPTH | {"s": "ETHUSDT"}, SPOT_SNAPSHOT)
    (rejected,) = parsed.rejected
    assert rejected.reason == "symbol: expected one symbol before the snapshot, was BTCUSDT and ETHUSDT"
    assert rejected.where == "message 2"


def test_snapshot_of_no_symbol_is_rejected_at_the_end() -> None:
    (rejected,) = parse(FUTURES_SNAPSHOT).rejected
    assert rejected.original == b"%d %s" % message(FUTURES_SNAPSHOT)
    assert rejected.reason == "symbol: expected the snapshot of a known symbol, was without one"
    assert rejected.where == "message 0"


def test_spot_quote_is_timed_by_the_median_skew() -> None:
    skews = (-1_270_000_000, -1_260_000_000, -1_000)
    bodies = [
        message(SPOT_TRADE | {"t": i, "E": T0}, T0 * MILLISECOND + skew) for i, skew in enumerate(skews)
    ]
    quotes = [message(SPOT_QUOTE, NOW + 123)]
    parsed = whole(Parser("binance", {"quotes"}), [*bodies, *quotes])
    (row,) = rows(only(parsed))
    assert row["ts_event"] == (NOW + 123 + 1_260_000_000) // MILLISECOND * MILLISECOND
    assert row["flags"] == Flags.ESTIMATED_TIME
    assert parsed.ignored == {"trade": 3}


def test_spot_quotes_wait_for_the_first_timed_message() -> None:
    parser = Parser("binance", ALL)
    assert parser.feed([message(SPOT_QUOTE)], place).batches == ()
    assert parser.has_pending
    quotes, trades = parser.feed([message(SPOT_TRADE | {"E": T0})], place).batches
    assert (quotes.rows, trades.rows) == (1, 1)
    assert quotes.array("ts_event")[0] == T0 * MILLISECOND
    assert not parser.has_pending


def test_spot_quotes_wait_in_bounds() -> None:
    many = [message(SPOT_QUOTE | {"u": i}) for i in range(MAX_PENDING + 1)]
    parser = Parser("binance", ALL)
    assert parser.feed(many[:MAX_PENDING], place).batches == ()
    (batch,) = parser.feed(many[MAX_PENDING:], place).batches
    assert batch.array("seq").tolist() == list(range(MAX_PENDING + 1))
    assert set(batch.array("ts_event").tolist()) == {NOW // MILLISECOND * MILLISECOND}


def test_quotes_alone_have_the_receive_time() -> None:
    assert rows(only(parse(SPOT_QUOTE)))[0]["ts_event"] == NOW // MILLISECOND * MILLISECOND


def test_microseconds_are_floored_to_the_unit_of_the_venue() -> None:
    fine = SPOT_TRADE | {"T": T0 * 1000 + 999, "E": T0 * 1000 + 999}
    assert only(parse(fine)).array("ts_event")[0] == T0 * MILLISECOND
    exact = only(parse(fine, unit_ns=MICROSECOND))
    assert exact.array("ts_event")[0] == T0 * MILLISECOND + 999_000


def test_numbering_is_told_and_not_mixed() -> None:
    parser = Parser("binance", ALL)
    parsed = whole(parser, [message(SPOT_TRADE | {"p": "x"}), message(AGGREGATE), message(SPOT_TRADE)])
    assert [item.reason for item in parsed.rejected] == [
        "p: expected a decimal, was 'x'",
        "trades: expected numbering by aggregate trade id, was by trade id",
    ]
    assert parser.numbering == {"trades": "aggregate trade id"}


def test_what_was_not_asked_for_is_counted() -> None:
    parser = Parser("binance", {"trades"})
    bodies = [SPOT_QUOTE, FUTURES_QUOTE, SPOT_DEPTH, SPOT_SNAPSHOT, {"result": None, "id": 1}]
    parsed = whole(parser, [message(body) for body in (*bodies, {"e": "kline", "E": T0})])
    assert parsed == ParseResult(
        (), (), {"bookTicker": 2, "depthUpdate": 1, "snapshot": 1, "reply": 1, "kline": 1}
    )


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(UsageError, match="expected some of depth quotes trades, was bars"):
        Parser("binance", {"bars"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"t": -1}, "t: expected 0 to 9223372036854775806, was -1"),
        ({"t": 2**63}, f"t: expected 0 to 9223372036854775806, was {2**63}"),
        ({"t": 1.0}, "t: expected a whole number, was 1.0"),
        ({"t": True}, "t: expected a whole number, was True"),
        ({"t": "7"}, "t: expected a whole number, was '7'"),
        ({"p": "abc"}, "p: expected a decimal, was 'abc'"),
        ({"p": "NaN"}, "p: expected a decimal, was 'NaN'"),
        ({"p": "1_0"}, "p: expected a decimal, was '1_0'"),
        ({"p": "1,2"}, "p: expected a decimal, was '1,2'"),
        ({"p": ""}, "p: expected a decimal, was ''"),
        ({"p": " 1"}, "p: expected a decimal, was ' 1'"),
        ({"p": "1.2.3"}, "p: expected a decimal, was '1.2.3'"),
        ({"p": 1.5}, "p: expected a decimal in a string, was 1.5"),
        ({"p": "9" * 400}, "p: expected a decimal, was '" + "9" * 59 + "..."),
        ({"p": "9" * 40}, "p: expected -1e+12 to 1e+12, was '" + "9" * 40 + "'"),
        ({"q": "-1"}, "q: expected 0 to 1e+15, was '-1'"),
        ({"m": 1}, "m: expected true or false, was 1"),
        ({"s": "btcusdt"}, "s: expected a name in upper case, was 'btcusdt'"),
        ({"s": ""}, "s: expected a name in upper case, was ''"),
        ({"s": ["BTC"]}, "s: expected a name, was a list"),
        ({"T": 10**13}, "T: expected ms or us since 1970, was 10000000000000"),
        ({"T": None}, "T: expected a whole number, was None"),
        ({"E": -5}, "E: expected 0 to 9214646399999999, was -5"),
        ({"e": "trad"}, "e: expected trade, aggTrade, bookTicker, depthUpdate, was 'trad'"),
        ({"e": ["trade"]}, "e: expected trade, aggTrade, bookTicker, depthUpdate, was a list"),
        ({"X": 5}, "X: expected an order type, was 5"),
    ],
)
def test_a_malformed_trade_is_rejected_alone(change: dict[str, object], reason: str) -> None:
    bad = SPOT_TRADE | change
    good = [SPOT_TRADE | {"t": i} for i in (1, 2)]
    parsed = parse(good[0], bad, good[1])
    assert [(item.reason, item.where) for item in parsed.rejected] == [(reason, "message 1")]
    assert parsed.rejected[0].original == b"%d %s" % message(bad, NOW + MILLISECOND)
    assert parsed.batches[0].array("seq").tolist() == [1, 2]


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_key_is_named(form: str) -> None:
    for key in FORMS[form].keys() - {"M", "X", "f", "l"}:
        without = {name: value for name, value in FORMS[form].items() if name != key}
        parsed = parse(without)
        if key == "symbol":
            assert "symbol" in parsed.rejected[0].reason
        elif key == "e" and form == "futures quote":
            assert only(parsed).array("flags")[0] == Flags.ESTIMATED_TIME
        else:
            (rejected,) = parsed.rejected
            assert "expected" in rejected.reason
            assert not parsed.batches


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"null",
        b'"stream"',
        b'{"stream":"x"}',
        b'{"stream":"x","data":[1]}',
        b'{"stream":"x","data":"trade"}',
        b'{"e":"trade","s":"\xff"}',
        b'{"e":"trade","s":"\\ud800"}',
        b'{"p":NaN}',
        b"{}",
        b'{"e":null}',
        b"[" * 5000,
        b"[" * 900 + b"]" * 900,
        b'{"e":"depthUpdate","b":' + b"[" * 900 + b"]" * 900 + b"}",
    ],
)
def test_what_is_no_message_is_rejected(raw: bytes) -> None:
    parsed = Parser("binance", ALL).feed([(NOW, raw)], place)
    assert not parsed.batches
    (rejected,) = parsed.rejected
    assert rejected.original == b"%d %s" % (NOW, raw)
    assert "expected" in rejected.reason


@pytest.mark.parametrize(
    "levels",
    [
        5,
        None,
        "12",
        [5],
        ["12"],
        [["1"]],
        [["1", "2", "3"], ["1"]],
        [["1", 2]],
        [["1", None]],
        [[["1"], "2"]],
        {"1": "2"},
        [{"1": 1, "2": 2}],
        [["1", "-1"]],
        [["", "2"]],
        [["1", "2,3"]],
        [["1,2", ""]],
        [["9" * 14, "1"]],
    ],
)
def test_levels_of_another_shape_are_rejected(levels: object) -> None:
    for form, key in ((SPOT_DEPTH, "b"), (FUTURES_DEPTH, "a"), (FORMS["futures snapshot"], "bids")):
        parsed = parse(form, form | {key: levels}, form)
        (rejected,) = parsed.rejected
        assert "expected" in rejected.reason
        assert parsed.batches[0].rows == 2


def capture(path: Path) -> list[Message]:
    with gzip.open(path) as lines:
        return [(int(line[:19]), line[20:-1]) for line in lines]


def captures() -> list[Path]:
    return sorted(CAPTURES.glob("*.gz"))


needs_captures = pytest.mark.skipif(
    not CAPTURES.is_dir(), reason="needs real captures in ../shared/data/binance_raw_2024"
)


@needs_captures
@pytest.mark.parametrize("path", captures(), ids=lambda path: path.name)
def test_every_message_of_a_real_capture_is_a_row(path: Path) -> None:
    messages = capture(path)
    parser = Parser("binance", ALL)
    parsed = whole(parser, messages, list(range(0, len(messages), 8192)))
    assert not parsed.rejected
    assert not parsed.ignored
    assert sum(batch.rows for batch in parsed.batches) == len(messages)
    depth, quotes, trades = parsed.batches
    assert (np.diff(trades.array("seq")) == 1).all()
    assert (np.diff(quotes.array("seq")) > 0).all()
    updates = depth.take(~depth.array("snapshot"))
    assert (np.diff(updates.array("seq")) > 0).all()
    if path.name.startswith("spot"):
        contiguous = updates.array("seq_first")[1:] == updates.array("seq")[:-1] + 1
    else:
        contiguous = updates.array("seq_previous")[1:] == updates.array("seq")[:-1]
    assert contiguous.all()
    for batch in parsed.batches:
        ahead = batch.array("ts_event") - batch.array("ts_recv")
        assert 1_250_000_000 < np.median(ahead) < 1_280_000_000
        assert (batch.array("ts_event") % MILLISECOND == 0).all()


@needs_captures
def test_the_real_captures_hold_what_is_known_of_them() -> None:
    counts: dict[str, int] = {}
    for path in captures():
        for batch in whole(Parser("binance", ALL), capture(path)).batches:
            counts[batch.kind.name] = counts.get(batch.kind.name, 0) + batch.rows
            if batch.kind.name == "depth":
                counts["snapshots"] = counts.get("snapshots", 0) + int(batch.array("snapshot").sum())
    assert counts == {"trades": 73_957, "quotes": 290_900, "depth": 69_200, "snapshots": 5}


@needs_captures
def test_real_decimals_are_the_nearest_doubles() -> None:
    messages = [item for item in capture(captures()[2]) if b"@trade" in item[1]]
    (batch,) = whole(Parser("binance", {"trades"}), messages).batches
    assert batch.array("price").tolist() == [float(orjson.loads(raw)["data"]["p"]) for _, raw in messages]


@given(st.lists(st.decimals(-(10**11), 10**11, allow_nan=False, places=8), min_size=1, max_size=20))
@settings(deadline=None)
def test_any_decimal_is_the_nearest_double(prices: list[object]) -> None:
    batch = only(parse(*(SPOT_TRADE | {"t": i, "p": f"{price:f}"} for i, price in enumerate(prices))))
    assert batch.array("price").tolist() == [float(f"{price:f}") for price in prices]


POOL = [
    SPOT_TRADE,
    FUTURES_TRADE,
    AGGREGATE,
    SPOT_QUOTE,
    FUTURES_QUOTE,
    SPOT_DEPTH,
    FUTURES_DEPTH,
    SPOT_SNAPSHOT,
    FUTURES_SNAPSHOT,
    {"e": "kline"},
    {"result": None, "id": 1},
    {"e": "trade"},
    [],
    SPOT_TRADE | {"s": "ETHUSDT", "E": T0 - 40},
    SPOT_TRADE | {"q": "x", "E": T0 + 40},
]


@given(
    st.lists(st.tuples(st.sampled_from(POOL), st.integers(0, 10**9)), max_size=30),
    st.lists(st.integers(0, 30), max_size=6),
    st.sets(st.sampled_from(sorted(ALL)), min_size=1),
)
@settings(deadline=None)
def test_cuts_change_nothing(bodies: list[tuple[object, int]], cuts: list[int], kinds: set[str]) -> None:
    messages = [message(body, NOW + later) for body, later in bodies]
    one = whole(Parser("binance", kinds), messages)
    many = whole(Parser("binance", kinds), messages, [min(cut, len(messages)) for cut in cuts])
    assert [pack(batch) for batch in one.batches] == [pack(batch) for batch in many.batches]
    assert sorted(map(str, one.rejected)) == sorted(map(str, many.rejected))
    assert one.ignored == many.ignored
