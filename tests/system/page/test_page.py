"""The page in Chromium, before a platform with the simulator: see gateway/web/tests/browser."""

from __future__ import annotations

from pathlib import Path

from tests.system.browsed import IN_A_BROWSER, Browsed

pytestmark = IN_A_BROWSER


def test_the_page_does_in_a_browser_what_it_should(browsed: Browsed, tmp_path: Path) -> None:
    browsed.see("page", tmp_path)
