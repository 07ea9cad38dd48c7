"""`tapehouse --help` as a whole process, beside an empty Python process."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_RUNS = 15


def measure() -> dict[str, Any]:
    """Medians in ms; the two take turns."""
    tapehouse = str(Path(sys.executable).with_name("tapehouse"))
    ours, bare = [], []
    for _ in range(_RUNS):
        ours.append(_ms(tapehouse, "--help"))
        bare.append(_ms(sys.executable, "-c", "pass"))
    return {
        "ms": round(statistics.median(ours), 1),
        "peer": "python -c pass",
        "peer_ms": round(statistics.median(bare), 1),
        "ratio": round(statistics.median(ours) / statistics.median(bare), 2),
    }


def _ms(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1000
