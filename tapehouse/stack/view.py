"""What a run tells the outside: `run.json` in the home, written by the runner, read by whoever asks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tapehouse.stack.home import Home, holder, write_private
from tapehouse.stack.part import PartView, State
from tapehouse.stack.process import named_by


@dataclass(frozen=True)
class RunView:
    """A run as seen from outside; `pid` is None where no runner lives, and then no part is ready."""

    pid: int | None
    questdb_was_clean: bool
    """Whether the stop before QuestDB's last start was graceful, or that start its first."""
    questdb_unclean_ns: int
    """When QuestDB was last started after a stop that was not graceful, ns UTC; 0 for never."""
    parts: tuple[PartView, ...]


def write(home: Home, was_clean: bool, unclean_ns: int, parts: Sequence[PartView]) -> None:
    """Tell the outside what runs, and how QuestDB was stopped before."""
    said = {
        "questdb_was_clean": was_clean,
        "questdb_unclean_ns": unclean_ns,
        "parts": [asdict(part) for part in parts],
    }
    write_private(home.run_file, json.dumps(said, indent=1))


def read(folder: Path) -> RunView:
    """What runs in the home `folder`, without asking the runner; no parts where none ever ran there.

    Parts of a runner that was killed are `silent` where their process lives on, else `stopped`.
    """
    pid = holder(folder)
    try:
        said = json.loads((folder / "run.json").read_text())
    except FileNotFoundError:
        return RunView(pid, False, 0, ())
    parts = tuple(PartView(**{**part, "state": State(part["state"])}) for part in said["parts"])
    if pid is None:
        parts = tuple(_unwatched(part, folder / "run" / f"{part.name}.pid") for part in parts)
    return RunView(pid, said["questdb_was_clean"], said["questdb_unclean_ns"], parts)


def _unwatched(part: PartView, pid_file: Path) -> PartView:
    if pid := named_by(pid_file):
        return replace(
            part, state=State.SILENT, pid=pid, detail="its runner was killed; the next start ends it"
        )
    state = State.FAILED if part.state is State.FAILED else State.STOPPED
    return replace(part, state=state, pid=None)
