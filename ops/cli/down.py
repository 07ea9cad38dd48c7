"""tapehouse down: stops a platform that another process runs, or what is left of one."""

from __future__ import annotations

from pathlib import Path

import click

from ops.cli import options
from ops.terminal import echo


@click.command()
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait until it has stopped.")
@options.home
def command(timeout: float, home: Path | None) -> None:
    """Stop the platform that runs in the home folder, and wait until it has stopped.

    Where its runner was killed, the processes that it left are ended.
    """
    from tapehouse.identity import running_pid
    from tapehouse.settings import load

    folder = load(home).home
    pid = running_pid(folder)
    if pid is not None:
        _stop_runner(folder, pid, timeout)
        echo(f"stopped the platform in {folder}")
    left = _end_what_is_left(folder)
    if left:
        echo(f"its runner was killed; ended what it left in {folder}: {', '.join(left)}")
    elif pid is None:
        echo(f"no platform runs in {folder}")


def _stop_runner(folder: Path, pid: int, timeout: float) -> None:
    """Ask the runner to stop, unless it is stopping already: a third signal would make it kill its parts."""
    import os
    import signal
    import time

    from ops.stack import view
    from tapehouse.errors import StackError
    from tapehouse.identity import running_pid

    try:
        if not view.read(folder).stopping:
            os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError:
        raise StackError(
            f"down: expected a platform of this user, process {pid} is another's",
            remedy="Stop it as the user who started it.",
        ) from None
    deadline = time.monotonic() + timeout
    while running_pid(folder) == pid:
        if time.monotonic() > deadline:
            raise StackError(
                f"down: expected process {pid} to end within {timeout:g} s, was still running",
                remedy=f"See {folder}/logs; or run `kill -9 {pid}`, then `tapehouse down` ends what is left.",
            )
        time.sleep(0.05)


def _end_what_is_left(folder: Path) -> list[str]:
    """End what a killed runner left; returns the names of the parts. Raises HomeInUseError if a run has just begun."""
    import asyncio

    from ops.stack.home import Home, Lock
    from ops.stack.orphans import end_orphans, orphans
    from tapehouse import log

    run = folder / "run"
    if not orphans(run):
        return []
    log.configure(quiet=True)
    with Lock(Home(folder)):
        return asyncio.run(end_orphans(run))
