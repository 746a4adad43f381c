"""What is handed to the journal in one turn of the event loop, and how it is written: one statement for many entries.

An outcome travels so: the run makes a :class:`JournalUpdate` and :meth:`Journal.record_outcome` adds it to the turn's
:class:`Batch`; the journal's thread calls :meth:`Batch.write`, which also releases or blocks the entry's dependents; once that
is durable, the event loop calls :meth:`Batch.written`, and with it the update's `done`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from zego_aigc.provisioning import plan
from zego_aigc.provisioning.errors import JournalError

__all__ = ["Batch", "Block", "Effects", "JournalUpdate", "Release"]


class Release(NamedTuple):
    """The entry is done: its dependents wait for one entry less."""

    seq: int


class Block(NamedTuple):
    """The entry will not be done in this run: neither will its dependents."""

    seq: int
    why: str


class Effects(NamedTuple):
    """What a batch of updates has changed in the plan."""

    ready: frozenset[str] = frozenset()
    """The Actions of entries that wait for nothing any more."""
    blocked: int = 0
    """How many entries were blocked."""


NO_EFFECTS = Effects()


class JournalUpdate(NamedTuple):
    """What came of an entry."""

    key: str
    status: str
    """``done``, ``made``, ``failed``, ``unknown``, ``pending`` or ``removed``."""
    now: float
    """Unix time."""
    origin: str | None = None
    """Whether it was made, or was there already."""
    made_id: str | None = None
    """The id of what was made. None leaves the one that is known."""
    result: Any = None
    """In wire form."""
    error: Mapping[str, Any] | None = None
    """Why it is not done."""
    then: Release | Block | plan.Delay | None = None
    """What follows for the plan, in the same transaction: for its dependents, or for the entry itself, which is put off."""
    done: Callable[[JournalUpdate, Effects, JournalError | None], object] | None = None
    """Called with this once all of it is durable, and with what the batch has changed, or why nothing was written."""


class Batch:
    """Attempts and outcomes that are written together.

    Outcomes are written first. An entry that is about to be sent again may have both, in this order; never the other way
    round, since no outcome is known before the attempt is durable.
    """

    __slots__ = ("_attempts", "_substitutes", "_updates", "_waiting")

    def __init__(self) -> None:
        self._updates: list[JournalUpdate] = []
        self._attempts: list[tuple[Any, ...]] = []
        self._substitutes: list[tuple[str, Mapping[str, Any]]] = []
        self._waiting: list[asyncio.Future[None]] = []

    def add_outcome(self, update: JournalUpdate) -> None:
        """An outcome to write."""
        self._updates.append(update)

    def add_attempt(self, key: str, run: int, now: float, substitute: Mapping[str, Any] | None) -> None:
        """An attempt to write: that of an entry, or of another Action in its place, with the columns that differ then."""
        self._attempts.append((now, now, run, key))
        if substitute:
            self._substitutes.append((key, substitute))

    def durable(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Done once the batch is on disk and every `done` was called; or in the error that kept it from being so."""
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(future)
        return future

    def write(self, connection: sqlite3.Connection) -> Effects:
        """Write all of it, and what follows from it. Runs in the journal's thread, within its transaction."""
        updates = self._updates
        if updates:
            connection.executemany(_OUTCOME, map(_outcome_values, updates))
        if self._attempts:
            connection.executemany(_ATTEMPT, self._attempts)
        for key, columns in self._substitutes:
            names = ", ".join(f"{column} = ?" for column in columns)
            connection.execute(f"UPDATE journal.entries SET {names} WHERE key = ?", (*columns.values(), key))  # noqa: S608 - our own words
        releases = [update.then.seq for update in updates if isinstance(update.then, Release)]
        blocks = [update.then for update in updates if isinstance(update.then, Block)]
        delays = [update.then for update in updates if isinstance(update.then, plan.Delay)]
        if delays:
            plan.put_off(connection, delays)
        if not releases and not blocks:
            return NO_EFFECTS
        ready = plan.release_dependents(connection, releases) if releases else frozenset[str]()
        return Effects(ready, plan.block_dependents(connection, blocks) if blocks else 0)

    def written(self, effects: Effects) -> None:
        """It is durable."""
        try:
            for update in self._updates:
                if update.done is not None:
                    update.done(update, effects, None)
        finally:
            for future in self._waiting:
                if not future.done():  # else the one who waited was cancelled
                    future.set_result(None)

    def failed(self, error: Exception) -> None:
        """It could not be written."""
        reason = error if isinstance(error, JournalError) else JournalError(str(error))
        try:
            for update in self._updates:
                if update.done is not None:
                    update.done(update, NO_EFFECTS, reason)
        finally:
            for future in self._waiting:
                if not future.done():
                    future.set_exception(error)


_ATTEMPT = (
    "UPDATE journal.entries SET first_sent = CASE WHEN status IN ('sent', 'unknown') THEN first_sent ELSE ? END,"
    " status = 'sent', last_sent = ?, run = ?, attempts = attempts + 1 WHERE key = ?"
)
_OUTCOME = (
    "UPDATE journal.entries SET status = ?, origin = ?, made_id = COALESCE(?, made_id), result = ?, error = ?, recorded = ?"
    " WHERE key = ?"
)


def _outcome_values(update: JournalUpdate) -> tuple[Any, ...]:
    return (
        update.status,
        update.origin,
        update.made_id,
        None if update.result is None else msgspec.json.encode(update.result).decode(),
        None if update.error is None else msgspec.json.encode(update.error).decode(),
        update.now,
        update.key,
    )
