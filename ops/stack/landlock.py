"""Landlock: what files and ports this process may reach, from now on and for good (Linux 5.13 and newer)."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH, _NET_PORT = 1, 2
_NO_NEW_PRIVILEGES = 38
_O_PATH = 0o10000000
# Rights by bit, as linux/landlock.h numbers them.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_ALL_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL_NEWEST = (1 << 16) - 1
_BIND, _CONNECT = 1 << 0, 1 << 1
_NET_SINCE = 4

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """The kernel's version of Landlock; 0 where there is none."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION)))


def restrict(
    *, read: Iterable[Path], write: Iterable[Path], bind: Iterable[int], connect: Iterable[int], listing: bool
) -> bool:
    """Confine this thread, and those it starts later, to these folders, files and TCP ports.

    `listing` is whether the folders of `read` may be listed; those of `write` may be. Paths that do not exist are left
    out. False, and nothing confined, where the kernel has no Landlock; ports need version 4 (Linux 6.7). Raises OSError
    where the kernel refuses.
    """
    abi = version()
    if not abi:
        return False
    everything = _ALL_BY_VERSION.get(abi, _ALL_NEWEST)
    net = _BIND | _CONNECT if abi >= _NET_SINCE else 0
    handled = struct.pack("=QQ", everything, net)
    ruleset = _call(_CREATE_RULESET, handled, ctypes.c_size_t(16 if net else 8), 0)
    for path in read:
        _allow_path(ruleset, path, (_EXECUTE | _READ_FILE | (_READ_DIR if listing else 0)) & everything)
    for path in write:
        _allow_path(ruleset, path, everything)
    for right, ports in ((_BIND, bind), (_CONNECT, connect)) if net else ():
        for port in ports:
            _call(_ADD_RULE, ruleset, _NET_PORT, struct.pack("=QQ", right, port), 0)
    if _libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise _error()
    _call(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return True


def _allow_path(ruleset: int, path: Path, rights: int) -> None:
    if not path.exists():
        return
    fd = os.open(path, _O_PATH | os.O_CLOEXEC)
    try:
        allowed = rights if path.is_dir() else rights & _OF_FILES
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", allowed, fd), 0)
    finally:
        os.close(fd)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise _error()
    return result


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"landlock: {os.strerror(number)}")
