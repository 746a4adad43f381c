"""The journal: what was tried, what came of it, durably, so that a killed run can be gone on with.

A SQLite file with one row an entry. The attempt is on disk (WAL, ``synchronous=FULL``) before the first byte leaves,
the outcome once it is known: whatever instruction a kill comes at, a row without an outcome says that the request may
have been sent. No bodies are kept, only digests that leave secrets out, and results, which hold none.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec

from zego_aigc.provisioning import journal_file
from zego_aigc.provisioning.cooldown import Ended, tag
from zego_aigc.provisioning.errors import JournalError
from zego_aigc.provisioning.journal_file import Facts, Target
from zego_aigc.provisioning.journal_update import Batch, JournalUpdate
from zego_aigc.provisioning.lock import Identity, Lock, refuse_own
from zego_aigc.storage.group_commit import Store

if TYPE_CHECKING:
    from zego_aigc.limits.limiter import Limiter

__all__ = ["Journal"]

T = TypeVar("T")

CACHE = 16_384  # KiB of the scratch database that stay in memory

MAX_LOG = 8 * 2**20
"""Bytes of the write-ahead log after which it is brought into the journal."""

WORTH_CORRECTING = 1.5
"""Seconds by which this machine's clock must differ from the service's, which comes in whole seconds."""

LOOK_AT_LOG = 64
"""Batches from one look at the log's size to the next."""


class Journal:
    """A journal that this process alone writes. :meth:`open` makes one; close it with :meth:`close`.

    The connection's main database is a scratch file of its own that SQLite removes by itself, for the plan
    (:mod:`zego_aigc.provisioning.plan`); the journal is attached to it as ``journal``, read only until :meth:`begin`.
    """

    def __init__(self, path: Path, lock: Lock | None, store: Store, facts: Facts) -> None:
        self.path = path
        self.facts = facts
        self._file = Path(os.path.realpath(path))
        self._log = self._file.with_name(f"{self._file.name}-wal")
        self.run: int = facts.runs
        self.opened: float = time.monotonic()
        """Seconds of the monotonic clock."""
        self._opened_at = time.time()
        self._lock = lock
        self._store = store
        self._begun = False
        self._loop = asyncio.get_running_loop()
        self._identity: Identity | None = None
        """Of the file, once it is open for writing."""
        self._batch: Batch | None = None
        self._batches = 0

    @classmethod
    async def open(cls, path: str | os.PathLike[str], *, must_exist: bool = False, lock: Lock | None = None) -> Self:
        """Take the right to write a journal and look at it, without changing it.

        Args:
            path: the journal's.
            must_exist: whether it is an error if there is none.
            lock: the right to write it, where the caller has taken that already, and keeps it.

        Raises:
            JournalBusy: another process writes it.
            JournalError: it is damaged, newer than this library, something else, or cannot be reached.
        """
        where = Path(path)
        journal_file.require_place(where, must_exist=must_exist)
        if lock is not None and not lock.in_place:
            raise JournalError(
                f"the journal {where} was removed or replaced between two rounds. What was made stands in no journal any more: "
                "'zego-aigc orphans', or find_unclaimed(), lists what lives. End it, or it bills until it ends by itself"
            )
        own = lock is None
        lock = lock or Lock(where)
        try:
            return cls(where, lock if own else None, *_connected(where))
        except BaseException:
            if own:
                lock.release()
            raise

    @classmethod
    async def look(cls, path: str | os.PathLike[str]) -> Self:
        """A journal to look at, also while another process writes it; there need not be one. It cannot be begun.

        Raises:
            JournalError: it is damaged, newer than this library, something else, or being written by this process.
        """
        where = Path(path)
        journal_file.require_place(where, must_exist=False)
        refuse_own(where)
        return cls(where, None, *_connected(where))

    @property
    def is_new(self) -> bool:
        """Whether nothing has been written to it yet."""
        return self.facts.version == 0

    def require(self, target: Target) -> None:
        """See that the journal belongs to `target`.

        Raises:
            JournalError: it belongs to another, or to a sandbox that has ended.
        """
        journal_file.require_target(self.path, self.facts.target, target)

    async def begin(self, target: Target) -> None:
        """Open the journal for writing, as a new run: make or migrate it where that is due."""

        def begin(connection: sqlite3.Connection) -> int:
            connection.execute("DETACH journal")
            connection.execute("ATTACH ? AS journal", (journal_file.uri(self.path, "rwc"),))
            connection.execute("PRAGMA journal.synchronous=FULL")
            connection.execute("PRAGMA journal.wal_autocheckpoint=0")  # see _bring_in_log()
            connection.execute("PRAGMA journal.journal_mode=DELETE").fetchall()  # what is written now stands in the file itself
            with journal_file.transaction(connection):
                if self.facts.version < len(journal_file.SCHEMA):
                    journal_file.migrate(connection, self.facts.version)
                if self.facts.target is None:
                    journal_file.put(connection, "target", msgspec.json.encode(target).decode())
                    journal_file.put(connection, "created", str(time.time()))
                journal_file.put(connection, "runs", str(self.facts.runs + 1))
                journal_file.put(connection, "complete", "1")
                connection.execute("DELETE FROM journal.meta WHERE name = 'ended'")
            connection.execute("PRAGMA journal.journal_mode=WAL").fetchall()
            _bring_in_log(connection)
            return self.facts.runs + 1

        self.run = await self.run_alone(begin)
        found = self._file.stat()
        self._identity = found.st_dev, found.st_ino
        self._begun = True

    async def run_in_transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the journal's thread, in a transaction together with others; return once it is durable.

        It sees all that was recorded before.

        Raises:
            JournalError: the disk refuses.
        """
        self._hand_over()
        try:
            return await self._store.ask(work)
        except sqlite3.Error as error:
            raise self._translated(error) from error

    async def run_alone(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As :meth:`run_in_transaction`, outside any transaction."""
        self._hand_over()
        try:
            return await self._store.ask_alone(work)
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> Exception:
        """An error of the journal's thread as callers see it."""
        return journal_file.unusable(self.path, error) if isinstance(error, sqlite3.Error) else error

    # --- what happens to an entry

    def record_attempt(self, key: str, *, substitute: Mapping[str, Any] | None = None, now: float) -> asyncio.Future[None]:
        """Record that an attempt at an entry is about to leave. It may leave once what is returned is done: then it is durable.

        Args:
            key: the entry's.
            substitute: columns that differ because another Action is sent in its place.
            now: Unix time.

        Raises:
            JournalError: the disk refuses. The future raises it.
        """
        batch = self._current_batch()
        batch.add_attempt(key, self.run, now, substitute)
        return batch.durable(self._loop)

    def record_outcome(self, update: JournalUpdate) -> None:
        """Record what came of an entry, with what follows from it.

        It is durable once :meth:`flush` returns, and no later than anything that is recorded afterwards.
        """
        self._current_batch().add_outcome(update)

    def correct_times(self, behind: float) -> None:
        """Set the times of this run's attempts right: they were noted before the service's time was known.

        Args:
            behind: seconds by which they are.
        """
        if abs(behind) < WORTH_CORRECTING:
            return

        def correct(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE journal.entries SET last_sent = last_sent + :by,"
                " first_sent = CASE WHEN first_sent < :opened THEN first_sent ELSE first_sent + :by END"
                " WHERE run = :run AND last_sent IS NOT NULL",
                {"by": behind, "opened": self._opened_at, "run": self.run},
            )

        self._hand_over()
        self._store.put(correct, _ignore, _ignore)

    def flush(self) -> asyncio.Future[None]:
        """Wait until all that was recorded is durable, and every `done` was called.

        Raises:
            JournalError: the disk refuses what was recorded in this turn of the event loop. The future raises it.
        """
        return self._current_batch().durable(self._loop)

    def _current_batch(self) -> Batch:
        """Takes what happens in this turn of the event loop."""
        batch = self._batch
        if batch is None:
            self._store.require_open()
            batch = self._batch = Batch()
            self._loop.call_soon(self._hand_over)
        return batch

    def _hand_over(self) -> None:
        """Have the batch written."""
        if (batch := self._batch) is not None:
            self._batch = None
            self._store.put(batch.write, batch.written, lambda error: batch.failed(self._translated(error)))
            self._batches += 1
            if self._batches % LOOK_AT_LOG == 0:
                self._store.ask_alone(self._bring_in_long_log).add_done_callback(
                    lambda future: future.cancelled() or future.exception()
                )

    def _bring_in_long_log(self, connection: sqlite3.Connection) -> None:
        """Bring a log that has grown long into the journal."""
        if self._log.stat().st_size >= MAX_LOG:
            _bring_in_log(connection)

    def require_in_place(self) -> None:
        """See that the journal is still there under its name.

        Raises:
            JournalError: it was removed, or another file was put in its place.
        """
        try:
            found = self._file.stat()
        except OSError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._identity:
            raise JournalError(f"the journal {self.path} was removed or replaced while a run was writing it")

    async def made(self) -> list[tuple[str, str]]:
        """The key and the id of everything that was made and not removed. The file may have lost its name."""
        return await self.run_in_transaction(
            lambda connection: connection.execute(
                "SELECT key, made_id FROM journal.entries WHERE origin = 'made' AND made_id IS NOT NULL AND status <> 'removed'"
                " ORDER BY seq"
            ).fetchall()
        )

    async def close(self, limiter: Limiter | None = None) -> None:
        """Close the journal and let others write it, who see when and by which limiter it was last in use."""
        if self._begun and limiter is not None:
            self._begun = False
            ended = msgspec.json.encode(Ended(time.monotonic(), tag(limiter))).decode()
            with suppress(JournalError):
                await self.run_in_transaction(partial(journal_file.put, name="ended", value=ended))
            # One plain file is left, which can be copied and read from a read-only place. A reader may keep it from being so.
            with suppress(JournalError):
                await self.run_alone(lambda connection: connection.execute("PRAGMA journal.journal_mode=DELETE").fetchall())
        self._hand_over()
        await self._store.close()
        if self._lock is not None:
            self._lock.release()


def _bring_in_log(connection: sqlite3.Connection) -> None:
    """Bring the log into the journal's file, which says from then on that it is not complete without it.

    At whatever instruction a kill comes, the log holds something, or the file is complete and says so.
    """
    with journal_file.transaction(connection):
        journal_file.put(connection, "complete", "0")
    connection.execute("PRAGMA journal.wal_checkpoint(PASSIVE)").fetchall()
    with journal_file.transaction(connection):
        journal_file.put(connection, "complete", "1")


def _ignore(_: object) -> None:
    """The next thing that is recorded fails, too, and says so."""


def _connected(path: Path) -> tuple[Store, Facts]:
    """A scratch database with the journal attached, read only, and what the journal says about itself."""
    facts = journal_file.inspect(path)
    connection = sqlite3.connect("", check_same_thread=False, isolation_level=None, uri=True)
    try:
        connection.execute("PRAGMA main.journal_mode=OFF")
        connection.execute(f"PRAGMA main.cache_size=-{CACHE}")
        journal_file.attach(connection, path, facts)
    except BaseException:
        connection.close()
        raise
    return Store(connection), facts
