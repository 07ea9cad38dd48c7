"""The seams in the chart: from QuestDB to ClickHouse, and from a final bar to what a late trade made of it."""

from __future__ import annotations

import math
from pathlib import Path

from tapehouse.clock import DAY, MINUTE, SECOND, iso, now_ns
from tests.system.browsed import IN_A_BROWSER, Browsed

pytestmark = IN_A_BROWSER

_VENUE, _SYMBOL = "seams", "SEAM"
_COLD, _HOT = 300, 1_200
"""Minutes with a trade each, in ClickHouse alone and in QuestDB; more than the chart reads when it is opened."""


def test_the_chart_crosses_to_the_cold_store_and_marks_revised_bars(browsed: Browsed, tmp_path: Path) -> None:
    today = now_ns() // DAY * DAY
    cold = _file(tmp_path / "cold.csv", today - 3 * DAY - _COLD * MINUTE, _COLD)
    assert f"{_COLD} accepted" in browsed.up.run("ingest", cold, "--venue", _VENUE, "--cold")
    newest = now_ns() // MINUTE * MINUTE
    hot = _file(tmp_path / "hot.csv", newest - _HOT * MINUTE, _HOT)
    assert f"{_HOT:,} accepted" in browsed.up.run("ingest", hot, "--venue", _VENUE)
    browsed.see("seams", tmp_path, VENUE=_VENUE, SYMBOL=_SYMBOL, COLD=str(_COLD))


def _file(path: Path, start: int, minutes: int) -> str:
    """A trade a minute, five seconds after its start, without ids."""
    rows = [
        f"{iso(start + one * MINUTE + 5 * SECOND)},{_SYMBOL},{100 + 2 * math.sin(one / 20):.2f},1,buy"
        for one in range(minutes)
    ]
    path.write_text("\n".join(["ts,symbol,price,size,side", *rows]) + "\n")
    return str(path)
