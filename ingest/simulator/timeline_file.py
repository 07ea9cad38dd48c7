"""The simulator's timeline file in the home folder, from which a restart goes on."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from ingest.simulator.timeline import Profile, Timeline, resume_timeline, start_timeline
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
    quotes: int = 0,
    depth: int = 0,
) -> Timeline:
    """The timeline of this run, at these rates a second; it is on the disk when this returns.

    All positions below `checkpoint` are stored, and up to `bound` more may have been published after the history.
    `history_days` applies to a new home only. Raises UsageError when the home was created with another profile,
    SettingsError when the file is unreadable, or missing although there is a checkpoint.
    """
    known = load(path)
    if known is None:
        if checkpoint:
            raise SettingsError(
                f"{path}: expected the simulator's timeline, was absent, although {checkpoint} ticks are stored",
                remedy="Restore the file, or start in a new home.",
            )
        timeline = start_timeline(profile, rate, now_ns, history_days, quotes=quotes, depth=depth)
    else:
        _expect_same(path, known.profile, profile)
        timeline = resume_timeline(known, checkpoint, bound, now_ns, rate, quotes=quotes, depth=depth)
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
            f"{path}: {reason}", remedy="Restore an intact copy of the file, or start in a new home."
        ) from None


def save(path: Path, timeline: Timeline) -> None:
    """Replace the file atomically: after a power loss it holds the old timeline or the new one."""
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


def _expect_same(path: Path, known: Profile, given: Profile) -> None:
    was, now = asdict(known), asdict(given)
    changed = [name for name in was if was[name] != now[name]]
    if changed:
        facts = ", ".join(f"{name} {was[name]} as before, was {now[name]}" for name in changed)
        raise UsageError(
            f"simulator: expected {facts}",
            remedy=f"Set {' and '.join(changed)} back, or start in a new home: other ticks under the ids of "
            f"those stored would contradict them. The timeline is in {path}.",
        )
