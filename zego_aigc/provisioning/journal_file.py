"""The journal as a file: its tables, whom it belongs to, and what can be said about it without changing it.

While a run writes a journal, what it wrote last stands in ``NAME-wal`` beside it. ``NAME`` alone must never pass for the whole:
its value ``complete`` says 0 as soon as the log holds anything, while the newest state always says 1. So a copy of ``NAME``
alone, or one whose ``-wal`` was removed, is known as what it is; and one that SQLite made whole again, as :meth:`Journal.close`
does and any program that opens and closes it after a kill, is whole.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from zego_aigc.provisioning.cooldown import Ended
from zego_aigc.provisioning.errors import JournalError

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["Facts", "Row", "Target"]

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
        first_sent REAL, last_sent REAL,         -- Unix times, of the attempts without an outcome or with the latest one
        recorded REAL,                           -- Unix time of the outcome
        origin TEXT,                             -- made, kept, updated: only what was made is ours to remove
        made_id TEXT,                            -- AgentInstanceId, TaskId or AgentId
        result TEXT,                             -- JSON, in wire form
        error TEXT                               -- JSON
    );
    """,
    """
    ALTER TABLE {db}.entries ADD COLUMN spec TEXT;  -- JSON, what digest is of, to show what has changed
    """,
)
"""Each script leads from one version to the next; the journal's version is the number of scripts that it has seen.

The version is in the file's header (``user_version``). An older journal is read as it stands, and brought up to date by the
first run that writes it; a newer one is refused with the advice to update this library.
"""


class Target(msgspec.Struct, frozen=True):
    """The account and the hosts that a journal belongs to. Entries of one account mean nothing at another."""

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
    recorded: float | None
    origin: str | None
    made_id: str | None
    result: str | None
    error: str | None
    spec: str | None


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


def require_place(path: Path, *, must_exist: bool) -> None:
    """See that a journal is there, or can be made there.

    Raises:
        JournalError: it is not, or cannot.
    """
    if must_exist and not path.exists():
        raise missing(path)
    if not path.parent.is_dir():
        raise JournalError(f"the journal {path} cannot be made: there is no directory {path.parent}")


def missing(path: Path) -> JournalError:
    """The error for a journal that is not there."""
    return JournalError(f"there is no journal {path}: 'zego-aigc provision FLEET --journal {path}' makes it, or check the path")


def require_target(path: Path, bound: Target | None, target: Target | None) -> None:
    """See that a journal that is bound to one target may be used for another: it may if they are the same.

    Args:
        path: the journal's.
        bound: the target that the journal belongs to; None while it belongs to none.
        target: the one to be called; None where any may be, if it still exists.

    Raises:
        JournalError: it may not, or its target was a sandbox that has ended.
    """
    if bound is None or bound == target:
        return
    if bound.sandbox is not None:
        raise JournalError(
            f"the journal {path} was written against {bound}. That sandbox has ended, and nothing of what the journal "
            "lists exists any more. Nothing was sent. Use another journal, or remove this one"
        )
    if target is not None:
        raise JournalError(
            f"the journal {path} belongs to {bound}, not to {target}. Nothing was sent. Use the journal of this target, "
            "or another file"
        )


def inspect(path: Path) -> Facts:
    """Look at a journal without changing it.

    Raises:
        JournalError: it cannot be used; the message says why, and what to do.
    """
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return Facts(0, None, 0, None)
    if not path.is_file():
        raise JournalError(f"the journal {path} is not a file: name a file")
    try:
        lacks_log = in_wal_mode(path) and not _beside(path, "-wal")
        # A kill in the middle of a commit to the file itself leaves what undoes it, which SQLite does for those who may write.
        source = uri(path, "rw") if _beside(path, "-journal") else uri(path, "ro", immutable=lacks_log)
        with closing(sqlite3.connect(source, uri=True, isolation_level=None)) as connection:
            return _facts(connection, path, lacks_log=lacks_log)
    except sqlite3.DatabaseError as error:
        trouble = one_line(error)
    if "not a database" in trouble:
        raise JournalError(f"{path} is not a journal of zego-aigc: it was left as it is. Name another file")
    raise damaged(path, trouble)


def _facts(connection: sqlite3.Connection, path: Path, *, lacks_log: bool) -> Facts:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == 0 and version == 0 and tables == 0:
        return Facts(0, None, 0, None)  # killed before anything was written
    if application != APPLICATION_ID:
        raise JournalError(f"{path} is a database, but not a journal of zego-aigc: it was left as it is. Name another file")
    if version > len(SCHEMA):
        raise JournalError(
            f"the journal {path} has version {version}, and this zego_aigc knows up to {len(SCHEMA)}: update zego_aigc. "
            "The journal was left as it is"
        )
    ((verdict,), *_) = connection.execute("PRAGMA integrity_check(1)").fetchall()
    if verdict != "ok":
        raise damaged(path, one_line(verdict))
    meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
    if lacks_log and meta.get("complete") == "0":
        raise JournalError(
            f"the journal {path} was not closed, and {path.name}-wal, which holds what was written last, is not beside it: it "
            f"was left as it is. Copy {path.name}, {path.name}-wal and {path.name}-shm together. If the -wal is lost, use a "
            "fresh journal with --if-exists keep, and end by hand what else is live at the service"
        )
    try:
        target = msgspec.json.decode(meta["target"], type=Target)
        ended = msgspec.json.decode(meta["ended"], type=Ended) if "ended" in meta else None
        return Facts(version, target, int(meta["runs"]), float(meta["created"]), ended)
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        raise damaged(path, "its target cannot be read") from error


def damaged(path: Path, trouble: str) -> JournalError:
    """The error for a journal that cannot be read, or not wholly."""
    return JournalError(
        f"the journal {path} is damaged or cannot be read ({trouble}): it was left as it is. Keep a copy of it; what it still "
        f"lists shows 'sqlite3 {path} .recover'. To go on, use a backup, or a fresh journal with --if-exists keep, and end by "
        "hand what else is live at the service"
    )


def unusable(path: Path, error: Exception) -> JournalError:
    """The error for a journal that the system refuses to open or to write."""
    return JournalError(
        f"the journal {path} cannot be used: {one_line(error)}. See that there is room on its disk and that this account may "
        "write the file and its directory; the same command then goes on"
    )


def in_wal_mode(path: Path) -> bool:
    """Whether the file's header says that its newest content may stand in its ``-wal``."""
    with path.open("rb") as file:
        return file.read(20)[18:20] == b"\x02\x02"


def _beside(path: Path, suffix: str) -> bool:
    """Whether there is one of SQLite's companions beside the journal that holds anything."""
    real = Path(os.path.realpath(path))
    try:
        return real.with_name(f"{real.name}{suffix}").stat().st_size > 0
    except OSError:
        return False


def one_line(text: object) -> str:
    """A text without line breaks."""
    return " ".join(str(text).split())


def uri(path: Path, mode: str, *, immutable: bool = False) -> str:
    """A file as SQLite is asked for it; `mode` is ``ro``, ``rw`` or ``rwc``; `immutable` makes no files beside it."""
    return f"{path.absolute().as_uri()}?mode={mode}{'&immutable=1' if immutable else ''}"


def attach(connection: sqlite3.Connection, path: Path, facts: Facts) -> None:
    """Attach the journal as ``journal`` for reading.

    For one that is still to be begun, an empty one in memory stands in; for an older one, a copy that is brought up to date.

    Raises:
        JournalError: it cannot be read.
    """
    try:
        if facts.version == len(SCHEMA):
            connection.execute("ATTACH ? AS journal", (uri(path, "ro"),))
            return
        connection.execute("ATTACH ':memory:' AS journal")
        _run_scripts(connection, SCHEMA[: facts.version])
        if facts.version:
            connection.execute("ATTACH ? AS older", (uri(path, "ro"),))
            for table in ("meta", "entries"):
                connection.execute(f"INSERT INTO journal.{table} SELECT * FROM older.{table}")  # noqa: S608 - our own words
            connection.execute("DETACH older")
        migrate(connection, facts.version)
    except sqlite3.Error as error:
        raise unusable(path, error) from error


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring the attached journal from a version to the newest."""
    _run_scripts(connection, SCHEMA[version:])
    connection.execute(f"PRAGMA journal.application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA journal.user_version = {len(SCHEMA)}")


def _run_scripts(connection: sqlite3.Connection, scripts: Sequence[str]) -> None:
    for script in scripts:
        for statement in script.format(db="journal").split(";\n"):
            if statement.strip():
                connection.execute(statement)


def rows(
    connection: sqlite3.Connection, *, where: str, values: Sequence[Any] = (), after: int = 0, most: int = -1
) -> list[Row]:
    """Rows of the attached journal, in order: at most so many of those after a number. `where` is SQL of our own."""
    query = f"SELECT {COLUMNS} FROM journal.entries WHERE {where} AND seq > ? ORDER BY seq LIMIT ?"  # noqa: S608 - our own words
    return list(map(Row._make, connection.execute(query, (*values, after, most))))


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """BEGIN, and COMMIT or ROLLBACK."""
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def put(connection: sqlite3.Connection, name: str, value: str) -> None:
    """Set a value of the attached journal's table ``meta``."""
    connection.execute("INSERT OR REPLACE INTO journal.meta VALUES (?, ?)", (name, value))
