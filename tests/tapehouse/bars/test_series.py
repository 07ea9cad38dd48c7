"""Bars of columns: equal to a plain implementation, a rebuild in polars, and candles of an exchange and a vendor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapehouse.bars.series import (
    ThresholdBarBuilder,
    bars_frame,
    tick_bars,
    time_bars,
    turnover_bars,
    volume_bars,
)
from tapehouse.clock import NAMES, SECOND, parse_ns
from tapehouse.errors import NaiveTimeError, UsageError
from tapehouse.model import BARS, NO_BAR, Flags
from tests.market_data import DATA
from tests.trades import SYMBOLS, Candle, Trade, candle, grouped, trades

Columns = tuple[Any, Any, Any, Any, Any, Any]
NOON = parse_ns("2024-08-08T12:00:00Z")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs real market data in ../shared/data")
MEASURES: dict[str, tuple[Callable[[float], ThresholdBarBuilder], Callable[[Trade], float]]] = {
    "trades": (lambda threshold: tick_bars(int(threshold)), lambda row: 1),
    "volume": (volume_bars, lambda row: row.size),
    "turnover": (turnover_bars, lambda row: abs(row.price) * row.size),
}


def columns(rows: Sequence[Trade]) -> Columns:
    ts, seq, price, size, side, flags = zip(*(row[1:] for row in rows), strict=True) if rows else [()] * 6
    return ts, seq, price, size, side, flags


def plain(bars: Any) -> list[Candle]:
    return [Candle(*(bar[name].item() for name in Candle._fields)) for bar in bars]


@given(rows=trades(), data=st.data())
def test_bars_by_time_are_those_of_rows_in_any_order(rows: list[Trade], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(rows))
    for interval in NAMES:
        assert plain(time_bars(*columns(shuffled), interval=interval)) == grouped(rows, interval)


def by_measure(rows: Sequence[Trade], measure: Callable[[Trade], float], threshold: float) -> list[Any]:
    """(bar, end, final) of a plain implementation."""
    made: list[Any] = []
    open_rows: list[Trade] = []
    for row in rows:
        if not row.in_bars:
            continue
        open_rows.append(row)
        if sum(measure(one) for one in open_rows) >= threshold:
            made.append((candle(open_rows[0].ts, open_rows), row.ts, True))
            open_rows = []
    return made + ([(candle(open_rows[0].ts, open_rows), open_rows[-1].ts, False)] if open_rows else [])


@pytest.mark.parametrize("unit", list(MEASURES))
@given(rows=trades(), threshold=st.integers(1, 40), data=st.data())
def test_bars_by_measure_are_the_same_in_whatever_chunks_the_rows_come(
    unit: str, rows: list[Trade], threshold: int, data: st.DataObject
) -> None:
    begin, measure = MEASURES[unit]
    series = begin(threshold)
    made: list[Any] = []
    left = rows
    while left:
        count = data.draw(st.integers(1, len(left)), "chunk")
        chunk, left = left[:count], left[count:]
        added = series.add(*columns(chunk))
        made = made[: len(made) - (bool(made) and not made[-1][2])]
        made += zip(plain(added.bars), added.ends.tolist(), added.final.tolist(), strict=True)
        assert added.final[:-1].all()
    assert made == by_measure(rows, measure, threshold)


def test_a_threshold_is_reached_by_a_sum_that_is_short_by_its_rounding() -> None:
    rows = [Trade(0, NOON + at, at, 1.0, 0.1, 0, 0) for at in range(20)]
    assert volume_bars(1.0).add(*columns(rows)).bars["trades"].tolist() == [10, 10]


@pytest.mark.parametrize("threshold", [0, -1, float("nan"), float("inf")])
def test_a_threshold_is_a_number_above_zero(threshold: float) -> None:
    with pytest.raises(UsageError, match="expected a number above 0"):
        volume_bars(threshold)


def test_rows_by_measure_must_rise_in_seq_within_and_between_calls() -> None:
    rows = [Trade(0, NOON, seq, 1.0, 1.0, 0, 0) for seq in (1, 2, 2)]
    with pytest.raises(UsageError, match="seq: expected to rise"):
        tick_bars(5).add(*columns(rows))
    series = tick_bars(1)
    series.add(*columns(rows[:2]))
    with pytest.raises(UsageError, match="seq: expected to rise"):
        series.add(*columns(rows[2:]))


def test_columns_of_different_lengths_and_unknown_intervals_are_rejected() -> None:
    with pytest.raises(UsageError, match="expected one length"):
        time_bars([NOON], [1, 2], [1.0], [1.0], [0], [0], "1m")
    with pytest.raises(UsageError, match="expected one of 15s"):
        time_bars([], [], [], [], [], [], "2m")
    assert len(time_bars([], [], [], [], [], [], "1m")) == 0


def model_frame(rows: Sequence[Trade]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "ts_event": pl.Series([row.ts for row in rows], dtype=pl.Int64).cast(pl.Datetime("ns", "UTC")),
            "venue": pl.Series([SYMBOLS[row.symbol][0] for row in rows], dtype=pl.Categorical),
            "symbol": pl.Series([SYMBOLS[row.symbol][1] for row in rows], dtype=pl.String),
            "seq": pl.Series([row.seq for row in rows], dtype=pl.Int64),
            "price": pl.Series([row.price for row in rows], dtype=pl.Float64),
            "size": pl.Series([row.size for row in rows], dtype=pl.Float64),
            "side": pl.Series([row.side for row in rows], dtype=pl.Int8),
            "flags": pl.Series([row.flags for row in rows], dtype=pl.Int16),
        }
    )


@given(rows=trades(), interval=st.sampled_from(NAMES))
def test_a_frame_of_many_symbols_becomes_bars_in_order_of_their_key(rows: list[Trade], interval: str) -> None:
    made = bars_frame(model_frame(rows), interval)
    assert tuple(made.columns) == BARS.names
    assert made.schema["ts"] == pl.Datetime("ns", "UTC")
    expected = [
        (bar.ts, *key, *bar[1:])
        for symbol, key in enumerate(SYMBOLS)
        for bar in grouped([row for row in rows if row.symbol == symbol], interval)
    ]
    assert made.with_columns(pl.col("ts").to_physical()).rows() == sorted(expected)


def test_a_frame_without_rows_has_the_columns_of_bars() -> None:
    made = bars_frame(model_frame([]), "1m")
    assert made.schema == bars_frame(model_frame([Trade(0, NOON, 1, 1.0, 1.0, 0, 0)]), "1m").schema
    assert made.is_empty()


def test_times_without_a_zone_are_rejected() -> None:
    naive = model_frame([]).with_columns(pl.col("ts_event").dt.replace_time_zone(None))
    with pytest.raises(NaiveTimeError, match="no zone"):
        bars_frame(naive, "1m")


def real(folder: str, name: str = "trades") -> pl.DataFrame:
    """A real set as the model has it: seq by the order of the source."""
    rows = pl.read_parquet(DATA / folder / f"{name}.parquet").with_row_index("seq")
    side = pl.lit(0)
    if "side" in rows.columns:
        side = pl.when(pl.col("side") == "buy").then(1).otherwise(-1)
    return rows.with_columns(pl.col("seq").cast(pl.Int64), side=side.cast(pl.Int8), flags=pl.lit(0, pl.Int16))


@needs_data
@pytest.mark.parametrize("interval", ["1m", "5m"])
def test_the_bars_of_an_exchange_are_its_own_candles(interval: str) -> None:
    made = bars_frame(real("binance_xrp_eth_2019"), interval)
    candles = pl.read_parquet(DATA / "binance_xrp_eth_2019" / f"bars_{interval}.parquet")
    # Binance fills minutes without trades.
    theirs = candles.filter(pl.col("volume") > 0)
    prices = ["ts", "open", "high", "low", "close"]
    assert made.select(prices).equals(theirs.select(prices))
    assert np.allclose(made["volume"], theirs["volume"], rtol=1e-9, atol=0)
    assert len(candles) > len(theirs) > 100


@needs_data
def test_the_bars_of_a_future_are_the_vendors() -> None:
    made = bars_frame(real("comex_gold_2013"), "1m")
    theirs = pl.read_parquet(DATA / "comex_gold_2013" / "bars_1m.parquet")
    prices = ["ts", "open", "high", "low", "close"]
    assert made.select(prices).equals(theirs.select(prices))
    # The vendor's last bar of each day, in New York, lacks volume.
    day = made["ts"].dt.convert_time_zone("America/New_York").dt.date()
    last = (day != day.shift(-1)).fill_null(True)
    assert ((made["volume"] == theirs["volume"]) | last).all()
    assert last.sum() == 3


@needs_data
def test_bars_of_a_real_set_are_those_of_a_rebuild_in_polars() -> None:
    rows = real("us_equities_2013", "bac_trades").with_columns(venue=pl.lit("tape"))
    for interval, every in (("15s", "15s"), ("5m", "5m"), ("4h", "4h"), ("1w", "1w"), ("1M", "1mo")):
        rebuilt = (
            rows.group_by(pl.col("ts_event").dt.truncate(every).alias("ts"))
            .agg(
                open=pl.col("price").first(),
                high=pl.col("price").max(),
                low=pl.col("price").min(),
                close=pl.col("price").last(),
                volume=pl.col("size").sum(),
                turnover=(pl.col("price") * pl.col("size")).sum(),
                trades=pl.len().cast(pl.Int64),
                seq_first=pl.col("seq").first(),
                seq_last=pl.col("seq").last(),
            )
            .sort("ts")
        )
        made = bars_frame(rows, interval)
        for name in rebuilt.columns:
            if name in ("volume", "turnover"):
                assert np.allclose(made[name], rebuilt[name], rtol=1e-9, atol=0), (interval, name)
            else:
                assert made[name].equals(rebuilt[name]), (interval, name)


@needs_data
def test_volume_bars_of_a_real_set_cut_the_running_sum_at_the_threshold() -> None:
    rows = real("us_equities_2013", "bac_trades")
    used = [rows[name].to_numpy() for name in ("seq", "price", "size", "side", "flags")]
    made = volume_bars(1e6).add(rows["ts_event"].to_physical().to_numpy(), *used)
    assert (made.bars["volume"][:-1] >= 1e6).all()
    assert made.bars["volume"].sum() == rows["size"].sum()
    last = rows["size"].to_numpy()[made.bars["seq_last"][:-1]]
    assert (made.bars["volume"][:-1] - last < 1e6).all()
    assert (made.bars["seq_first"][1:] == made.bars["seq_last"][:-1] + 1).all()
    assert made.final.sum() == len(made.bars) - 1


def test_rows_that_are_not_in_bars_are_skipped() -> None:
    rows = [Trade(0, NOON + at * SECOND, at, 1.0, 1.0, 0, int(flags)) for at, flags in enumerate(Flags)]
    assert plain(time_bars(*columns(rows), interval="1m"))[0].trades == sum(
        not flag & NO_BAR for flag in Flags
    )
    assert tick_bars(1).add(*columns(rows)).ends.tolist() == [NOON + 2 * SECOND]
