"""The commands that look things up: what they ask of the gateway, and what they print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ops.cli.main import root
from tests.tapehouse.client.played import Act, answering, playing, saying, stream, streaming, trades

_OK = answering(200, b"{}")
_BOOK = {
    "venue": "v",
    "symbol": "A",
    "bids": [[1.5, 2.0]],
    "asks": [[1.75, 3.0]],
    "ts_event": "t",
    "broken": False,
}


@pytest.mark.parametrize(
    ("words", "path", "asked"),
    [
        (("catalog",), "/v1/catalog", {}),
        (("catalog", "trades", "--venue", "v"), "/v1/catalog", {"kind": ["trades"], "venue": ["v"]}),
        (("latest", "A", "B"), "/v1/latest", {"symbol": ["A", "B"]}),
        (("latest", "--venue", "v"), "/v1/latest", {"venue": ["v"]}),
        (("rankings",), "/v1/rankings", {"window": ["24h"], "measure": ["change"], "limit": ["20"]}),
        (("rankings", "1h", "turnover", "--limit", "3"), "/v1/rankings",
         {"window": ["1h"], "measure": ["turnover"], "limit": ["3"]}),
        (("features", "A", "1m", "--last", "2"), "/v1/features", {"symbol": ["A"], "interval": ["1m"], "last": ["2"]}),
        (("features", "A", "B,C", "1m", "--start", "2024-01-02"), "/v1/features",
         {"symbol": ["A", "B,C"], "interval": ["1m"], "start": ["2024-01-02T00:00:00Z"]}),
    ],
)  # fmt: skip
def test_each_is_its_endpoint_and_csv_when_piped(
    tmp_path: Path, words: tuple[str, ...], path: str, asked: dict[str, Any]
) -> None:
    output, found_path, found = _ran(streaming(stream(trades(3))), tmp_path, *words)
    assert (found_path, found) == (path, asked)
    lines = output.splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("1970-01-01T00:00:00.000000000Z,")


def test_a_book_is_json_when_piped(tmp_path: Path) -> None:
    output, path, asked = _ran(saying(_BOOK), tmp_path, "book", "A", "--at", "2024-01-01", "--depth", "1")
    assert json.loads(output) == _BOOK
    assert (path, asked) == (
        "/v1/book",
        {"symbol": ["A"], "at": ["2024-01-01T00:00:00Z"], "depth": ["1"]},
    )


def _ran(act: Act, folder: Path, *words: str) -> tuple[str, str, dict[str, list[str]]]:
    """What was printed, and what was asked for."""
    with playing(_OK, act) as gateway:
        env = {"TAPEHOUSE_GATEWAY__URL": gateway.url, "TAPEHOUSE_HOME": str(folder / "home")}
        done = CliRunner().invoke(root, words, env=env)
        assert done.exit_code == 0, f"{done.exception!r} {done.output}"
        return done.output, gateway.paths[-1].partition("?")[0], gateway.asked
