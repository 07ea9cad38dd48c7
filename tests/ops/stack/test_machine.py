"""What `tapehouse doctor` looks at, on the real machine and a real QuestDB."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

from ops.stack.home import Home
from ops.stack.machine import available_memory, taken_ports, zeroed_rows
from tapehouse.model import GAPS, TRADES
from tapehouse.stores.questdb import as_owner
from tests.conftest import Platform


def test_memory_is_that_of_the_machine() -> None:
    assert 0 < available_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_ports_that_the_next_start_would_not_get_are_named_with_their_holders(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        saved, asked = one.getsockname()[1], other.getsockname()[1]
        (home.folder / "ports.json").write_text(json.dumps({"nats": saved, "gateway": 1}))
        taken = taken_ports(home.folder, {"gateway": asked, "questdb-http": 0})
    assert taken["nats"][0] == saved
    assert taken["gateway"][0] == asked
    assert taken["nats"][1].startswith(f"pid {os.getpid()} (")
    assert "questdb-http" not in taken


def test_a_home_that_was_never_started_has_no_saved_ports(tmp_path: Path) -> None:
    assert "gateway" not in taken_ports(tmp_path / "nowhere", {"gateway": 0})


def test_rows_that_lost_their_time_are_counted(provisioned: Platform, venue: str) -> None:
    settings = provisioned.settings.questdb
    damaged = replace(TRADES, name=f"damaged_{venue}")
    with as_owner(settings) as connection:
        connection.execute(
            f"CREATE TABLE {damaged.name} (ts_event TIMESTAMP_NS) TIMESTAMP(ts_event) PARTITION BY DAY".encode()
        )
        connection.execute(f"INSERT INTO {damaged.name} VALUES (0), (0), (1)".encode())
        connection.execute(f"SELECT wait_wal_table('{damaged.name}')".encode())
    try:
        assert zeroed_rows(settings, [damaged, GAPS]) == {damaged.name: 2}
    finally:
        with as_owner(settings) as connection:
            connection.execute(f"DROP TABLE {damaged.name}".encode())
