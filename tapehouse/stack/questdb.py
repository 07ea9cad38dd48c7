"""QuestDB as a part: the hot store, from its plain jar, configured by environment variables alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import quote

import psycopg

from tapehouse.errors import ConnectError, StackError
from tapehouse.stack import java
from tapehouse.stack.cleanstop import CleanStop
from tapehouse.stack.home import Home
from tapehouse.stack.part import Part
from tapehouse.stack.ports import LOOPBACK, Ports
from tapehouse.stack.request import basic, http_text

NAME = "questdb"
VERSION = "9.3.4"
JAR = "TAPEHOUSE_QUESTDB_JAR"
USER = "admin"
READER = "reader"
_MODULE = "io.questdb"


def password(home: Home) -> str:
    """The generated password of the user who may write, over HTTP and PG."""
    return home.secret("questdb-admin")


def reader_password(home: Home) -> str:
    """The generated password of the user who may only read, over PG alone."""
    return home.secret("questdb-reader")


def part(home: Home, ports: Ports) -> Part:
    """QuestDB on loopback: HTTP (with ILP) and PG."""
    http, pg = ports.take("questdb-http", 9000), ports.take("questdb-pg", 8812)
    data = home.data("questdb")

    async def answers() -> None:
        await _answers_http(http, password(home))
        await _answers_pg(pg, reader_password(home))

    return Part(
        name=NAME,
        command=command(data, home.log(NAME).with_name("questdb-crash-%p.log")),
        answers=answers,
        address=f"http://{LOOPBACK}:{http} pg://{LOOPBACK}:{pg}",
        environment=environment(home, http, pg),
        inherits=False,
        start_within=120.0,
        stop_within=8.0,
        note="; ".join(ports.notes[name] for name in ("questdb-http", "questdb-pg") if name in ports.notes),
        clean_stop=CleanStop(home, NAME, fresh=not (data / "db").exists()),
    )


def command(data: Path, crashes: Path) -> tuple[str, ...]:
    """The command line; `crashes` is where Java writes why it crashed.

    Raises StackError where there is no Java or no jar.
    """
    program, version = java.find()
    newer = (f"--enable-native-access={_MODULE}", "--sun-misc-unsafe-memory-access=allow")
    return (
        program,
        "-Xmx1g",
        "-XX:+UseParallelGC",
        f"-XX:ErrorFile={crashes}",
        "-XX:+UnlockExperimentalVMOptions",
        f"--add-exports=java.base/jdk.internal.vm={_MODULE}",
        f"--add-opens=java.base/java.lang={_MODULE}",
        f"--add-opens=java.base/java.nio={_MODULE}",
        *(newer if version >= 24 else ()),
        "-p",
        str(jar()),
        "-m",
        f"{_MODULE}/io.questdb.ServerMain",
        "-d",
        str(data),
    )


def environment(home: Home, http: int, pg: int) -> dict[str, str]:
    """The configuration: a variable wins over the file that QuestDB writes into its folder."""
    values = {
        "http.bind.to": f"{LOOPBACK}:{http}",
        "http.user": USER,
        "http.password": password(home),
        "http.net.connection.limit": "256",
        # Idle keep-alive connections count, and the default is 2.
        "http.export.connection.limit": "64",
        "http.settings.readonly": "true",
        "pg.net.bind.to": f"{LOOPBACK}:{pg}",
        "pg.user": USER,
        "pg.password": password(home),
        "pg.readonly.user.enabled": "true",
        "pg.readonly.user": READER,
        "pg.readonly.password": reader_password(home),
        "pg.net.connection.limit": "128",
        "http.min.enabled": "false",
        "line.tcp.enabled": "false",
        # A typo in a name must be an error, not a new table or column.
        "line.auto.create.new.columns": "false",
        "line.auto.create.new.tables": "false",
        # Empty: no statement writes or reads files of the server.
        "cairo.sql.copy.export.root": "",
        "cairo.sql.copy.root": "",
        "cairo.writer.data.append.page.size": "1M",
        "shared.worker.count": str(max(2, min(4, os.cpu_count() or 2))),
        "telemetry.enabled": "false",
        "telemetry.disable.completely": "true",
        "log.w.stdout.level": "ERROR",
    }
    return {"TZ": "UTC"} | {f"QDB_{key.upper().replace('.', '_')}": value for key, value in values.items()}


def jar() -> Path:
    """Where QuestDB's jar is; StackError with the remedy where it is not."""
    asked = os.environ.get(JAR)
    path = Path(asked) if asked else Path(sys.prefix) / "share" / "tapehouse" / f"questdb-{VERSION}.jar"
    if not path.is_file():
        raise StackError(
            f"questdb: expected its jar at {path}, was none",
            remedy=f"Run `make setup`, or name the jar with {JAR}.",
        )
    return path.absolute()


async def _answers_http(port: int, admin_password: str) -> None:
    path = "/exec?query=" + quote("select 1 + 1 two")
    body = await http_text("questdb", port, path, basic(USER, admin_password))
    if '"dataset":[[2]]' not in body:
        raise ConnectError(f"questdb: expected 2 from HTTP, was {body[:200]}", part="questdb", port=port)


async def _answers_pg(port: int, read_only_password: str) -> None:
    try:
        async with await psycopg.AsyncConnection.connect(
            host=LOOPBACK,
            port=port,
            user=READER,
            password=read_only_password,
            dbname="qdb",
            connect_timeout=3,
            sslmode="disable",
            autocommit=True,
        ) as connection:
            cursor = await connection.execute("select 1 + 1 two")
            row = await cursor.fetchone()
    except psycopg.Error as reason:
        raise ConnectError(f"questdb: no answer over PG: {reason}", part="questdb", port=port) from None
    if row != (2,):
        raise ConnectError(f"questdb: expected 2 over PG, was {row}", part="questdb", port=port)
