"""The rooms: who imports whom, and what each file owes its readers."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_ROOMS = ("tapehouse", "ingest", "analytics", "gateway", "ddl")
_FILES = sorted(path.relative_to(_ROOT) for room in _ROOMS for path in (_ROOT / room).rglob("*.py"))
# The command line puts the rooms together, and it alone.
_JOINS = Path("tapehouse/cli")


def _imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, at its head or anywhere else."""
    for node in ast.walk(ast.parse((_ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: expected absolute imports, line {node.lineno} is relative"
            yield node.module or ""


def _allowed(path: Path) -> set[str]:
    if path.is_relative_to(_JOINS):
        return set(_ROOMS)
    return {path.parts[0], "tapehouse"}


@pytest.mark.parametrize("path", _FILES, ids=str)
def test_a_room_imports_the_kernel_and_itself_alone(path: Path) -> None:
    rooms = {name.partition(".")[0] for name in _imported(path)} & {*_ROOMS, "tests", "bench"}
    assert rooms <= _allowed(path)


@pytest.mark.parametrize("path", [path for path in _FILES if not path.is_relative_to(_JOINS)], ids=str)
def test_only_the_command_line_imports_the_command_line(path: Path) -> None:
    assert (
        not [name for name in _imported(path) if f"{name}.".startswith("tapehouse.cli.")]
        or path.name == "__main__.py"
    )


@pytest.mark.parametrize("path", _FILES, ids=str)
def test_a_file_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse((_ROOT / path).read_text()))


@pytest.mark.parametrize("path", _FILES, ids=str)
def test_a_file_has_one_responsibility_so_300_lines_at_most(path: Path) -> None:
    assert len((_ROOT / path).read_text().splitlines()) <= 300


def test_a_command_starts_fast_for_it_imports_little_before_it_is_asked() -> None:
    heavy = [
        "ingest",
        "gateway",
        "numpy",
        "polars",
        "pandas",
        "nats",
        "psycopg",
        "questdb",
        "pydantic",
        "uvloop",
    ]
    code = f"import sys; import tapehouse.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_rooms_are_seen() -> None:
    assert len(_FILES) > 50
