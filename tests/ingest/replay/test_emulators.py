"""Rows encoded by an emulator are parsed as the same rows, from its socket and its REST responses."""

from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.replay.coinbase import EXCHANGE
from ingest.replay.emulator import VenueEmulator, VenueHistory
from ingest.replay.kraken import SPOT
from ingest.venues.registry import VENUES
from ingest.venues.venue import MissingTrades, VenueStream
from tapehouse.batch import Batch, Strings
from tapehouse.clock import MILLISECOND, SECOND, parse_ns
from tapehouse.model import PRICE_MAX, QUOTES, SIZE_MAX, TRADES
from tapehouse.stream.wire import pack

START = parse_ns("2024-08-08T12:00:00Z")
PRICES = st.floats(-PRICE_MAX, PRICE_MAX, width=64).filter(lambda price: price != 0)
SIZES = st.floats(0, SIZE_MAX)
both = pytest.mark.parametrize("emulator", [EXCHANGE, SPOT], ids=lambda emulator: emulator.name)


def trades(emulator: VenueEmulator, sold: list[tuple[float, float, bool]]) -> Batch:
    rows = len(sold)
    prices, sizes, bought = zip(*sold, strict=True)
    times = START + np.arange(rows) * MILLISECOND
    conditions = "market" if emulator.name == "kraken" else None
    return Batch(
        TRADES,
        emulator.name,
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


def read(emulator: VenueEmulator, batch: Batch) -> bytes:
    """A batch as the venue's parser reads it from the emulator's messages."""
    parser = VENUES[emulator.name].parser(emulator.name, [batch.kind.name])
    found = parser.feed([(item.at_ns, item.message) for item in emulator.encode([batch])], str)
    assert not found.rejected
    return pack(found.batches[0])


@both
@given(st.lists(st.tuples(PRICES, SIZES, st.booleans()), min_size=1, max_size=5))
def test_trades_are_read_as_they_were(emulator: VenueEmulator, sold: list[tuple[float, float, bool]]) -> None:
    assert read(emulator, trades(emulator, sold)) == pack(trades(emulator, sold))


@both
@given(PRICES, SIZES, PRICES, SIZES, st.booleans())
def test_quotes_are_read_as_they_were(
    emulator: VenueEmulator, bid: float, bid_size: float, ask: float, ask_size: float, empty: bool
) -> None:
    batch = Batch(
        QUOTES,
        emulator.name,
        1,
        {
            "ts_event": np.array([START]),
            "ts_recv": np.array([START + SECOND]),
            "symbol": Strings.constant("BTC-USD", 1),
            "seq": np.array([0 if emulator.name == "kraken" else 7]),
            "bid": np.array([np.nan if empty else bid]),
            "bid_size": np.array([np.nan if empty else bid_size]),
            "ask": np.array([ask]),
            "ask_size": np.array([ask_size]),
            "flags": np.zeros(1, np.int16),
        },
    )
    assert read(emulator, batch) == pack(batch)


@both
def test_a_venues_commands_are_understood(emulator: VenueEmulator) -> None:
    streams = {
        VenueStream(kind, symbol) for kind in ("trades", "quotes") for symbol in ("BTC-USD", "ETH-USD")
    }
    answers = [
        emulator.handle_command(command.encode()) for command in VENUES[emulator.name].commands(list(streams))
    ]
    assert {stream for found, _ in answers for stream in found} == streams
    parser = VENUES[emulator.name].parser(emulator.name, ["trades"])
    said = parser.feed([(START, message) for _, messages in answers for message in messages], str)
    assert (said.batches, said.rejected) == ((), ())


@both
@pytest.mark.parametrize("last", [107, None])
def test_missed_trades_are_answered_in_order_from_the_first_on(
    emulator: VenueEmulator, last: int | None
) -> None:
    venue = VENUES[emulator.name]
    history = VenueHistory()
    for item in emulator.encode([trades(emulator, [(100.5 + n, 2.5, n % 2 == 0) for n in range(20)])]):
        history.add_trade("BTC-USD", emulator.trade_id(item.message), item.message)
    # 104 was the last one seen.
    ask = venue.trades_request(MissingTrades("BTC-USD", 105, last, START + 4 * MILLISECOND), "")
    assert ask is not None
    address = urlsplit(ask.path)
    answer = emulator.rest_response(address.path, dict(parse_qsl(address.query)), history)
    assert answer is not None
    found = venue.parse_trades(answer, emulator.name, "BTC-USD", START).batches[0].array("seq").tolist()
    assert found == sorted(found)
    assert set(range(105, (last or 119) + 1)) <= set(found)


@both
def test_other_paths_are_not_answered(emulator: VenueEmulator) -> None:
    assert emulator.rest_response("/elsewhere", {}, VenueHistory()) is None
