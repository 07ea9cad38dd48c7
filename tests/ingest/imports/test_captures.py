import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.files import lines as line_reader
from ingest.files.reader import Chunk
from ingest.imports.captures import open_capture
from tapehouse.batch import Batch
from tapehouse.clock import MILLISECOND
from tapehouse.errors import SourceError, UsageError
from tapehouse.model import QUOTES, TRADES
from tapehouse.stream.wire import pack
from tests.market_data import CAPTURES

ALL = ("trades", "quotes", "depth")
T0 = 1_723_161_255_342
NOW = T0 * 10**6 - 1_270_000_000


def trade(number: int) -> bytes:
    return b'{"e":"trade","E":%d,"s":"BTCUSDT","t":%d,"p":"61837.63","q":"0.02","T":%d,"m":true,"M":true}' % (
        T0 + number,
        number,
        T0 + number,
    )


def quote(number: int) -> bytes:
    return b'{"u":%d,"s":"BTCUSDT","b":"1.5","B":"2","a":"1.6","A":"3"}' % number


def line(number: int, message: bytes) -> bytes:
    return b"%d %b\n" % (NOW + number * 10**6, message)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def merged(chunks: Iterable[Chunk]) -> dict[str, Batch]:
    found: dict[str, list[Batch]] = {}
    for chunk in chunks:
        for batch in chunk.batches:
            found.setdefault(batch.kind.name, []).append(batch)
    return {kind: Batch.concat(batches) for kind, batches in found.items()}


def packed(chunks: Iterable[Chunk]) -> dict[str, bytes]:
    return {kind: pack(batch) for kind, batch in merged(chunks).items()}


@pytest.fixture(params=["ticks.txt", "ticks.gz"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def test_lines_are_rows_with_the_time_received(path: Path) -> None:
    write(path, line(0, trade(1)) + line(1, quote(2)) + line(2, b'{"result":null,"id":1}'))
    with open_capture(path, "binance", ALL) as source:
        (chunk,) = source.chunks()
    quotes, trades = chunk.batches
    assert trades.array("ts_recv").tolist() == [NOW]
    assert quotes.array("ts_recv").tolist() == [NOW + 10**6]
    assert (chunk.rows_read, chunk.fraction, chunk.rejected) == (3, 1.0, ())
    assert source.ignored == {"reply": 1}
    assert source.numbering(TRADES) == "trade id"
    assert source.numbering(QUOTES) == "update id"


def test_notes_tell_what_is_in_it(tmp_path: Path) -> None:
    path = write(tmp_path / "ticks.txt", line(0, trade(1)) + line(1, quote(2)))
    assert open_capture(path, "binance", ["quotes", "depth"]).notes == (
        "a capture of Binance: quotes, trades in its first lines",
        "quotes: without the venue's time, estimated from the time received",
        "trades: not requested, ignored",
        "depth: none in the first lines",
    )


def test_broken_lines_are_rejected_as_they_came(path: Path) -> None:
    bad = [trade(1), b"17 ", b"x " + trade(1), b"9" * 19 + b" " + trade(1), b"5 {", b"9" * 20 + b" {}"]
    write(path, line(0, trade(1)) + b"\n" + b"\n".join(bad) + b"\r\n" + line(1, trade(2)))
    with open_capture(path, "binance", ALL) as source:
        (chunk,) = source.chunks()
    assert [item.original for item in chunk.rejected] == bad
    assert [item.where for item in chunk.rejected] == [f"{path.name} line {n}" for n in range(3, 9)]
    assert all("expected" in item.reason for item in chunk.rejected)
    assert chunk.batches[0].array("seq").tolist() == [1, 2]
    assert chunk.rows_read == 8


def test_a_last_line_without_its_end_is_read(path: Path) -> None:
    write(path, (line(0, trade(1)) + line(1, trade(2)))[:-1])
    with open_capture(path, "binance", ALL) as source:
        assert merged(source.chunks())["trades"].rows == 2


def test_a_cut_gzip_gives_what_is_before_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "ticks.gz"
    packed_whole = gzip.compress(b"".join(line(n, trade(n)) for n in range(10_000)))
    path.write_bytes(packed_whole[: len(packed_whole) // 2])
    found: list[Chunk] = []
    chunks = open_capture(path, "binance", ALL).chunks()
    with pytest.raises(SourceError, match="cut"):
        found.extend(chunks)
    assert merged(found)["trades"].rows > 1_000


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="expected a capture"):
        open_capture(write(tmp_path / "a.csv", b"ts,price\n1,2\n"), "binance", ALL)
    with pytest.raises(SourceError, match="expected messages of Binance"):
        open_capture(write(tmp_path / "b.txt", line(0, b'{"op":"hello"}')), "binance", ALL)


def test_identity_names_content_and_reading(tmp_path: Path) -> None:
    content = line(0, trade(1))
    one = open_capture(write(tmp_path / "a.txt", content), "binance", ALL)
    assert open_capture(write(tmp_path / "b.txt", content), "binance", ALL).identity == one.identity
    assert open_capture(tmp_path / "b.txt", "binance", ["trades"]).identity != one.identity
    assert open_capture(write(tmp_path / "c.txt", content * 2), "binance", ALL).identity != one.identity


MESSAGES = st.one_of(
    st.integers(0, 100).map(trade),
    st.integers(0, 100).map(quote),
    st.sampled_from(
        (
            b'{"lastUpdateId":5,"bids":[["1","2"]],"asks":[]}',
            b'{"lastUpdateId":6,"E":1723161255345,"T":1723161255345,"bids":[["1","2"]],"asks":[]}',
            b'{"e":"kline"}',
            b'{"e":"trade"}',
            b"{",
        )
    ),
)


@given(st.lists(MESSAGES, min_size=1, max_size=60), st.integers(1, 7))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_reading_again_from_any_position_gives_what_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[bytes], size: int
) -> None:
    content = line(0, trade(0)) + b"".join(line(n, message) for n, message in enumerate(messages))
    # A first line that tells no time, so that quotes have to wait across chunks.
    path = write(
        tmp_path / "ticks.txt", line(0, quote(0)) + content[len(line(0, trade(0))) :] + line(99, trade(7))
    )
    whole = packed(open_capture(path, "binance", ALL).chunks())
    with monkeypatch.context() as patch:
        patch.setattr(line_reader, "BLOCK_LINES", size)
        source = open_capture(path, "binance", ALL)
        chunks = list(source.chunks())
        ignored = source.ignored
        assert packed(chunks) == whole
        for index, chunk in enumerate(chunks):
            again = open_capture(path, "binance", ALL)
            rest = list(again.chunks(json.loads(json.dumps(chunk.position))))
            assert [packed([one]) for one in rest] == [packed([one]) for one in chunks[index + 1 :]]
            assert [one.rejected for one in rest] == [one.rejected for one in chunks[index + 1 :]]
            assert [one.position for one in rest] == [one.position for one in chunks[index + 1 :]]
            assert again.ignored == ignored


MATCH = (
    b'{"type":"match","trade_id":%d,"side":"sell","size":"0.5","price":"61837.63","product_id":"BTC-USD",'
    b'"sequence":7,"time":"2024-08-08T23:54:15.342123Z"}'
)
TICKER = (
    b'{"type":"ticker","sequence":%d,"product_id":"BTC-USD","best_bid":"1.5","best_bid_size":"2",'
    b'"best_ask":"1.6","best_ask_size":"3","time":"2024-08-08T23:54:15.342123Z"}'
)
TAKEN = (
    b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":61837.63,"qty":0.5,'
    b'"ord_type":"limit","trade_id":%d,"timestamp":"2024-08-08T23:54:15.342123Z"}]}'
)
BEST = (
    b'{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":1.5,"bid_qty":%d,"ask":1.6,'
    b'"ask_qty":3.0}]}'
)
OTHERS = {"Coinbase": (MATCH, TICKER, "sequence"), "Kraken": (TAKEN, BEST, "time")}


@pytest.mark.parametrize("title", OTHERS)
def test_the_protocol_is_told_by_the_first_lines(title: str, path: Path) -> None:
    trades, quotes, numbering = OTHERS[title]
    bad = trades.replace(b"%d", b"1.5")
    write(path, line(0, b"{}") + line(1, trades % 8) + line(2, quotes % 9) + line(3, bad))
    with open_capture(path, "elsewhere", ALL) as source:
        (chunk,) = source.chunks()
    assert source.notes[0] == f"a capture of {title}: quotes, trades in its first lines"
    assert {batch.kind.name: batch.rows for batch in chunk.batches} == {"quotes": 1, "trades": 1}
    assert [item.original + b"\n" for item in chunk.rejected] == [line(0, b"{}"), line(3, bad)]
    assert (source.numbering(TRADES), source.numbering(QUOTES)) == ("trade id", numbering)


@pytest.mark.parametrize("title", OTHERS)
def test_a_refused_line_is_read_again_by_its_own_protocol(title: str, tmp_path: Path) -> None:
    trades, _, _ = OTHERS[title]
    source = open_capture(write(tmp_path / "all.txt", line(0, trades % 8)), "elsewhere", ALL)
    how = source.reader
    again = write(tmp_path / "refused.txt", line(3, trades.replace(b"%d", b"1.5")))
    with pytest.raises(
        SourceError, match=f"expected messages of {title} .*trade_id: expected a whole number"
    ):
        open_capture(again, "elsewhere", how["kinds"], how["symbol"], how["unit_ns"], how["protocol"])
    write(again, line(3, trades % 9))
    mended = open_capture(again, "elsewhere", how["kinds"], how["symbol"], how["unit_ns"], how["protocol"])
    assert merged(mended.chunks())["trades"].array("seq").tolist() == [9]


@pytest.mark.parametrize("title", OTHERS)
def test_kinds_that_a_venue_does_not_offer_are_refused_when_asked_for_alone(
    title: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "all.txt", line(0, OTHERS[title][0] % 8))
    with pytest.raises(UsageError, match="expected some of trades quotes, was depth"):
        open_capture(path, "elsewhere", ["depth"])


@pytest.mark.parametrize("title", OTHERS)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 20)), min_size=1, max_size=40), st.integers(1, 7))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_other_protocols_go_on_from_any_position(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[tuple[bool, int]], size: int
) -> None:
    trades, quotes, _ = OTHERS[title]
    messages = [(trades if is_trade else quotes) % number for is_trade, number in rows]
    path = write(tmp_path / "ticks.txt", b"".join(line(n, one) for n, one in enumerate(messages)))
    whole = packed(open_capture(path, "elsewhere", ALL).chunks())
    with monkeypatch.context() as patch:
        patch.setattr(line_reader, "BLOCK_LINES", size)
        chunks = list(open_capture(path, "elsewhere", ALL).chunks())
        assert packed(chunks) == whole
        for index, chunk in enumerate(chunks):
            rest = list(open_capture(path, "elsewhere", ALL).chunks(json.loads(json.dumps(chunk.position))))
            assert [packed([one]) for one in rest] == [packed([one]) for one in chunks[index + 1 :]]


def captures() -> list[Path]:
    return sorted(CAPTURES.glob("*.gz"))


needs_captures = pytest.mark.skipif(
    not CAPTURES.is_dir(), reason="needs real captures in ../shared/data/binance_raw_2024"
)


@needs_captures
def test_every_line_of_a_real_capture_is_accounted_for() -> None:
    path = CAPTURES / "usdm_btcusdt_20240808.gz"
    with open_capture(path, "binance-usdm", ALL) as source:
        chunks = list(source.chunks())
    assert max(sum(batch.rows for batch in chunk.batches) for chunk in chunks) <= 50_000
    assert chunks[-1].rows_read == 93_954
    assert {kind: batch.rows for kind, batch in merged(chunks).items()} == {
        "depth": 6_552,
        "quotes": 66_089,
        "trades": 21_313,
    }
    assert not any(chunk.rejected for chunk in chunks)
    assert not source.ignored


@needs_captures
def test_a_real_capture_read_on_from_each_position() -> None:
    path = CAPTURES / "spot_btcusdt_20240808.gz"
    chunks = list(open_capture(path, "binance", ALL).chunks())
    assert len(chunks) > 2
    for index in range(0, len(chunks), 2):
        rest = list(open_capture(path, "binance", ALL).chunks(json.loads(json.dumps(chunks[index].position))))
        assert packed(rest) == packed(chunks[index + 1 :])


@needs_captures
@pytest.mark.parametrize("path", captures(), ids=lambda path: path.name)
def test_takers_trade_at_the_side_of_the_book_they_take(path: Path) -> None:
    """Nearly always. Quotes and trades overtake each other, on spot by some ms: the quote looked at is older."""
    rows = merged(open_capture(path, "binance", ["trades", "quotes"]).chunks())
    trades, quotes = rows["trades"], rows["quotes"]
    before = trades.array("ts_recv") - 50 * MILLISECOND
    at = np.searchsorted(quotes.array("ts_recv"), before) - 1
    side, price = trades.array("side")[at >= 0], trades.array("price")[at >= 0]
    middle = (quotes.array("bid") + quotes.array("ask"))[at[at >= 0]] / 2
    agree = np.sign(price - middle) == side
    assert agree.mean() > 0.9
    assert set(side.tolist()) == {-1, 1}


def test_krakens_first_version_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "kraken.txt"
    path.write_text(
        '1695632672001000000 {"event":"systemStatus"}\n'
        '1695632672002000000 [337,[["26243.9","0.1","1695632671.1","b","l",""]],"trade","XBT/USD"]\n'
    )
    with pytest.raises(SourceError, match="version 1"):
        open_capture(path, "kraken", {"trades"})
