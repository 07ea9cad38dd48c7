"""The gateway as a role: the stores' surface, what is live, and the HTTP server before them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import structlog
import uvicorn
from nats.errors import Error as NatsError

from gateway.lastprices import LastPrices
from gateway.memory import give_back, keep_little
from gateway.rest.app import application
from gateway.rest.backend import Backend
from gateway.rest.readers import Limits, Readers
from gateway.surface import Surface
from tapehouse.bus import Bus
from tapehouse.clock import DAY, now_ns
from tapehouse.direct import values
from tapehouse.errors import ConnectError, StackError, TapehouseError
from tapehouse.health import Health
from tapehouse.mark import ALL_MARKS
from tapehouse.settings import Gateway as GatewaySettings
from tapehouse.settings import Settings
from tapehouse.stack.ports import LOOPBACK

_REFRESH_S = 2.0
_LIVE_DAYS = 2
_KEEP_ALIVE_S = 75
_LEAVE_S = 2
_BACKLOG = 1024
_log = structlog.get_logger()


class Gateway:
    """Answers queries by HTTP, on loopback alone."""

    def __init__(self, settings: Settings, bus: Bus, health: Health, limits: Limits | None = None) -> None:
        self.url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Where it answers, once it does."""
        self._settings = settings
        self._bus = bus
        self._health = health
        self._limits = limits or Limits()
        self._prices = LastPrices(bus)
        self._standing = {"coverage": "not read yet"}

    async def run(self) -> None:
        """Serve until cancelled. Raises StackError where the port is taken."""
        keep_little()
        with listening(self._settings.gateway, self._limits.idle_s) as listener:
            url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
            surface = await asyncio.to_thread(Surface, self._settings)
            readers = Readers(self._limits)
            app = application(Backend(surface, self._prices, readers, lambda: self._standing))
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._prices.run())
                    tasks.create_task(self._refresh(surface, url))
                    tasks.create_task(self._expect(surface))
                    tasks.create_task(serve(app, listener))
                    self.url.set_result(url)
            finally:
                readers.close()
                await asyncio.to_thread(surface.close)

    async def _refresh(self, surface: Surface, url: str) -> None:
        """Keep up with who owns which day, with how the stores are, and with memory that answers have left."""
        while True:
            began = time.monotonic()
            standing = {}
            try:
                marks = await values(self._bus, ALL_MARKS)
                await asyncio.to_thread(surface.refresh, marks)
            except TapehouseError as reason:
                standing["coverage"] = reason.message
            except NatsError as reason:
                standing["nats"] = f"no answer: {reason!r}"
            standing |= await asyncio.to_thread(surface.health)
            await asyncio.to_thread(give_back)
            self._tell(standing, url)
            await asyncio.sleep(max(0, began + _REFRESH_S - time.monotonic()))

    async def _expect(self, surface: Surface) -> None:
        """Have the last prices be asked for of all that was traded not long ago, live or not."""
        while True:
            with contextlib.suppress(TapehouseError):
                self._prices.expect(await asyncio.to_thread(_live, surface))
                return
            await asyncio.sleep(_REFRESH_S)

    def _tell(self, standing: dict[str, str], url: str) -> None:
        faults = [f"{name}: {reason}" for name, reason in standing.items() if reason]
        if standing != self._standing and faults:
            _log.warning("gateway waits", **standing)
        self._standing = standing
        if faults:
            self._health.waiting("; ".join([url, *faults]))
        else:
            self._health.ready(url)


def _live(surface: Surface) -> list[tuple[str, str]]:
    """The symbols that had trades not long ago."""
    found = surface.catalog()
    since = (now_ns() // DAY - _LIVE_DAYS) * DAY
    return [
        (row["venue"], row["symbol"])
        for row in found.with_columns(found["last"].to_physical()).iter_rows(named=True)
        if row["kind"] == "trades" and row["last"] >= since
    ]


@contextlib.contextmanager
def listening(settings: GatewaySettings, idle_s: float) -> Iterator[socket.socket]:
    """The socket to be listened on, for the length of the context. Raises StackError where the port is taken."""
    # Where any port may be taken the stack runner has chosen one, and says so in the address.
    port = settings.port or urlsplit(settings.url).port or 0
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What a client does not take within this time, the kernel ends the connection for, wherever its server is.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(idle_s * 1000))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            listener.bind((LOOPBACK, port))
            listener.listen(_BACKLOG)
        except OSError as reason:
            raise StackError(
                f"gateway: expected port {port} to be free, was taken: {reason}",
                remedy="Free it, or set gateway.port.",
                port=port,
            ) from None
        listener.setblocking(False)
        yield listener


class _Server(uvicorn.Server):
    """A server whose process is told by others when to end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(app: object, listener: socket.socket) -> None:
    """Serve an application until cancelled; what is under way then has two seconds to end."""
    server = _Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]  # FastAPI's own type of an application
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="critical",
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_LEAVE_S,
        )
    )
    serving = asyncio.ensure_future(server.serve([listener]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)
    raise ConnectError("gateway: the HTTP server has ended")
