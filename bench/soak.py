"""The simulated venue at 20,000 trades a second for ten minutes: what each process holds, and every row counted.

Ids of a simulated symbol count from 1 without a hole, so what the source had of it is known from its last id.
Memory is what a process has for itself: files that QuestDB maps are not counted. Peer: the same processes after
the first minute. BENCH_SECONDS makes it shorter or longer: `make bench NAME=soak BENCH_SECONDS=120`.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from bench.stand import TRADES_ALONE, Stand, own_mb, stand
from tapehouse.stores.questdb import QuestReader

_RATE, _SYMBOLS = 20_000, 200
_WARM_S, _SECONDS = 60, 600
_LATE_S = 5
"""A late tick is emitted at most about a second after its neighbours."""


def measure() -> dict[str, Any]:
    """MB of each process at both times, and the rows that should be there, lack and are doubled."""
    seconds = int(os.environ.get("BENCH_SECONDS", _SECONDS))
    if seconds <= _WARM_S:
        sys.exit(f"bench: expected more than {_WARM_S} seconds, was {seconds}")
    simulated = {"TAPEHOUSE_SIMULATOR__RATE": str(_RATE), "TAPEHOUSE_SIMULATOR__SYMBOLS": str(_SYMBOLS)}
    with stand("sim", **simulated, **TRADES_ALONE) as platform:
        time.sleep(_WARM_S)
        before = _memory(platform)
        time.sleep(seconds - _WARM_S)
        after = _memory(platform)
        restarts = sum(part.restarts for part in platform.parts())
        rows, stored, distinct = _counted(platform)
    return {
        "rows": rows,
        "lacking": rows - distinct,
        "doubled": stored - distinct,
        "rows_s": _RATE,
        "seconds": seconds,
        "restarts": restarts,
        "own_mb": after,
        "peer": f"the same processes after {_WARM_S} s",
        "peer_own_mb": before,
        "ratio": round(sum(after.values()) / sum(before.values()), 2),
    }


def _memory(platform: Stand) -> dict[str, int]:
    return {part.name: own_mb(part.pid) for part in platform.parts() if part.pid}


def _counted(platform: Stand) -> tuple[int, int, int]:
    """(ids that the source had, rows stored of them, different ids stored of them)."""
    stored = distinct = 0
    with QuestReader(platform.settings.questdb) as reader:
        reader.wait_applied("trades")
        lasts = reader.fetch("SELECT symbol, max(seq) FROM trades WHERE venue = 'sim'")
        time.sleep(_LATE_S)
        reader.wait_applied("trades")
        for symbol, last in lasts:
            found = reader.fetch(
                "SELECT count(), count_distinct(seq) FROM trades "
                "WHERE venue = 'sim' AND symbol = %s AND seq <= %s",
                [symbol, last],
            )
            stored += found[0][0]
            distinct += found[0][1]
    return sum(last for _, last in lasts), stored, distinct
