"""The gateway role: an HTTP server over the query surface and the last prices."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import urlsplit

import structlog
import uvicorn
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from gateway.allocator import limit_heap_growth, return_free_memory
from gateway.last_prices import LastPrices
from gateway.live.connection import LiveConnection
from gateway.live.history import History
from gateway.live.hub import Hub
from gateway.open_files import allow_many_files
from gateway.part_reports import PartReports
from gateway.quarantine_report import QuarantineReport
from gateway.rest.app import application
from gateway.rest.backend import Backend
from gateway.rest.callers import Callers
from gateway.rest.connection import BoundedConnection
from gateway.rest.readers import Limits, Readers
from gateway.surface import QuerySurface
from tapehouse.clock import DAY, now_ns, parse_ns
from tapehouse.errors import ConnectError, StackError, TapehouseError
from tapehouse.settings import LOOPBACK, Settings
from tapehouse.settings import Gateway as GatewaySettings
from tapehouse.stream.bus import STATE, Bus
from tapehouse.stream.health import Health
from tapehouse.stream.mark import ALL_MARKS
from tapehouse.stream.reads import state_values

_REFRESH_S = 2.0
_RECENT_DAYS = 2
_KEEP_ALIVE_S = 75
_SHUTDOWN_S = 2
_BACKLOG = 1024
_log = structlog.get_logger()


class Gateway:
    """Answers queries over HTTP, on the loopback interface only."""

    def __init__(self, settings: Settings, bus: Bus, health: Health, limits: Limits | None = None) -> None:
        self.url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Resolves to the base URL once the server listens."""
        self._settings = settings
        self._bus = bus
        self._health = health
        self._limits = limits or Limits()
        self._prices = LastPrices(bus)
        self._parts = PartReports(bus)
        self._readiness = {"coverage": "not read yet"}

    async def run(self) -> None:
        """Serve until cancelled. Raises StackError if the port is in use."""
        limit_heap_growth()
        allow_many_files()
        with bound_socket(self._settings.gateway, self._limits.idle_s) as listener:
            url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
            surface = await asyncio.to_thread(QuerySurface, self._settings)
            readers = Readers(self._limits)
            quarantine = QuarantineReport(self._bus)
            backend = Backend(
                surface, self._prices, readers, self._parts, quarantine, lambda: self._readiness
            )
            hosts = _configured_hosts(self._settings.gateway)
            app = application(backend, hosts)
            hub = Hub(self._bus, self._prices, History(surface, readers))
            try:
                async with (
                    self._bus.subscribed(f"$KV.{STATE}.{ALL_MARKS}", partial(note_written, surface)),
                    asyncio.TaskGroup() as tasks,
                ):
                    tasks.create_task(self._prices.run())
                    tasks.create_task(self._parts.run())
                    tasks.create_task(self._refresh(surface, url))
                    tasks.create_task(self._track_recent_symbols(surface))
                    tasks.create_task(hub.run())
                    connections = self._settings.gateway.max_connections
                    sockets = partial(LiveConnection, hub, Callers(app, hosts).refusal)
                    tasks.create_task(serve(app, listener, self._limits.request_s, connections, sockets))
                    self.url.set_result(url)
            finally:
                readers.close()
                await asyncio.to_thread(surface.close)

    async def _refresh(self, surface: QuerySurface, url: str) -> None:
        """Every two seconds: refresh the coverage, check the stores' health, return free memory to the system."""
        while True:
            began = time.monotonic()
            readiness = {}
            try:
                marks = await state_values(self._bus, ALL_MARKS)
                await asyncio.to_thread(surface.refresh, marks)
            except TapehouseError as reason:
                readiness["coverage"] = reason.message
            except NatsError:
                readiness["nats"] = "does not answer"
            readiness |= await asyncio.to_thread(surface.health)
            await asyncio.to_thread(return_free_memory)
            self._report(readiness, url)
            await asyncio.sleep(max(0, began + _REFRESH_S - time.monotonic()))

    async def _track_recent_symbols(self, surface: QuerySurface) -> None:
        """Request the last prices of all recently traded symbols, live or not, once the stores can list them."""
        while True:
            with contextlib.suppress(TapehouseError):
                self._prices.track(await asyncio.to_thread(_recently_traded, surface))
                return
            await asyncio.sleep(_REFRESH_S)

    def _report(self, readiness: dict[str, str], url: str) -> None:
        faults = [f"{name}: {reason}" for name, reason in readiness.items() if reason]
        if readiness != self._readiness and faults:
            _log.warning("gateway not ready", **readiness)
        self._readiness = readiness
        if faults:
            self._health.waiting("; ".join([url, *faults]))
        else:
            self._health.ready(url)


async def note_written(surface: QuerySurface, mark: Msg) -> None:
    """Learn at once of a day that is written to; what is missed while NATS is away, the next refresh reads."""
    _, kind, day, _ = mark.subject.removeprefix(f"$KV.{STATE}.").split(".")
    surface.note_written(kind, parse_ns(day))


def _recently_traded(surface: QuerySurface) -> list[tuple[str, str]]:
    """(venue, symbol) of what was traded today or in the two days before."""
    found = surface.catalog()
    since = (now_ns() // DAY - _RECENT_DAYS) * DAY
    return [
        (row["venue"], row["symbol"])
        for row in found.with_columns(found["last"].to_physical()).iter_rows(named=True)
        if row["kind"] == "trades" and row["last"] >= since
    ]


def _configured_hosts(settings: GatewaySettings) -> list[str]:
    """The names by which the gateway may be called, besides those of the loopback interface."""
    address = urlsplit(settings.url).hostname
    return [*settings.hosts, *([address] if address else [])]


@contextlib.contextmanager
def bound_socket(settings: GatewaySettings, idle_s: float) -> Iterator[socket.socket]:
    """The listening socket, for the length of the context. Raises StackError if the port is in use."""
    # With port 0 the stack runner has chosen a free port and put it into the URL.
    port = settings.port or urlsplit(settings.url).port or 0
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # The kernel closes a connection whose client does not acknowledge data within this time.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(idle_s * 1000))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            listener.bind((LOOPBACK, port))
            listener.listen(_BACKLOG)
        except OSError as reason:
            raise StackError(
                f"gateway: expected port {port} to be free, was in use: {reason}",
                remedy="Free it, or set gateway.port.",
                port=port,
            ) from None
        listener.setblocking(False)
        yield listener


class _Server(uvicorn.Server):
    """Leaves signal handlers to the process it runs in."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    app: object,
    listener: socket.socket,
    request_s: float,
    max_connections: int,
    sockets: Callable[..., asyncio.Protocol] | None = None,
) -> None:
    """Serve an ASGI application until cancelled; requests in progress then have two seconds to finish.

    A request has to arrive whole within `request_s`. Connections beyond `max_connections` are refused. `sockets` makes
    the protocol of a connection that asks to upgrade to a WebSocket, which counts no more; without it none may.
    """
    connection = partial(
        BoundedConnection, request_s=request_s, max_connections=max_connections, turned_away=set()
    )
    server = _Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]  # uvicorn's type is narrower than ASGI
            http=connection,  # type: ignore[arg-type]  # called like the class
            ws=sockets or "none",  # type: ignore[arg-type]  # called like the class
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="critical",
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
    )
    serving = asyncio.ensure_future(server.serve([listener]))
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)
    raise ConnectError("gateway: the HTTP server stopped")
