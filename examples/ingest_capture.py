"""Ingest a capture of a venue's socket: lines of the receive time in ns and the message, here trades and quotes."""

import subprocess
import sys
from pathlib import Path

import tapehouse

program = Path(sys.executable).with_name("tapehouse")
capture = Path(__file__).with_name("data") / "binance_spot.jsonl"
subprocess.run([program, "ingest", capture, "--venue", "binance_spot"], check=True)

db = tapehouse.connect()
print(db.trades("BTCUSDT", "2024-08-09", "2024-08-10", venue="binance_spot"))
print(db.quotes("BTCUSDT", "2024-08-09", "2024-08-10", venue="binance_spot"))
