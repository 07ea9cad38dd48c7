"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

venue = click.option("--venue", help="The venue; not needed where one venue has the symbols.")
home = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the platform's data, logs and passwords  [default: .tapehouse]",
)
