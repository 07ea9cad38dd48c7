"""`python -m bench [NAME]`: one measurement, or all of them into RESULTS.md."""

from __future__ import annotations

import importlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

NAMES = (
    "ingest",
    "unsorted_file",
    "visible_latency",
    "accounts",
    "frame_latency",
    "views",
    "parse",
    "feed",
    "soak",
    "features",
    "bar_kernel",
    "matching",
    "backtest",
    "mirror",
    "gateway_small",
    "gateway_large",
    "gateway_latest",
    "fanout",
    "hostile_sockets",
    "paint",
    "idle",
    "help",
)
RESULTS = Path(__file__).with_name("RESULTS.md")
_HEAD = f"""# Results

Each section is made by the command it names, on {os.cpu_count()} cores, Python {platform.python_version()}.
Absolute figures are those of a shared and noisy machine; the ratios, of turns taken in the same run, are
the ones to look at.
"""


def measured(name: str) -> dict[str, Any]:
    """The figures of one measurement, by this name in this folder."""
    found = importlib.import_module(f"bench.{name}").measure()
    return {"name": name, **found}


def main() -> None:
    """One measurement by name, else all; each brings its own section of RESULTS.md up to date."""
    if len(sys.argv) > 1:
        if sys.argv[1] not in NAMES:
            sys.exit(f"bench: expected one of {' '.join(NAMES)}, was {sys.argv[1]!r}")
        figures = measured(sys.argv[1])
        record(figures)
        print(json.dumps(figures))
        return
    for name in NAMES:
        # A process each: none inherits another's memory or caches.
        subprocess.run([sys.executable, "-m", "bench", name], check=True)


def record(figures: dict[str, Any]) -> None:
    """Write the section of one measurement; the other sections stay."""
    kept = RESULTS.read_text() if RESULTS.exists() else ""
    sections = {part.split("\n", 1)[0]: part for part in kept.split("\n## ")[1:]}
    name = figures["name"]
    sections[name] = f"{name}\n`make bench NAME={name}`\n\n" + "\n".join(_table(figures))
    ordered = [f"\n## {sections[name].rstrip()}\n" for name in NAMES if name in sections]
    RESULTS.write_text(_HEAD + "".join(ordered))


def _table(figures: dict[str, Any]) -> list[str]:
    rows = ["| figure | value |", "|---|---|"]
    rows += [f"| {key} | {value} |" for key, value in figures.items() if key != "name"]
    return [*rows, ""]


if __name__ == "__main__":
    main()
