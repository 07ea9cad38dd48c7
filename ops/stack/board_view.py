"""How the status board looks: what is wrong first, then the parts, then live bars as far as the terminal has room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group
from rich.text import Text

from ops.stack.part import PartView, State
from ops.terminal import text
from tapehouse.clock import iso
from tapehouse.printable import one_line

_STYLES = {State.READY: "green", State.FAILED: "bold red", State.STOPPED: "dim", State.WAITING: "dim"}
_EXPECTED = (State.READY, State.WAITING, State.STARTING, State.STOPPING, State.STOPPED)
_PROBLEMS, _BARS = 4, 5
_NARROW = 80
_LONGEST_NAME = 15
"""Characters of a part's name, at most."""


@dataclass(frozen=True)
class BoardState:
    """What the board shows."""

    message: str
    parts: Sequence[PartView] = ()
    reports: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """The newest health report of each subject."""
    bars: Mapping[tuple[str, str], tuple[Any, ...]] = field(default_factory=dict)
    """By venue and symbol: start ns, open, high, low, close, volume, trades of the newest 1m bar."""
    free_bytes: int | None = None
    """Free space on the disk of the home."""
    cold_days: int | None = None
    """Days stored in ClickHouse; None if unknown."""


def reports_of(reports: Mapping[str, dict[str, Any]], subject: str) -> list[dict[str, Any]]:
    """The health reports of a part's subject: of that one, or of all that begin as it does where it ends with >."""
    start = subject.removesuffix(">")
    return [
        report
        for heard, report in reports.items()
        if subject and (heard == subject or (start != subject and heard.startswith(start)))
    ]


def summary(state: BoardState) -> str:
    """Rows a second, lag, quarantined rows, free disk and cold days, in one line."""
    writers = reports_of(state.reports, "health.writer.>")
    lags = [report["lag_ms"] for report in writers if report["lag_ms"] is not None]
    found = []
    if state.reports:
        quarantined = sum(report["quarantined"] for report in state.reports.values())
        found = [
            f"{sum(report['rows_s'] for report in writers):,.0f} rows/s",
            f"lag {max(lags):.1f} ms" if lags else "lag none yet",
            f"{quarantined:,} quarantined",
        ]
    if state.free_bytes is not None:
        found.append(f"disk {state.free_bytes / 2**30:,.1f} GiB free")
    if state.cold_days is not None:
        found.append(f"cold days {state.cold_days:,}")
    return ", ".join(found)


def headline(state: BoardState) -> str:
    """The message, and the parts that are being stopped."""
    stopping = [part.name for part in state.parts if part.state is State.STOPPING]
    return f"{state.message}: {', '.join(stopping)}" if stopping else state.message


def draw(state: BoardState, width: int, height: int) -> Group:
    """The board in at most `height` lines of `width` characters."""
    lines = [_line(one_line(headline(state)), "bold"), _line(summary(state))]
    lines += list(_problems(state))
    room = height - len(lines)
    wide = min(max((len(one_line(part.name)) for part in state.parts), default=0), _LONGEST_NAME)
    parts = [_heading(wide), *(_part(part, state, wide) for part in state.parts)] if state.parts else []
    if len(parts) > room:
        left = len(parts) - room + 1
        parts = [*parts[: max(room - 1, 0)], _line(f"{left} parts more: see `tapehouse status`", "dim")]
    lines += parts
    bars = min(_BARS, len(state.bars), height - len(lines) - 2)
    if bars > 0:
        lines += [Text(), *_bars(state.bars, bars, max(width - _NARROW, 0) // 2)]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Group(*lines)


def _line(shown: str, style: str = "") -> Text:
    line = text(shown, style)
    line.no_wrap = True
    return line


def _problems(state: BoardState) -> Iterator[Text]:
    """The parts that are not as they should be, and roles that wait, with the reasons."""
    found = []
    for part in state.parts:
        if part.state not in _EXPECTED:
            style = "bold red" if part.state is State.FAILED else "yellow"
            found.append(_line(one_line(f"{part.name}: {part.state}: {part.detail}"), style))
        elif part.state is State.READY:
            waiting = [
                report for report in reports_of(state.reports, part.health) if report["state"] == "waiting"
            ]
            lines = [one_line(f"{part.name}: waiting: {report['detail']}") for report in waiting]
            found += [_line(line, "yellow") for line in lines]
    yield from found[:_PROBLEMS]
    if len(found) > _PROBLEMS:
        yield _line(f"{len(found) - _PROBLEMS} problems more: see `tapehouse status`", "yellow")


def _heading(wide: int) -> Text:
    return _line(f"{'part':<{wide}} {'state':<10} {'rows/s':>8} {'rows':>11} {'lag ms':>7}", "bold")


def _part(part: PartView, state: BoardState, wide: int) -> Text:
    """One part in one line: name in `wide` characters, state, numbers of its reports, restarts and what it does."""
    reports = reports_of(state.reports, part.health)
    lags = [report["lag_ms"] for report in reports if report["lag_ms"] is not None]
    rows_s = f"{sum(report['rows_s'] for report in reports):,.0f}" if reports else ""
    rows = f"{sum(report['rows'] for report in reports):,}" if reports else ""
    lag = f"{max(lags):.1f}" if lags else ""
    details = [report["detail"] for report in reports] + [skew_text(report) for report in reports]
    detail = "; ".join(filter(None, [restarts_text(part.restarts), part.detail, *details]))
    line = _line(f"{one_line(part.name):<{wide}.{wide}} {part.state:<10} {rows_s:>8} {rows:>11} {lag:>7}")
    line.stylize(_STYLES.get(part.state, "yellow"), wide + 1, wide + 11)
    return line.append(f"  {one_line(detail)}") if detail else line


def restarts_text(count: int) -> str:
    """How often a part was restarted; empty if never."""
    return f"restarted {count}x" if count else ""


def skew_text(report: Mapping[str, Any]) -> str:
    """Of a health report the venue's clock and the open gaps; empty where it has none."""
    if report["skew_ms"] is None:
        return ""
    return f"clock {report['skew_ms']:+,.1f} ms, {report['gaps']:,} open gaps"


def _bars(bars: Mapping[tuple[str, str], tuple[Any, ...]], most: int, more: int) -> Iterator[Text]:
    """The bars of the latest minute first, of each the most traded. `more`: characters that names may have more."""
    venue_wide, symbol_wide = 8 + more, 10 + more

    def row(venue: str, symbol: str, *cells: str) -> str:
        names = (
            f"{one_line(venue):<{venue_wide}.{venue_wide}} {one_line(symbol):<{symbol_wide}.{symbol_wide}}"
        )
        return names + "".join(f" {cell:>8}" for cell in cells)

    yield _line(row("venue", "symbol", "1m bar", "high", "low", "close", "volume", "trades"), "bold")
    # ts is the first value, trades the last.
    newest = sorted(bars.items(), key=lambda item: (item[1][0], item[1][-1]), reverse=True)[:most]
    for (venue, symbol), (ts, _, high, low, close, volume, trades) in newest:
        numbers = [_number(value) for value in (high, low, close, volume)]
        yield _line(row(venue, symbol, iso(ts)[11:16], *numbers, f"{trades:,}"))


def _number(value: float) -> str:
    """A price or size in eight characters or less."""
    return f"{value / 1e6:.5g}M" if abs(value) >= 1e6 else f"{value:.6g}"
