"""What a dialect says of rows is read as those rows, from its socket and from its REST answers."""

from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.feeds.dialect import Dialect, Past
from ingest.feeds.replay_coinbase import EXCHANGE
from ingest.feeds.replay_kraken import SPOT
from ingest.feeds.venue import Stream, Wanted
from ingest.feeds.venues import VENUES
from tapehouse.batch import Batch, Strings
from tapehouse.clock import MILLISECOND, SECOND, parse_ns
from tapehouse.model import PRICE_MAX, QUOTES, SIZE_MAX, TRADES
from tapehouse.wire import pack

START = parse_ns("2024-08-08T12:00:00Z")
PRICES = st.floats(-PRICE_MAX, PRICE_MAX, width=64).filter(lambda price: price != 0)
SIZES = st.floats(0, SIZE_MAX)
both = pytest.mark.parametrize("dialect", [EXCHANGE, SPOT], ids=lambda dialect: dialect.name)


def trades(dialect: Dialect, sold: list[tuple[float, float, bool]]) -> Batch:
    rows = len(sold)
    prices, sizes, bought = zip(*sold, strict=True)
    times = START + np.arange(rows) * MILLISECOND
    conditions = "market" if dialect.name == "kraken" else None
    return Batch(
        TRADES,
        dialect.name,
        rows,
        {
            "ts_event": times,
            "ts_recv": times + SECOND,
            "symbol": Strings.constant("BTC-USD", rows),
            "seq": 100 + np.arange(rows),
            "price": np.array(prices),
            "size": np.array(sizes),
            "side": np.where(bought, np.int8(1), np.int8(-1)),
            "flags": np.zeros(rows, np.int16),
            "exchange": Strings.constant(None, rows),
            "conditions": Strings.constant(conditions, rows),
        },
    )


def read(dialect: Dialect, batch: Batch) -> bytes:
    """The rows that the venue's parser makes of the dialect's messages for a batch."""
    parser = VENUES[dialect.name].parser(dialect.name, [batch.kind.name])
    found = parser.feed([(item.at_ns, item.message) for item in dialect.render([batch])], str)
    assert not found.rejected
    return pack(found.batches[0])


@both
@given(st.lists(st.tuples(PRICES, SIZES, st.booleans()), min_size=1, max_size=5))
def test_trades_are_read_as_they_were(dialect: Dialect, sold: list[tuple[float, float, bool]]) -> None:
    assert read(dialect, trades(dialect, sold)) == pack(trades(dialect, sold))


@both
@given(PRICES, SIZES, PRICES, SIZES, st.booleans())
def test_quotes_are_read_as_they_were(
    dialect: Dialect, bid: float, bid_size: float, ask: float, ask_size: float, empty: bool
) -> None:
    batch = Batch(
        QUOTES,
        dialect.name,
        1,
        {
            "ts_event": np.array([START]),
            "ts_recv": np.array([START + SECOND]),
            "symbol": Strings.constant("BTC-USD", 1),
            "seq": np.array([0 if dialect.name == "kraken" else 7]),
            "bid": np.array([np.nan if empty else bid]),
            "bid_size": np.array([np.nan if empty else bid_size]),
            "ask": np.array([ask]),
            "ask_size": np.array([ask_size]),
            "flags": np.zeros(1, np.int16),
        },
    )
    assert read(dialect, batch) == pack(batch)


@both
def test_a_venues_commands_are_understood(dialect: Dialect) -> None:
    streams = {Stream(kind, symbol) for kind in ("trades", "quotes") for symbol in ("BTC-USD", "ETH-USD")}
    answers = [
        dialect.subscribed(command.encode()) for command in VENUES[dialect.name].commands(list(streams))
    ]
    assert {stream for found, _ in answers for stream in found} == streams
    parser = VENUES[dialect.name].parser(dialect.name, ["trades"])
    said = parser.feed([(START, message) for _, messages in answers for message in messages], str)
    assert (said.batches, said.rejected) == ((), ())


@both
@pytest.mark.parametrize("last", [107, None])
def test_missed_trades_are_answered_in_order_from_the_first_on(dialect: Dialect, last: int | None) -> None:
    venue = VENUES[dialect.name]
    past = Past()
    for item in dialect.render([trades(dialect, [(100.5 + n, 2.5, n % 2 == 0) for n in range(20)])]):
        past.remember("BTC-USD", dialect.trade_id(item.message), item.message)
    # 104 was the last one seen.
    ask = venue.ask_trades(Wanted("BTC-USD", 105, last, START + 4 * MILLISECOND), "")
    assert ask is not None
    address = urlsplit(ask.path)
    answer = dialect.answer(address.path, dict(parse_qsl(address.query)), past)
    assert answer is not None
    found = venue.trades(answer, dialect.name, "BTC-USD", START).batches[0].array("seq").tolist()
    assert found == sorted(found)
    assert set(range(105, (last or 119) + 1)) <= set(found)


@both
def test_other_paths_are_not_answered(dialect: Dialect) -> None:
    assert dialect.answer("/elsewhere", {}, Past()) is None
