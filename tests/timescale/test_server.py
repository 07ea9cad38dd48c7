"""The TimescaleDB that the tests start is the real one, and takes several connections."""

from __future__ import annotations

import psycopg
import pytest

from tests.timescale.server import TimescaleServer


def test_it_is_the_community_edition(timescale: TimescaleServer) -> None:
    with timescale.connect() as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        assert connection.execute("SHOW timescaledb.license").fetchone() == ("timescale",)


def test_connections_take_turns_between_transactions(timescale: TimescaleServer) -> None:
    with timescale.connect() as one, timescale.connect() as other:
        one.execute("CREATE TABLE turns (n INT)")
        with one.transaction():
            one.execute("INSERT INTO turns VALUES (1)")
        assert other.execute("SELECT n FROM turns").fetchall() == [(1,)]
        other.execute("DROP TABLE turns")


def test_a_transaction_of_a_lost_connection_is_rolled_back(timescale: TimescaleServer) -> None:
    with timescale.connect() as one:
        one.execute("CREATE TABLE lost (n INT)")
        other = timescale.connect()
        other.execute("BEGIN")
        other.execute("INSERT INTO lost VALUES (1)")
        other.close()
        assert one.execute("SELECT n FROM lost").fetchall() == []
        one.execute("DROP TABLE lost")


def test_an_error_is_that_of_the_statement_alone(timescale: TimescaleServer) -> None:
    with timescale.connect() as one:
        with pytest.raises(psycopg.errors.UndefinedTable):
            one.execute("SELECT * FROM nothing WHERE n = %s", [1])
        assert one.execute("SELECT %s + 1", [1]).fetchone() == (2,)


def test_a_long_message_arrives_whole(timescale: TimescaleServer) -> None:
    numbers = list(range(200_000))
    with timescale.connect() as one:
        found = one.execute("SELECT sum(n), count(*) FROM unnest(%s::bigint[]) AS n", [numbers]).fetchone()
    assert found == (sum(numbers), len(numbers))
