"""The tables that the migrations create in QuestDB match the model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

import psycopg
import pytest

from tapehouse.model import BARS, KINDS, TICKS, Kind
from tapehouse.stores.migrations import Migration, migrations
from tests.conftest import Platform

_VIEWS = {"bars_1m": "DAY", "bars_1d": "MONTH"}
_FILES = migrations("questdb")
_MADE = [file for file in _FILES if "CREATE " in file.statement]
"""The files that make a table or a view."""


@pytest.fixture(scope="module")
def questdb(provisioned: Platform) -> Iterator[psycopg.Connection[Any]]:
    settings = provisioned.settings.questdb
    with psycopg.connect(
        host=settings.host,
        port=settings.pg_port,
        user=settings.user,
        password=settings.password.get_secret_value(),
        dbname="qdb",
        autocommit=True,
    ) as connection:
        yield connection


def _columns(questdb: psycopg.Connection[Any], table: str) -> dict[str, dict[str, Any]]:
    cursor = questdb.execute(f"SHOW COLUMNS FROM {table}".encode())
    names = [column.name for column in cursor.description or ()]
    return {row[0]: dict(zip(names, row, strict=True)) for row in cursor}


def _type(kind: Kind, column: str) -> str:
    return kind.column(column).types.questdb.replace(" ", "")


@pytest.mark.parametrize("kind", TICKS, ids=lambda kind: kind.name)
def test_a_table_has_the_columns_and_the_key_of_its_kind(
    questdb: psycopg.Connection[Any], kind: Kind
) -> None:
    columns = _columns(questdb, kind.name)
    assert {name: column["type"].replace(" ", "") for name, column in columns.items()} == {
        name: _type(kind, name) for name in kind.names
    }
    assert tuple(columns) == kind.names
    assert {name for name, column in columns.items() if column["upsertKey"]} == set(kind.key)
    assert [name for name, column in columns.items() if column["designated"]] == [kind.time]


@pytest.mark.parametrize("kind", TICKS, ids=lambda kind: kind.name)
def test_a_table_is_partitioned_by_day_with_wal_and_deduplication(
    questdb: psycopg.Connection[Any], kind: Kind
) -> None:
    row = questdb.execute(
        "SELECT designatedTimestamp, partitionBy, walEnabled, dedup, ttlValue FROM tables() "
        "WHERE table_name = %s",
        [kind.name],
    ).fetchone()
    assert row == (kind.time, "DAY", True, True, 0)


@pytest.mark.parametrize("view", _VIEWS)
def test_a_view_is_valid_refreshed_when_told_to_and_has_the_columns_of_bars(
    questdb: psycopg.Connection[Any], view: str
) -> None:
    columns = _columns(questdb, view)
    assert tuple(columns) == BARS.names
    assert {name: column["type"] for name, column in columns.items()} == {
        name: _type(BARS, name) for name in BARS.names
    }
    row = questdb.execute(
        "SELECT refresh_type, view_status, base_table_name FROM materialized_views() WHERE view_name = %s",
        [view],
    ).fetchone()
    assert row is not None
    refresh_type, status, base = row
    assert (refresh_type, base) == ("manual", {"bars_1m": "trades", "bars_1d": "bars_1m"}[view])
    # A refresh may be running.
    assert status in ("valid", "refreshing")
    row = questdb.execute(
        "SELECT partitionBy, designatedTimestamp FROM tables() WHERE table_name = %s", [view]
    ).fetchone()
    assert row == (_VIEWS[view], "ts")


def test_there_is_one_table_for_each_kind(questdb: psycopg.Connection[Any]) -> None:
    made = {
        match[1]
        for file in _MADE
        for match in [re.search(r"IF NOT EXISTS (\w+)", file.statement)]
        if match is not None
    }
    assert made == {*(kind.name for kind in TICKS), *_VIEWS}
    names = {row[0] for row in questdb.execute("SELECT table_name FROM tables()")}
    assert made <= names


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.name)
def test_a_file_is_one_statement_with_a_header(file: Migration) -> None:
    header = [line for line in file.statement.splitlines() if line.startswith("--")]
    assert file.statement.splitlines()[: len(header)] == header
    fields = [line for line in header if not line.startswith("--  ")]
    assert [line[3:].partition(":")[0] for line in fields] == ["Purpose", "Grain", "Key", "Retention"]
    assert all(line.partition(":")[2].strip() for line in fields)
    body = "\n".join(line for line in file.statement.splitlines() if not line.startswith("--"))
    assert body.count(";") == 1
    assert body.strip().endswith(";")
    # It may be run twice, for a kill between the statement and its record.
    assert "IF NOT EXISTS" in body or "DROP MATERIALIZED VIEW IF EXISTS" in body
    assert file.name.startswith(f"{file.number:04}_")


@pytest.mark.parametrize("file", _MADE, ids=lambda file: file.name)
def test_the_key_in_a_header_is_the_key_of_the_kind(file: Migration) -> None:
    table = file.name[5:-4]
    kind = BARS if table in _VIEWS else KINDS[table]
    assert f"-- Key:       ({', '.join(kind.key)})" in file.statement


def test_the_files_are_numbered_consecutively() -> None:
    assert [file.number for file in _FILES] == list(range(1, len(_FILES) + 1))
    assert all(file.name.endswith(".sql") for file in _FILES)
    assert (resources.files("ddl") / "questdb").is_dir()
