"""Closes of the last sixty 15-second bars as a line of text, and the bars as a CSV file. Usage: plot_bars.py [FILE]"""

import sys

import tapehouse

db = tapehouse.connect()
symbol = db.catalog("trades", venue="sim")["symbol"][0]
bars = db.bars(symbol, "15s", last=60, venue="sim")

low, high = bars["close"].min(), bars["close"].max()
heights = ((bars["close"] - low) / ((high - low) or 1) * 7).cast(int)
print(f"{symbol} {low:g} to {high:g}: {''.join('▁▂▃▄▅▆▇█'[height] for height in heights)}")
for path in sys.argv[1:]:
    bars.write_csv(path)
