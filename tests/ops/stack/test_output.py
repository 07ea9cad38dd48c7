"""Logs: bounded, private, and readable at their end."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ops.stack import output
from ops.stack.output import Output


def test_the_tail_shows_this_start_alone(tmp_path: Path) -> None:
    log = Output(tmp_path / "part.log")
    with log.open() as file:
        file.write(b"of the first start\n")
    with log.open() as file:
        file.write(b"1\n2\n3\n")
    assert log.tail(2) == "2\n3"
    assert log.tail() == "1\n2\n3"
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_there_is_no_tail_before_there_is_a_log(tmp_path: Path) -> None:
    assert Output(tmp_path / "part.log").tail() == ""


def test_a_log_over_its_limit_moves_away_under_a_running_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "LIMIT", 10)
    log = Output(tmp_path / "part.log")
    with log.open() as file:
        file.write(b"before, and long\n")
        file.flush()
        log.bound()
        assert log.path.stat().st_size == 0
        file.write(b"after\n")
    assert log.path.read_bytes() == b"after\n"
    assert log.tail() == "after"
    assert (tmp_path / "part.log.1").read_bytes() == b"before, and long\n"
    with log.open():
        assert (tmp_path / "part.log.1").read_bytes() == b"before, and long\n"
