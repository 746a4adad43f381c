"""One writer at a time: a lock on the journal itself, held by the operating system for as long as its process lives.

On Linux the lock is on the very file: whatever name it is opened by (a symbolic link, a hard link, a mount), there is one lock.
Elsewhere ``flock()`` or its like would get into the way of SQLite's own locks, so the lock stands in a file beside the journal,
by the name that symbolic links lead to; a journal with two hard links is refused there.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path

from zego_aigc.provisioning.errors import JournalBusy, JournalError

__all__ = ["Identity", "Lock", "is_locked", "refuse_own"]

Identity = tuple[int, int]
"""Device and inode of a file."""

LOCKS_THE_FILE = sys.platform == "linux"
"""Whether the lock is on the journal itself."""

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems answer that keep no locks."""

LOOKS = 1000
"""Hundredths of a second for which a look at the lock may hold up the one who takes it."""

_held: set[Identity] = set()
"""What this process has locked. It is not opened again to be looked at: closing a second handle would drop SQLite's locks."""

if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int, *, shared: bool) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBRLCK if shared else msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in {errno.EACCES, errno.EDEADLK}:
                return False
            raise
        return True

else:
    import fcntl

    def _try_lock(handle: int, *, shared: bool) -> bool:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _lock_file(journal: Path) -> Path:
    """The file that carries the lock."""
    real = Path(os.path.realpath(journal))
    return real if LOCKS_THE_FILE else real.with_name(f"{real.name}-lock")


def refuse_own(journal: Path) -> None:
    """See that this process does not write a journal itself: closing another handle on it would drop SQLite's locks.

    Raises:
        JournalBusy: it does.
    """
    with suppress(OSError):
        if _identity(_lock_file(journal).stat()) in _held:
            raise JournalBusy(f"the journal {journal} is being written by a run in this process: wait for it")


class Lock:
    """The right to write a journal. A file is made where there is none, and goes with the lock if nothing was written to it.

    Close every other handle on the journal before :meth:`release`.

    Raises:
        JournalBusy: another process holds it, or another run of this one.
        JournalError: the file cannot be opened or locked; the message says why.
    """

    def __init__(self, journal: Path) -> None:
        self._path = path = _lock_file(journal)
        if not LOCKS_THE_FILE:
            _refuse_hard_links(journal)
        while True:
            with suppress(OSError):
                if _identity(path.stat()) in _held:
                    raise JournalBusy(f"the journal {journal} is being written by another run in this process: wait for it")
            handle, is_new = _open(journal, path)
            try:
                self._lock(journal, handle)
                found = os.fstat(handle)
            except BaseException:
                os.close(handle)
                raise
            if _is_at(found, path):
                break
            os.close(handle)  # its holder removed it between our open and our lock: begin again
        self._handle: int | None = handle
        self._is_new = is_new
        self.identity: Identity = _identity(found)
        _held.add(self.identity)

    def _lock(self, journal: Path, handle: int) -> None:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise JournalError(f"the journal {journal} is not a file: name a file")
        try:
            locked = _lock_soon(handle)
        except OSError as error:
            raise _cannot_lock(journal, error) from error
        if not locked:
            holder = _holder(os.fstat(handle))
            raise JournalBusy(f"the journal {journal} is being written by {holder}: wait for it, or stop it")

    @property
    def in_place(self) -> bool:
        """Whether the file that carries the lock is still there under its name."""
        return self._handle is not None and _is_at(os.fstat(self._handle), self._path)

    def release(self) -> None:
        """Give the lock back. Doing so twice does nothing."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            _held.discard(self.identity)
            if sys.platform != "win32" and (not LOCKS_THE_FILE or (self._is_new and os.fstat(handle).st_size == 0)):
                with suppress(OSError):
                    if _is_at(os.fstat(handle), self._path):
                        self._path.unlink()
            os.close(handle)


def _open(journal: Path, path: Path) -> tuple[int, bool]:
    """A handle to lock, and whether the file was made."""
    flags = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        try:
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644), True
        except FileExistsError:
            return os.open(path, flags | os.O_CREAT, 0o644), False
    except IsADirectoryError:
        raise JournalError(f"the journal {journal} is not a file: name a file") from None
    except PermissionError as error:
        raise JournalError(
            f"this account may not write the journal {journal} ({error.strerror}: {path}{_owner(path)}): run the command as "
            "the account that made it, or name another journal"
        ) from error
    except OSError as error:
        raise JournalError(f"the journal {journal} cannot be opened for writing ({error.strerror}: {path})") from error


def _lock_soon(handle: int) -> bool:
    """Try for a moment, and for longer while another process is in :func:`is_locked`: a busy machine may hold it up there."""
    for tries in range(LOOKS):
        if _try_lock(handle, shared=False):
            return True
        if tries >= 5:
            if sys.platform == "win32" or not _try_lock(handle, shared=True):
                break
            fcntl.flock(handle, fcntl.LOCK_UN)  # it could be shared: nobody has it to write
        time.sleep(0.01)
    return False


def is_locked(journal: Path) -> bool | None:
    """Whether a process is writing the journal; None if this account may not see that."""
    path = _lock_file(journal)
    try:
        if _identity(path.stat()) in _held:
            return True
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        return not _try_lock(handle, shared=True)
    except OSError:
        return None
    finally:
        os.close(handle)


def _cannot_lock(journal: Path, error: OSError) -> JournalError:
    if error.errno in NO_LOCKS:
        return JournalError(
            f"the file system of the journal {journal} keeps no locks ({error.strerror}), so two runs could write it at a "
            "time: put the journal on a local disk"
        )
    return JournalError(f"the journal {journal} cannot be locked ({error.strerror}): see its owner and its file system")


def _refuse_hard_links(journal: Path) -> None:
    with suppress(OSError):
        if journal.stat().st_nlink > 1:
            raise JournalError(
                f"the journal {journal} has another name (a hard link), by which it could be written at the same time: copy "
                "it, and remove all of its names but one"
            )


def _holder(found: os.stat_result) -> str:
    """Who holds the lock, as Linux lists it."""
    suffix = f":{found.st_ino}"
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[3] == "WRITE" and fields[5].endswith(suffix) and int(fields[4]) > 0:
                return f"another process ({fields[4]})"
    return "another process"


def _owner(path: Path) -> str:
    with suppress(Exception):  # there may be no such account, or no accounts at all
        return f", which belongs to {path.owner()}"
    return ""


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino


def _is_at(found: os.stat_result, path: Path) -> bool:
    """Whether a path leads to the file."""
    try:
        return os.path.samestat(found, path.stat())
    except OSError:
        return False
