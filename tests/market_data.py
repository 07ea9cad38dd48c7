"""Real market data, which stands beside the checkout and is not part of it."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parents[2] / "shared" / "data"
CAPTURES = DATA / "binance_raw_2024"
