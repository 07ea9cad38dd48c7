"""Symbols by change and by turnover of the last hour, and their last prices."""

import tapehouse

db = tapehouse.connect()
print(db.rankings("1h", "change", limit=5))
top = db.rankings("1h", "turnover", limit=5)
print(top)
for venue, symbols in top.group_by("venue").agg("symbol").iter_rows():
    print(db.latest(symbols, venue=venue))
