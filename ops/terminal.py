"""All output of the command line. Text from outside is never read as markup or as a terminal's escape."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from tapehouse.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TextColumn
    from rich.table import Table
    from rich.text import Text


def echo(text: str, *, err: bool = False) -> None:
    """Print a line on standard output, or standard error."""
    click.echo(printable(text), err=err)


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
