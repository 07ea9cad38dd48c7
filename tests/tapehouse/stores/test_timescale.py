"""The TimescaleDB client: what it binds and copies, and each error with its remedy, produced by real servers."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from tapehouse.errors import ConnectError, TimescaleConflictError, TimescaleError
from tapehouse.settings import Timescale
from tapehouse.stores.timescale import TimescaleClient, check_server, check_version
from tests.timescale.server import TimescaleServer, serving


@pytest.fixture
def client(timescale: TimescaleServer) -> Iterator[TimescaleClient]:
    client = TimescaleClient(timescale.settings)
    yield client
    client.close()


def _raised(client: TimescaleClient, code: str, message: str = "of the server") -> TimescaleError:
    """The error of a statement that the server ends with a SQLSTATE."""
    with pytest.raises(TimescaleError) as caught:
        client.execute(f"DO $$ BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = '{code}'; END $$")
    assert caught.value.fields["code"] == code
    assert caught.value.remedy
    return caught.value


def test_values_are_bound_and_a_transaction_is_all_or_nothing(client: TimescaleClient) -> None:
    client.execute("CREATE TABLE all_or_nothing (n INT PRIMARY KEY, t TEXT)")
    client.execute("INSERT INTO all_or_nothing VALUES (%s, %s)", [1, "'; --"])

    def insert() -> None:
        with client.transaction():
            client.execute("INSERT INTO all_or_nothing VALUES (2, 'x')")
            client.execute("INSERT INTO all_or_nothing VALUES (1, 'x')")

    with pytest.raises(TimescaleError, match="duplicate key"):
        insert()
    assert client.fetch("SELECT * FROM all_or_nothing") == [(1, "'; --")]


def test_rows_are_copied(client: TimescaleClient, timescale: TimescaleServer) -> None:
    if not timescale.is_full:
        pytest.skip("TimescaleDB in WebAssembly has no COPY")
    client.execute("CREATE TABLE copied (n INT, d NUMERIC(38, 18))")
    client.copy("COPY copied FROM STDIN (FORMAT csv)", b"1,12345678901234567890.123456789012345678\n2,-1\n")
    ((rows, total),) = client.fetch("SELECT count(*), sum(d)::text FROM copied")
    assert (rows, total) == (2, "12345678901234567889.123456789012345678")
    assert client.copied("SELECT n, d FROM copied ORDER BY n") == (
        b"1,12345678901234567890.123456789012345678\n2,-1.000000000000000000\n"
    )
    with pytest.raises(TimescaleError, match="no_such_table"):
        client.copied("SELECT * FROM no_such_table")


def test_the_server_is_usable_and_says_its_version(client: TimescaleClient) -> None:
    check_version(check_server(client))


def test_the_extension_is_not_installed() -> None:
    with serving("plain") as plain:
        client = TimescaleClient(plain.settings)
        with pytest.raises(TimescaleError, match=r"was not installed on the server.*\nInstall TimescaleDB"):
            check_server(client)
        client.close()


def test_the_extension_is_not_preloaded(client: TimescaleClient) -> None:
    error = _raised(client, "55000", 'extension "timescaledb" must be preloaded')
    assert "shared_preload_libraries" in error.message
    assert "restart" in error.remedy


def test_the_apache_edition(client: TimescaleClient) -> None:
    text = 'functionality not supported under the current "apache" license. Learn more'
    error = _raised(client, "0A000", text)
    assert "was the Apache edition" in error.message
    assert "community edition" in error.remedy


@pytest.mark.parametrize("version", ["2.19.3", "1.7.5", "none"])
def test_the_version_is_too_old(version: str) -> None:
    with pytest.raises(
        TimescaleError, match=f"expected version 2.20 or newer, was {version}\nInstall a newer"
    ):
        check_version(version)


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_a_conflict_is_to_be_repeated(client: TimescaleClient, code: str) -> None:
    error = _raised(client, code)
    assert isinstance(error, TimescaleConflictError)
    assert "repeated by itself" in error.remedy


def test_a_deadlock_of_two_transactions(timescale: TimescaleServer) -> None:
    if not timescale.is_full:
        pytest.skip("TimescaleDB in WebAssembly has one backend")
    one, other = TimescaleClient(timescale.settings), TimescaleClient(timescale.settings)
    one.execute("CREATE TABLE locked (n INT PRIMARY KEY, v INT)")
    one.execute("INSERT INTO locked VALUES (1, 0), (2, 0)")
    met = threading.Barrier(2, timeout=60)
    errors: list[TimescaleError] = []

    def work(client: TimescaleClient, first: int, second: int) -> None:
        try:
            with client.transaction():
                client.execute("UPDATE locked SET v = v + 1 WHERE n = %s", [first])
                met.wait()
                client.execute("UPDATE locked SET v = v + 1 WHERE n = %s", [second])
        except TimescaleError as error:
            errors.append(error)

    threads = [
        threading.Thread(target=work, args=(one, 1, 2)),
        threading.Thread(target=work, args=(other, 2, 1)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    (error,) = errors
    assert isinstance(error, TimescaleConflictError)
    assert error.fields["code"] == "40P01"
    for client in (one, other):
        client.close()


def test_transactions_that_cannot_be_serialized(timescale: TimescaleServer) -> None:
    if not timescale.is_full:
        pytest.skip("TimescaleDB in WebAssembly has one backend")
    one, other = TimescaleClient(timescale.settings), TimescaleClient(timescale.settings)
    one.execute("CREATE TABLE serial (n INT PRIMARY KEY, v INT)")
    one.execute("INSERT INTO serial VALUES (1, 0)")

    def update() -> None:
        with one.transaction():
            one.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            one.fetch("SELECT * FROM serial")
            other.execute("UPDATE serial SET v = 1")
            one.execute("UPDATE serial SET v = 2")

    with pytest.raises(TimescaleConflictError) as caught:
        update()
    assert caught.value.fields["code"] == "40001"
    for client in (one, other):
        client.close()


def test_more_compressed_rows_than_a_transaction_may_touch(client: TimescaleClient) -> None:
    check_server(client)
    client.execute("CREATE TABLE packed (at TIMESTAMPTZ NOT NULL, n INT, v INT, PRIMARY KEY (at, n))")
    client.fetch("SELECT create_hypertable('packed', 'at')")
    client.execute("INSERT INTO packed SELECT '2026-01-01', n, 0 FROM generate_series(1, 2000) AS n")
    client.execute("ALTER TABLE packed SET (timescaledb.compress, timescaledb.compress_orderby = 'at')")
    client.fetch("SELECT compress_chunk(c) FROM show_chunks('packed') AS c")
    client.execute("SET timescaledb.max_tuples_decompressed_per_dml_transaction = 10")
    with pytest.raises(TimescaleError) as caught:
        client.execute(
            "INSERT INTO packed VALUES ('2026-01-01', 1, 1) ON CONFLICT (at, n) DO UPDATE SET v = 1"
        )
    client.execute("RESET timescaledb.max_tuples_decompressed_per_dml_transaction")
    assert caught.value.fields["code"] == "53400"
    assert "timescaledb.max_tuples_decompressed_per_dml_transaction" in caught.value.remedy


def test_an_error_without_a_remedy_of_its_own_says_what_the_server_said(client: TimescaleClient) -> None:
    with pytest.raises(TimescaleError, match="timescale: division by zero"):
        client.fetch("SELECT 1 / 0")
    with pytest.raises(TimescaleError, match="timescale check --apply"):
        client.fetch("SELECT * FROM nothing_here")


def test_nobody_answers_and_the_password_is_not_said() -> None:
    client = TimescaleClient(Timescale(dsn=SecretStr("postgresql://u:hidden@127.0.0.1:1/d")))
    with pytest.raises(ConnectError, match=r"no connection to 127.0.0.1:1/d: ") as caught:
        client.fetch("SELECT 1")
    assert "hidden" not in str(caught.value)
    assert "timescale.dsn" in caught.value.remedy


def test_a_dsn_that_is_none() -> None:
    client = TimescaleClient(Timescale(dsn=SecretStr("hidden nonsense")))
    with pytest.raises(ConnectError) as caught:
        client.fetch("SELECT 1")
    assert "timescale.dsn" in caught.value.message


def test_the_connection_is_lost_in_the_middle_and_opened_again(timescale: TimescaleServer) -> None:
    if not timescale.is_full:
        pytest.skip("in WebAssembly there is no backend to end: see the next test")
    client, other = TimescaleClient(timescale.settings), TimescaleClient(timescale.settings)
    client.execute("CREATE TABLE middle (n INT)")
    ((pid,),) = client.fetch("SELECT pg_backend_pid()")

    def insert() -> None:
        with client.transaction():
            client.execute("INSERT INTO middle VALUES (1)")
            other.fetch("SELECT pg_terminate_backend(%s)", [pid])
            client.execute("INSERT INTO middle VALUES (2)")

    with pytest.raises(ConnectError, match="no connection to"):
        insert()
    assert client.fetch("SELECT * FROM middle") == []
    for one in (client, other):
        one.close()


def test_the_server_dies_in_the_middle() -> None:
    with serving("plain") as plain:
        client, process = TimescaleClient(plain.settings), plain.process
        assert process is not None

        def read() -> None:
            with client.transaction():
                client.fetch("SELECT 1")
                process.kill()
                client.fetch("SELECT 2")

        with pytest.raises(ConnectError, match=r"no connection to 127.0.0.1:"):
            read()
        with pytest.raises(ConnectError, match=r"no connection to 127.0.0.1:"):
            client.fetch("SELECT 3")
