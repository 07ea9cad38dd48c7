"""The ClickHouse process: `python -m ops.stack.clickhouse_server CONF DATA PORT QUESTDB_PORT`.

The engine of the chdb-core wheel, told to listen. Loopback only, and only behind the gate of config.xml: the
engine's own user has no password.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import sys
import threading
from pathlib import Path

from ops.stack import landlock, privileges

_SYSTEM = (
    *("/usr", "/lib", "/lib64"),
    *("/etc/ld.so.cache", "/etc/localtime"),
)
# What the engine reads there: what the kernel told it at its start, and how much memory it has.
_SHOWN = ("auxv", "statm")
# The statement never ends, and the listener lives as long as it does.
_LISTEN = """SYSTEM START LISTEN HTTP;
SELECT sleepEachRow(1) FROM numbers(4000000000)
SETTINGS max_block_size = 1, max_threads = 1, max_execution_time = 0 FORMAT Null"""


def main() -> None:
    """Serve until SIGTERM or SIGINT; exit status 1 where the engine stops by itself."""
    conf, data = Path(sys.argv[1]), Path(sys.argv[2])
    port, questdb_port = int(sys.argv[3]), int(sys.argv[4])
    (data / "tmp").mkdir(mode=0o700, exist_ok=True)
    _confine(conf, data, port, questdb_port)
    ends = {signal.SIGTERM, signal.SIGINT}
    # Blocked before the engine starts its threads, which inherit it: the signal waits for `sigwait`.
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    threading.Thread(target=_serve, args=(conf, data), daemon=True).start()
    signal.sigwait(ends)
    # The engine's statement cannot be interrupted from here; a stop at any moment loses nothing acknowledged.
    os._exit(0)


def _confine(conf: Path, data: Path, port: int, questdb_port: int) -> None:
    """The SQL function file() needs no grant: what the process cannot reach, no statement can.

    Nor may /proc be there: what it shows of this process are pipes too, which a statement would read without end.
    """
    engine = importlib.util.find_spec("chdb")
    assert engine
    assert engine.origin
    programs = [Path(sys.prefix), Path(sys.base_prefix), Path(engine.origin).parent.parent]
    proc = data / "tmp" / "proc"
    proc.mkdir(exist_ok=True)
    if not privileges.hide_processes(_SHOWN, proc):
        print("no mounts of its own: SQL can wait for pipes of this process", file=sys.stderr)  # noqa: T201
    confined = landlock.restrict(
        read=[*programs, *map(Path, _SYSTEM), *(Path("/proc/self") / name for name in _SHOWN), conf],
        write=[data, Path(os.devnull)],
        bind=[port],
        connect=[questdb_port],
        listing=True,
    )
    if not confined:
        print("no Landlock: SQL can read files", file=sys.stderr)  # noqa: T201
    privileges.drop_capabilities([*programs, conf, data])


def _serve(conf: Path, data: Path) -> None:
    # The import starts an engine, which must not see the configuration of the one to come.
    os.chdir("/")
    from chdb import _chdb

    os.chdir(conf)
    # The engine reads statements from its standard input until that ends: this one never does. A socket, because SQL
    # could open a pipe by its name in /proc, and wait for it.
    reading, _writing = socket.socketpair()
    os.dup2(reading.fileno(), 0)
    try:
        _chdb.query(_LISTEN, "TabSeparated", path=str(data))  # type: ignore[attr-defined]
    except RuntimeError as reason:
        print(reason, file=sys.stderr)  # noqa: T201
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
