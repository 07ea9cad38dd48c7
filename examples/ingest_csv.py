"""Ingest trades and quotes from CSV files; ingested again, they add nothing."""

import subprocess
import sys
from pathlib import Path

import tapehouse

program = Path(sys.executable).with_name("tapehouse")
data = Path(__file__).with_name("data")
for kind in ("trades", "quotes"):
    subprocess.run(
        [program, "ingest", data / f"{kind}.csv", "--kind", kind, "--venue", "example"], check=True
    )

db = tapehouse.connect()
print(db.trades(["ABC", "XYZ"], "2024-01-02", "2024-01-03", venue="example"))
