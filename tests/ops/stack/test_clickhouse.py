"""ClickHouse as a part: nothing without the gate and a password, and no statement that reaches out."""

from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ops.stack import clickhouse, landlock
from ops.stack.request import basic

Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def ask(platform: Any) -> Ask:
    """Sends a statement, as the admin through the gate unless told otherwise."""
    settings = platform.settings.clickhouse
    admin = basic(settings.user, settings.password.get_secret_value())
    gate = {"X-Gate": settings.gate.get_secret_value()}

    def post(statement: str, headers: dict[str, str] = admin | gate) -> tuple[int, str]:
        connection = http.client.HTTPConnection(settings.host, settings.http_port, timeout=30)
        try:
            connection.request("POST", "/", body=statement, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    return post


def test_the_admin_makes_fills_and_reads_tables(ask: Ask, venue: str) -> None:
    assert ask(f"CREATE DATABASE {venue}") == (200, "")
    assert ask(f"CREATE TABLE {venue}.t (x Int64) ENGINE = MergeTree ORDER BY x") == (200, "")
    assert ask(f"INSERT INTO {venue}.t SELECT number FROM numbers(1000)") == (200, "")
    assert ask(f"SELECT sum(x) FROM {venue}.t") == (200, "499500\n")
    assert ask(f"DROP DATABASE {venue}") == (200, "")


def test_nothing_is_answered_without_the_gate(platform: Any, ask: Ask) -> None:
    settings = platform.settings.clickhouse
    admin = basic(settings.user, settings.password.get_secret_value())
    for headers in (admin, admin | {"X-Gate": "wrong"}, {}):
        status, said = ask("SELECT 'an' || 'swer'", headers)
        assert status == 404
        assert "answer" not in said


def test_a_wrong_password_is_refused_behind_the_gate_too(platform: Any, ask: Ask) -> None:
    gate = {"X-Gate": platform.settings.clickhouse.gate.get_secret_value()}
    for user, password in ((clickhouse.USER, "wrong"), (clickhouse.USER, ""), ("nobody", "")):
        status, said = ask("SELECT 1", gate | basic(user, password))
        assert status in (403, 401), said


def test_the_user_of_the_engine_may_do_nothing_with_data(platform: Any, ask: Ask, venue: str) -> None:
    gate = {"X-Gate": platform.settings.clickhouse.gate.get_secret_value()}
    assert ask(f"CREATE DATABASE {venue}") == (200, "")
    assert ask(f"CREATE TABLE {venue}.t (x Int64) ENGINE = MergeTree ORDER BY x") == (200, "")
    for statement in (
        f"SELECT * FROM {venue}.t",
        f"DROP DATABASE {venue}",
        f"INSERT INTO {venue}.t VALUES (1)",
        "SELECT * FROM system.users",
        "SELECT * FROM url('http://127.0.0.1:1', 'RawBLOB')",
        "CREATE DATABASE more",
    ):
        status, said = ask(statement, gate)
        assert status in (403, 500), said
        assert "ACCESS_DENIED" in said
    assert ask(f"DROP DATABASE {venue}") == (200, "")


@pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
def test_no_statement_reads_files_of_the_machine_or_of_the_home(platform: Any, ask: Ask) -> None:
    home = platform.home
    files = [
        "/etc/hostname",
        "/proc/1/environ",
        str(home.folder / "connections.toml"),
        str(home.folder / "secrets" / "clickhouse-gate"),
        str(home.conf("nats") / "nats.conf"),
        str(Path(__file__)),
    ]
    for file in files:
        status, said = ask(f"SELECT file('{file}')")
        assert status != 200, file
        assert "Permission denied" in said or "No such file" in said, said
    for name in ("config.xml", "users.xml"):
        status, said = ask(f"SELECT file('{home.conf('clickhouse') / name}')")
        assert status != 200, name
    others = [int(path.read_text().split()[0]) for path in home.folder.glob("run/*.pid")]
    for pid in ("self", 1, os.getpid(), *others):
        for name in ("environ", "cmdline", "maps", "mem"):
            status, said = ask(f"SELECT file('/proc/{pid}/{name}')")
            assert status != 200, (pid, name)


@pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
@pytest.mark.parametrize(
    "endless", ["/proc/kmsg", "/proc/self/fd/0", "/dev/stdin", "/dev/random", "/dev/zero", "/dev/tty"]
)
def test_no_statement_waits_for_a_file_without_end(ask: Ask, platform: Any, endless: str) -> None:
    settings = platform.settings.clickhouse
    reader = basic(settings.reader, settings.reader_password.get_secret_value())
    status, said = ask(f"SELECT file('{endless}')", reader | {"X-Gate": settings.gate.get_secret_value()})
    assert status != 200
    assert "Cannot open file" in said


def test_the_reader_lists_no_folder(ask: Ask, platform: Any) -> None:
    settings = platform.settings.clickhouse
    reader = basic(settings.reader, settings.reader_password.get_secret_value())
    for folder in ("/*", "/etc/*", "/usr/*", "*", f"{platform.home.data('clickhouse')}/*"):
        status, said = ask(
            f"SELECT _path FROM file('{folder}', 'One')",
            reader | {"X-Gate": settings.gate.get_secret_value()},
        )
        assert status != 200
        assert "ACCESS_DENIED" in said, said


@pytest.mark.skipif(landlock.version() < 4, reason="this kernel's Landlock knows no ports")
def test_no_statement_reaches_another_port(ask: Ask) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        called = threading.Event()

        def accept() -> None:
            try:
                listener.accept()[0].close()
            except OSError:
                return
            called.set()

        waiting = threading.Thread(target=accept)
        waiting.start()
        port = listener.getsockname()[1]
        status, said = ask(
            f"SELECT * FROM url('http://127.0.0.1:{port}/', 'RawBLOB') SETTINGS http_max_tries = 1"
        )
        listener.shutdown(socket.SHUT_RDWR)
        waiting.join()
    assert status != 200
    assert "Permission denied" in said
    assert not called.is_set()


def test_no_statement_runs_python(ask: Ask) -> None:
    for statement in (
        "SELECT * FROM python('x')",
        "SELECT * FROM python('x') SETTINGS allow_python_table_function = 1",
    ):
        status, said = ask(statement)
        assert status != 200, said
    assert ask("SELECT 1") == (200, "1\n")


def test_what_is_inserted_is_synced(ask: Ask) -> None:
    statement = "SELECT name, value FROM system.merge_tree_settings WHERE name LIKE 'fsync%' ORDER BY name"
    status, said = ask(statement)
    assert (status, said) == (200, "fsync_after_insert\t1\nfsync_part_directory\t1\n")
