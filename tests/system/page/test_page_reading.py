"""What the chart's place says while bars are read, where there are none, and where they cannot be read."""

from __future__ import annotations

from pathlib import Path

from tests.system.browsed import IN_A_BROWSER, Browsed

pytestmark = IN_A_BROWSER


def test_the_chart_says_that_it_reads_and_why_there_are_no_bars(browsed: Browsed, tmp_path: Path) -> None:
    browsed.see("reading", tmp_path)
