"""A register of what is live in a SQLite file, for the processes of one machine."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from zego_aigc.errors import RegistryError
from zego_aigc.storage.group_commit import Store
from zego_aigc.storage.heartbeats import Heartbeats
from zego_aigc.storage.registry import LiveRecord, too_many_live

__all__ = ["SQLiteRegistry"]

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS members (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, beats INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    key TEXT PRIMARY KEY, account TEXT NOT NULL, member TEXT NOT NULL, instance_id TEXT, owner TEXT, record BLOB NOT NULL,
    seq INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS records_of_instance ON records (account, instance_id);
CREATE INDEX IF NOT EXISTS records_of_member ON records (account, member);
CREATE INDEX IF NOT EXISTS records_of_owner ON records (account, owner);
CREATE INDEX IF NOT EXISTS records_in_order ON records (seq);
"""


_decode = msgspec.json.Decoder(LiveRecord).decode
_encode = msgspec.json.Encoder().encode


class SQLiteRegistry:
    """A register in a SQLite file, for the processes of one machine.

    It may be built before a fork and outside of an event loop; each process that uses it becomes a member of its own. The file
    must be on a local disk: SQLite's locks do not work over a network.

    Args:
        path: of the file; it is made if there is none.
        lease: seconds without a heartbeat after which a process counts as dead. A process that is stopped for longer (a
            suspended machine, a blocked event loop) loses what it made to the others.
        clock: seconds, never running backwards; ``time.monotonic`` unless given.

    Raises:
        ValueError: `lease` is less than a second.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, lease: float = 15.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not lease >= 1.0:
            raise ValueError(f"lease must be at least 1 second, not {lease}")
        self.path: Path = Path(path)
        self.lease: float = lease
        self.clock: Callable[[], float] = clock
        self._heartbeats = Heartbeats(lease)
        self._left: dict[str, float] = {}  # when each record that was left was first seen
        self._account: str | None = None
        self._member = ""
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None  # the process and the loop that use it
        self._opening = asyncio.Lock()
        self._store: Store | None = None

    @property
    def member(self) -> str:
        """See :class:`Registry`."""
        return self._member

    async def join(self, account: str) -> None:
        """See :class:`Registry`."""
        if self._account not in {None, account}:
            raise RegistryError(
                f"the register {self.path} is in use for another account in this process: give each AppId a register object of "
                "its own (they may share the file)"
            )
        self._account = account
        await self._do(self._enrol)

    async def add(self, record: LiveRecord, *, per_owner: int | None = None) -> None:
        """See :class:`Registry`."""
        record = msgspec.structs.replace(record, state="starting")

        def add(db: sqlite3.Connection) -> bool:
            if per_owner is not None and record.owner is not None:
                count = sum(each.state != "unknown" for each in self._read(db, "owner = ?", record.owner))
                if count >= per_owner:
                    return False
            self._enrol(db)
            self._write(db, record)
            return True

        # Not raised in there: an error would undo what others have written in the same transaction.
        if not await self._do(add):
            raise too_many_live(record.owner, per_owner)

    async def made(self, record: LiveRecord, instance_id: str) -> None:
        """See :class:`Registry`."""
        record = msgspec.structs.replace(record, state="live", instance_id=instance_id)
        await self._do(lambda db: self._write(db, record))

    async def identify(self, key: str, instance_id: str) -> None:
        """See :class:`Registry`."""

        def identify(db: sqlite3.Connection) -> None:
            for record in self._read(db, "key = ? AND instance_id IS NULL", key):
                self._write(db, msgspec.structs.replace(record, instance_id=instance_id), record.member)

        await self._do(identify)

    async def unknown(self, key: str) -> None:
        """See :class:`Registry`."""

        def unknown(db: sqlite3.Connection) -> None:
            for record in self._read(db, "key = ?", key):
                self._write(db, msgspec.structs.replace(record, state="unknown"))

        await self._do(unknown)

    async def remove(self, key: str) -> None:
        """See :class:`Registry`."""
        await self._do(lambda db: db.execute("DELETE FROM records WHERE key = ?", (key,)))

    async def ended(self, instance_id: str) -> bool:
        """See :class:`Registry`."""
        where = "DELETE FROM records WHERE account = ? AND instance_id = ?"
        return await self._do(lambda db: db.execute(where, (self._account, instance_id)).rowcount > 0)

    async def take(self, instance_id: str) -> LiveRecord | None:
        """See :class:`Registry`."""

        def take(db: sqlite3.Connection) -> LiveRecord | None:
            self._enrol(db)
            for record in self._read(db, "instance_id = ?", instance_id):
                return self._write(db, msgspec.structs.replace(record, state="live"))
            return None

        return await self._do(take)

    async def leave(self) -> Sequence[LiveRecord]:
        """See :class:`Registry`."""

        def leave(db: sqlite3.Connection) -> Sequence[LiveRecord]:
            mine = self._read(db, "member = ?", self._member)
            left = [
                self._write(db, msgspec.structs.replace(record, state="left" if record.instance_id else "unknown"), member="")
                for record in mine
            ]
            db.execute("DELETE FROM members WHERE id = ?", (self._member,))
            return left

        return await self._do(leave)

    async def live(self) -> Sequence[LiveRecord]:
        """See :class:`Registry`."""
        return await self._do(lambda db: self._read(db, "1"))

    async def beat(self) -> bool:
        """See :class:`Registry`."""

        def beat(db: sqlite3.Connection) -> bool:
            known = db.execute("UPDATE members SET beats = beats + 1 WHERE id = ?", (self._member,)).rowcount > 0
            self._enrol(db)
            return known

        return await self._do(beat)

    async def take_abandoned(self, *, grace: float) -> Sequence[LiveRecord]:
        """See :class:`Registry`."""

        def take_abandoned(db: sqlite3.Connection) -> Sequence[LiveRecord]:
            now = self.clock()
            beats = dict(
                db.execute("SELECT id, beats FROM members WHERE account = ? AND id <> ?", (self._account, self._member))
            )
            self._enrol(db)
            taken: list[LiveRecord] = []
            for member in self._heartbeats.dead(beats, now):
                db.execute("DELETE FROM members WHERE id = ?", (member,))
                taken += self._read(db, "member = ?", member)
            left = self._read(db, "member = ''")
            self._left = {record.key: self._left.get(record.key, now) for record in left}
            taken += [record for record in left if now - self._left[record.key] >= grace]
            return [self._write(db, record) for record in taken]

        return await self._do(take_abandoned)

    async def aclose(self) -> None:
        """See :class:`Registry`."""
        store, self._store, self._home = self._store, None, None
        if store is not None:
            await store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # --- in the thread, inside a transaction

    def _enrol(self, db: sqlite3.Connection) -> None:
        """See that this process is a member."""
        db.execute("INSERT OR IGNORE INTO members VALUES (?, ?, 0)", (self._member, self._account))

    def _read(self, db: sqlite3.Connection, where: str, *values: str) -> list[LiveRecord]:
        rows = db.execute(
            f"SELECT record, member FROM records WHERE account = ? AND {where} ORDER BY seq",  # noqa: S608 - words of our own
            (self._account, *values),
        )
        return [msgspec.structs.replace(_decode(record), member=member) for record, member in rows.fetchall()]

    def _write(self, db: sqlite3.Connection, record: LiveRecord, member: str | None = None) -> LiveRecord:
        """Write a record as this process's own, unless another member is named."""
        record = msgspec.structs.replace(record, member=self._member if member is None else member)
        db.execute(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, (SELECT ifnull(max(seq), 0) + 1 FROM records)) ON CONFLICT (key) "
            "DO UPDATE SET member = excluded.member, instance_id = excluded.instance_id, record = excluded.record",
            (record.key, self._account, record.member, record.instance_id, record.owner, _encode(record)),
        )
        return record

    # ---

    async def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Carry out work in a transaction.

        Raises:
            RegistryError: the file cannot be used.
        """
        if self._account is None:
            raise RegistryError("the register is not in use yet: give it to a client, Client(registry=...), or join() first")
        try:
            return await (await self._store_here()).ask(work)
        except sqlite3.Error as error:
            raise RegistryError(
                f"the register {self.path} cannot be used: {error}. See that its disk has room and that it may be written"
            ) from error

    async def _store_here(self) -> Store:
        """The store of this process and event loop: a connection does not survive a fork, and its thread serves one loop."""
        home = os.getpid(), asyncio.get_running_loop()
        if home != self._home:
            self._home, self._store, self._opening = home, None, asyncio.Lock()
            self._member = uuid.uuid4().hex
        async with self._opening:
            if self._store is None:
                self._store = Store(await asyncio.to_thread(_open, self.path))
        return self._store

    def __repr__(self) -> str:
        return f"SQLiteRegistry({str(self.path)!r}, lease={self.lease:g})"


def _open(path: Path) -> sqlite3.Connection:
    """Open the file, and make it if there is none. Other processes may be doing the same."""
    db = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # a record is on disk before the create's first byte leaves
        db.executescript(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db
