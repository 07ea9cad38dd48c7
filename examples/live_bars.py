"""The open bar of a symbol, printed each time it changes. Usage: live_bars.py [SECONDS]"""

import sys
import time

import tapehouse

db = tapehouse.connect()
symbol = db.catalog("trades", venue="sim")["symbol"][0]
end = time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 30)
before = None
while time.monotonic() < end:
    (bar,) = db.bars(symbol, "15s", last=1, venue="sim").iter_rows(named=True)
    if bar != before:
        print(f"{bar['ts']:%H:%M:%S} {symbol} close {bar['close']:g} in {bar['trades']} trades")
    before = bar
    time.sleep(0.25)
