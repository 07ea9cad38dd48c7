"""The share of a core of a platform that does nothing, and of one whose feed sends 10 trades a second and no books.

All processes are counted: the runner, the servers and the roles. After a warm-up each is left alone for a minute.
"""

from __future__ import annotations

import time
from typing import Any

from bench.stand import TRADES_ALONE, Stand, cpu_s, stand
from tapehouse.identity import running_pid

_WARM_S, _RUN_S = 30, 60


def measure() -> dict[str, Any]:
    """Shares of a core without a feed and at 10 trades a second, by part and in all."""
    with stand() as platform:
        no_feed = _shares(platform)
    with stand("sim", TAPEHOUSE_SIMULATOR__RATE="10", **TRADES_ALONE) as platform:
        ticking = _shares(platform)
    return {
        "cores_no_feed": round(sum(no_feed.values()), 3),
        "cores_10_ticks": round(sum(ticking.values()), 3),
        "by_part_no_feed": no_feed,
        "by_part_10_ticks": ticking,
        "seconds": _RUN_S,
    }


def _shares(platform: Stand) -> dict[str, float]:
    pids = {part.name: part.pid for part in platform.parts() if part.pid}
    runner = running_pid(platform.home)
    assert runner is not None
    pids["up"] = runner
    time.sleep(_WARM_S)
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    time.sleep(_RUN_S)
    return {name: round((cpu_s(pid) - before[name]) / _RUN_S, 3) for name, pid in pids.items()}
