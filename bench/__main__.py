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

NAMES = ("ingest", "visible_latency", "views", "help")
RESULTS = Path(__file__).with_name("RESULTS.md")


def measured(name: str) -> dict[str, Any]:
    """The figures of one measurement, by this name in this folder."""
    found = importlib.import_module(f"bench.{name}").measure()
    return {"name": name, **found}


def main() -> None:
    """One measurement by name, else all."""
    if len(sys.argv) > 1:
        if sys.argv[1] not in NAMES:
            sys.exit(f"bench: expected one of {' '.join(NAMES)}, was {sys.argv[1]!r}")
        print(json.dumps(measured(sys.argv[1])))
        return
    lines = [
        "# Results\n",
        f"Made by `make bench` on {os.cpu_count()} cores, Python {platform.python_version()}. Absolute times are",
        "those of a shared and noisy machine; the ratios are the figures to look at.\n",
    ]
    for name in NAMES:
        # A process each: none inherits another's memory or caches.
        done = subprocess.run(
            [sys.executable, "-m", "bench", name], stdout=subprocess.PIPE, text=True, check=True
        )
        figures = json.loads(done.stdout.splitlines()[-1])
        lines += [f"## {name}", f"`make bench NAME={name}`\n", *_table(figures)]
    RESULTS.write_text("\n".join(lines))


def _table(figures: dict[str, Any]) -> list[str]:
    rows = ["| figure | value |", "|---|---|"]
    rows += [f"| {key} | {value} |" for key, value in figures.items() if key != "name"]
    return [*rows, ""]


if __name__ == "__main__":
    main()
