"""The board in 80x24: what is wrong first, all of it in the terminal, and no text from outside that acts on it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ops.stack.board_view import BoardState, draw, summary
from ops.stack.part import PartView, State
from ops.terminal import add_row, echo, table, text_column
from tapehouse.clock import parse_ns
from tapehouse.printable import one_line, printable

_MINUTE = parse_ns("2026-11-30T14:43:00Z")
_PARTS = ("nats", "questdb", "clickhouse", "writer", "accounts", "barmaker", "mirror", "gateway")
_HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "[/b]",
            "[red]",
            "[link=x]y",
            ":bomb:",
            "\x1b[2J\x1b]0;t\x07",
            "\x9b31m",
            "\u202eab",
            "\udcff",
            "a\r\nb",
        ]
    ),
)


def _part(name: str, state: State = State.READY, detail: str = "", restarts: int = 0) -> PartView:
    health = "health.feed.sim" if name == "sim" else f"health.{name}.>"
    return PartView(name, state, 17, "http://127.0.0.1:9000", restarts, detail, health)


def _report(detail: str = "", state: str = "ready") -> dict[str, Any]:
    return {"role": "r", "instance": "0", "state": state, "detail": detail, "rows": 1_442_330, "rows_s": 1053.2,
            "lag_ms": 12.34, "quarantined": 3, "skew_ms": None, "gaps": 0}  # fmt: skip


def _bars(symbol: str, count: int = 9) -> dict[tuple[str, str], tuple[Any, ...]]:
    return {
        ("sim", f"{symbol}{number}"): (_MINUTE, 1.0, 57167.6, 0.397, 2.5, 2e6, number)
        for number in range(count)
    }


def _drawn(state: BoardState, width: int = 80, height: int = 24) -> list[str]:
    """The lines as a terminal shows them, with their escapes taken off by the console itself."""
    out = io.StringIO()
    Console(file=out, width=width, height=height).print(draw(state, width, height - 1))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_everything_fits_80x24_with_what_is_wrong_first() -> None:
    parts = [
        *map(_part, _PARTS),
        _part("sim"),
        _part("feed-binance_spot", State.RESTARTING, "was killed\nby SIGKILL", 2),
    ]
    reports = {
        "health.writer.0": _report(),
        "health.feed.sim": _report("history 43%, 2026-11-27"),
        "health.mirror.0": _report("ClickHouse does not answer", "waiting"),
    }
    lines = _drawn(BoardState("ready", parts, reports, _bars("SYMBOL"), 70 * 2**30, 12))
    assert lines[0] == "ready"
    assert lines[1] == "1,053 rows/s, lag 12.3 ms, 9 quarantined, disk 70.0 GiB free, cold days 12"
    assert lines[2] == "mirror: waiting: ClickHouse does not answer"
    assert lines[3] == "feed-binance_spot: restarting: was killed by SIGKILL"
    assert lines[4].split() == ["part", "state", "rows/s", "rows", "lag", "ms"]
    assert lines[8] == "writer          ready         1,053   1,442,330    12.3"
    assert lines[13].endswith("12.3  history 43%, 2026-11-27")
    assert lines[14] == "feed-binance_sp restarting                               restarted 2x; was kill…"
    assert lines[16].split() == ["venue", "symbol", "1m", "bar", "high", "low", "close", "volume", "trades"]
    assert lines[17].split() == ["sim", "SYMBOL8", "14:43", "57167.6", "0.397", "2.5", "2M", "8"]
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80


def test_what_is_being_stopped_is_named() -> None:
    parts = [
        _part("nats"),
        _part("writer", State.STOPPING),
        _part("gateway", State.STOPPING),
        _part("sim", State.STOPPED),
    ]
    assert _drawn(BoardState("stopping", parts))[0] == "stopping: writer, gateway"


def test_more_parts_than_lines_are_counted() -> None:
    parts = [_part(f"feed-{number}") for number in range(40)]
    lines = _drawn(BoardState("ready", parts, {}, _bars("S")))
    assert len(lines) == 23
    assert lines[-1] == "21 parts more: see `tapehouse status`"


def test_nothing_is_known_yet() -> None:
    assert summary(BoardState("starting")) == ""
    assert _drawn(BoardState("starting"))[0] == "starting"


@given(_HOSTILE, st.integers(20, 120), st.integers(5, 40))
def test_no_text_from_outside_breaks_the_board_or_acts_on_the_terminal(
    hostile: str, width: int, height: int
) -> None:
    parts = [_part("writer", State.FAILED, hostile), _part("sim", detail=hostile), _part(hostile)]
    bars = {(hostile, hostile): (_MINUTE, 1.0, 1.0, 1.0, 1.0, 1.0, 1)}
    state = BoardState(hostile, parts, {"health.feed.sim": _report(hostile, "waiting")}, bars)
    lines = _drawn(state, width, height)
    assert all(line.isprintable() for line in lines)
    # A line that the console folds would move the board.
    assert len(lines) <= max(height - 1, 4 + 4)


@given(_HOSTILE)
def test_a_table_and_a_bar_show_text_from_outside_as_it_is(hostile: str) -> None:
    out = io.StringIO()
    shown = table("part", title=hostile)
    add_row(shown, hostile)
    column = text_column("{task.description}")
    assert not column.markup
    Console(file=out, width=400).print(shown)
    assert all(char.isprintable() or char == "\n" for char in out.getvalue())
    assert "".join(printable(hostile).split()) in "".join(out.getvalue().split())


@given(_HOSTILE)
def test_what_is_printable_stays_and_the_rest_is_shown_as_escapes(hostile: str) -> None:
    safe = printable(hostile)
    assert all(char.isprintable() or char in "\n\t" for char in safe)
    assert printable(safe) == safe
    assert "\n" not in one_line(hostile)
    if hostile.isprintable():
        assert safe == hostile


def test_a_line_of_the_command_line_is_safe(capsys: pytest.CaptureFixture[str]) -> None:
    echo("symbol \x1b[2J[/b]\tA\nB \x9b1m é €")
    assert capsys.readouterr().out == "symbol \\x1b[2J[/b]\tA\nB \\x9b1m é €\n"
