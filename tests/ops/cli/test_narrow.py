"""What commands say on a terminal of 80 columns: nothing is broken inside a word or a table."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path

import polars as pl

from tests.analytics.backtest.rows import bars, flat
from tests.tapehouse.client.played import Act, catalog, playing, saying, stream, streaming

_WIDTH = 80
_LONG = ("trades", "sim", "SYMBOLUSDT", 12_345_678)
_SEGMENT = {
    "store": "questdb",
    "start": "2024-01-02T00:00:00Z",
    "end": None,
    "rows": 12_821,
    "all_rows": 167_220,
    "all_bytes": 13_017_162,
    "quality": ["one day may still change"],
    "why": "not handed over",
    "statement": "SELECT ts_event FROM trades WHERE venue = 'v'",
}


def _said(folder: Path, *words: str, act: Act | None = None, status: int = 0) -> str:
    """What a command says on a terminal, with the answer of a gateway."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, _WIDTH, 0, 0))
    command = [sys.executable, "-c", "from ops.cli.main import main; main()", *words]
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with playing(*([act] if act else [])) as gateway:
        env |= {
            "TERM": "xterm",
            "TAPEHOUSE_GATEWAY__URL": gateway.url,
            "PYTHONPATH": str(Path(__file__).parents[3]),
        }
        with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=env, cwd=folder) as process:
            os.close(theirs)
            said = b""
            try:
                while piece := os.read(ours, 1000):
                    said += piece
            except OSError:  # the far side is closed
                pass
            assert process.wait(30) == status, said
        os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode()).replace("\r", "")
    assert max(map(len, text.splitlines())) <= _WIDTH, text
    return text


def test_the_catalog_has_room_for_times_and_rows(tmp_path: Path) -> None:
    said = _said(tmp_path, "catalog", act=streaming(stream(catalog([_LONG]))))
    assert "12345678" in said
    assert "without room" not in said


def test_a_plan_is_read_a_segment_a_paragraph(tmp_path: Path) -> None:
    words = ("query", "trades", "A", "--venue", "v", "--last", "1", "--explain")
    said = _said(tmp_path, *words, act=saying({"query": {}, "segments": [_SEGMENT]}))
    assert said.splitlines()[:3] == [
        "questdb  2024-01-02 00:00:00 to open: 12,821 rows of 167,220 of all symbols",
        "    not handed over",
        "    one day may still change",
    ]
    assert _SEGMENT["statement"] in said


def test_a_dry_run_fits(tmp_path: Path) -> None:
    rows = {
        "ts": ["2024-01-01T00:00:00.123456789Z"],
        "price": [61_210.123456],
        "size": [1234.5678],
        "id": [10**12],
    }
    pl.DataFrame(rows).write_csv(tmp_path / "a.csv")
    said = _said(tmp_path, "ingest", "a.csv", "--venue", "v", "--symbol", "SYMBOLUSDT", "--dry-run")
    assert "61210.12346" in said


def test_a_long_error_is_broken_between_words(tmp_path: Path) -> None:
    said = _said(tmp_path, "query", "bars", "A", "--interval", "2x", "--last", "3", status=2)
    assert len(said.splitlines()) > 1
    assert " ".join(said.split()).endswith("such as 45s 7m 90m 6h, was '2x'")


def test_features_without_an_interval_say_what_is_missing(tmp_path: Path) -> None:
    said = _said(tmp_path, "features", "BTCUSDT", status=2)
    assert "was 'BTCUSDT' alone" in " ".join(said.split())


_BUYS = """
from analytics.backtest import Strategy

class Buys(Strategy):
    def on_bar(self, bar, desk):
        desk.target(bar.symbol, len(desk.bars(bar.symbol, 100)) % 3)
"""


def test_the_report_of_a_backtest_fits(tmp_path: Path) -> None:
    (tmp_path / "buys.py").write_text(_BUYS)
    rows = bars([(61_210.5 + at, 61_230.25, 61_190, 61_200 + 7 * at) for at in range(9)])
    answer = stream(rows.with_columns(final=pl.lit(True)).to_arrow())
    words = ("--symbols", "A", "--venue", "V", "--start", "2024-01-02", "--end", "2024-01-03")
    said = _said(
        tmp_path, "backtest", "buys.py", *words, "--fills", "same_close", "--taker", "0.00075",
        act=streaming(answer),
    )  # fmt: skip
    assert "max drawdown" in said
    assert "Optimistic: market orders filled at the close" in " ".join(said.split())
    for title in ("days", "symbols", "fills"):
        assert f"\n{title}\n" in said


def test_a_strategy_that_fails_is_shown_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "buys.py").write_text(_BUYS + "        desk.sell(bar.symbol, float('nan'))\n")
    answer = stream(bars(flat(100, 101)).with_columns(final=pl.lit(True)).to_arrow())
    words = ("--symbols", "A", "--venue", "V", "--start", "2024-01-02", "--end", "2024-01-03")
    said = _said(tmp_path, "backtest", "buys.py", *words, act=streaming(answer), status=1)
    assert "in buys.py, line 7: desk.sell(bar.symbol, float('nan'))" in said
    assert "at bar of A of V known at 2024-01-02T00:01:00Z" in said
