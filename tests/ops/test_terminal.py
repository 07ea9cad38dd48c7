"""Output goes to the terminal in one place, which makes text from outside safe; commands do not go around it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

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
