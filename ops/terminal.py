"""All output of the command line. Text from outside is never read as markup or as a terminal's escape."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import click

from tapehouse.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TextColumn
    from rich.table import Table
    from rich.text import Text


def echo(text: str, *, err: bool = False) -> None:
    """Print lines on standard output, or standard error; on a terminal broken between words where they are too long."""
    shown = printable(text)
    if (sys.stderr if err else sys.stdout).isatty():
        shown = fitted(shown, shutil.get_terminal_size().columns)
    click.echo(shown, err=err)


def fitted(text: str, width: int) -> str:
    """Lines with those of more than `width` characters broken between words, indented as they were."""
    return "\n".join(part for line in text.split("\n") for part in _broken(line.expandtabs(), width))


def _broken(line: str, width: int) -> list[str]:
    if len(line) <= width:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ) or [line]


def echo_json(document: Any, indent: int | None = None) -> None:
    """Print a JSON document on standard output."""
    # JSON has no need to escape DEL, and a terminal acts on it.
    click.echo(json.dumps(document, indent=indent).replace("\x7f", "\\u007f"))


def console(*, width: int | None = None, stderr: bool = False) -> Console:
    """Rich's console without markup, emoji codes and highlighting in text."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False, width=width, stderr=stderr)


def text(value: object, style: str = "") -> Text:
    """A cell or line of rich's, as it is."""
    from rich.text import Text

    return Text(printable(str(value)), style=style)


def table(*headings: str, right: tuple[str, ...] = (), title: str = "") -> Table:
    """A table without borders, `right` headings aligned to the right. Fill it with `add_row`."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, title=text(title) if title else None, title_justify="left")
    for heading in headings:
        made.add_column(text(heading), justify="right" if heading in right else "left", overflow="fold")
    return made


def add_row(to: Table, *cells: object, style: str = "") -> None:
    """Add a row; a cell that is a Text of `text` keeps its style, None is empty."""
    from rich.text import Text

    shown = [cell if isinstance(cell, Text) else text("" if cell is None else cell) for cell in cells]
    to.add_row(*shown, style=style)


def text_column(template: str) -> TextColumn:
    """A column of a progress bar, such as "{task.description}", whose text is no markup."""
    from rich.progress import TextColumn

    return TextColumn(template, markup=False)
