"""The number of files, and so of sockets, that the process may have open."""

from __future__ import annotations

import resource

_WANTED = 65_536


def allow_many_files() -> None:
    """Raise the soft limit to what the hard one allows, 65,536 at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
