"""Opens the page in the user's browser."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping

_DESKTOP = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


def has_desktop(platform: str = sys.platform, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether a browser can show a page here: not over ssh, where one in the terminal would take the board's place."""
    return not platform.startswith("linux") or any(environment.get(name) for name in _DESKTOP)


def open_page(url: str) -> bool:
    """Open a page in the browser that the system, or the variable BROWSER, names; False if there is none."""
    return has_desktop() and webbrowser.open(url)
