"""tapehouse down: stop a platform that runs elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from tapehouse.cli import options


@click.command()
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait for it to end.")
@options.home
def command(timeout: float, home: Path | None) -> None:
    """Stop the platform that runs in the home folder, and wait until it has ended."""
    import os
    import signal
    import time

    from tapehouse.errors import StackError
    from tapehouse.settings import load
    from tapehouse.stack.home import holder

    folder = load(home).home
    pid = holder(folder)
    if pid is None:
        click.echo(f"nothing runs in {folder}")
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while holder(folder) == pid:
        if time.monotonic() > deadline:
            raise StackError(
                f"down: expected process {pid} to end within {timeout:g} s, it still runs",
                remedy=f"Look at {folder}/logs, or end it with `kill -9 {pid}`: the next start clears up.",
            )
        time.sleep(0.05)
    click.echo(f"stopped the platform in {folder}")
