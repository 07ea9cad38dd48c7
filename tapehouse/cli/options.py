"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

home = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the platform's data, logs and passwords  [default: .tapehouse]",
)
