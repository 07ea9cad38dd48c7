"""Store trades of a live venue for some seconds. Usage: venue_feed.py [VENUE SYMBOL SECONDS]"""

import subprocess
import sys
import time
from pathlib import Path

import tapehouse

venue, symbol, seconds = sys.argv[1:] or ("binance_spot", "BTCUSDT", "10")
program = Path(sys.executable).with_name("tapehouse")
feed = subprocess.Popen([program, "run", f"feed:{venue}:{symbol}"])
time.sleep(float(seconds))
feed.terminate()
feed.wait()

db = tapehouse.connect()
print(db.trades(symbol, last=10, venue=venue))
