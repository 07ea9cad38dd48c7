"""Whether everybody can use the page: what axe finds in Chromium, dark and light, wide and narrow."""

from __future__ import annotations

from pathlib import Path

from tests.system.browsed import IN_A_BROWSER, Browsed

pytestmark = IN_A_BROWSER


def test_nothing_serious_keeps_people_from_using_the_page(browsed: Browsed, tmp_path: Path) -> None:
    browsed.see("access", tmp_path)
