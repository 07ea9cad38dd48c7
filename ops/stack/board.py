"""The status board of `tapehouse up`: live on a terminal, lines when piped. How it looks is in board_view.py."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from nats.aio.msg import Msg
from rich.live import Live

from ops.stack.board_view import BoardState, draw, summary
from ops.stack.runner import Stack
from ops.terminal import console, echo
from tapehouse.clock import NAMES
from tapehouse.errors import ConnectError, TapehouseError, WireError
from tapehouse.printable import one_line
from tapehouse.settings import Settings, load
from tapehouse.stores.clickhouse import ClickHouseClient
from tapehouse.stores.clickhouse_parts import count_stored_days
from tapehouse.stream.bus import Bus
from tapehouse.stream.frame_reader import Frames, ReceivedFrame

_EVERY_S = 1.0
_COLD_EVERY_S = 10.0
_COLD_WITHIN_S = 5
_KEPT = 50
_MINUTE = NAMES.index("1m")
_BAR = ("ts", "open", "high", "low", "close", "volume", "trades")


class Board:
    """Shows parts, health reports and live bars, refreshed twice a second."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._message = "starting"
        self._reports: dict[str, dict[str, Any]] = {}
        self._bars: dict[tuple[str, str], tuple[Any, ...]] = {}
        self._cold_days: int | None = None

    def say(self, message: str) -> None:
        """Set the first line of the board; printed when piped."""
        self._message = message
        if not sys.stdout.isatty():
            _print(f"tapehouse: {message}")

    @asynccontextmanager
    async def shown(self, stack: Stack) -> AsyncIterator[None]:
        """Show the board for as long as the context lasts."""
        showing = asyncio.create_task(self._draw(stack) if sys.stdout.isatty() else self._print(stack))
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)

    async def watch(self) -> None:
        """Receive health reports and frames, and count the days in ClickHouse, until cancelled."""
        settings = load(self._home)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_listening(settings))
            tasks.create_task(self._count_cold_days(settings))

    def _state(self, stack: Stack) -> BoardState:
        free = shutil.disk_usage(self._home).free if self._home.exists() else None
        return BoardState(self._message, stack.view(), self._reports, self._bars, free, self._cold_days)

    async def _draw(self, stack: Stack) -> None:
        with Live(console=console(), auto_refresh=False, screen=False) as live:

            def show() -> None:
                width, height = live.console.size
                # The cursor stays on a line of its own.
                live.update(draw(self._state(stack), width, height - 1), refresh=True)

            try:
                while True:
                    show()
                    await asyncio.sleep(_EVERY_S / 2)
            finally:
                show()

    async def _print(self, stack: Stack) -> None:
        """One line a part whenever its state changes, and a summary every ten seconds."""
        before: dict[str, str] = {}

        def show_changes() -> None:
            for part in stack.view():
                line = " ".join(filter(None, [f"{part.name}: {part.state}", part.address, part.detail]))
                if before.get(part.name) != line:
                    before[part.name] = line
                    _print(line)

        ticks = 0
        try:
            while True:
                show_changes()
                ticks += 1
                if ticks % 10 == 0 and self._reports:
                    _print(summary(self._state(stack)))
                await asyncio.sleep(_EVERY_S)
        finally:
            show_changes()

    async def _keep_listening(self, settings: Settings) -> None:
        while True:
            with contextlib.suppress(ConnectError):
                await self._listen(settings)
            await asyncio.sleep(_EVERY_S)

    async def _listen(self, settings: Settings) -> None:
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

    async def _count_cold_days(self, settings: Settings) -> None:
        client = ClickHouseClient(settings.clickhouse, timeout_s=_COLD_WITHIN_S, reading=True)
        try:
            while True:
                try:
                    self._cold_days = await asyncio.to_thread(count_stored_days, client, settings.clickhouse)
                except TapehouseError:
                    self._cold_days = None
                await asyncio.sleep(_COLD_EVERY_S)
        finally:
            client.close()

    def _show(self, received: ReceivedFrame) -> None:
        """Keep the newest 1m bars of the symbols with the most trades."""
        if received.needs_snapshot:
            self._bars.clear()
        bars = received.frame.bars[received.frame.bars["interval"] == _MINUTE]
        for bar in bars[np.argsort(bars["trades"], kind="stable")[-_KEPT:]]:
            key = received.frame.keys[bar["key"]]
            if bar["trades"] and (key not in self._bars or bar["ts"] >= self._bars[key][0]):
                self._bars[key] = tuple(bar[name].item() for name in _BAR)
        if len(self._bars) > 2 * _KEPT:
            most = sorted(self._bars.items(), key=lambda item: (item[1][0], item[1][-1]), reverse=True)
            self._bars = dict(most[:_KEPT])


def _print(line: str) -> None:
    echo(one_line(line))
    sys.stdout.flush()
