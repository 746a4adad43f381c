"""The journal: what was tried, what came of it, durably, so that a killed run can be gone on with.

A SQLite file with one row an entry. The intent to send is on disk (WAL, ``synchronous=FULL``) before the first byte leaves,
the outcome once it is known: whatever instruction a kill comes at, a row without an outcome tells that the request may
have been sent. No bodies are kept, only digests that leave secrets out, and results, which hold none.
"""

# ruff: noqa: S608 - what the SQL is put together from are words of our own
from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeAlias, TypeVar

import msgspec

from zego_aigc.provisioning.cooldown import Ended, tag
from zego_aigc.provisioning.errors import JournalError
from zego_aigc.provisioning.lock import Lock, is_locked
from zego_aigc.storage.group_commit import Store

if TYPE_CHECKING:
    from zego_aigc.client import Client
    from zego_aigc.limits.limiter import Limiter

__all__ = ["Follow", "Journal", "Row", "Target", "read_journal"]

A = TypeVar("A")
T = TypeVar("T")

CACHE = 16_384  # KiB of the scratch database that stay in memory
APPLICATION_ID = 0x5A474A4C  # "ZGJL" in the file's header
SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE {db}.meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE {db}.entries (
        seq INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        digest TEXT NOT NULL,                    -- of the spec, secrets left out
        action TEXT NOT NULL,                    -- the Action that was or will be sent
        status TEXT NOT NULL DEFAULT 'pending',  -- pending, sent, made, done, failed, unknown, removed
        agent_id TEXT, stream_id TEXT, agent_user_id TEXT, room_id TEXT,
        idle INTEGER,                            -- seconds after which it ends by itself
        run INTEGER NOT NULL DEFAULT 0,          -- the run that sent it last
        attempts INTEGER NOT NULL DEFAULT 0,
        first_sent REAL, last_sent REAL,         -- Unix times, of the attempts that are not settled or settled it
        settled REAL,
        origin TEXT,                             -- made, kept, updated: only what was made is ours to remove
        made_id TEXT,                            -- AgentInstanceId, TaskId or AgentId
        result TEXT,                             -- JSON, in wire form
        error TEXT                               -- JSON
    );
    """,
)
"""Each script leads from one version to the next; the journal's version is the number of scripts that it has seen."""


class Target(msgspec.Struct, frozen=True):
    """Whom a journal speaks of. Entries of one account mean nothing at another."""

    app_id: int
    hosts: Mapping[str, str]
    """Base URL by service."""
    sandbox: str | None = None
    """The id of a sandbox that lived inside one run, and ended with it."""

    @classmethod
    def of(cls, client: Client, sandbox: str | None = None) -> Target:
        """The target of a client."""
        return cls(client.app_id, {service: url.rstrip("/") for service, url in client.hosts.items()}, sandbox)

    def __str__(self) -> str:
        hosts = " and ".join(sorted({*self.hosts.values()}))
        where = f"a sandbox inside the command that ran it ({hosts})" if self.sandbox else hosts
        return f"AppId {self.app_id} at {where}"


class Row(NamedTuple):
    """A journal's row, by the names of its columns."""

    seq: int
    key: str
    digest: str
    action: str
    status: str
    agent_id: str | None
    stream_id: str | None
    agent_user_id: str | None
    room_id: str | None
    idle: int | None
    run: int
    attempts: int
    first_sent: float | None
    last_sent: float | None
    settled: float | None
    origin: str | None
    made_id: str | None
    result: str | None
    error: str | None


COLUMNS = ", ".join(Row._fields)


class Facts(NamedTuple):
    """What a look at a journal file says."""

    version: int
    """0 for a journal that is still to be begun."""
    target: Target | None
    runs: int
    created: float | None
    ended: Ended | None = None
    """How the last run ended; None if it was killed, or is going on."""


class Follow(NamedTuple, Generic[A, T]):
    """What is to be done in the transaction that notes an outcome."""

    work: Callable[[sqlite3.Connection, Sequence[A]], T]
    """Called once for all outcomes that are noted together."""
    argument: A
    """What it is called with for this one."""


Then: TypeAlias = Callable[[T | None, Exception | None], object]
"""Called with what was returned, or with why nothing was done."""


class Journal:
    """A journal that this process alone writes. :meth:`open` makes one; close it with :meth:`close`.

    The connection's main database is a scratch file of its own that SQLite removes by itself; the journal is attached to it
    as ``journal``, read only until :meth:`begin`.
    """

    def __init__(self, path: Path, lock: Lock, store: Store, facts: Facts) -> None:
        self.path = path
        self.facts = facts
        self.run: int = facts.runs
        self.opened: float = time.time()
        """Unix time."""
        self._lock = lock
        self._store = store
        self._begun = False
        self._loop = asyncio.get_running_loop()
        self._noting: _Notes | None = None

    @classmethod
    async def open(cls, path: str | os.PathLike[str], *, must_exist: bool = False) -> Self:
        """Take the right to write a journal and look at it, without changing it.

        Raises:
            JournalBusy: another process writes it.
            JournalError: it is damaged, newer than this library, something else, or cannot be reached.
        """
        where = Path(path)
        _require_place(where, must_exist=must_exist)
        lock = Lock(where)
        try:
            facts = inspect(where)
            connection = sqlite3.connect("", check_same_thread=False, isolation_level=None, uri=True)
            try:
                connection.execute("PRAGMA main.journal_mode=OFF")
                connection.execute(f"PRAGMA main.cache_size=-{CACHE}")
                _attach(connection, where, facts)
            except BaseException:
                connection.close()
                raise
            return cls(where, lock, Store(connection), facts)
        except BaseException:
            lock.release()
            raise

    @property
    def is_new(self) -> bool:
        """Whether nothing has been written to it yet."""
        return self.facts.version == 0

    def require(self, target: Target) -> None:
        """See that the journal speaks of `target`.

        Raises:
            JournalError: it speaks of another, or of a sandbox that has ended.
        """
        _require(self.path, self.facts.target, target)

    async def begin(self, target: Target) -> None:
        """Open the journal for writing, as a new run: make or migrate it where that is due."""

        def begin(connection: sqlite3.Connection) -> int:
            connection.execute("DETACH journal")
            connection.execute("ATTACH ? AS journal", (_uri(self.path, "rwc"),))
            connection.execute("PRAGMA journal.journal_mode=WAL")
            connection.execute("PRAGMA journal.synchronous=FULL")
            with _transaction(connection):
                if self.is_new:
                    _migrate(connection, 0)
                if self.facts.target is None:
                    _put(connection, "target", msgspec.json.encode(target).decode())
                    _put(connection, "created", str(time.time()))
                _put(connection, "runs", str(self.facts.runs + 1))
                connection.execute("DELETE FROM journal.meta WHERE name = 'ended'")
            return self.facts.runs + 1

        self.run = await self.ask_alone(begin)
        self._begun = True

    async def ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Have `work` done in the journal's thread, in a transaction together with others; return once it is durable.

        It sees all that was noted before.

        Raises:
            JournalError: the disk refuses.
        """
        self._hand_over()
        try:
            return await self._store.ask(work)
        except sqlite3.Error as error:
            raise self._refusal(error) from error

    async def ask_alone(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As :meth:`ask`, outside any transaction."""
        self._hand_over()
        try:
            return await self._store.ask_alone(work)
        except sqlite3.Error as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> Exception:
        """An error of the journal's thread as it is told."""
        return JournalError(f"the journal {self.path} cannot be used: {error}") if isinstance(error, sqlite3.Error) else error

    # --- what happens to an entry

    def intend(self, key: str, *, substitute: Mapping[str, Any] | None = None, now: float) -> asyncio.Future[None]:
        """Note that an attempt at an entry is about to leave. It may leave once what is returned is done: then it is durable.

        Args:
            key: the entry's.
            substitute: columns that differ because another Action is sent in its place.
            now: Unix time.

        Raises:
            JournalError: the disk refuses. The future raises it.
        """
        notes = self._notes()
        notes.intend((now, now, self.run, key), substitute)
        return self._durable(notes)

    def settle(
        self,
        key: str,
        status: str,
        *,
        origin: str | None = None,
        made_id: str | None = None,
        result: Any = None,
        error: Mapping[str, Any] | None = None,
        now: float,
        follow: Follow[Any, T] | None = None,
        then: Then[T] | None = None,
    ) -> None:
        """Note what came of an entry: ``done``, ``failed``, ``unknown``, ``pending`` or ``removed``.

        It is durable once :meth:`flush` returns, and no later than anything that is noted afterwards.

        Args:
            key: the entry's.
            status: what came of it.
            origin: whether it was made, or was there already.
            made_id: the id of what was made.
            result: in wire form.
            error: why it is not done.
            now: Unix time.
            follow: what else is to be done in the same transaction.
            then: called with what `follow` returned once all of it is durable, or with why it is not.
        """
        values = (
            status,
            origin,
            made_id,
            None if result is None else msgspec.json.encode(result).decode(),
            None if error is None else msgspec.json.encode(error).decode(),
            now,
            key,
        )
        self._notes().settle(values, follow, then)

    def flush(self) -> asyncio.Future[None]:
        """Wait until all that was noted is durable, and was told.

        Raises:
            JournalError: the disk refuses what was noted in this turn of the event loop. The future raises it.
        """
        return self._durable(self._notes())

    def _durable(self, notes: _Notes) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()
        notes.waiting.append(future)
        return future

    def _notes(self) -> _Notes:
        """Where to note what happens in this turn of the event loop."""
        notes = self._noting
        if notes is None:
            self._store.require_open()
            notes = self._noting = _Notes()
            self._loop.call_soon(self._hand_over)
        return notes

    def _hand_over(self) -> None:
        """Have what was noted written."""
        if (notes := self._noting) is not None:
            self._noting = None
            self._store.put(notes.write, notes.written, lambda error: notes.lost(self._refusal(error)))

    async def close(self, limiter: Limiter) -> None:
        """Close the journal and let others write it, who learn when and by which limiter it was last in use."""
        if self._begun:
            self._begun = False
            ended = msgspec.json.encode(Ended(time.time(), tag(limiter))).decode()
            with suppress(JournalError):
                await self.ask(partial(_put, name="ended", value=ended))
            # One plain file is left, which can be copied and read from a read-only place. A reader may keep it from being so.
            with suppress(JournalError):
                await self.ask_alone(lambda connection: connection.execute("PRAGMA journal.journal_mode=DELETE").fetchall())
        self._hand_over()
        await self._store.close()
        self._lock.release()


class _Notes:
    """What is noted in one turn of the event loop: one statement writes it for many entries, and one hand-over does for all.

    Outcomes are written first. An entry that is about to be sent again may have both, in this order; never the other way
    round, since no outcome is known before the intent is durable.
    """

    __slots__ = ("_following", "_intents", "_outcomes", "_substitutes", "_thens", "waiting")

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[None]] = []
        """Who waits until all of it is durable."""
        self._outcomes: list[tuple[Any, ...]] = []
        self._thens: list[Then[Any]] = []
        self._following: dict[Callable[..., Any], tuple[list[Any], list[Then[Any]]]] = {}
        self._intents: list[tuple[Any, ...]] = []
        self._substitutes: list[tuple[str, tuple[Any, ...]]] = []

    def settle(self, values: tuple[Any, ...], follow: Follow[Any, T] | None, then: Then[T] | None) -> None:
        self._outcomes.append(values)
        thens = self._thens
        if follow is not None:
            arguments, thens = self._following.setdefault(follow.work, ([], []))
            arguments.append(follow.argument)
        if then is not None:
            thens.append(then)

    def intend(self, values: tuple[Any, ...], substitute: Mapping[str, Any] | None) -> None:
        self._intents.append(values)
        if substitute:
            sql = f"UPDATE journal.entries SET {', '.join(f'{column} = ?' for column in substitute)} WHERE key = ?"
            self._substitutes.append((sql, (*substitute.values(), values[-1])))

    def write(self, connection: sqlite3.Connection) -> list[Any]:
        """Write all of it; returns what the works that follow return."""
        connection.executemany(_SETTLE, self._outcomes)
        connection.executemany(_INTEND, self._intents)
        for sql, values in self._substitutes:
            connection.execute(sql, values)
        return [work(connection, arguments) for work, (arguments, _) in self._following.items()]

    def written(self, followed: Sequence[Any]) -> None:
        """It is durable."""
        try:
            for then in self._thens:
                then(None, None)
            for result, (_, thens) in zip(followed, self._following.values(), strict=True):
                for then in thens:
                    then(result, None)
        finally:
            for future in self.waiting:
                if not future.done():  # else whoever waited was cancelled
                    future.set_result(None)

    def lost(self, error: Exception) -> None:
        """It could not be written."""
        try:
            for thens in (self._thens, *(thens for _, thens in self._following.values())):
                for then in thens:
                    then(None, error)
        finally:
            for future in self.waiting:
                if not future.done():
                    future.set_exception(error)


_INTEND = (
    "UPDATE journal.entries SET first_sent = CASE WHEN status IN ('sent', 'unknown') THEN first_sent ELSE ? END,"
    " status = 'sent', last_sent = ?, run = ?, attempts = attempts + 1 WHERE key = ?"
)
_SETTLE = """
    UPDATE journal.entries
    SET status = ?, origin = ?, made_id = COALESCE(?, made_id), result = ?, error = ?, settled = ? WHERE key = ?
"""


def _require(path: Path, bound: Target | None, target: Target | None) -> None:
    if bound is None or bound == target:
        return
    if bound.sandbox is not None:
        raise JournalError(
            f"the journal {path} was written against {bound}. That sandbox has ended, and nothing of what the journal "
            "tells exists any more. Nobody was called. Use another journal, or remove this one"
        )
    if target is not None:
        raise JournalError(
            f"the journal {path} belongs to {bound}, not to {target}. Nobody was called. Use the journal of this target, "
            "or another file"
        )


# --- files -------------------------------------------------------------------------------------------------------


def _require_place(path: Path, *, must_exist: bool) -> None:
    if must_exist and not path.exists():
        raise JournalError(f"there is no journal {path}")
    if not path.parent.is_dir():
        raise JournalError(f"the journal {path} cannot be made: there is no directory {path.parent}")


def inspect(path: Path) -> Facts:
    """Look at a journal without changing it.

    Raises:
        JournalError: it cannot be used; the message says why.
    """
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return Facts(0, None, 0, None)
    if not path.is_file():
        raise JournalError(f"the journal {path} is not a file")
    try:
        with closing(sqlite3.connect(_uri(path, "ro"), uri=True, isolation_level=None)) as connection:
            return _facts(connection, path)
    except sqlite3.DatabaseError as error:
        trouble = _one_line(error)
    if "not a database" in trouble:
        raise JournalError(f"{path} is not a journal of zego-aigc: it was left as it is")
    raise JournalError(f"the journal {path} is damaged or cannot be read ({trouble}): it was left as it is")


def _facts(connection: sqlite3.Connection, path: Path) -> Facts:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == 0 and version == 0 and tables == 0:
        return Facts(0, None, 0, None)  # killed before anything was written
    if application != APPLICATION_ID:
        raise JournalError(f"{path} is a database, but not a journal of zego-aigc: it was left as it is")
    if version > len(SCHEMA):
        raise JournalError(
            f"the journal {path} has version {version}, and this zego_aigc knows up to {len(SCHEMA)}: update zego_aigc. "
            "The journal was left as it is"
        )
    ((verdict,), *_) = connection.execute("PRAGMA integrity_check(1)").fetchall()
    if verdict != "ok":
        raise JournalError(f"the journal {path} is damaged ({_one_line(verdict)}): it was left as it is")
    meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    try:
        target = msgspec.json.decode(meta["target"], type=Target)
        ended = msgspec.json.decode(meta["ended"], type=Ended) if "ended" in meta else None
        return Facts(version, target, int(meta["runs"]), float(meta["created"]), ended)
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        raise JournalError(f"the journal {path} is damaged (its target cannot be read): it was left as it is") from error


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _uri(path: Path, mode: str) -> str:
    return f"{path.absolute().as_uri()}?mode={mode}"


def _attach(connection: sqlite3.Connection, path: Path, facts: Facts) -> None:
    """Attach the journal for reading; one that is still to be begun is stood in for by an empty one in memory."""
    try:
        if facts.version == 0:
            connection.execute("ATTACH ':memory:' AS journal")
            _migrate(connection, 0)
            return
        if facts.version < len(SCHEMA):
            connection.execute("ATTACH ? AS journal", (_uri(path, "rw"),))
            with _transaction(connection):
                _migrate(connection, facts.version)
            connection.execute("DETACH journal")
        connection.execute("ATTACH ? AS journal", (_uri(path, "ro"),))
    except sqlite3.Error as error:
        raise JournalError(f"the journal {path} cannot be used: {error}") from error


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    for script in SCHEMA[version:]:
        for statement in script.format(db="journal").split(";\n"):
            if statement.strip():
                connection.execute(statement)
    connection.execute(f"PRAGMA journal.application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA journal.user_version = {len(SCHEMA)}")


class _transaction:  # noqa: N801 - used like a function
    """BEGIN, and COMMIT or ROLLBACK."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")


def _put(connection: sqlite3.Connection, name: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO journal.meta VALUES (?, ?)", (name, value))


# --- reading while another process writes ------------------------------------------------------------------------


class Reading:
    """A journal as it stands, which another process may be writing. Use it with ``with``."""

    def __init__(self, path: Path, connection: sqlite3.Connection, facts: Facts, *, in_use: bool) -> None:
        self.path = path
        self.facts = facts
        self.in_use = in_use
        """Whether a process is writing it: then what was sent is in flight, otherwise unknown."""
        self._connection = connection

    @property
    def sandbox_ended(self) -> bool:
        """Whether it tells of a sandbox that lived inside the run that wrote it, and that run is over."""
        return self.facts.target is not None and self.facts.target.sandbox is not None and not self.in_use

    def refuse_ended_sandbox(self) -> None:
        """See that there is somebody to be asked.

        Raises:
            JournalError: it tells of a sandbox that nobody else can reach.
        """
        _require(self.path, self.facts.target, None)

    def require(self, client: Client) -> None:
        """See that the journal speaks of the client's target.

        Raises:
            JournalError: it speaks of another.
        """
        _require(self.path, self.facts.target, Target.of(client))

    def rows(self, where: str = "1", values: Sequence[Any] = ()) -> Iterator[Row]:
        """Rows in order, as a stream. `where` is SQL of our own."""
        query = f"SELECT {COLUMNS} FROM entries WHERE {where} ORDER BY seq"
        return map(Row._make, self._connection.execute(query, values))

    def counts(self) -> dict[tuple[str, str], int]:
        """How many rows there are by Action and status."""
        rows = self._connection.execute(
            "SELECT action, status, count(*) FROM entries GROUP BY action, status ORDER BY min(seq)"
        )
        return {(action, status): count for action, status, count in rows}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def read_journal(path: str | os.PathLike[str]) -> Reading:
    """Open a journal for reading, also while a run goes on.

    Raises:
        JournalError: there is none, it is damaged, or newer than this library.
    """
    where = Path(path)
    if not where.exists():
        raise JournalError(f"there is no journal {where}")
    in_use = is_locked(where)
    facts = inspect(where)
    if facts.version == 0:
        raise JournalError(f"the journal {where} is empty: nothing was written to it yet")
    connection = sqlite3.connect(_uri(where, "ro"), uri=True, isolation_level=None)
    connection.execute("BEGIN")  # one state of the journal for everything that is read
    return Reading(where, connection, facts, in_use=in_use)
