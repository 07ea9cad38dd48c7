"""The times that the page shows: UTC, local, and those of any zone, in Chromium."""

from __future__ import annotations

from pathlib import Path

from tests.system.browsed import IN_A_BROWSER, Browsed

pytestmark = IN_A_BROWSER


def test_times_are_those_of_the_zone_that_is_chosen(browsed: Browsed, tmp_path: Path) -> None:
    browsed.see("times", tmp_path)
