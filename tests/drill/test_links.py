"""Which connections are cut with which part."""

from __future__ import annotations

from tapehouse.drill.links import Links
from tapehouse.settings import Nats, QuestDB, Settings

SETTINGS = Settings(nats=Nats(url="nats://127.0.0.1:1"), questdb=QuestDB(http_port=2, pg_port=3))


async def test_a_server_is_cut_from_every_role_and_a_role_from_every_server() -> None:
    async with Links(SETTINGS, ("writer", "sim")) as links:
        assert [len(links.of(part)) for part in ("nats", "questdb", "writer", "sim")] == [2, 4, 3, 3]
        assert set(links.of("nats")) & set(links.of("writer"))
        assert not set(links.of("nats")) & set(links.of("questdb"))


async def test_a_role_is_led_to_proxies_of_its_own() -> None:
    async with Links(SETTINGS, ("writer", "sim")) as links:
        ports = {proxy.port for proxy in links.of("writer")}
        environment = links.environment("writer")
        assert {int(value.rpartition(":")[2]) for value in environment.values()} == ports
        assert not set(environment.values()) & set(links.environment("sim").values())


async def test_without_proxies_the_ways_are_direct() -> None:
    async with Links(SETTINGS, ()) as links:
        assert links.environment("writer") == {}
        assert links.of("nats") == []
