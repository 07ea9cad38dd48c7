"""The order book of a simulated symbol, and where within the spread its last trades were made."""

import polars as pl

import tapehouse

db = tapehouse.connect()
symbol = db.catalog("depth", venue="sim")["symbol"][0]
book = db.book(symbol, venue="sim", depth=5)
for side, levels in (("ask", reversed(book["asks"])), ("bid", book["bids"])):
    for price, size in levels:
        print(f"{side} {price:>12} {size}")

quotes = db.quotes(symbol, last=5000, venue="sim")
joined = db.asof(db.trades(symbol, quotes["ts_event"][0], venue="sim"), quotes)
spread = pl.col("ask") - pl.col("bid")
place = ((pl.col("price") - pl.col("bid")) / spread).mean()  # 0: at the bid, 1: at the ask
print(joined.group_by("side").agg(spread.median().alias("spread"), place.alias("within_spread")))
