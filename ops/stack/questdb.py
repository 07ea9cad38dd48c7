"""QuestDB as a part: the hot store, from its plain jar, configured by environment variables alone.

Passwords are in files: other programs of the same user can read variables in /proc. SQL functions list folders and read
Parquet files by any path: the process reaches its data, Java and the jar alone.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from urllib.parse import quote

import psycopg

from ops.stack import confined, java, landlock
from ops.stack.cleanstop import CleanStop
from ops.stack.home import Home
from ops.stack.part import Part
from ops.stack.ports import Ports
from ops.stack.request import basic, http_text
from tapehouse.errors import ConnectError, StackError
from tapehouse.settings import LOOPBACK

NAME = "questdb"
VERSION = "9.3.4"
JAR = "TAPEHOUSE_QUESTDB_JAR"
JAVA_OPTIONS = "TAPEHOUSE_QUESTDB_JAVA_OPTIONS"
"""Environment variable of options for Java, such as -Xmx8g; they come last, so they win."""
USER = "admin"
READER = "reader"
_SECRETS = ("questdb-admin", "questdb-reader")
_MODULE = "io.questdb"
_SYSTEM = (
    *("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/dev/random", "/dev/urandom"),
    # Java's limits: memory, processors, and those of a container.
    *(
        "/proc/self/maps",
        "/proc/self/cgroup",
        "/proc/self/mountinfo",
        "/proc/meminfo",
        "/proc/cpuinfo",
        "/sys/fs/cgroup",
    ),
)


def password(home: Home) -> str:
    """The generated password of the user who may write, over HTTP and PG."""
    return home.secret(_SECRETS[0])


def reader_password(home: Home) -> str:
    """The generated password of the user who may only read, over PG alone."""
    return home.secret(_SECRETS[1])


def part(home: Home, ports: Ports) -> Part:
    """QuestDB on loopback: HTTP (with ILP) and PG."""
    http, pg = ports.take("questdb-http", 9000), ports.take("questdb-pg", 8812)
    data = home.data("questdb")
    program, version = java.find()

    async def answers() -> None:
        await _answers_http(http, password(home))
        await _answers_pg(pg, reader_password(home))

    def prepare() -> None:
        # Java unpacks its libraries there; those of a process that was killed are left.
        shutil.rmtree(data / "tmp", ignore_errors=True)
        (data / "tmp").mkdir(mode=0o700)

    notes = [ports.notes[name] for name in ("questdb-http", "questdb-pg") if name in ports.notes]
    if not landlock.version():
        notes.append("this kernel has no Landlock: SQL can list folders that this user can list")
    return Part(
        name=NAME,
        command=confined.command(
            command(program, version, data),
            needs=[data, jar()],
            read=[
                *map(Path, _SYSTEM),
                *_java_files(Path(program)),
                jar(),
                *(home.secret_file(name) for name in _SECRETS),
            ],
            write=[data, Path(os.devnull)],
            bind=[http, pg],
        ),
        answers=answers,
        address=f"http://{LOOPBACK}:{http} pg://{LOOPBACK}:{pg}",
        ports=(http, pg),
        environment=environment(home, http, pg),
        inherits=False,
        start_within=120.0,
        stop_within=8.0,
        note="; ".join(notes),
        prepare=prepare,
        clean_stop=CleanStop(home, NAME, fresh=not (data / "db").exists()),
    )


def command(program: str, version: int, data: Path) -> tuple[str, ...]:
    """The command line with the Java of that path and version; all files are written below `data`.

    Raises StackError where there is no jar.
    """
    newer = (f"--enable-native-access={_MODULE}", "--sun-misc-unsafe-memory-access=allow")
    return (
        program,
        "-Xmx1g",
        "-XX:+UseParallelGC",
        f"-XX:ErrorFile={data / 'crash-%p.log'}",
        "-XX:-UsePerfData",
        f"-Djava.io.tmpdir={data / 'tmp'}",
        "-XX:+UnlockExperimentalVMOptions",
        f"--add-exports=java.base/jdk.internal.vm={_MODULE}",
        f"--add-opens=java.base/java.lang={_MODULE}",
        f"--add-opens=java.base/java.nio={_MODULE}",
        *(newer if version >= 24 else ()),
        *os.environ.get(JAVA_OPTIONS, "").split(),
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
        "http.password.file": str(home.secret_file(_SECRETS[0])),
        "http.net.connection.limit": "256",
        # Idle keep-alive connections count, and the default is 2.
        "http.export.connection.limit": "64",
        "http.settings.readonly": "true",
        "pg.net.bind.to": f"{LOOPBACK}:{pg}",
        "pg.user": USER,
        "pg.password.file": str(home.secret_file(_SECRETS[0])),
        "pg.readonly.user.enabled": "true",
        "pg.readonly.user": READER,
        "pg.readonly.password.file": str(home.secret_file(_SECRETS[1])),
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
        # So that wal_transactions() has the times of each transaction (bars are read by them); valid for new tables.
        "cairo.default.sequencer.part.txn.count": "5000",
        # So long they are kept if no view is refreshed: QuestDB then keeps what it needs in another form, unseen by us.
        "cairo.mat.view.refresh.intervals.update.period": "600000",
        "shared.worker.count": str(max(2, min(4, os.cpu_count() or 2))),
        # By default a worker spins for 7,000 rounds after its last work: at 20 transactions a second all of
        # them spin all the time. A nap is 1 ms, a sleep 10 ms. Those of the network and of writes nap later, and no
        # worker sleeps at 40 transactions a second: what they wait for comes sooner.
        "shared.worker.nap.threshold": "1000",
        "shared.worker.sleep.threshold": "1200",
        **{
            f"{pool}.worker.{state}.threshold": rounds
            for pool in ("wal.apply", "mat.view.refresh", "view.compiler", "export")
            for state, rounds in (("yield", "1"), ("nap", "10"), ("sleep", "60"))
        },
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


def _java_files(program: Path) -> list[Path]:
    """What Java itself reads: its home, and the folders that links of its configuration lead to."""
    home = program.resolve().parent.parent
    return [home, *{link.resolve().parent for link in (home / "conf").rglob("*") if link.is_symlink()}]


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
