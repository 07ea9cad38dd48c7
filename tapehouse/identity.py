"""Identity of processes: a pid is reused after its process has ended, a pid with its start time is not."""

from __future__ import annotations

from pathlib import Path

from tapehouse.errors import StackError

_PROC = Path("/proc")
_BOOT = _PROC / "sys/kernel/random/boot_id"


def born(pid: int) -> str | None:
    """The start time of process `pid` as "boot id:clock tick"; it is unique to the process.

    None when no such process runs, or it is a zombie. Raises StackError without /proc.
    """
    try:
        return birth(_BOOT.read_text(), (_PROC / str(pid) / "stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        if not _BOOT.exists():
            raise StackError(
                "stack: expected Linux's /proc, which identifies processes, was none",
                remedy="Run the platform on Linux or with compose/compose.yaml.",
            ) from None
        return None


def birth(boot: str, stat: str) -> str | None:
    """The start time, from the texts of boot_id and /proc/<pid>/stat; None for a process that has ended."""
    _, _, after_name = stat.rpartition(")")
    fields = after_name.split()
    if len(fields) < 20 or fields[0] in "ZX":
        return None
    return f"{boot.strip()}:{fields[19]}"


def command_of(pid: int) -> str:
    """The command line of `pid`, at most 120 characters; empty when it cannot be read."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode(errors="replace").strip()[:120]


def running_pid(home: Path) -> int | None:
    """The pid of the process that runs the platform in the folder `home`, from its lock file; None if none does."""
    try:
        pid, owner_start, *_ = (home / "lock").read_text().split("\n")
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if born(int(pid)) == owner_start else None
