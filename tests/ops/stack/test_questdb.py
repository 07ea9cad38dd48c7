"""QuestDB as a part: who may do what, and that a typo makes no schema."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import psycopg
import pytest

from ops.stack import landlock, questdb
from ops.stack.home import Home
from ops.stack.ports import Ports
from ops.stack.request import basic
from tapehouse.errors import StackError
from tapehouse.settings import QuestDB


@contextmanager
def _connection(settings: QuestDB, user: str, password: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(
        host=settings.host,
        port=settings.pg_port,
        user=user,
        password=password,
        dbname="qdb",
        autocommit=True,
    ) as connection:
        yield connection


def _http(settings: QuestDB, path: str, headers: dict[str, str], body: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection(settings.host, settings.http_port, timeout=30)
    try:
        connection.request("POST" if body else "GET", path, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_reader_reads_and_cannot_write(platform: Any, venue: str) -> None:
    settings = platform.settings.questdb
    with _connection(settings, settings.user, settings.password.get_secret_value()) as admin:
        admin.execute(f"CREATE TABLE {venue} (ts TIMESTAMP, x INT) TIMESTAMP(ts) PARTITION BY DAY WAL")
        admin.execute(f"INSERT INTO {venue} VALUES (0, 17)")
        admin.execute(f"SELECT wait_wal_table('{venue}')")
        with _connection(settings, settings.reader, settings.reader_password.get_secret_value()) as reader:
            assert reader.execute(f"SELECT x FROM {venue}").fetchall() == [(17,)]
            for statement in (
                f"INSERT INTO {venue} VALUES (1, 18)",
                f"DROP TABLE {venue}",
                f"TRUNCATE TABLE {venue}",
                f"ALTER TABLE {venue} ADD COLUMN y INT",
                f"CREATE TABLE {venue}2 (x INT)",
                f"COPY {venue} TO 'x' WITH FORMAT PARQUET",
                f"SELECT 1; DROP TABLE {venue}",
            ):
                with pytest.raises(psycopg.Error):
                    reader.execute(statement)
            assert reader.execute(f"SELECT x FROM {venue}").fetchall() == [(17,)]
        admin.execute(f"DROP TABLE {venue}")


def test_nobody_without_the_right_password_gets_in(platform: Any) -> None:
    settings = platform.settings.questdb
    for user, password in ((settings.user, "quest"), (settings.reader, "quest"), ("user", "quest"), ("", "")):
        with pytest.raises(psycopg.OperationalError), _connection(settings, user, password):
            pass
    path = "/exec?query=" + quote("select 1")
    reader = basic(settings.reader, settings.reader_password.get_secret_value())
    for headers in ({}, basic(settings.user, "wrong"), reader):
        for each in (path, "/exp" + path[5:], "/imp"):
            assert _http(settings, each, headers)[0] == 401
        assert _http(settings, "/write", headers, "t x=1i 1")[0] == 401


def test_a_typo_makes_no_table_and_no_column(platform: Any, venue: str) -> None:
    settings = platform.settings.questdb
    headers = basic(settings.user, settings.password.get_secret_value())
    status, said = _http(settings, "/write", headers, f"{venue} x=1i 1000")
    assert status == 400
    assert "table does not exist" in said
    create = f"CREATE TABLE {venue} (ts TIMESTAMP, x LONG) TIMESTAMP(ts) PARTITION BY DAY WAL"
    assert _http(settings, "/exec?query=" + quote(create), headers)[0] == 200
    status, said = _http(settings, "/write", headers, f"{venue} typo=1i 1000")
    assert status == 400
    assert "typo" in said
    assert _http(settings, "/write", headers, f"{venue} x=1i 1000")[0] == 204
    assert _http(settings, "/exec?query=" + quote(f"DROP TABLE {venue}"), headers)[0] == 200


def test_what_is_configured_is_what_runs(platform: Any) -> None:
    settings = platform.settings.questdb
    with _connection(settings, settings.user, settings.password.get_secret_value()) as admin:
        rows = admin.execute("SELECT env_var_name, value, value_source FROM (SHOW PARAMETERS)").fetchall()
    running = {name: (value, source) for name, value, source in rows}
    wanted = questdb.environment(platform.home, settings.http_port, settings.pg_port)
    for name, value in wanted.items():
        if name.endswith("_PASSWORD_FILE"):
            assert running[name.removesuffix("_FILE")] == ("****", "file")
        elif name.startswith("QDB_") and not name.startswith("QDB_LOG_"):
            assert running[name] == (value, "env"), name


@pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
def test_no_statement_lists_folders_or_reads_files_of_the_machine(platform: Any, tmp_path: Path) -> None:
    settings = platform.settings.questdb
    pl.DataFrame({"secret": [1]}).write_parquet(tmp_path / "rows.parquet")
    folders = ["/", "/etc", "/usr", "/tmp", "/proc/self", str(tmp_path), str(platform.home.folder)]
    for user, password in (
        (settings.reader, settings.reader_password),
        (settings.user, settings.password),
    ):
        with _connection(settings, user, password.get_secret_value()) as connection:
            for folder in folders:
                assert connection.execute(f"SELECT * FROM files('{folder}')").fetchall() == []
                with pytest.raises(psycopg.Error, match="findFirst failed"):
                    connection.execute(f"SELECT * FROM glob('{folder.rstrip('/')}/*')")
            with pytest.raises(psycopg.Error, match="failed to read parquet file"):
                connection.execute(f"SELECT * FROM read_parquet('{tmp_path / 'rows.parquet'}')")


def test_a_missing_jar_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(questdb.JAR, str(home.folder / "no.jar"))
    with pytest.raises(StackError, match=r"expected its jar at .*no\.jar") as missing:
        questdb.part(home, Ports(home, {"questdb-http": 0, "questdb-pg": 0}))
    assert questdb.JAR in missing.value.remedy
