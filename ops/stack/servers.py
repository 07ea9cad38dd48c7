"""The three servers of a platform on one machine, and the file with their addresses and passwords."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ops.stack import clickhouse, nats, questdb
from ops.stack.home import Home, write_private
from ops.stack.part import Part
from ops.stack.ports import Ports
from tapehouse.settings import CONNECTIONS, LOOPBACK, Gateway, load


def servers(home: Home, ports: Ports) -> list[Part]:
    """NATS, QuestDB and ClickHouse, to be added to a stack that has the home; writes `connections.toml`.

    The gateway, which is a role, gets its port here, so that the file can name it. Raises StackError where a port
    asked for is taken or a program is missing.
    """
    parts = [nats.part(home, ports), questdb.part(home, ports)]
    parts.append(clickhouse.part(home, ports, ports.chosen["questdb-http"]))
    ports.take("gateway", Gateway().port)
    write_private(home.folder / CONNECTIONS, connections(home, ports.chosen))
    return parts


def connections(home: Home, ports: Mapping[str, int]) -> str:
    """The text of `connections.toml`, in the shape that tapehouse.settings reads."""
    tables: dict[str, dict[str, str | int]] = {
        "nats": {"url": f"nats://{LOOPBACK}:{ports['nats']}"},
        "nats.passwords": {user: nats.password(home, user) for user in nats.GRANTS},
        "questdb": {
            "host": LOOPBACK,
            "http_port": ports["questdb-http"],
            "pg_port": ports["questdb-pg"],
            "user": questdb.USER,
            "password": questdb.password(home),
            "reader": questdb.READER,
            "reader_password": questdb.reader_password(home),
        },
        "clickhouse": {
            "host": LOOPBACK,
            "http_port": ports["clickhouse"],
            "user": clickhouse.USER,
            "password": clickhouse.password(home),
            "reader": clickhouse.READER,
            "reader_password": clickhouse.password(home, clickhouse.READER),
            "gate": clickhouse.gate(home),
        },
        "gateway": {"port": ports["gateway"], "url": f"http://{LOOPBACK}:{ports['gateway']}"},
    }
    # A JSON string or number of printable ASCII is a TOML one.
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        for name, table in tables.items()
    )


def ports_from_settings() -> dict[str, int]:
    """The ports set by the user (tapehouse.toml or the environment), by the port names of `Ports`."""
    # No connections.toml there: every set field comes from tapehouse.toml or the environment.
    user = load(Path("/nonexistent"))
    asked = {}
    if "url" in user.nats.model_fields_set and (port := urlsplit(user.nats.url).port):
        asked["nats"] = port
    if "http_port" in user.questdb.model_fields_set:
        asked["questdb-http"] = user.questdb.http_port
    if "pg_port" in user.questdb.model_fields_set:
        asked["questdb-pg"] = user.questdb.pg_port
    if "http_port" in user.clickhouse.model_fields_set:
        asked["clickhouse"] = user.clickhouse.http_port
    if "port" in user.gateway.model_fields_set:
        asked["gateway"] = user.gateway.port
    return asked
