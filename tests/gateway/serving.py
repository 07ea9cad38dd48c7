"""A gateway that serves, in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from gateway.last_prices import LastPrices
from gateway.part_reports import PartReports
from gateway.quarantine_report import QuarantineReport
from gateway.rest.app import application
from gateway.rest.backend import Backend
from gateway.rest.page import BUILT
from gateway.rest.readers import Limits, Readers
from gateway.role import Gateway, bound_socket, serve
from tapehouse.settings import Gateway as GatewaySettings
from tapehouse.settings import Settings
from tapehouse.stream.bus import Bus
from tapehouse.stream.health import Health

_START_S = 60
ANY_PORT = GatewaySettings(port=0)


@dataclass
class Client:
    """What is asked of a gateway, by urllib3."""

    url: str
    pool: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(maxsize=8, retries=False, timeout=60)
    )

    def get(self, path: str, accept: str = "", **headers: str) -> urllib3.BaseHTTPResponse:
        """The answer to a GET, its body read and decoded."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.pool.request(
            "GET", self.url + path, headers=sent | ({"Accept": accept} if accept else {})
        )

    def json(self, path: str, status: int = 200) -> Any:
        """The JSON of the answer, whose status is checked."""
        answer = self.get(path)
        assert answer.status == status, answer.data
        return answer.json()


@contextmanager
def gateway(settings: Settings, limits: Limits | None = None) -> Iterator[Client]:
    """The role, before the real stores."""

    async def run(ready: Callable[[str], None]) -> None:
        async with Bus.opened(settings, "gateway", _START_S) as bus:
            role = Gateway(settings.model_copy(update={"gateway": ANY_PORT}), bus, Health("gateway"), limits)
            role.url.add_done_callback(lambda url: ready(url.result()))
            await role.run()

    with _running(run) as url:
        yield Client(url)


@contextmanager
def application_of(
    surface: Any,
    limits: Limits,
    prices: LastPrices | None = None,
    hosts: Collection[str] = (),
    max_connections: int = ANY_PORT.max_connections,
    page: Path = BUILT,
    parts: PartReports | None = None,
    quarantine: QuarantineReport | None = None,
) -> Iterator[Client]:
    """The application alone, before a surface of the test's."""

    async def run(ready: Callable[[str], None]) -> None:
        readers = Readers(limits)
        with bound_socket(ANY_PORT, limits.idle_s) as listener:
            ready(f"http://127.0.0.1:{listener.getsockname()[1]}")
            try:
                backend = Backend(surface, prices, readers, parts, quarantine, dict)  # type: ignore[arg-type]
                app = application(backend, hosts, page)
                await serve(app, listener, limits.request_s, max_connections)
            finally:
                readers.close()

    with _running(run) as url:
        yield Client(url)


@contextmanager
def _running(run: Callable[[Callable[[str], None]], Awaitable[None]]) -> Iterator[str]:
    """What `run` serves until it is cancelled; it says where when it does."""
    url: Future[str] = Future()
    stop = threading.Event()

    async def main() -> None:
        task = asyncio.ensure_future(run(url.set_result))
        stopping = asyncio.ensure_future(asyncio.to_thread(stop.wait))
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        task.cancel()
        done = await asyncio.gather(task, return_exceptions=True)
        if not url.done():
            url.set_exception(done[0] or RuntimeError("it ended"))

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="gateway")
    thread.start()
    try:
        yield url.result(_START_S)
    finally:
        stop.set()
        thread.join()
