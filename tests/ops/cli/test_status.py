"""What `tapehouse status` says of a role."""

from __future__ import annotations

from typing import Any

import pytest

from ops.cli.status import _described

_DISK = {
    "role": "disk",
    "instance": "nats",
    "state": "ready",
    "detail": "",
    "rows": 0,
    "rows_s": 0.0,
    "lag_ms": None,
    "skew_ms": None,
}


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({}, "ready"),
        ({"state": "waiting", "detail": "the disk is full"}, "waiting, the disk is full"),
        (
            {"rows": 1200, "rows_s": 35.4, "lag_ms": 12.34},
            "1,200 rows since its start, 35 rows/s, lag 12.3 ms",
        ),
        # A name from outside is not a terminal's escape.
        ({"state": "waiting", "detail": "no \x1b[2J"}, "waiting, no \\x1b[2J"),
    ],
)
def test_a_role_is_described_by_what_it_has(more: dict[str, Any], line: str) -> None:
    assert _described({**_DISK, **more}) == line
