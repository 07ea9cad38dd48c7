"""The state of a run for other processes: `run.json` in the home, written by the runner."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ops.stack.home import Home, write_private
from ops.stack.part import PartView, State
from ops.stack.process import live_pid
from tapehouse.identity import running_pid


@dataclass(frozen=True)
class RunView:
    """A run as seen from outside; `pid` is None if no runner lives; then no part is ready."""

    pid: int | None
    questdb_was_clean: bool
    """Whether the stop before QuestDB's last start was graceful, or that start its first."""
    questdb_unclean_ns: int
    """When QuestDB was last started after a stop that was not graceful, ns UTC; 0 for never."""
    parts: tuple[PartView, ...]
    stopping: bool = False
    """Whether the runner is stopping its parts."""

    @property
    def orphans(self) -> dict[str, int]:
        """The processes that a killed runner left: part -> pid."""
        return {part.name: part.pid for part in self.parts if part.pid} if self.pid is None else {}


def write(home: Home, was_clean: bool, unclean_ns: int, parts: Sequence[PartView], stopping: bool) -> None:
    """Write the states of the parts and how QuestDB was stopped before."""
    said = {
        "stopping": stopping,
        "questdb_was_clean": was_clean,
        "questdb_unclean_ns": unclean_ns,
        "parts": [asdict(part) for part in parts],
    }
    write_private(home.run_file, json.dumps(said, indent=1))


def read(folder: Path) -> RunView:
    """Read the state of the run in the home `folder`; no parts if nothing ever ran there.

    Parts of a runner that was killed are `silent` where their process lives on, else `stopped`.
    """
    pid = running_pid(folder)
    try:
        said = json.loads((folder / "run.json").read_text())
    except FileNotFoundError:
        return RunView(pid, False, 0, ())
    parts = tuple(PartView(**{**part, "state": State(part["state"])}) for part in said["parts"])
    if pid is None:
        parts = tuple(_unwatched(part, folder / "run" / f"{part.name}.pid") for part in parts)
    stopping = pid is not None and said.get("stopping", False)
    return RunView(pid, said["questdb_was_clean"], said["questdb_unclean_ns"], parts, stopping)


def _unwatched(part: PartView, pid_file: Path) -> PartView:
    if pid := live_pid(pid_file):
        return replace(part, state=State.SILENT, pid=pid, detail="its runner was killed")
    state = State.FAILED if part.state is State.FAILED else State.STOPPED
    return replace(part, state=state, pid=None)
