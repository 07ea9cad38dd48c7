"""The rooms: who imports whom, and what each file owes its readers."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_ROOMS = ("tapehouse", "ingest", "analytics", "gateway", "ops", "ddl")
_FILES = sorted(path.relative_to(_ROOT) for room in _ROOMS for path in (_ROOT / room).rglob("*.py"))
# It puts the other rooms together, and it alone.
_JOINS = Path("ops")


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


@pytest.mark.parametrize("path", sorted((_ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_are_short_and_import_the_client_alone(path: Path) -> None:
    roots = {name.partition(".")[0] for name in _imported(path)}
    assert roots <= {"tapehouse", "polars", *sys.stdlib_module_names}
    assert not [name for name in _imported(path) if name.startswith("tapehouse.")]
    assert len(path.read_text().splitlines()) < 20


@pytest.mark.parametrize("path", [path for path in _FILES if path.parts[:2] != ("ops", "cli")], ids=str)
def test_only_the_command_line_imports_the_command_line(path: Path) -> None:
    assert (
        not [name for name in _imported(path) if f"{name}.".startswith("ops.cli.")]
        or path.name == "__main__.py"
    )


_FOLDERS = {  # by folder of a room: the folders of the same room that it may import
    "tapehouse.bars": set(),
    "tapehouse.features": set(),
    "tapehouse.stores": set(),
    "tapehouse.stream": set(),
    "tapehouse.client": {"tapehouse.stream"},
    "ingest.files": set(),
    "ingest.venues": set(),
    "ingest.imports": {"ingest.files", "ingest.venues"},
    "ingest.replay": {"ingest.files", "ingest.venues"},
    "ingest.accounts": {"ingest.files"},
    "ingest.simulator": set(),
    "ingest.writer": set(),
    "ingest.timescale": set(),
    "ingest.barmaker": set(),
    "analytics.mirror": set(),
    "analytics.backtest": set(),
    "gateway.stores": set(),
    "gateway.answers": {"gateway.stores"},
    "gateway.rest": {"gateway.answers"},
    "gateway.live": {"gateway.rest"},
    "ops.stack": set(),
    "ops.export": set(),
    "ops.drill": {"ops.stack"},
    "ops.cli": {"ops.stack", "ops.export", "ops.drill"},
}


def _folder(parts: Sequence[str]) -> str:
    return ".".join(parts[:2])


@pytest.mark.parametrize("path", [path for path in _FILES if len(path.parts) > 2], ids=str)
def test_a_folder_imports_no_folder_above_it(path: Path) -> None:
    own = _folder(path.parts)
    imported = {_folder(name.split(".")) for name in _imported(path)} & _FOLDERS.keys()
    siblings = {folder for folder in imported if folder.partition(".")[0] == path.parts[0]}
    assert siblings - {own} <= _FOLDERS[own]


def test_no_function_has_a_complexity_above_12() -> None:
    limit = ["--select", "C901", "--config", "lint.mccabe.max-complexity = 12"]
    found = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", *limit, *_ROOMS, "bench", "examples"],
        cwd=_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("path", _FILES, ids=str)
def test_a_file_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse((_ROOT / path).read_text()))


@pytest.mark.parametrize("path", _FILES, ids=str)
def test_a_file_has_one_responsibility_so_400_lines_at_most(path: Path) -> None:
    assert len((_ROOT / path).read_text().splitlines()) <= 400


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
    code = f"import sys; import ops.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_rooms_are_seen() -> None:
    assert len(_FILES) > 50
