"""What the page gives to save: the bars that are seen as CSV, and the chart as a picture."""

from __future__ import annotations

from pathlib import Path

from tests.system.browsed import IN_A_BROWSER, Browsed

pytestmark = IN_A_BROWSER


def test_bars_and_a_picture_of_the_chart_are_saved(browsed: Browsed, tmp_path: Path) -> None:
    browsed.see("saving", tmp_path)
