"""The simulator's timeline in the home folder, so that it goes on after a stop or a kill where it was."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from ingest.feeds.timeline import Profile, Timeline, begin, resume
from tapehouse.errors import SettingsError, UsageError


def open_timeline(
    path: Path,
    profile: Profile,
    rate: int,
    *,
    checkpoint: int,
    bound: int,
    now_ns: int,
    history_days: int = 0,
) -> Timeline:
    """The timeline to emit from now on; it is on the disk when this returns.

    `checkpoint` is the position below which all is stored, `bound` how many positions beyond it may have been
    published after the history. `history_days` is of a new home alone. Raises UsageError when the home was made
    with another profile, SettingsError when the file is unreadable, or is missing though there is a checkpoint.
    """
    known = load(path)
    if known is None:
        if checkpoint:
            raise SettingsError(
                f"{path}: expected the simulator's timeline, was absent, though {checkpoint} ticks are stored",
                remedy="Put the file back, or start in a new home.",
            )
        timeline = begin(profile, rate, now_ns, history_days)
    else:
        _expect_same(path, known.profile, profile)
        timeline = resume(known, checkpoint, bound, now_ns, rate)
    save(path, timeline)
    return timeline


def load(path: Path) -> Timeline | None:
    """The timeline in a file; None when there is none. SettingsError when it is unreadable."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return Timeline.from_json(text)
    except ValueError as reason:
        raise SettingsError(
            f"{path}: {reason}", remedy="Put back a good copy of the file, or start in a new home."
        ) from None


def save(path: Path, timeline: Timeline) -> None:
    """Replace the file as a whole: after a loss of power it holds the old timeline or the new one."""
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(timeline.to_json())
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _expect_same(path: Path, known: Profile, asked: Profile) -> None:
    was, now = asdict(known), asdict(asked)
    changed = [name for name in was if was[name] != now[name]]
    if changed:
        facts = ", ".join(f"{name} {was[name]} as before, was {now[name]}" for name in changed)
        raise UsageError(
            f"simulator: expected {facts}",
            remedy=f"Set {' and '.join(changed)} back, or start in a new home: other ticks under the ids of "
            f"those stored would contradict them. The timeline is in {path}.",
        )
