"""tapehouse timescale check: what it shows, what it finds, and that --apply mends it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tapehouse.stores.timescale import TimescaleClient
from tapehouse.stores.timescale_policies import DOCUMENTED, check_policies
from tests.timescale.server import TimescaleServer

_TAPEHOUSE = str(Path(sys.executable).with_name("tapehouse"))


def _check(server: TimescaleServer, folder: Path, *arguments: str) -> tuple[int, str]:
    env = {**os.environ, "TAPEHOUSE_TIMESCALE__DSN": server.settings.dsn.get_secret_value(), "COLUMNS": "80"}
    done = subprocess.run(
        [_TAPEHOUSE, "timescale", "check", "--home", str(folder / "home"), *arguments],
        capture_output=True, text=True, env=env, cwd=folder, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def db(timescale: TimescaleServer, tmp_path: Path) -> Iterator[TimescaleClient]:
    """A database whose policies are as documented."""
    status, said = _check(timescale, tmp_path, "--apply")
    assert status == 0, said
    client = TimescaleClient(timescale.settings)
    yield client
    client.close()


def test_without_a_server_or_a_schema_it_says_so(tmp_path: Path, timescale: TimescaleServer) -> None:
    done = subprocess.run(
        [_TAPEHOUSE, "timescale", "check"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert "timescale.dsn: expected a server, was not set" in done.stderr
    status, said = _check(timescale, tmp_path)
    assert status == 1
    assert "expected the tables of ddl/timescale, were not there" in said
    assert "tapehouse timescale check --apply" in said


def test_every_policy_is_shown_on_80_columns_and_24_lines(
    db: TimescaleClient, timescale: TimescaleServer, tmp_path: Path
) -> None:
    status, said = _check(timescale, tmp_path)
    lines = said.splitlines()
    assert status == 0
    assert lines[-1].endswith(": nothing differs")
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    for policy in DOCUMENTED:
        (line,) = [line for line in lines if line.startswith(f"{policy.action} {policy.table} ")]
        assert line.count("7y") + line.count("30d") + line.count("7d") == 2, line
    assert said.count("30d to 1m / 5m") == 2


@pytest.mark.parametrize(
    ("damage", "shown", "mending"),
    [
        (
            "SELECT remove_retention_policy('candlesticks')",
            "none",
            ["SELECT add_retention_policy('candlesticks', INTERVAL '7 years');"],
        ),
        (
            "SELECT remove_retention_policy('trades'); SELECT add_retention_policy('trades', INTERVAL '10 days')",
            "10d",
            [
                "SELECT remove_retention_policy('trades');",
                "SELECT add_retention_policy('trades', INTERVAL '30 days');",
            ],
        ),
        (
            "SELECT remove_continuous_aggregate_policy('candlesticks_1h'); SELECT add_continuous_aggregate_policy("
            "'candlesticks_1h', NULL, INTERVAL '1 minute', INTERVAL '10 minutes')",
            "all to 1m / 10m",
            ["SELECT remove_continuous_aggregate_policy('candlesticks_1h');"],
        ),
        (
            "ALTER MATERIALIZED VIEW candlesticks_4h SET (timescaledb.materialized_only = true)",
            "",
            ["ALTER MATERIALIZED VIEW candlesticks_4h SET (timescaledb.materialized_only = false);"],
        ),
        (
            "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs "
            "WHERE proc_name = 'policy_compression'",
            "7d, off",
            ["scheduled => true);"],
        ),
    ],
    ids=["missing", "before a refresh window", "without a bound", "hidden rows", "off"],
)
def test_what_differs_is_shown_with_its_mending_and_apply_mends_it(
    db: TimescaleClient,
    timescale: TimescaleServer,
    tmp_path: Path,
    damage: str,
    shown: str,
    mending: list[str],
) -> None:
    db.execute(damage)
    status, said = _check(timescale, tmp_path)
    assert status == 1
    assert shown in said
    for statement in mending:
        assert statement in said
    assert "--apply runs them" in said
    status, said = _check(timescale, tmp_path, "--apply")
    assert status == 0, said
    assert not [state for state in check_policies(db) if state.mending]
    status, said = _check(timescale, tmp_path)
    assert (status, said.count("SELECT")) == (0, 0)


def test_no_documented_refresh_reaches_further_back_than_trades_are_kept(db: TimescaleClient) -> None:
    (kept,) = [policy.after for policy in DOCUMENTED if (policy.action, policy.table) == ("drop", "trades")]
    for policy in DOCUMENTED:
        if policy.action == "refresh":
            assert db.fetch("SELECT %s::INTERVAL <= %s::INTERVAL", [policy.after, kept]) == [(True,)]


def test_a_job_that_failed_is_shown_with_its_error(
    db: TimescaleClient, timescale: TimescaleServer, tmp_path: Path
) -> None:
    if not timescale.is_full:
        pytest.skip("TimescaleDB in WebAssembly has no background jobs")
    status, said = _check(timescale, tmp_path)
    assert status == 0
    assert "success" in said
