"""The status board of `tapehouse up`: live on a terminal, lines when piped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from nats.aio.msg import Msg
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tapehouse.bus import Bus
from tapehouse.clock import NAMES, iso
from tapehouse.errors import WireError
from tapehouse.live import Frames, Heard
from tapehouse.settings import load
from tapehouse.stack.part import PartView, State
from tapehouse.stack.runner import Stack

_EVERY_S = 1.0
_STYLES = {State.READY: "green", State.FAILED: "bold red", State.STOPPED: "dim"}
_SHOWN, _KEPT = 5, 50
_MINUTE = NAMES.index("1m")
_BAR = ("ts", "open", "high", "low", "close", "volume", "trades")


class Board:
    """What is known of the platform, drawn once a second."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._message = "starting"
        self._reports: dict[str, dict[str, Any]] = {}
        self._bars: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._quarantined = 0
        self._listening = asyncio.Event()

    def say(self, message: str) -> None:
        """The line at the foot of the board."""
        self._message = message
        if not sys.stdout.isatty():
            print(f"tapehouse: {message}", flush=True)  # noqa: T201 - the product of a piped run

    def began(self, home: Path) -> None:
        """Every part is ready: begin to listen."""
        self._listening.set()
        self.say(f"ready; home {home}; Ctrl-C stops")

    @asynccontextmanager
    async def shown(self, stack: Stack) -> AsyncIterator[None]:
        """Show the board for as long as the context lasts."""
        tasks = [asyncio.create_task(self._draw(stack)), asyncio.create_task(self._listen())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _draw(self, stack: Stack) -> None:
        if not sys.stdout.isatty():
            await self._print(stack)
            return
        with Live(console=Console(), auto_refresh=False, screen=False) as live:
            while True:
                live.update(self._drawn(stack.view()), refresh=True)
                await asyncio.sleep(_EVERY_S / 2)

    async def _print(self, stack: Stack) -> None:
        """One line a part whenever its state changes, and a summary every ten seconds."""
        before: dict[str, str] = {}
        ticks = 0
        while True:
            for part in stack.view():
                line = f"{part.name}: {part.state} {part.address} {part.detail}".rstrip()
                if before.get(part.name) != line:
                    before[part.name] = line
                    print(line, flush=True)  # noqa: T201
            ticks += 1
            if ticks % 10 == 0 and self._reports:
                print(self._summary(), flush=True)  # noqa: T201
            await asyncio.sleep(_EVERY_S)

    async def _listen(self) -> None:
        """Hear the roles' reports and read the last bars, once the parts are ready."""
        await self._listening.wait()
        settings = load(self._home)

        async def hear(message: Msg) -> None:
            self._reports[message.subject] = json.loads(message.data)

        bus = await Bus.connect(settings, "monitor")
        try:
            await bus.client.subscribe("health.>", cb=hear)
            async with Frames.listening(bus) as frames:
                while True:
                    with contextlib.suppress(TimeoutError, WireError):
                        self._show(await frames.next(_EVERY_S * 3))
        finally:
            await bus.close()

    def _show(self, heard: Heard) -> None:
        """Keep the minute's bars of the symbols with the most trades."""
        if heard.broken:
            self._bars.clear()
        bars = heard.frame.bars[heard.frame.bars["interval"] == _MINUTE]
        for bar in bars[np.argsort(bars["trades"], kind="stable")[-_KEPT:]]:
            key = heard.frame.keys[bar["key"]]
            if bar["trades"] and (key not in self._bars or bar["ts"] >= self._bars[key][0]):
                self._bars[key] = tuple(bar[name].item() for name in _BAR)
        if len(self._bars) > 2 * _KEPT:
            most = sorted(self._bars.items(), key=lambda item: (item[1][0], item[1][-1]), reverse=True)
            self._bars = dict(most[:_KEPT])

    def _summary(self) -> str:
        rows = sum(report["rows_s"] for report in self._of("health.writer.>"))
        lags = [report["lag_ms"] for report in self._of("health.writer.>") if report["lag_ms"] is not None]
        lag = f"{max(lags):.1f} ms" if lags else "none yet"
        quarantined = sum(report["quarantined"] for report in self._reports.values())
        return f"{rows:,.0f} rows/s, lag {lag}, {quarantined:,} quarantined"

    def _of(self, address: str) -> list[dict[str, Any]]:
        """The reports of a role's address: one subject, or all that begin with it."""
        start = address.removesuffix(">")
        return [
            report for subject, report in self._reports.items()
            if subject == address or (start != address and subject.startswith(start))
        ]  # fmt: skip

    def _drawn(self, parts: list[PartView]) -> Group:
        table = Table(box=None, pad_edge=False)
        for heading in (
            "part",
            "state",
            "address",
            "rows/s",
            "rows",
            "lag ms",
            "quarantined",
            "restarts",
            "",
        ):
            right = heading in ("rows/s", "rows", "lag ms", "quarantined", "restarts")
            table.add_column(heading, justify="right" if right else "left", no_wrap=heading != "")
        for part in parts:
            table.add_row(*self._row(part))
        drawn: list[Any] = [table]
        if self._bars:
            drawn += [Text(), _table(self._bars)]
        return Group(
            *drawn, Text(), Text(f"{self._message}   {self._summary()}" if self._reports else self._message)
        )

    def _row(self, part: PartView) -> list[Any]:
        reports = self._of(part.address)
        numbers = ["", "", "", ""]
        if reports:
            lags = [report["lag_ms"] for report in reports if report["lag_ms"] is not None]
            numbers = [
                f"{sum(report['rows_s'] for report in reports):,.0f}",
                f"{sum(report['rows'] for report in reports):,}",
                f"{max(lags):.1f}" if lags else "",
                f"{sum(report['quarantined'] for report in reports):,}",
            ]
        told = "; ".join(report["detail"] for report in reports if report["detail"])
        skews = [
            f"clock {report['skew_ms']:+,.1f} ms, {report['gaps']:,} open gaps"
            for report in reports
            if report["skew_ms"] is not None
        ]
        state = Text(part.state, style=_STYLES.get(part.state, "yellow"))
        return [
            part.name,
            state,
            part.address,
            *numbers,
            str(part.restarts),
            part.detail or told or "; ".join(skews),
        ]


def _table(bars: dict[tuple[str, str], tuple[Any, ...]]) -> Table:
    """The bars of the latest minute first, of each the most traded."""
    table = Table(box=None, pad_edge=False, title="live 1m bars", title_justify="left")
    for heading in ("venue", "symbol", "minute", "open", "high", "low", "close", "volume", "trades"):
        table.add_column(heading, justify="left" if heading in ("venue", "symbol", "minute") else "right")
    # ts is the first column, trades the last.
    shown = sorted(bars.items(), key=lambda item: (item[1][0], item[1][-1]), reverse=True)[:_SHOWN]
    for (venue, symbol), (ts, *prices, trades) in shown:
        minute = iso(ts)[:16].replace("T", " ")
        table.add_row(venue, symbol, minute, *(f"{price:g}" for price in prices), f"{trades:,}")
    return table
