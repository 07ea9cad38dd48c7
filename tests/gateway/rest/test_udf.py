"""TradingView's UDF before the real stores, read as TradingView's own client reads it, in its order."""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapehouse
from analytics.mirror.cold_store import ColdStore
from gateway.rest.udf.resolutions import RESOLUTIONS
from ingest.writer.store import QuestDBWriter
from tapehouse.batch import Batch, Strings
from tapehouse.client.database import Database
from tapehouse.clock import DAY, HOUR, INTERVALS, MINUTE, SECOND, now_ns, parse_ns
from tapehouse.errors import ConnectError
from tapehouse.model import GAPS, NULL_LONG, QUOTES, TRADES
from tapehouse.settings import ClickHouse
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stores.questdb import QuestReader
from tapehouse.tabular import as_frame
from tests.batches import batch
from tests.conftest import Platform
from tests.gateway.rest.udf_client import Bar, Pulse, UdfClient, UdfError
from tests.gateway.serving import Client, gateway
from tests.waiting import DEADLINE_S

_COLD, _HOT = parse_ns("1975-04-02"), parse_ns("2031-03-03")
_ROWS = 400
_FIRST_S, _END_S = 0, 2_000_000_000
_GAP = _HOT + 10 * MINUTE


@dataclass(frozen=True)
class World:
    """A gateway, and the venues in its stores: two with the symbol S, and Q of one, which trades rarely."""

    client: Client
    db: Database
    venue: str
    other: str
    now: int
    """The start of the minute in which Q was traded last, ns."""

    def chart(self) -> UdfClient:
        udf = UdfClient(self.client)
        udf.ready()
        return udf


@pytest.fixture(scope="module")
def world(provisioned: Platform, shared_cold: ClickHouse) -> Iterator[World]:
    venue, other = (f"u{secrets.token_hex(4)}" for _ in range(2))
    connections = provisioned.settings.model_copy(update={"clickhouse": shared_cold})
    now = now_ns() // MINUTE * MINUTE
    chance = np.random.default_rng(7)
    times = np.sort(chance.integers(0, 40 * MINUTE, _ROWS))
    prices, sizes = chance.integers(1, 1_000, _ROWS) / 8, chance.integers(0, 100, _ROWS) / 4
    _put_cold(shared_cold, _trades(venue, "S", _COLD + times, prices, sizes))
    writer = QuestDBWriter(connections.questdb)
    quiet = [now - 40 * DAY, now, now + 5 * SECOND]
    hot = [
        _trades(venue, "S", _HOT + times, prices, sizes),
        _trades(other, "S", [_HOT, _HOT + MINUTE], [0.1 + 0.2, 123456.12345], [1.0, 2.0]),
        _trades(venue, "Q", quiet, [10.0, 12.0, 11.5], [1.0, 1.0, 2.0]),
        _gaps(venue),
        _quotes(venue, now),
    ]
    with QuestReader(connections.questdb) as reader:
        for one in hot:
            assert writer.commit([one]) == []
            reader.wait_applied(one.kind.name)
    writer.close()
    with gateway(connections) as client:
        _until_ready(client)
        with tapehouse.connect(client.url) as db:
            yield World(client, db, venue, other, now)


def _trades(
    venue: str, symbol: str, times: Sequence[int], prices: Sequence[float], sizes: Sequence[float]
) -> Batch:
    rows = len(times)
    own = {
        "ts_event": np.array(times, np.int64),
        "symbol": Strings.constant(symbol, rows),
        "seq": np.arange(rows) + 1,
        "price": np.array(prices, np.float64),
        "size": np.array(sizes, np.float64),
        "flags": np.zeros(rows, np.int16),
    }
    return Batch(TRADES, venue, rows, {**batch(TRADES, rows, 7, venue=venue).columns, **own})


def _gaps(venue: str) -> Batch:
    """Of trades one open and one closed, of quotes one; the last begins where there is no bar any more."""
    times = np.array([_GAP, _GAP + SECOND, _HOT + 5 * HOUR], np.int64)
    own = {
        "ts_event": times,
        "ts_recv": times + MINUTE,
        "symbol": Strings.constant("S", 3),
        "seq": np.array([5, 9, 20]),
        "kind": Strings.of(["trades", "trades", "quotes"]),
        "ts_end": times + SECOND,
        "seq_last": np.array([7, 9, 30]),
        "missing": np.array([3, 1, NULL_LONG]),
        "closed": np.array([False, True, False]),
        "reason": Strings.of(["disconnected", None, None]),
    }
    return Batch(GAPS, venue, 3, own)


def _quotes(venue: str, now: int) -> Batch:
    own = {
        "ts_event": np.array([now // DAY * DAY + DAY], np.int64),
        "symbol": Strings.constant("Q", 1),
        "bid": np.array([11.25]),
        "ask": np.array([11.75]),
        "bid_size": np.array([1.0]),
        "ask_size": np.array([1.0]),
    }
    return Batch(QUOTES, venue, 1, {**batch(QUOTES, 1, 7, venue=venue).columns, **own})


def _put_cold(connection: ClickHouse, rows: Batch) -> None:
    body = io.BytesIO()
    as_frame(rows).write_parquet(body)
    importer, ledger = ColdStore(connection), ClickHouseClient(connection)
    importer.insert(TRADES, "trades", body.getvalue())
    ledger.command(
        "INSERT INTO ledger (kind, day, owner, rows, fingerprint, marks, proven, revision) "
        f"VALUES ('trades', '1975-04-02', 'cold', {rows.rows}, 'f', '{{}}', 1, 1)"
    )
    importer.close()
    ledger.close()


def _until_ready(client: Client) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while (answer := client.get("/readyz")).status != 200:
        if time.monotonic() > deadline:
            raise ConnectError(f"the gateway was not ready in time: {answer.data!r}")
        time.sleep(0.05)


def _bars(frame: pl.DataFrame) -> list[Bar]:
    """Bars of the Python client as the library has them."""
    columns = ("open", "high", "low", "close", "volume")
    times = (frame["ts"].to_physical() // 1_000_000).to_list()
    return [Bar(at, *row) for at, row in zip(times, frame.select(columns).iter_rows(), strict=True)]


def test_a_chart_opens_finds_a_symbol_and_loads_its_whole_past_page_by_page(world: World) -> None:
    udf = UdfClient(world.client)
    configuration = udf.ready()
    assert configuration["supported_resolutions"] == list(RESOLUTIONS)
    assert {"", world.venue, world.other} <= {one["value"] for one in configuration["exchanges"]}
    assert abs(udf.server_time() - time.time()) < DEADLINE_S
    found = [one for one in udf.search("s", world.venue) if one["symbol"] == "S"]
    assert [one["full_name"] for one in found] == [f"{world.venue}:S"]
    info = udf.resolve(found[0]["ticker"])
    expected = _bars(world.db.bars("S", "1m", "1975-01-01", "2032-01-01", venue=world.venue))
    loaded: list[Bar] = []
    end, first = _END_S, True
    while (page := udf.bars(info, "1", end - 7 * 60, end, countback=7, firstDataRequest=first)).bars:
        assert len(page.bars) <= 7
        loaded = page.bars + loaded
        end, first = loaded[0].time // 1000, False
    assert (page.no_data, page.next_time) == (True, None)
    assert loaded == expected
    # Of the day in ClickHouse and of the one in QuestDB.
    assert {bar.time // 1000 // 86_400 for bar in loaded} == {_COLD // DAY, _HOT // DAY}


def test_one_answer_crosses_from_the_cold_to_the_hot_store(world: World) -> None:
    udf = world.chart()
    info = udf.resolve(f"{world.venue}:S")
    end = _HOT // SECOND + 120
    crossing = udf.bars(info, "1", end - 600, end, countback=10).bars
    days = [bar.time // 1000 // 86_400 for bar in crossing]
    assert (len(days), {*days}) == (10, {_COLD // DAY, _HOT // DAY})
    assert crossing == _bars(world.db.bars("S", "1m", end="2031-03-03T00:02:00Z", last=10, venue=world.venue))
    daily = udf.bars(info, "1D", _FIRST_S, _END_S).bars
    assert [bar.time // 1000 for bar in daily] == [_COLD // SECOND, _HOT // SECOND]


def test_days_weeks_and_months_start_at_midnight_utc(world: World) -> None:
    udf = world.chart()
    info = udf.resolve(f"{world.venue}:S")
    assert (info["session"], info["timezone"]) == ("24x7", "Etc/UTC")
    for resolution, start in {"1D": "2031-03-03", "1W": "2031-03-03", "1M": "2031-03-01"}.items():
        last = udf.bars(info, resolution, _FIRST_S, _END_S, countback=1).bars
        assert [bar.time // 1000 for bar in last] == [parse_ns(start) // SECOND]
        # As older versions of the library write it.
        assert udf.bars(info, resolution[1:], _FIRST_S, _END_S, countback=1).bars == last


def test_an_empty_span_says_where_the_last_bar_before_it_is(world: World) -> None:
    udf = world.chart()
    info = udf.resolve(f"{world.venue}:S")
    last = udf.bars(info, "5", _FIRST_S, _COLD // SECOND + 86_400).bars[-1]
    between = parse_ns("2000-01-01") // SECOND
    assert udf.bars(info, "5", between, between + 86_400) == ([], True, last.time // 1000)
    assert udf.bars(info, "5", between, between) == ([], True, last.time // 1000)
    # There is nothing before the first bar, and no need for the time where bars of before are sent.
    assert udf.bars(info, "5", -5_000, 5_000) == ([], True, None)
    assert udf.bars(info, "5", -5_000, -4_000, countback=3) == ([], True, None)
    assert udf.bars(info, "5", between, between + 86_400, countback=1).bars == [last]


def test_a_chart_that_polls_gets_two_bars_of_a_quiet_market(world: World) -> None:
    udf = world.chart()
    info = udf.resolve(f"{world.venue}:Q")
    now = world.now // SECOND
    for resolution in RESOLUTIONS:
        polled = udf.bars(info, resolution, now - 60, now + 9, countback=2, firstDataRequest=False).bars
        stored = world.db.bars("Q", RESOLUTIONS[resolution], last=2, venue=world.venue)
        assert polled == _bars(stored), resolution
        assert len(polled) == 2


def test_a_chart_that_polls_is_given_the_end_of_the_bar_before_the_new_one(world: World) -> None:
    udf = world.chart()
    info = udf.resolve(f"{world.venue}:Q")
    pulse = Pulse(udf, info, "15S")
    now = world.now // SECOND
    assert [bar.close for bar in pulse.poll(now - 60)] == [10.0]
    # Between the two are forty days, more than the client's ten periods.
    assert [bar.close for bar in pulse.poll(now + 10)] == [10.0, 11.5]
    assert [bar.close for bar in pulse.poll(now + 10)] == [11.5]


def test_the_bar_of_now_is_sent_though_it_is_still_open(world: World) -> None:
    udf = world.chart()
    info = udf.resolve(f"{world.venue}:Q")
    last = udf.bars(info, "1M", _FIRST_S, world.now // SECOND + 1, countback=1).bars[0]
    assert last.time // 1000 == INTERVALS["1M"].start_of(world.now) // SECOND
    stored = world.db.bars("Q", "1M", last=1, venue=world.venue)
    assert not stored["final"][0]
    assert [last] == _bars(stored)


def test_prices_and_volumes_are_shown_with_the_decimals_that_they_have(world: World) -> None:
    udf = world.chart()
    info = udf.resolve(f"{world.venue}:S")
    assert (info["minmov"], info["pricescale"], info["volume_precision"]) == (1, 1_000, 2)
    # 0.1 + 0.2 is written 0.30000000000000004.
    assert udf.resolve(f"{world.other}:S")["pricescale"] == 100_000
    assert info["intraday_multipliers"] == ["1", "3", "5", "15", "30", "60", "240"]
    assert info["seconds_multipliers"] == ["15", "30"]


def test_a_symbol_of_two_venues_is_named_with_its_venue_and_any_other_by_itself(world: World) -> None:
    udf = world.chart()
    assert udf.resolve(f"{world.other.upper()}:s")["ticker"] == f"{world.other}:S"
    both = {one["full_name"] for one in udf.search("S")} | {
        one["full_name"] for one in udf.search(world.other)
    }
    assert f"{world.other}:S" in both
    with pytest.raises(UdfError, match=r"^unknown_symbol S: expected one of .*:S .*:S"):
        udf.resolve("S")
    assert udf.search("s", kind="stock") == []


@pytest.mark.parametrize("name", ["nowhere:S", "NOTHING", ":", "S:", "ä☃\u202e", "'; DROP TABLE trades; --"])
def test_an_unknown_symbol_is_an_error_that_the_client_reads(world: World, name: str) -> None:
    udf = world.chart()
    with pytest.raises(UdfError, match=r"^unknown_symbol "):
        udf.resolve(name)
    with pytest.raises(UdfError, match=r"^unknown_symbol "):
        udf.bars({"ticker": name}, "1", 0, 1)
    for path in ("marks", "timescale_marks"):
        found = udf.send(path, symbol=name, resolution="1", **{"from": 0, "to": 1})
        assert (found["s"], found["errmsg"][:15]) == ("error", "unknown_symbol ")
    assert udf.quotes(name, f"{world.venue}:Q").keys() == {f"{world.venue}:Q"}


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"resolution": "7"}, "resolution: expected one of 15S 30S"),
        ({"from": 9, "to": 5}, "to: expected a time after from, 9, was 5"),
        ({"from": "x"}, "from: expected"),
        ({"to": "1e9"}, "to: expected"),
        ({"countback": 0}, "countback: expected"),
    ],
)
def test_a_request_that_cannot_be_answered_is_an_error_that_names_the_parameter(
    world: World, more: dict[str, object], named: str
) -> None:
    asked = {"symbol": f"{world.venue}:S", "resolution": "1", "from": 0, "to": 1} | more
    found = world.chart().send("history", **asked)
    assert found["s"] == "error"
    assert found["errmsg"].startswith(named)


def test_gaps_are_marks_on_bars_that_lack_trades_and_on_the_time_axis(world: World) -> None:
    udf = world.chart()
    info = udf.resolve(f"{world.venue}:S")
    start, end = _HOT // SECOND, _HOT // SECOND + 86_400
    bar = _GAP // SECOND
    marks = udf.marks(info, "1", start, end)
    assert [(mark["time"], mark["color"]) for mark in marks] == [(bar, "red")]
    assert marks[0]["text"] == (
        "trades missing: 3, 2031-03-03T00:10:00Z to 2031-03-03T00:10:01Z, open, disconnected"
    )
    axis = udf.timescale_marks(info, "1", start, end)
    assert [(mark["time"], len(mark["tooltip"])) for mark in axis[:1]] == [(bar, 2)]
    assert "closed" in axis[0]["tooltip"][1]
    # A gap where no bar is belongs to the bar before, in the minutes; all of them to that of the day.
    assert len(udf.timescale_marks(info, "1D", start, end)[0]["tooltip"]) == 3
    assert udf.marks(info, "1", start, bar - 60) == []
    assert udf.timescale_marks(info, "1", 5, 10) == []


def test_quotes_have_the_last_price_the_day_and_the_book(world: World) -> None:
    name, other = f"{world.venue}:Q", f"{world.other}:S"
    found = world.chart().quotes(name, other)
    quote = found[name]
    day = world.db.bars("Q", "1d", last=2, venue=world.venue)
    last = day.rows(named=True)[-1]
    assert [quote[key] for key in ("lp", "open_price", "high_price", "low_price", "volume")] == [
        last[key] for key in ("close", "open", "high", "low", "volume")
    ]
    assert quote["prev_close_price"] == day["close"][0]
    assert quote["ch"] == last["close"] - day["close"][0]
    assert quote["chp"] == pytest.approx(100 * quote["ch"] / day["close"][0])
    assert (quote["bid"], quote["ask"], quote["spread"]) == (11.25, 11.75, 0.5)
    assert (quote["short_name"], quote["exchange"]) == ("Q", world.venue)
    # Of one day alone, and without quotes.
    assert {"ch", "chp", "prev_close_price", "bid", "ask", "spread"}.isdisjoint(found[other])


def test_a_venue_is_a_group_of_symbols_as_columns(world: World) -> None:
    found = world.chart().send("symbol_info", group=world.venue)
    assert found["symbol"] == ["Q", "S"]
    assert found["ticker"] == [f"{world.venue}:Q", f"{world.venue}:S"]
    assert found["pricescale"] == [10, 1_000]
    assert {len(found[name]) for name in ("supported-resolutions", "intraday-multipliers")} == {2}
    assert world.chart().send("symbol_info", group="NYSE")["s"] == "error"


def test_a_page_of_another_site_is_refused_and_one_of_the_same_origin_is_not(world: World) -> None:
    own = world.client.get("/udf/config", Origin=world.client.url, Sec_Fetch_Site="same-origin")
    assert own.status == 200
    assert world.client.get("/udf/config", Origin="http://evil.example").status == 403
    assert world.client.get("/udf/config", Host="evil.example").status == 421


def test_while_a_store_is_away_no_symbol_counts_as_unknown(provisioned: Platform) -> None:
    away = provisioned.settings.clickhouse.model_copy(update={"http_port": 1})
    with gateway(provisioned.settings.model_copy(update={"clickhouse": away})) as client:
        udf = UdfClient(client)
        udf.ready()
        info = {"ticker": f"nowhere{secrets.token_hex(4)}:S"}
        with pytest.raises(UdfError, match=r"^coverage: the names in the cold store are unknown"):
            udf.bars(info, "1", 0, 1)
        with pytest.raises(UdfError, match=r"^coverage: "):
            udf.resolve(info["ticker"])


@settings(max_examples=60)
@given(data=st.data())
def test_bars_of_any_span_are_those_of_the_python_client(world: World, data: st.DataObject) -> None:
    udf = UdfClient(world.client)
    info = {"ticker": f"{world.venue}:S"}
    resolution = data.draw(st.sampled_from(list(RESOLUTIONS)))
    near = st.integers(-2 * 3_600, 3 * 3_600)
    moments = st.builds(lambda day, off: day // SECOND + off, st.sampled_from([_COLD, _HOT]), near)
    start, end = sorted((data.draw(moments), data.draw(moments)))
    countback = data.draw(st.none() | st.integers(1, 60))
    asked = {} if countback is None else {"countback": countback}
    found = udf.bars(info, resolution, start, end, **asked)
    interval = RESOLUTIONS[resolution]
    until = end * SECOND
    if countback is None:
        expected = [] if start == end else _bars(
            world.db.bars("S", interval, start * SECOND, until, venue=world.venue)
        )  # fmt: skip
    else:
        expected = _bars(world.db.bars("S", interval, end=until, last=countback, venue=world.venue))
    assert found.bars == expected
    if not expected and countback is None:
        before = _bars(world.db.bars("S", interval, end=start * SECOND, last=1, venue=world.venue))
        assert found.next_time == (before[0].time // 1000 if before else None)
