"""Who a process is: a number is given to others after its process has ended, a number and a birth are not."""

from __future__ import annotations

from pathlib import Path

from tapehouse.errors import StackError

_PROC = Path("/proc")
_BOOT = _PROC / "sys/kernel/random/boot_id"


def born(pid: int) -> str | None:
    """When `pid` was born, as boot id and clock tick: the same text for as long as it is the same process.

    None where no such process lives; a zombie has ended. Raises StackError where there is no /proc.
    """
    try:
        return birth(_BOOT.read_text(), (_PROC / str(pid) / "stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        if not _BOOT.exists():
            raise StackError(
                "stack: expected Linux's /proc, which tells one process from another, was none",
                remedy="Run the platform on Linux or with compose/compose.yaml.",
            ) from None
        return None


def birth(boot: str, stat: str) -> str | None:
    """The birth told by the text of boot_id and of /proc/<pid>/stat; None for a process that has ended."""
    _, _, after_name = stat.rpartition(")")
    fields = after_name.split()
    if len(fields) < 20 or fields[0] in "ZX":
        return None
    return f"{boot.strip()}:{fields[19]}"


def command_of(pid: int) -> str:
    """The command line of `pid`, cut to 120 characters; empty where it cannot be read."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode(errors="replace").strip()[:120]
