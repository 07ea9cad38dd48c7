"""Quoted spreads by minute, in basis points of the mid price. Run ingest_csv.py first."""

import polars as pl

import tapehouse

db = tapehouse.connect()
quotes = db.quotes(["ABC", "XYZ"], "2024-01-02", "2024-01-03", venue="example")
mid, spread = (pl.col("bid") + pl.col("ask")) / 2, pl.col("ask") - pl.col("bid")
minute = pl.col("ts_event").dt.truncate("1m").alias("minute")
basis_points = (spread / mid * 10_000).alias("basis_points")
spreads = quotes.group_by("symbol", minute).agg(basis_points.mean(), quotes=pl.len())
print(spreads.sort("symbol", "minute"))
