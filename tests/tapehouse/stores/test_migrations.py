"""Numbered files are applied once, in order, on a real QuestDB."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tapehouse.errors import ConnectError, MigrationError
from tapehouse.settings import QuestDB
from tapehouse.stores import migrations as module
from tapehouse.stores.migrations import Migration, QuestDBMigrations, migrate, migrations
from tests.conftest import Platform


class Record(QuestDBMigrations):
    """The record in a table of the test's own."""

    def __init__(self, settings: QuestDB, table: str) -> None:
        super().__init__(settings)
        self.table = table


@pytest.fixture
def table(venue: str) -> str:
    return f"m_{venue.lower()}"


@pytest.fixture
def ledger(platform: Platform, table: str) -> Iterator[Record]:
    ledger = Record(platform.settings.questdb, f"{table}_record")
    yield ledger
    ledger.close()


def _file(number: int, table: str, columns: str = "x INT") -> Migration:
    statement = f"CREATE TABLE IF NOT EXISTS {table}_{number} (ts TIMESTAMP, {columns}) TIMESTAMP(ts);"
    return Migration(number, f"{number:04}_{table}.sql", statement)


def _tables(platform: Platform, table: str) -> set[str]:
    settings = platform.settings.questdb
    with psycopg.connect(
        host=settings.host,
        port=settings.pg_port,
        user=settings.user,
        password=settings.password.get_secret_value(),
        dbname="qdb",
        autocommit=True,
    ) as connection:
        found = connection.execute("SELECT table_name FROM tables() WHERE table_name LIKE %s", [f"{table}_%"])
        return {name for (name,) in found} - {f"{table}_record"}


def test_files_are_applied_once_and_in_order(ledger: Record, table: str, platform: Platform) -> None:
    files = [_file(1, table), _file(2, table)]
    assert migrate(ledger, files) == [file.name for file in files]
    assert _tables(platform, table) == {f"{table}_1", f"{table}_2"}
    assert migrate(ledger, files) == []
    assert migrate(ledger, [*files, _file(7, table)]) == [f"0007_{table}.sql"]
    assert _tables(platform, table) == {f"{table}_1", f"{table}_2", f"{table}_7"}
    assert list(ledger.applied()) == [1, 2, 7]


def test_another_connection_sees_what_was_applied(ledger: Record, table: str, platform: Platform) -> None:
    files = [_file(1, table)]
    migrate(ledger, files)
    other = Record(platform.settings.questdb, ledger.table)
    assert migrate(other, files) == []
    other.close()


def test_a_file_that_was_changed_is_refused_before_anything_is_done(
    ledger: Record, table: str, platform: Platform
) -> None:
    migrate(ledger, [_file(1, table)])
    with pytest.raises(
        MigrationError, match="0001 was applied, but its file has been changed since"
    ) as refusal:
        migrate(ledger, [_file(1, table, "y INT"), _file(2, table)])
    assert refusal.value.fields == {"number": 1}
    assert "next number" in refusal.value.remedy
    assert _tables(platform, table) == {f"{table}_1"}


def test_a_file_that_is_gone_is_refused(ledger: Record, table: str, platform: Platform) -> None:
    migrate(ledger, [_file(1, table), _file(2, table)])
    with pytest.raises(MigrationError, match="0001 was applied, but its file has been removed since"):
        migrate(ledger, [_file(2, table), _file(3, table)])
    assert _tables(platform, table) == {f"{table}_1", f"{table}_2"}


class _Killed(Exception):  # noqa: N818 - not an error of the code
    pass


def test_a_kill_between_the_statement_and_its_record_is_made_good(
    ledger: Record, table: str, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [_file(1, table), _file(2, table)]

    def killed() -> int:
        raise _Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, "now_ns", killed)
        with pytest.raises(_Killed):
            migrate(ledger, files)
    assert _tables(platform, table) == {f"{table}_1"}
    assert ledger.applied() == {}
    assert migrate(ledger, files) == [file.name for file in files]
    assert ledger.applied() == {file.number: file.checksum for file in files}


def test_a_statement_that_is_refused_is_named_and_not_recorded(ledger: Record, table: str) -> None:
    bad = Migration(2, f"0002_{table}.sql", "CREATE TABEL x;")
    with pytest.raises(MigrationError, match=f"0002_{table}.sql: rejected by QuestDB: "):
        migrate(ledger, [_file(1, table), bad, _file(3, table)])
    assert list(ledger.applied()) == [1]


def test_the_real_files_can_be_run_twice(provisioned: Platform) -> None:
    ledger = QuestDBMigrations(provisioned.settings.questdb)
    files = migrations("questdb")
    assert migrate(ledger, files) == []
    for file in files:
        ledger.apply(file)
    assert migrate(ledger, files) == []
    ledger.close()


def test_files_are_found_in_their_order_and_need_numbers_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    monkeypatch.setattr(module.resources, "files", lambda _: tmp_path)
    for name in ("0010_b.sql", "0002_a.sql", "notes.md"):
        (folder / name).write_text(f"-- {name}\n")
    assert [(file.number, file.name) for file in migrations("store")] == [
        (2, "0002_a.sql"),
        (10, "0010_b.sql"),
    ]
    assert len({file.checksum for file in migrations("store")}) == 2
    for name in ("0002_other.sql", "11_c.sql", "c.sql"):
        (folder / name).write_text("")
        with pytest.raises(MigrationError, match=f"a number of its own, was {re.escape(name)}"):
            migrations("store")
        (folder / name).unlink()


def test_no_server_is_said_with_the_way_out(platform: Platform) -> None:
    settings: Any = platform.settings.questdb
    with pytest.raises(ConnectError, match=r"questdb: no answer on 127\.0\.0\.1:1: ") as refusal:
        QuestDBMigrations(settings.model_copy(update={"pg_port": 1}))
    assert "tapehouse up" in refusal.value.remedy
