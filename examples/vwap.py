"""Volume-weighted average prices by symbol and minute, and the share of volume that buyers took."""

import polars as pl

import tapehouse

db = tapehouse.connect()
symbols = db.catalog("trades", venue="sim")["symbol"].head(3)
bars = db.bars(symbols.to_list(), "1m", last=15, venue="sim")
print(
    bars.select(
        *("ts", "symbol", "trades"),
        vwap=pl.col("turnover") / pl.col("volume"),
        bought=pl.col("buy_volume") / pl.col("volume"),
    )
)
