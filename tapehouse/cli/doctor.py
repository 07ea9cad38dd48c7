"""tapehouse doctor: what this machine has of what the platform needs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from tapehouse.cli import options


@click.command()
@options.home
def command(home: Path | None) -> None:
    """Check programs, packages, ports, disk and the home folder. Exit status 1 when something is missing."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", _python),
        ("java", _java),
        ("questdb", _questdb),
        ("nats-server", _nats),
        ("clickhouse", _clickhouse),
        ("packages", _packages),
        ("disk", lambda: _disk(home)),
        ("home", lambda: _home(home)),
    ]
    from tapehouse.errors import TapehouseError

    failed = False
    for name, check in checks:
        try:
            click.echo(f"ok       {name}: {check()}")
        except TapehouseError as error:
            failed = True
            remedy = f"\n         {error.remedy}" if error.remedy else ""
            click.echo(f"missing  {name}: {error.message}{remedy}")
    sys.exit(1 if failed else 0)


def _python() -> str:
    from tapehouse.errors import StackError

    version = ".".join(str(part) for part in sys.version_info[:3])
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise StackError(
            f"expected 3.11 to 3.13, was {version}", remedy="Install Debian's python3 and python3-venv."
        )
    return version


def _java() -> str:
    from tapehouse.stack.java import find

    program, version = find()
    return f"{version} ({program})"


def _questdb() -> str:
    from tapehouse.stack.questdb import jar

    return str(jar())


def _nats() -> str:
    import subprocess

    from tapehouse.stack.nats import binary

    path = binary()
    return subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def _clickhouse() -> str:
    from importlib.metadata import version

    return f"chdb-core {version('chdb-core')}"


def _packages() -> str:
    import re
    from importlib.metadata import PackageNotFoundError, requires, version

    from tapehouse.errors import StackError

    missing = []
    for need in requires("tapehouse") or ():
        name, _, marker = need.partition(";")
        if "extra" in marker and "platform" not in marker:
            continue
        name = re.split(r"[^\w.-]", name.strip())[0]
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        raise StackError(
            f"expected {' '.join(missing)}, was absent",
            remedy="Run `make setup`, or pip install 'tapehouse[platform]'.",
        )
    return "all there"


def _disk(home: Path | None) -> str:
    import shutil

    from tapehouse.errors import StackError
    from tapehouse.settings import load

    folder = load(home).home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    if free < 2:
        raise StackError(
            f"expected 2 GiB free or more in {folder}, was {free:.1f}", remedy="Free some space."
        )
    return f"{free:.0f} GiB free"


def _home(home: Path | None) -> str:
    from tapehouse.settings import load
    from tapehouse.stack.home import holder

    folder = load(home).home
    pid = holder(folder) if folder.exists() else None
    return f"{folder}" + (f", run by {pid}" if pid else "")
