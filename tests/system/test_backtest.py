"""A strategy on stored rows by the command line and in a session, the same either way, and again to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analytics.backtest import Strategy
from analytics.backtest.desk import Desk
from analytics.backtest.strategy import Bar
from tapehouse.client.database import Database
from tapehouse.clock import SECOND, iso, parse_ns
from tapehouse.errors import UnknownSeriesError
from tests.system.up import Up

_STRATEGY = """
from analytics.backtest import Strategy

class Swings(Strategy):
    size = 1.0

    def on_bar(self, bar, desk):
        desk.target(bar.symbol, self.size if bar.close < 102 else -self.size)
"""
_START = parse_ns("2024-04-05T23:30:00Z")
_ROWS = 3600
_SPAN = ("--start", "2024-04-05", "--end", "2024-04-07")
_WORDS = ("--symbols", "A", "--venue", "BT", *_SPAN, "--taker", "0.001", "--grace", "1")


class Swings(Strategy):
    """As that of the file."""

    size = 1.0

    def on_bar(self, bar: Bar, desk: Desk) -> None:
        desk.target(bar.symbol, self.size if bar.close < 102 else -self.size)


def test_a_run_by_command_and_session_is_the_same_and_repeats_to_the_byte(
    up: Up, db: Database, tmp_path: Path
) -> None:
    # A trade a second, over midnight; the price goes up and down by the minute.
    rows = [f"{iso(_START + n * SECOND)},A,{100 + n // 60 % 5},{n % 3 + 1},{n}" for n in range(_ROWS)]
    (tmp_path / "trades.csv").write_text("\n".join(["ts,symbol,price,size,seq", *rows]))
    up.run("ingest", str(tmp_path / "trades.csv"), "--venue", "BT")
    up.until(
        lambda: up.query("trades", "A", "BT", "2024-04-05", "2024-04-07").height == _ROWS,
        "the trades to be stored", 120,
    )  # fmt: skip
    file, out, again = (tmp_path / name for name in ("swings.py", "run.json", "again.json"))
    file.write_text(_STRATEGY)

    said = up.run("backtest", str(file), *_WORDS, "--set", "size=2", "--causality", "--out", str(out))
    assert said == out.read_text()
    document = json.loads(said)
    assert [(row["day"], row["rows"]) for row in document["data"]] == [("2024-04-05", 30), ("2024-04-06", 30)]
    assert document["figures"]["days"] == 2
    assert len(document["fills"]) > 10
    assert document["fills"][0]["size"] == "2"

    assert up.run("backtest", "--again", str(out), "--out", str(again)) == said
    assert again.read_bytes() == out.read_bytes()

    span = ("2024-04-05", "2024-04-07")
    report = db.backtest(
        Swings, "A", "1m", *span, venue="BT", taker=0.001, grace_s=1.0, parameters={"size": 2.0}
    )
    for part in ("fills", "data", "figures", "equity_sha256"):
        assert report.document[part] == document[part]

    # The venue has no quotes: orders arrive in the third second, and fill at the next trades, which are small.
    said = up.run("backtest", str(file), *_WORDS, "--fills", "latency", "--latency", "1500ms")
    filled = json.loads(said)["fills"]
    assert len(filled) > 10
    assert {(fill["ts"] - _START) % (60 * SECOND) // SECOND for fill in filled} == {3, 4}

    up.run("backtest", str(file), *_WORDS, "--set", "speed=2", status=2)
    assert "expected --symbols" in up.run("backtest", str(file), status=2)
    file.write_text(_STRATEGY + "        assert desk.now < 0\n")
    failed = up.run("backtest", str(file), *_WORDS, status=1)
    assert "AssertionError" in failed
    assert "swings.py, line 9: assert desk.now < 0" in failed
    with pytest.raises(UnknownSeriesError):
        db.backtest(Swings, "Z", "1m", *span, venue="BT")
