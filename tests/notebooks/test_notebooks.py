"""The notebooks run unchanged on a platform with the simulated venue."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.system.up import Up

_FOLDER = Path(__file__).parents[2] / "notebooks"
_NOTEBOOKS = sorted(_FOLDER.glob("*.ipynb"))
_CELL_S = 120


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(simulated: Up, path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    # Where Jupyter writes its connection files.
    env = {**os.environ, "TAPEHOUSE_HOME": str(simulated.home), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    client = NotebookClient(notebook, timeout=_CELL_S, resources={"metadata": {"path": str(_FOLDER)}})
    client.execute(env=env)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs, cell.source


@pytest.mark.parametrize("path", _NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_has_no_outputs_and_imports_only_tapehouse_and_polars(path: Path) -> None:
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
