"""The first frame: what is stored, and the last trades of one symbol."""

import tapehouse

db = tapehouse.connect()
print(db)

stored = db.catalog("trades").sort("rows")
venue, symbol = stored["venue"][-1], stored["symbol"][-1]
print(db.trades(symbol, last=5, venue=venue))
print(db.segments)
