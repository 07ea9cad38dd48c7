"""The gateway as a role: its port, what it says of itself, and stores that are away."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import pytest

from gateway.role import Gateway
from tapehouse.errors import StackError
from tapehouse.settings import ClickHouse
from tapehouse.settings import Gateway as GatewaySettings
from tapehouse.stream.bus import Bus
from tapehouse.stream.health import Health
from tests.conftest import Platform
from tests.gateway.serving import Client, gateway
from tests.waiting import DEADLINE_S


async def test_a_port_that_is_taken_is_named(provisioned: Platform) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = provisioned.settings.model_copy(update={"gateway": GatewaySettings(port=port)})
        async with Bus.opened(settings, "gateway", DEADLINE_S) as bus:
            with pytest.raises(StackError, match=f"gateway: expected port {port} to be free"):
                await Gateway(settings, bus, Health("gateway")).run()


async def test_it_listens_where_the_address_says_and_tells_it(
    provisioned: Platform, shared_cold: ClickHouse
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    own = {
        "gateway": GatewaySettings(port=0, url=address, hosts=("market.example",)),
        "clickhouse": shared_cold,
    }
    settings = provisioned.settings.model_copy(update=own)
    async with (
        Bus.opened(settings, "monitor", DEADLINE_S) as monitor,
        Bus.opened(settings, "gateway", DEADLINE_S) as bus,
        monitor.subscribed("health.gateway.>") as reports,
    ):
        health = Health("gateway")
        role = Gateway(settings, bus, health)
        task = asyncio.create_task(health.alongside(bus, role.run()))
        try:
            async with asyncio.timeout(DEADLINE_S):
                assert await role.url == address
                while (report := json.loads((await reports.next_msg(None)).data))["state"] != "ready":  # type: ignore[arg-type]
                    assert not task.done(), task
            assert report["detail"] == address
            for host, status in {"market.example": 200, "other.example": 421}.items():
                answer = await asyncio.to_thread(Client(address).get, "/healthz", Host=host)
                assert answer.status == status
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def test_while_a_store_is_away_what_it_has_is_a_problem_and_the_other_answers(provisioned: Platform) -> None:
    away = provisioned.settings.clickhouse.model_copy(update={"http_port": 1})
    with gateway(provisioned.settings.model_copy(update={"clickhouse": away})) as client:
        deadline = time.monotonic() + DEADLINE_S
        while "clickhouse" not in (waiting := client.get("/readyz")).json()["fields"]:
            assert time.monotonic() < deadline, waiting.data
            time.sleep(0.05)
        assert (waiting.status, waiting.json()["type"]) == (503, "/problems/not-ready")
        assert client.json("/healthz") == {"alive": True}
        old = client.get("/v1/trades?venue=V&symbol=S&start=2024-01-01&end=2024-01-02")
        assert (old.status, old.json()["type"], old.headers["retry-after"]) == (503, "/problems/away", "2")
        today = time.strftime("%Y-%m-%d", time.gmtime())
        assert client.json(f"/v1/trades?venue=nobody&symbol=S&start={today}")["rows"] == []
