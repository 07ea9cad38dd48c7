"""Each trade with the quote that was current when it was made. Run ingest_csv.py first."""

import polars as pl

import tapehouse

db = tapehouse.connect()
span = ("2024-01-02T14:30:00Z", "2024-01-02T14:35:00Z")
trades = db.trades(["ABC", "XYZ"], *span, venue="example")
quotes = db.quotes(["ABC", "XYZ"], *span, venue="example")
joined = db.asof(trades, quotes)
print(
    joined.select(
        "ts_event", "symbol", "price", "bid", "ask", lag=pl.col("ts_event") - pl.col("ts_event_quote")
    )
)
