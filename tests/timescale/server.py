"""A TimescaleDB of the tests: one in WebAssembly in a process of its own, or a database of a full server.

TAPEHOUSE_TEST_TIMESCALE_DSN names a full server and an account of it that may create databases; the tests then run on
both. The one in WebAssembly has no COPY, no background jobs and one backend for all connections, whose statements
take turns.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from pydantic import SecretStr

from tapehouse.settings import Timescale

_FOLDER = Path(__file__).parent
_START_S = 180
_VARIABLE = "TAPEHOUSE_TEST_TIMESCALE_DSN"
SERVERS = ("wasm", *(["full"] if os.environ.get(_VARIABLE) else []))
"""The servers that this run of the tests has."""


@dataclass(frozen=True)
class TimescaleServer:
    """An empty database; `process` is the server itself where it is in WebAssembly."""

    settings: Timescale
    process: subprocess.Popen[bytes] | None

    @property
    def is_full(self) -> bool:
        """Whether it has COPY, background jobs and a backend for each connection."""
        return self.process is None

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """A connection in autocommit."""
        dsn = self.settings.dsn.get_secret_value()
        return psycopg.connect(dsn, autocommit=True, prepare_threshold=None)


@contextlib.contextmanager
def serving(server: str) -> Iterator[TimescaleServer]:
    """A database for the length of the context; skips the test where the server is not on this machine.

    `server`: one of SERVERS, or plain for a PostgreSQL without the extension.
    """
    if server == "full":
        with _database_of_full_server() as dsn:
            yield TimescaleServer(Timescale(dsn=SecretStr(dsn)), None)
        return
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node in PATH: TimescaleDB in WebAssembly cannot be run")
    if not (_FOLDER / "node_modules/@electric-sql/pglite").is_dir():
        pytest.skip(f"{_FOLDER}/node_modules is not installed: `make setup` does it")
    process = subprocess.Popen(
        [node, str(_FOLDER / "server.mjs"), server],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=_FOLDER,
    )
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], _START_S)
        assert ready, f"waited {_START_S} s for TimescaleDB in WebAssembly to start"
        dsn = (
            f"postgresql://postgres@127.0.0.1:{int(process.stdout.readline())}/postgres"
            "?sslmode=disable&gssencmode=disable"
        )
        yield TimescaleServer(Timescale(dsn=SecretStr(dsn), load="unnest"), process)
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def _database_of_full_server() -> Iterator[str]:
    dsn = os.environ[_VARIABLE]
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
        try:
            yield urlsplit(dsn)._replace(path=f"/{name}").geturl()
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
