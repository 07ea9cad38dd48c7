"""README and docs/: links lead somewhere, every setting is listed, and every command line is one there is."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from ops.cli.main import root
from tapehouse.settings import Settings

_ROOT = Path(__file__).parents[2]
_PAGES = [_ROOT / "README.md", _ROOT / "CONTRIBUTING.md", *sorted((_ROOT / "docs").glob("*.md"))]
_VENUE = "venues.NAME"


def _settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation, f"{prefix}{name}.")
        elif name == "venues":
            yield from (f"{_VENUE}.{part}" for part in ("protocol", "socket", "rest", "key", "pace"))
        else:
            yield prefix + name


def test_every_setting_is_documented() -> None:
    text = (_ROOT / "docs" / "settings.md").read_text()
    rows = {
        name
        for line in text.splitlines()
        if line.startswith("|")
        for name in re.findall("`([^`]*)`", line.split("|")[1])
    }
    assert rows == set(_settings(Settings))


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text())
    missing = [
        target for target in targets if "://" not in target and not (page.parent / target).resolve().exists()
    ]
    assert not missing


def _command_lines(page: Path) -> Iterator[list[str]]:
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] in ("tapehouse", ".venv/bin/tapehouse"):
                yield words[1:]


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_command_lines_have_commands_and_options_that_exist(page: Path) -> None:
    for words in _command_lines(page):
        command: click.Command = root
        context = click.Context(root)
        while isinstance(command, click.Group):
            name, words = words[0], words[1:]
            found = command.get_command(context, name)
            assert found, name
            command = found
        # Parses without running; a usage error names the word that is wrong.
        command.make_context(name, words, resilient_parsing=False).close()


def test_readme_is_short() -> None:
    assert len((_ROOT / "README.md").read_text().splitlines()) <= 200
