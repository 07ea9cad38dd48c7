"""Ports for the platforms of tests."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping

ANY_FREE_PORT: Mapping[str, int] = dict.fromkeys(
    ("nats", "questdb-http", "questdb-pg", "clickhouse", "gateway"), 0
)
_NEXT = itertools.count(12_000 + os.getpid() % 100 * 200)


def own_ports() -> dict[str, int]:
    """Ports by name that no other test process takes: platforms that start at once would choose the same ones."""
    return {name: next(_NEXT) for name in ANY_FREE_PORT}
