"""Whether a store was stopped gracefully before its last start: `<home>/<part>.clean` and `.unclean`."""

from __future__ import annotations

import os

from ops.stack.home import Home, sync_folder, write_synced
from tapehouse.clock import now_ns


class CleanStop:
    """Records in the home whether a part was stopped gracefully.

    `<part>.clean` exists from a graceful stop (all writes are synced) to the next start.
    `<part>.unclean` has the time at which the part was last started without it, ns UTC.
    """

    def __init__(self, home: Home, part: str, *, fresh: bool) -> None:
        self._clean = home.folder / f"{part}.clean"
        self._unclean = home.folder / f"{part}.unclean"
        self.was_clean = fresh
        """Whether the stop before the last start was graceful; a store never written has lost nothing."""
        if fresh:
            write_synced(self._clean, "")

    @property
    def unclean_ns(self) -> int:
        """When the part was last started after a stop that was not graceful, ns UTC; 0 for never."""
        return int(self._unclean.read_text()) if self._unclean.exists() else 0

    def starting(self) -> None:
        """Note that the part is about to be started."""
        self.was_clean = self._clean.exists()
        if not self.was_clean:
            write_synced(self._unclean, str(now_ns()))
        self._clean.unlink(missing_ok=True)
        sync_folder(self._clean.parent)

    def stopped(self) -> None:
        """Note that the part has ended gracefully. Blocks until all that is written is on the disk."""
        os.sync()
        write_synced(self._clean, "")
