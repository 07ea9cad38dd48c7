"""Output goes to the terminal in one place, which makes text from outside safe; commands do not go around it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from ops.terminal import echo, fitted

_OPS = Path(__file__).parents[2] / "ops"
_AROUND = {"print", "Console", "Table", "TextColumn"}
_FILES = [path for path in sorted(_OPS.rglob("*.py")) if path != _OPS / "terminal.py"]


@pytest.mark.parametrize("path", _FILES, ids=lambda path: str(path.relative_to(_OPS)))
def test_no_command_prints_around_the_place_that_makes_text_safe(path: Path) -> None:
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    found = [name.id for name in calls if isinstance(name, ast.Name) and name.id in _AROUND]
    found += [
        name.attr for name in calls if isinstance(name, ast.Attribute) and name.attr in ("echo", "secho")
    ]
    # The process of ClickHouse cannot import rich or click: it runs confined, and prints to a log.
    assert found == [] or path.name in ("clickhouse_server.py", "confined.py")


def test_long_lines_are_broken_between_words_and_keep_their_indentation() -> None:
    path = "/folder" * 5
    said = f"short\n    a reason of several words\n{path}\nno: {path}"
    assert fitted(said, 20) == f"short\n    a reason of\n    several words\n{path}\nno:\n{path}"
    assert fitted("\u250c\u2500\u2510\n", 20) == "\u250c\u2500\u2510\n"
    assert fitted("1.0\ttrades\tbroken", 12) == "1.0\ntrades\nbroken"


def test_a_pipe_gets_lines_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    echo("a\tb " * 100)
    assert capsys.readouterr().out == "a\tb " * 100 + "\n"
