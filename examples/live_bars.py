"""The open bar of a symbol, printed each time it changes. Usage: live_bars.py [SECONDS]"""

import sys
import time

import tapehouse

db = tapehouse.connect()
symbol = db.catalog("trades", venue="sim")["symbol"][0]
end = time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 30)
for bar in db.live.bars(symbol, "15s", venue="sim", last=1):
    print(f"{bar.ts:%H:%M:%S} {symbol} close {bar.close:g} in {bar.trades} trades{' final' * bar.final}")
    if time.monotonic() > end:
        break
