"""`tapehouse query` before a gateway that breaks; what it reads of a real one is in tests/system/test_query.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ops.cli.query import command
from tapehouse.errors import ConnectError, UsageError
from tests.tapehouse.client.played import (
    Act,
    Played,
    answering,
    playing,
    refusing,
    saying,
    stream,
    streaming,
    trades,
)

_TAPEHOUSE = str(Path(sys.executable).with_name("tapehouse"))
_OK = answering(200, b'{"alive":true}')
_WHOLE = stream(trades(2500))
_CUT = streaming(_WHOLE[: len(_WHOLE) // 2], ended=False)
_ASK = ("trades", "A,B", "--venue", "v", "--last", "2500")


def _env(gateway: Played, folder: Path) -> dict[str, str]:
    return {"TAPEHOUSE_GATEWAY__URL": gateway.url, "TAPEHOUSE_HOME": str(folder / "home")}


def _ran(act: Act, folder: Path, *words: str) -> tuple[Result, dict[str, list[str]]]:
    """What came of it, and what was asked for."""
    with playing(_OK, act) as gateway:
        return CliRunner().invoke(command, words, env=_env(gateway, folder)), gateway.asked


def test_it_asks_the_gateway_and_says_who_served(tmp_path: Path) -> None:
    out = tmp_path / "a.csv"
    done, asked = _ran(streaming(_WHOLE), tmp_path, *_ASK, "--columns", "seq,price", "--out", str(out))
    assert done.output == f"2,500 rows to {out} (read: clickhouse 2, questdb 1)\n"
    assert asked == {
        "symbol": ["A", "B", "A,B"], "venue": ["v"], "last": ["2500"], "columns": ["seq", "price"],
        "start": ["1970-01-01T00:00:00Z"],
    }  # fmt: skip
    assert len(out.read_text().splitlines()) == 2501


def test_its_options_are_the_gateways_parameters(tmp_path: Path) -> None:
    span = ("--start", "2024-01-01", "--end", "2024-01-02T00:00:00.5Z")
    _, asked = _ran(
        streaming(_WHOLE), tmp_path, "depth", "A", "--venue", "v", *span, "--limit", "9", "--flags", "3"
    )
    assert asked == {
        "symbol": ["A"], "venue": ["v"], "start": ["2024-01-01T00:00:00Z"], "end": ["2024-01-02T00:00:00.500Z"],
        "limit": ["9"], "flags": ["3"],
    }  # fmt: skip
    _, asked = _ran(
        streaming(_WHOLE),
        tmp_path,
        "bars",
        "A",
        "--venue",
        "v",
        "--last",
        "2",
        "--interval",
        "1m",
        "--fill",
        "flat",
        "--no-open",
    )
    assert (asked["interval"], asked["fill"], asked["open"]) == (["1m"], ["flat"], ["false"])
    _, asked = _ran(streaming(_WHOLE), tmp_path, "account_trades", "7", "--last", "2")
    assert asked["account"] == ["7"]
    _, asked = _ran(streaming(_WHOLE), tmp_path, "account_candles", "7,8", "--last", "2", "--interval", "30m")
    assert (asked["account"], asked["interval"]) == (["7", "8"], ["30m"])
    _, asked = _ran(streaming(_WHOLE), tmp_path, "gaps", "--start", "2024-01-01")
    assert asked == {"start": ["2024-01-01T00:00:00Z"]}


def test_a_plan_is_json_when_piped(tmp_path: Path) -> None:
    document = {"query": {}, "segments": []}
    done, asked = _ran(saying(document), tmp_path, *_ASK, "--explain")
    assert json.loads(done.output) == document
    assert asked["kind"] == ["trades"]


@pytest.mark.parametrize("out", ["a.parquet", "a.csv", "a.arrow", "-"])
def test_an_answer_that_is_cut_is_an_error_and_no_file(tmp_path: Path, out: str) -> None:
    done, _ = _ran(_CUT, tmp_path, *_ASK, "--out", out if out == "-" else str(tmp_path / out))
    assert isinstance(done.exception, ConnectError)
    assert "the answer was truncated" in done.exception.message
    assert not list(tmp_path.iterdir())


def test_a_refusal_is_told_with_its_remedy(tmp_path: Path) -> None:
    done, _ = _ran(refusing(400, "usage", "symbol: expected fewer", "Ask for some."), tmp_path, *_ASK)
    assert str(done.exception) == "symbol: expected fewer\nAsk for some."
    assert isinstance(done.exception, UsageError)


def test_a_comma_may_belong_to_a_symbol(tmp_path: Path) -> None:
    unknown = refusing(400, "unknown-series", "no A,B of v")
    env = {"TAPEHOUSE_HOME": str(tmp_path)}
    for refused, symbols in ((0, ["A", "B", "A,B"]), (1, ["A,B"]), (2, ["A", "B"])):
        answers = [answer for _ in range(refused) for answer in (_OK, unknown)]
        with playing(*answers, _OK, streaming(_WHOLE)) as gateway:
            done = CliRunner().invoke(command, _ASK, env={**env, "TAPEHOUSE_GATEWAY__URL": gateway.url})
        assert (done.exit_code, len(done.output.splitlines())) == (0, 2501)
        assert gateway.asked["symbol"] == symbols
    last = refusing(400, "unknown-series", "no A of v; near: A,B")
    with playing(_OK, unknown, _OK, unknown, _OK, last) as gateway:
        done = CliRunner().invoke(command, _ASK, env={**env, "TAPEHOUSE_GATEWAY__URL": gateway.url})
    assert str(done.exception) == "no A of v; near: A,B"
    assert done.output == ""


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("trades", "A", "--venue", "v"), "start: expected a time, or last"),
        (("trades", "A", "--venue", "v", "--last", "0"), "last: expected 1 to"),
        (("trades", "A,A", "--venue", "v", "--last", "1"), "symbol: expected each once"),
        (("trades", "A", "--venue", "v", "--last", "1", "--columns", "seq,px"), "columns: trades have"),
        (("trades", "A", "--venue", "v", "--last", "1", "--flags", "8"), "flags: expected 0 to 7"),
        (("bars", "A", "--venue", "v", "--last", "1", "--interval", "25h"), "interval: expected one of 15s"),
        (("trades", "A", "--venue", "v", "--last", "1", "--out", "a.txt"), "--out: expected FILE.parquet"),
    ],
)
def test_misuse_is_refused_before_anything_is_asked(
    tmp_path: Path, words: tuple[str, ...], reason: str
) -> None:
    with playing(_OK) as gateway:
        done = CliRunner().invoke(command, words, env=_env(gateway, tmp_path))
        assert not gateway.paths
    assert isinstance(done.exception, UsageError)
    assert reason in done.exception.message


def test_ctrl_c_in_the_middle_leaves_no_file(tmp_path: Path) -> None:
    begun, end = threading.Event(), threading.Event()

    def stalling(to: BaseHTTPRequestHandler) -> None:
        streaming(_WHOLE[: len(_WHOLE) // 2], ended=False)(to)
        begun.set()
        end.wait(60)

    with playing(_OK, stalling) as gateway:
        with subprocess.Popen(
            [_TAPEHOUSE, "query", *_ASK, "--out", str(tmp_path / "a.parquet")],
            env={**os.environ, **_env(gateway, tmp_path)},
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert begun.wait(60), "waited 60 s for the answer to be under way"
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        end.set()
    assert (process.returncode, err.strip()) == (130, "interrupted")
    assert not list(tmp_path.iterdir())
