"""Which connections are cut with which part."""

from __future__ import annotations

from ops.drill.role_proxies import RoleProxies
from tapehouse.settings import Nats, QuestDB, Settings

SETTINGS = Settings(nats=Nats(url="nats://127.0.0.1:1"), questdb=QuestDB(http_port=2, pg_port=3))


async def test_a_server_is_cut_from_every_role_and_a_role_from_every_server() -> None:
    async with RoleProxies(SETTINGS, ("writer", "sim")) as proxies:
        assert [len(proxies.of(part)) for part in ("nats", "questdb", "writer", "sim")] == [2, 4, 3, 3]
        assert set(proxies.of("nats")) & set(proxies.of("writer"))
        assert not set(proxies.of("nats")) & set(proxies.of("questdb"))


async def test_a_role_is_led_to_proxies_of_its_own() -> None:
    async with RoleProxies(SETTINGS, ("writer", "sim")) as proxies:
        ports = {proxy.port for proxy in proxies.of("writer")}
        environment = proxies.environment("writer")
        assert {int(value.rpartition(":")[2]) for value in environment.values()} == ports
        assert not set(environment.values()) & set(proxies.environment("sim").values())


async def test_without_proxies_the_ways_are_direct() -> None:
    async with RoleProxies(SETTINGS, ()) as proxies:
        assert proxies.environment("writer") == {}
        assert proxies.of("nats") == []
