"""The notebooks run as they are, on a platform with the simulated venue."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import tapehouse
from tests.system.up import Up

_FOLDER = Path(__file__).parents[2] / "notebooks"
_NOTEBOOKS = sorted(_FOLDER.glob("*.ipynb"))
_CELL_S = 120
_FEW = {"TAPEHOUSE_SIMULATOR__SYMBOLS": "5", "TAPEHOUSE_SIMULATOR__RATE": "100"}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A platform with the simulated venue, with some of its trades in the store."""
    platform = Up(tmp_path_factory.mktemp("notebooks") / "home", "sim", **_FEW)
    try:
        with tapehouse.connect(home=platform.home) as db:
            platform.until(
                lambda: not db.rankings().is_empty() and not db.catalog("trades").is_empty(),
                "trades in the store and rankings",
                60,
            )
        yield platform
    finally:
        platform.stop()


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(simulated: Up, path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    # Where Jupyter keeps what it needs while a kernel runs.
    env = {**os.environ, "TAPEHOUSE_HOME": str(simulated.home), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    client = NotebookClient(notebook, timeout=_CELL_S, resources={"metadata": {"path": str(_FOLDER)}})
    client.execute(env=env)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs, cell.source


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs_and_needs_tapehouse_and_polars_alone(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        assert not cell.outputs
        assert cell.execution_count is None
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= {"polars", "tapehouse"}
            assert not isinstance(node, ast.ImportFrom)


def test_there_are_notebooks() -> None:
    assert _NOTEBOOKS
