"""What a server gives up before it serves: root's capabilities, and the sight of other processes. For good."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Sequence
from pathlib import Path

_NO_NEW_PRIVILEGES, _DROP_FROM_BOUNDING_SET, _AMBIENT, _AMBIENT_CLEAR_ALL = 38, 24, 47, 4
_CAPABILITIES_VERSION_3 = 0x20080522
_PASS_PERMISSIONS = 1
"""CAP_DAC_OVERRIDE."""
_NEW_MOUNTS, _NEW_USER = 0x20000, 0x10000000
_BIND, _RECURSIVE, _PRIVATE_RECURSIVE = 0x1000, 0x4000, 0x44000
_BARE = 2 | 4 | 8
"""Mount flags: no set-user-id, no devices, no programs."""

_libc = ctypes.CDLL(None, use_errno=True)


def drop_capabilities(reached: Sequence[Path]) -> None:
    """Give up every capability of this thread, those that root would get again with another program too.

    Root is then an owner of files like any other user. Where `reached` is not open to it so, such as a checkout in
    another user's home, it keeps the right to pass the permissions of files. To be called before any other thread is
    started. Raises OSError where the kernel refuses.
    """
    _drop_all_but(() if _reaches_without_capabilities(reached) else (_PASS_PERMISSIONS,))


def _reaches_without_capabilities(paths: Sequence[Path]) -> bool:
    """Whether files can be read, and folders searched, by this user alone; found out by a child process."""
    child = os.fork()
    if child == 0:
        _drop_all_but(())
        os._exit(not all(os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)) for path in paths))
    return os.waitpid(child, 0)[1] == 0


def _drop_all_but(kept: Sequence[int]) -> None:
    _check(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    capability = 0
    while capability in kept or _libc.prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0) == 0:
        capability += 1
    # EINVAL: there are no more. EPERM: this user had none to give up.
    if ctypes.get_errno() not in (errno.EINVAL, errno.EPERM):
        raise _error()
    _check(_libc.prctl(_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0))
    header = struct.pack("=Ii", _CAPABILITIES_VERSION_3, 0)
    mask = sum(1 << number for number in kept)
    # Effective, permitted and inheritable, each of 32 bits; then those from 32 on.
    _check(_libc.capset(header, struct.pack("=6I", mask, mask, 0, 0, 0, 0)))


def hide_processes(shown: Sequence[str], folder: Path) -> bool:
    """Leave of /proc only `shown`, files of /proc/self, for this process and its children.

    `folder` is an empty one of this user's. False, and nothing hidden, where the kernel lets this user have no mounts
    of its own. To be called before any other thread is started, and before Landlock, which allows no mounts.
    """
    if _libc.unshare(_NEW_MOUNTS) and not _become_owner_of_mounts():
        return False
    own = folder / "self"
    mounted = _mount("/", _PRIVATE_RECURSIVE) and _mount(folder, _BARE, b"tmpfs", b"size=64k,mode=755")
    if not mounted:
        return False
    own.mkdir()
    for name in shown:
        (own / name).touch()
        mounted &= _mount(own / name, _BIND, Path("/proc/self") / name)
    return mounted and _mount("/proc", _BIND | _RECURSIVE, folder)


def _mount(target: Path | str, flags: int, source: Path | bytes = b"none", data: bytes | None = None) -> bool:
    """Whether the kernel mounts `source`, a file or folder, or a new tmpfs."""
    kind = source if isinstance(source, bytes) else None
    return not _libc.mount(bytes(source), os.fsencode(target), kind, flags, data)


def _become_owner_of_mounts() -> bool:
    """As another user than root: enter a user namespace, in which this user has its own id and no other one."""
    user, group = os.getuid(), os.getgid()
    if _libc.unshare(_NEW_MOUNTS | _NEW_USER):
        return False
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    except OSError:
        return False
    return True


def _check(result: int) -> None:
    if result:
        raise _error()


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"privileges: {os.strerror(number)}")
