"""Starts a server that has given up what it does not need: `python -I -m ops.stack.confined BOUNDS PROGRAM...`.

BOUNDS is what `command` makes of its arguments. The server is the same process: it keeps the id.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from ops.stack import landlock, privileges


def command(
    program: Sequence[str],
    *,
    needs: Collection[Path],
    read: Collection[Path] = (),
    write: Collection[Path] = (),
    bind: Collection[int] = (),
) -> tuple[str, ...]:
    """The command line that starts `program` without capabilities, but for one where it cannot reach what it `needs`.

    With `write` it is also confined by Landlock: to these files and folders, of which it may list those of `write`, and
    to binding these TCP ports.
    """
    paths = {"needs": needs, "read": read, "write": write}
    bounds = {name: [str(path) for path in named] for name, named in paths.items()} | {"bind": [*bind]}
    return (sys.executable, "-I", "-m", "ops.stack.confined", json.dumps(bounds), *program)


def main() -> None:
    """Give up what the bounds leave out, and become the program."""
    bounds = json.loads(sys.argv[1])
    if bounds["write"]:
        read, write = map(Path, bounds["read"]), map(Path, bounds["write"])
        if not landlock.restrict(read=read, write=write, bind=bounds["bind"], connect=(), listing=False):
            print("no Landlock: SQL can list folders", file=sys.stderr)  # noqa: T201
    privileges.drop_capabilities([Path(sys.argv[2]), *map(Path, bounds["needs"])])
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606


if __name__ == "__main__":
    main()
