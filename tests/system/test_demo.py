"""The main job: the platform with the simulator as its feed, stopped and started again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import polars as pl

from ops.stack import view
from tapehouse.settings import load
from tapehouse.stores.questdb import QuestReader
from tests.system.up import Up


def ids(up: Up) -> pl.DataFrame:
    """Of each simulated symbol: its rows, distinct ids and highest id."""
    with QuestReader(load(up.home).questdb) as reader:
        reader.wait_applied("trades")
        rows = reader.fetch(
            "SELECT symbol, count(), count_distinct(seq), max(seq) FROM trades WHERE venue = 'sim'"
        )
    whole = dict.fromkeys(("rows", "ids", "last"), pl.Int64)
    return pl.DataFrame(rows, orient="row", schema={"symbol": pl.String, **whole})


def drained(up: Up) -> bool:
    """Whether the writer has written what the feed has published and no more comes."""
    writers = [role for role in up.status()["roles"] if role["role"] == "writer"]
    return bool(writers) and all(writer["rows_s"] == 0 for writer in writers)


def test_the_demo_goes_on_where_it_was_after_ctrl_c_a_kill_and_with_another_number_of_shards(
    tmp_path: Path, starts: Callable[..., Up]
) -> None:
    rate = {"TAPEHOUSE_SIMULATOR__RATE": "5000", "TAPEHOUSE_SIMULATOR__SYMBOLS": "50"}
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}\n')
    browser.chmod(0o700)
    first = starts(tmp_path / "home", feed="sim", words=("--open",), BROWSER=f"{browser} %s", **rate)
    first.until(opened.exists, "the page to be opened", 30)
    assert opened.read_text() == load(first.home).gateway.url
    first.until(lambda: int(ids(first)["rows"].sum()) > 10_000, "10,000 rows", 60)
    first.stop()
    assert first.process.returncode == 0
    said = first.log.read_text()
    for part in ("nats", "questdb", "clickhouse", "writer", "sim"):
        assert f"{part}: ready" in said

    second = starts(tmp_path / "home", feed="sim", **rate, TAPEHOUSE_SHARDS="3")
    stopped_at = int(ids(second)["rows"].sum())
    second.until(lambda: int(ids(second)["rows"].sum()) > stopped_at + 5_000, "5,000 more rows", 60)
    os.kill(second.pid("sim"), signal.SIGKILL)
    killed_at = int(ids(second)["rows"].sum())
    second.until(lambda: int(ids(second)["rows"].sum()) > killed_at + 5_000, "rows after the kill", 60)
    # The second signal, while the first is at work, changes nothing.
    second.process.send_signal(signal.SIGINT)
    second.until(lambda: view.read(second.home).stopping, "the stop to begin", 30)
    second.stop()
    assert second.process.returncode == 0
    assert "still stopping" in second.log.read_text()
    assert view.read(second.home).orphans == {}

    third = starts(tmp_path / "home", feed="none", **rate, TAPEHOUSE_SHARDS="2")
    third.until(lambda: drained(third), "the writer to have written all", 60)
    found = ids(third)
    assert "ok       timestamps: no row" in third.run("doctor")
    third.process.kill()
    third.process.wait()
    assert "the runner was killed, 8 parts go on" in third.run("status", status=1)
    assert "nats, questdb, clickhouse, writer, accounts, barmaker, mirror, gateway go on" in third.run(
        "doctor", status=1
    )
    assert "ended what it left" in third.run("down")
    assert view.read(third.home).orphans == {}
    assert "no platform runs" in third.run("down")
    # Ids count from 1 without a hole; what was late when the feed was last stopped may still be withheld.
    assert found["rows"].equals(found["ids"].alias("rows"))
    withheld = (found["last"] - found["ids"]).sum()
    assert withheld <= 0.01 * found["rows"].sum()
