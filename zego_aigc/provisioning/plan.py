"""What a run is to do, on disk: the checked entries with what each waits for, in scratch tables beside the journal.

However long a fleet is, only the entries that are being sent are in memory. The scratch database is a file that SQLite
creates for the connection and that has no name: it holds the requests, secrets included, and vanishes with the process.
"""

# ruff: noqa: S608 - what the SQL is put together from are words of our own
from __future__ import annotations

import enum
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from zego_aigc.schema.actions import ACTIONS, Action
from zego_aigc.schema.lifecycle import LIFECYCLES

__all__ = ["Item", "Planned", "State"]

_TABLES = """
CREATE TABLE plan (
    seq INTEGER PRIMARY KEY,
    place TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,
    action TEXT NOT NULL,
    agent_id TEXT, stream_id TEXT, agent_user_id TEXT, user_id TEXT, room_id TEXT,
    idle INTEGER,
    state INTEGER NOT NULL DEFAULT 0,
    waiting INTEGER NOT NULL DEFAULT 0,
    dependents INTEGER NOT NULL DEFAULT 0,
    due REAL,
    probed INTEGER NOT NULL DEFAULT 0,
    why TEXT,
    spec TEXT NOT NULL
);
CREATE TABLE bodies (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE after (seq INTEGER NOT NULL, key TEXT NOT NULL);
CREATE TABLE invalid (key TEXT NOT NULL);
CREATE TABLE edges (parent INTEGER NOT NULL, child INTEGER NOT NULL, PRIMARY KEY (parent, child)) WITHOUT ROWID;
"""

_INDEXES = """
CREATE INDEX plan_key ON plan (key);
CREATE INDEX plan_stream ON plan (stream_id) WHERE stream_id IS NOT NULL;
CREATE INDEX plan_agent_user ON plan (agent_user_id) WHERE agent_user_id IS NOT NULL;
CREATE INDEX plan_agent ON plan (agent_id, action) WHERE agent_id IS NOT NULL;
"""

_FEEDS = """
CREATE INDEX plan_ready ON plan (action, seq) WHERE state = 0 AND waiting = 0;
CREATE INDEX plan_due ON plan (state, due) WHERE state IN (1, 5);
CREATE INDEX plan_known ON plan (seq) WHERE state IN (3, 4);
CREATE INDEX plan_changed ON plan (seq) WHERE state = 6;
"""


class State(enum.IntEnum):
    """Where an entry of the plan stands."""

    TO_DO = 0
    TO_RECOVER = 1
    """An earlier attempt may have done it: to be looked into when it is due."""
    TAKEN = 2
    DONE_BEFORE = 3
    """An earlier run did it: only to be reported."""
    BLOCKED = 4
    """Something that must exist first does not."""
    AWAITING_EXPIRY = 5
    """What an earlier attempt may have made is to end by itself first."""
    TO_UPDATE = 6
    """An earlier run did it as the fleet said then; it is to become what the fleet says now."""


class Planned(NamedTuple):
    """An entry as it goes into the plan: the columns of the table, and then the rest."""

    seq: int
    place: str
    key: str
    digest: str
    action: str
    agent_id: str | None
    stream_id: str | None
    agent_user_id: str | None
    user_id: str | None
    room_id: str | None
    idle: int | None
    spec: str
    body: bytes
    after: Sequence[str]


class Item(NamedTuple):
    """An entry as it comes out again, with what the journal knows of it."""

    seq: int
    key: str
    action: Action[Any]
    dependents: int
    """How many entries wait for this one."""
    why: str | None
    """Why it is blocked."""
    probed: bool
    """Whether this run has found by a resend that an earlier attempt may have made it."""
    idle: int | None
    status: str
    sent_as: str
    """The Action that an earlier attempt sent in its place; its own otherwise."""
    attempts: int
    first_sent: float | None
    last_sent: float | None
    origin: str | None
    made_id: str | None
    result: str | None
    error: str | None


def create(connection: sqlite3.Connection) -> None:
    """Make the scratch tables."""
    _execute(connection, _TABLES)


def add(connection: sqlite3.Connection, planned: Sequence[Planned]) -> None:
    """Add entries."""
    connection.executemany(
        "INSERT INTO plan (seq, place, key, digest, action, agent_id, stream_id, agent_user_id, user_id, room_id, idle, spec)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [entry[:12] for entry in planned],
    )
    connection.executemany("INSERT INTO bodies VALUES (?, ?)", [(entry.seq, entry.body) for entry in planned])
    connection.executemany("INSERT INTO after VALUES (?, ?)", [(entry.seq, key) for entry in planned for key in entry.after])


def add_invalid(connection: sqlite3.Connection, keys: Sequence[str]) -> None:
    """Add the keys of entries that will not be carried out, so that an entry that waits for them is not reported too."""
    connection.executemany("INSERT INTO invalid VALUES (?)", [(key,) for key in keys])


def build_indexes(connection: sqlite3.Connection) -> None:
    """All entries are in: index them, and link what depends on what."""
    _execute(connection, _INDEXES)
    # An instance waits for its agent, where this fleet registers it.
    connection.execute(
        "INSERT OR IGNORE INTO edges SELECT agent.seq, plan.seq FROM plan JOIN plan AS agent"
        f" ON agent.action IN ({owners_of('agent_id')}) AND agent.agent_id = plan.agent_id"
        f" WHERE plan.agent_id IS NOT NULL AND plan.action NOT IN ({owners_of('agent_id')})"
    )
    connection.execute("INSERT OR IGNORE INTO edges SELECT plan.seq, after.seq FROM after JOIN plan ON plan.key = after.key")


def adopt(connection: sqlite3.Connection, *, update: bool = False) -> None:
    """Take over what the journal knows, enter in the journal what it does not, and make the plan ready to be fed from.

    Args:
        connection: to the plan, with the journal attached for writing.
        update: whether entries that were done as the fleet said then are to become what it says now.
    """
    connection.execute(
        "UPDATE plan SET state = CASE entries.status WHEN 'done' THEN 3 WHEN 'sent' THEN 1 WHEN 'unknown' THEN 1"
        " WHEN 'made' THEN 1 ELSE 0 END,"
        " due = entries.last_sent FROM journal.entries AS entries WHERE entries.key = plan.key"
    )
    if update:
        connection.execute(
            "UPDATE plan SET state = 6 FROM journal.entries AS entries"
            " WHERE entries.key = plan.key AND entries.digest <> plan.digest AND state = 3"
        )
    connection.execute(
        "INSERT INTO journal.entries (key, digest, action, agent_id, stream_id, agent_user_id, room_id, idle, spec)"
        " SELECT key, digest, action, agent_id, stream_id, agent_user_id, room_id, idle, spec FROM plan WHERE true ORDER BY seq"
        " ON CONFLICT (key) DO UPDATE SET digest = excluded.digest, action = excluded.action, agent_id = excluded.agent_id,"
        " stream_id = excluded.stream_id, agent_user_id = excluded.agent_user_id, room_id = excluded.room_id,"
        " idle = excluded.idle, spec = excluded.spec,"
        " origin = NULL, made_id = CASE status WHEN 'failed' THEN made_id END, result = NULL,"
        " status = CASE status WHEN 'removed' THEN 'pending' ELSE status END"
        " WHERE status IN ('pending', 'failed', 'removed')"
    )
    connection.execute("DELETE FROM edges WHERE parent IN (SELECT seq FROM plan WHERE state IN (3, 6))")
    connection.execute(
        "UPDATE plan SET waiting = edge.n FROM (SELECT child, count(*) AS n FROM edges GROUP BY child) AS edge"
        " WHERE edge.child = plan.seq"
    )
    connection.execute(
        "UPDATE plan SET dependents = edge.n FROM (SELECT parent, count(*) AS n FROM edges GROUP BY parent) AS edge"
        " WHERE edge.parent = plan.seq"
    )
    _execute(connection, _FEEDS)


def _execute(connection: sqlite3.Connection, script: str) -> None:
    # Not executescript(), which would commit the transaction that it runs in.
    for statement in script.split(";\n"):
        if statement.strip():
            connection.execute(statement)


def owners_of(name: str) -> str:
    """The Actions whose requests own a name: no two may share it, and others refer to it. For SQL's ``IN (...)``."""
    return ", ".join(f"'{action}'" for action, life in LIFECYCLES.items() if name in life.unique)


def has_work(connection: sqlite3.Connection) -> bool:
    """Whether the service is to be called."""
    (work,) = connection.execute("SELECT EXISTS (SELECT 1 FROM plan WHERE state IN (0, 1, 6))").fetchone()
    return bool(work)


def has_doubts(connection: sqlite3.Connection) -> bool:
    """Whether an earlier attempt may have done something that is to be looked into."""
    (doubts,) = connection.execute("SELECT EXISTS (SELECT 1 FROM plan WHERE state = 1)").fetchone()
    return bool(doubts)


# --- feeding a run -----------------------------------------------------------------------------------------------


def take_ready(connection: sqlite3.Connection, action: str, most: int) -> list[Item]:
    """The next entries of an Action that wait for nothing. They count as taken from now on."""
    return _take(connection, "state = 0 AND waiting = 0 AND plan.action = ?", (action,), "plan.seq", most)


def take_known(connection: sqlite3.Connection, most: int) -> list[Item]:
    """The next entries that are only to be reported: done by an earlier run, or blocked."""
    return _take(connection, "state IN (3, 4)", (), "plan.seq", most)


def take_unclear(connection: sqlite3.Connection, most: int) -> list[Item]:
    """The next entries that an earlier attempt may have done, the longest due first."""
    return _take(connection, "state = 1", (), "due", most)


def take_expiring(connection: sqlite3.Connection, most: int) -> list[Item]:
    """The next entries that are to expire before they are made anew, the longest due first."""
    return _take(connection, "state = 5", (), "due", most)


def take_changed(connection: sqlite3.Connection, most: int) -> list[Item]:
    """The next entries that are to become what the fleet says now."""
    return _take(connection, "state = 6", (), "plan.seq", most)


def record_spec(connection: sqlite3.Connection, seq: int) -> None:
    """An entry is now what the fleet says."""
    connection.execute(
        "UPDATE journal.entries SET digest = plan.digest, spec = plan.spec FROM plan"
        " WHERE plan.seq = ? AND entries.key = plan.key",
        (seq,),
    )


_ITEM = (
    "plan.seq, plan.key, plan.action, body, dependents, why, probed, plan.idle, status, entries.action, attempts,"
    " first_sent, last_sent, origin, made_id, result, error"
)


def _take(connection: sqlite3.Connection, where: str, values: Sequence[Any], order: str, most: int) -> list[Item]:
    rows = connection.execute(
        f"SELECT {_ITEM} FROM plan JOIN bodies USING (seq) JOIN journal.entries AS entries ON entries.key = plan.key"
        f" WHERE {where} ORDER BY {order} LIMIT ?",
        (*values, most),
    ).fetchall()
    connection.execute(
        "UPDATE plan SET state = 2 WHERE seq IN (SELECT value FROM json_each(?))", (str([row[0] for row in rows]),)
    )
    return [Item(seq, key, _decoder(action).decode(body), *rest) for seq, key, action, body, *rest in rows]


def release_dependents(connection: sqlite3.Connection, parents: Sequence[int]) -> frozenset[str]:
    """Entries are done: their dependents wait for so many less. Returns the Actions of those that wait for nothing any more."""
    given = (str(parents),)
    edges = "edges WHERE parent IN (SELECT value FROM json_each(?))"
    connection.execute(
        f"UPDATE plan SET waiting = waiting - edge.n FROM (SELECT child, count(*) AS n FROM {edges} GROUP BY child) AS edge"
        " WHERE edge.child = plan.seq",
        given,
    )
    rows = connection.execute(
        f"SELECT DISTINCT action FROM plan WHERE waiting = 0 AND state = 0 AND seq IN (SELECT child FROM {edges})", given
    )
    return frozenset(action for (action,) in rows)


def block_dependents(connection: sqlite3.Connection, parents: Sequence[tuple[int, str]]) -> int:
    """Entries will not be done in this run, and why: nor will their dependents. Returns how many were blocked now."""
    count = 0
    for seq, why in parents:
        # Level by level, and on only from what was blocked just now: each entry is passed once, however many parents fail.
        level = [seq]
        while level:
            blocked = connection.execute(
                "UPDATE plan SET state = 4, why = ? WHERE state = 0"
                " AND seq IN (SELECT child FROM edges WHERE parent IN (SELECT value FROM json_each(?)))"
                " RETURNING seq, dependents",
                (why, str(level)),
            ).fetchall()
            count += len(blocked)
            level = [child for child, dependents in blocked if dependents]
    return count


def block_actions(connection: sqlite3.Connection, actions: Iterable[str], why: str) -> int:
    """No more entries of these Actions will be tried in this run, nor any that wait for them. Returns how many they are."""
    names = tuple(actions)
    marks = ", ".join("?" * len(names))
    blocked = connection.execute(
        f"UPDATE plan SET state = 4, why = ? WHERE state = 0 AND action IN ({marks}) RETURNING seq, dependents",
        (why, *names),
    ).fetchall()
    return len(blocked) + block_dependents(connection, [(seq, why) for seq, dependents in blocked if dependents])


class Delay(NamedTuple):
    """An entry that was taken, and is to be recovered or to expire, after those with an earlier `due`."""

    state: State
    due: float
    probed: bool
    seq: int


def put_off(connection: sqlite3.Connection, delays: Sequence[Delay]) -> None:
    """Put entries off."""
    connection.executemany("UPDATE plan SET state = ?, due = ?, probed = ? WHERE seq = ?", delays)


def settle(connection: sqlite3.Connection, key: str) -> bool:
    """An entry that waits to be recovered is done after all. Returns whether it was waiting."""
    changed = connection.execute("UPDATE plan SET state = 3 WHERE key = ? AND state IN (1, 5)", (key,)).rowcount
    return bool(changed)


_MORTAL = (
    " FROM plan JOIN journal.entries AS entries ON entries.key = plan.key"
    " WHERE state = 3 AND entries.idle IS NOT NULL AND entries.made_id IS NOT NULL"
)


def has_mortal(connection: sqlite3.Connection) -> bool:
    """Whether an entry is done whose work ends by itself."""
    (found,) = connection.execute(f"SELECT EXISTS (SELECT 1{_MORTAL})").fetchone()
    return bool(found)


def stale(connection: sqlite3.Connection, now: float) -> list[str]:
    """The keys of entries that were done longer ago than what they made lives without a user."""
    rows = connection.execute(f"SELECT plan.key{_MORTAL} AND recorded + entries.idle < ? ORDER BY plan.seq", (now,))
    return [key for (key,) in rows]


def left(connection: sqlite3.Connection) -> list[str]:
    """The keys of what the journal knows to have been made, perhaps, and the fleet does not name."""
    rows = connection.execute(
        "SELECT key FROM journal.entries AS entries WHERE status IN ('done', 'made', 'sent', 'unknown')"
        " AND origin IS NOT 'kept' AND origin IS NOT 'updated'"
        " AND NOT EXISTS (SELECT 1 FROM plan WHERE plan.key = entries.key) ORDER BY seq"
    )
    return [key for (key,) in rows]


def tally(connection: sqlite3.Connection) -> list[tuple[str, str, int]]:
    """How many entries there are by Action and by the status that the journal gives them."""
    return connection.execute(
        "SELECT plan.action, CASE WHEN state = 6 THEN 'pending' ELSE status END AS now, count(*)"
        " FROM plan JOIN journal.entries AS entries ON entries.key = plan.key GROUP BY plan.action, now"
    ).fetchall()


# --- bodies ------------------------------------------------------------------------------------------------------

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[str, msgspec.msgpack.Decoder[Action[Any]]] = {}


def pack(action: Action[Any]) -> bytes:
    """A request as the plan keeps it."""
    try:
        return _encoder.encode(action)
    except TypeError:  # a map of a kind that msgspec does not know: its plain form is the same request
        return _encoder.encode(type(action).from_wire(action.to_wire()))


def _decoder(name: str) -> msgspec.msgpack.Decoder[Action[Any]]:
    decoder = _decoders.get(name)
    if decoder is None:
        decoder = _decoders[name] = msgspec.msgpack.Decoder(ACTIONS[name])
    return decoder
