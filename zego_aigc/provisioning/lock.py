"""One writer at a time: a lock file beside the journal, held by the operating system for as long as its process lives."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from zego_aigc.provisioning.errors import JournalBusy, JournalError

__all__ = ["Lock", "is_locked"]

if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _beside(journal: Path) -> Path:
    return journal.with_name(journal.name + "-lock")


class Lock:
    """The right to write a journal.

    The lock stands in a file of its own, since SQLite drops its locks on a database as soon as its process closes any other
    handle on the same file. A killed process leaves the file behind, but not the lock.

    Raises:
        JournalBusy: another process holds it.
        JournalError: the lock file cannot be made.
    """

    def __init__(self, journal: Path) -> None:
        self._path = _beside(journal)
        while True:
            try:
                handle = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            except OSError as error:
                raise JournalError(f"cannot write beside the journal {journal}: {error.strerror}: {self._path}") from error
            if not _lock_soon(handle):
                holder = _holder(handle)
                os.close(handle)
                raise JournalBusy(f"the journal {journal} is being written by {holder}: wait for it, or stop it")
            if _still_there(handle, self._path):
                break
            os.close(handle)  # its holder removed it between our open and our lock: begin again
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0) if sys.platform != "win32" else None
        self._handle: int | None = handle

    def release(self) -> None:
        """Give the lock back. Doing so twice does nothing."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            if sys.platform != "win32":
                self._path.unlink(missing_ok=True)
            os.close(handle)


def _lock_soon(handle: int) -> bool:
    """Try for a moment: somebody may just be asking :func:`is_locked`."""
    for _ in range(5):
        if _try_lock(handle):
            return True
        time.sleep(0.01)
    return False


def is_locked(journal: Path) -> bool:
    """Whether a process is writing the journal."""
    try:
        handle = os.open(_beside(journal), os.O_RDWR)
    except OSError:
        return False
    try:
        return not _try_lock(handle)
    finally:
        os.close(handle)


def _holder(handle: int) -> str:
    try:
        process = os.read(handle, 20).decode("ascii", "replace").strip()
    except OSError:
        process = ""
    if process == str(os.getpid()):
        return "another run in this process"
    return f"another process ({process})" if process.isdigit() else "another process"


def _still_there(handle: int, path: Path) -> bool:
    try:
        there = path.stat()
    except OSError:
        return False
    return os.path.samestat(os.fstat(handle), there)
