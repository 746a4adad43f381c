"""What can be wrong between the entries of a fleet, and between a fleet and its journal, and what is doubtful about it.

All of it is asked of the scratch plan in SQL, so that memory stays flat.
"""

# ruff: noqa: S608 - what the SQL is put together from are words of our own
from __future__ import annotations

import itertools
import sqlite3
from array import array
from collections.abc import Iterator

from zego_aigc.errors import Problem
from zego_aigc.provisioning.errors import MAX_PROBLEMS
from zego_aigc.provisioning.plan import owners_of
from zego_aigc.schema.lifecycle import LIFECYCLES
from zego_aigc.schema.naming import did_you_mean

__all__ = ["cross_checks", "is_another_fleet", "path_at", "place_of", "warnings_of"]

SECONDS_A_CALL = 0.105
"""What a call of one Action costs at the limit: a tenth of a second and the limiter's guard."""

MAX_HINTS = 20
"""Unknown keys for which a similar one is looked for: comparing is slow in a large fleet."""

MAX_CANDIDATES = 10_000

MAX_SHOWN = 8
"""Keys of a cycle that are shown."""


def place_of(seq: int) -> str:
    """The place of an entry that comes from no file."""
    return f"entry {seq}"


_LIVE = "('sent', 'made', 'done', 'unknown')"


def cross_checks(connection: sqlite3.Connection, *, keys_known: bool) -> list[tuple[int, str, Problem]]:
    """What is wrong between entries, with the number and the place of each: as much as is worth keeping.

    Args:
        connection: to the plan, with the journal attached.
        keys_known: whether the key of every entry could be told.
    """
    return list(itertools.islice(_all_problems(connection, keys_known=keys_known), 2 * MAX_PROBLEMS))


def _all_problems(connection: sqlite3.Connection, *, keys_known: bool) -> Iterator[tuple[int, str, Problem]]:
    yield from _duplicates(connection)
    yield from _real_users(connection)
    yield from _against_journal(connection)
    yield from _missing_keys(connection, keys_known=keys_known)
    yield from _dependency_cycles(connection)


_UNIQUE = ("stream_id", "agent_user_id", "agent_id", "key")
"""Columns that must be unique: names where the Action owns them, and keys everywhere."""


def _owned(column: str, table: str) -> str:
    """The condition under which a row's name must be unique."""
    owners = "" if column == "key" else f" AND {table}.action IN ({owners_of(column)})"
    return f"{table}.{column} IS NOT NULL{owners}"


def path_at(path: str, seq: int, place: str) -> str:
    """A path within a request as it stands in the entry; in a file, the request is the entry's Body."""
    return path if place == place_of(seq) else f"Body.{path}"


def _path_of(column: str, action: str, seq: int, place: str) -> str:
    """Where a name stands in an entry."""
    if column == "key":
        return "Key"
    return path_at(LIFECYCLES[action].wire_path(column), seq, place)


def _duplicates(connection: sqlite3.Connection) -> Iterator[tuple[int, str, Problem]]:
    told: set[int] = set()
    for name in _UNIQUE:
        rows = connection.execute(
            f"SELECT plan.seq, plan.place, plan.action, plan.{name}, first.place FROM"
            f" (SELECT {name} AS value, min(seq) AS seq FROM plan WHERE {_owned(name, 'plan')}"
            f"  GROUP BY {name} HAVING count(*) > 1) AS twice"
            f" JOIN plan ON plan.{name} = twice.value AND plan.seq > twice.seq AND {_owned(name, 'plan')}"
            " JOIN plan AS first ON first.seq = twice.seq ORDER BY plan.seq"
        )
        for seq, place, action, value, first in rows:
            if name == "key" and seq in told:
                continue  # the default key is made of the name that was just told
            told.add(seq)
            path = _path_of(name, action, seq, place)
            yield seq, place, Problem(path, "unique", f"{value!r} is taken by {first}: each must have its own")


def _real_users(connection: sqlite3.Connection) -> Iterator[tuple[int, str, Problem]]:
    rows = connection.execute(
        "SELECT seq, place, action, agent_user_id FROM plan"
        " WHERE agent_user_id IN (SELECT user_id FROM plan WHERE user_id IS NOT NULL) ORDER BY seq"
    )
    for seq, place, action, value in rows:
        message = f"{value!r} is the UserId of a real user, who would be thrown out of the room"
        yield seq, place, Problem(_path_of("agent_user_id", action, seq, place), "unique", message)


def _against_journal(connection: sqlite3.Connection) -> Iterator[tuple[int, str, Problem]]:
    rows = connection.execute(
        "SELECT plan.seq, plan.place, plan.key, entries.status"
        " FROM journal.entries AS entries JOIN plan ON plan.key = entries.key"
        f" WHERE entries.digest <> plan.digest AND entries.status IN {_LIVE} ORDER BY plan.seq"
    )
    for seq, place, key, status in rows:
        done = "was done" if status == "done" else "may have been done"
        message = f"{key!r} {done} with another spec, as the journal says: give the new one its own Key, or tear down first"
        yield seq, place, Problem("", "changed", message)
    for name in _UNIQUE[:-1]:
        rows = connection.execute(
            f"SELECT plan.seq, plan.place, plan.action, plan.{name}, entries.key FROM journal.entries AS entries"
            f" JOIN plan ON plan.{name} = entries.{name} AND plan.key <> entries.key"
            f" AND {_owned(name, 'plan')} AND {_owned(name, 'entries')}"
            f" WHERE entries.status IN {_LIVE} ORDER BY plan.seq"
        )
        for seq, place, action, value, key in rows:
            path = _path_of(name, action, seq, place)
            yield seq, place, Problem(path, "unique", f"{value!r} is taken by {key!r}, as the journal says")


def _missing_keys(connection: sqlite3.Connection, *, keys_known: bool) -> Iterator[tuple[int, str, Problem]]:
    rows = connection.execute(
        "SELECT after.seq, owner.place, after.key FROM after JOIN plan AS owner ON owner.seq = after.seq"
        " LEFT JOIN plan ON plan.key = after.key WHERE plan.seq IS NULL AND after.key NOT IN"
        " (SELECT key FROM journal.entries WHERE status = 'done' UNION SELECT key FROM invalid) ORDER BY after.seq"
    )
    of = "no entry" if keys_known else "no entry that can be read"
    candidates: list[str] | None = None
    for number, (seq, place, key) in enumerate(rows):
        hint = ""
        if number < MAX_HINTS:
            if candidates is None:
                found = connection.execute("SELECT key FROM plan ORDER BY seq LIMIT ?", (MAX_CANDIDATES,))
                candidates = [candidate for (candidate,) in found]
            hint = did_you_mean(key, candidates)
        yield seq, place, Problem("After", "unknown", f"{key!r} is the Key of {of}{hint}")


def _dependency_cycles(connection: sqlite3.Connection) -> Iterator[tuple[int, str, Problem]]:
    """Entries that wait for each other: a problem for each cycle, at its first entry."""
    if connection.execute("SELECT 1 FROM edges WHERE parent >= child LIMIT 1").fetchone() is None:
        return  # everything waits for what stands before it
    waiting = _never_free(connection)
    if any(waiting):
        connection.execute("CREATE INDEX edges_child ON edges (child)")
    for cycle in _cycles(connection, waiting):
        first = cycle.index(min(cycle))
        keys = [_key_and_place(connection, seq) for seq in (*cycle[first:], *cycle[: first + 1])]
        shown = [repr(key) for key, _ in keys]
        if len(shown) > MAX_SHOWN:
            shown[MAX_SHOWN - 2 : -1] = [f"... {len(shown) - MAX_SHOWN + 1} more ..."]
        message = f"these wait for each other: {' -> '.join(shown)}. Take one of them out of an After"
        yield cycle[first], keys[0][1], Problem("After", "cycle", message)


def _never_free(connection: sqlite3.Connection) -> array[int]:
    """How many entries each one still waits for after everything that can be done has been done."""
    (last,) = connection.execute("SELECT max(seq) FROM plan").fetchone()
    waiting: array[int] = array("l", [0]) * (last + 1)
    for _, child in connection.execute("SELECT parent, child FROM edges"):
        waiting[child] += 1
    free = [seq for (seq,) in connection.execute("SELECT DISTINCT parent FROM edges") if not waiting[seq]]
    while free:
        for (child,) in connection.execute("SELECT child FROM edges WHERE parent = ?", (free.pop(),)).fetchall():
            waiting[child] -= 1
            if not waiting[child]:
                free.append(child)
    return waiting


def _cycles(connection: sqlite3.Connection, waiting: array[int]) -> Iterator[list[int]]:
    """The cycles among the entries that wait for ever, each from an entry to the one that it waits for.

    Each of those waits for at least one other of them, so that following any of these leads into a cycle.
    """
    seen = bytearray(len(waiting))
    for start, count in enumerate(waiting):
        path: dict[int, int] = {}
        at = start
        while count and not seen[at]:
            seen[at] = 1
            path[at] = len(path)
            parents = connection.execute("SELECT parent FROM edges WHERE child = ?", (at,))
            at = next(parent for (parent,) in parents if waiting[parent])
        if at in path:
            yield list(path)[path[at] :]


def _key_and_place(connection: sqlite3.Connection, seq: int) -> tuple[str, str]:
    key, place = connection.execute("SELECT key, place FROM plan WHERE seq = ?", (seq,)).fetchone()
    return key, place


def is_another_fleet(connection: sqlite3.Connection) -> bool:
    """Whether the journal knows entries, and none of these."""
    (known,) = connection.execute("SELECT EXISTS (SELECT 1 FROM journal.entries)").fetchone()
    (shared,) = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM plan JOIN journal.entries AS entries ON entries.key = plan.key)"
    ).fetchone()
    return bool(known and not shared)


# --- what may go well and yet not as meant -----------------------------------------------------------------------


def warnings_of(connection: sqlite3.Connection) -> Iterator[str]:
    """What may go well and yet not as meant."""
    counts = connection.execute(
        "SELECT plan.action, count(*), min(plan.idle) FROM plan LEFT JOIN journal.entries AS entries ON entries.key = plan.key"
        " WHERE entries.status IS NULL OR entries.status <> 'done' GROUP BY plan.action ORDER BY min(plan.seq)"
    ).fetchall()
    makespan = max(((count - 10) * SECONDS_A_CALL for _, count, _ in counts), default=0.0)
    for action, _, idle in counts:
        if idle is not None and makespan > idle:
            yield (
                f"making everything takes about {_minutes(makespan)} at 10 calls a second, but a {action} ends by itself after "
                f"{idle} idle seconds (MaxIdleTime): the first may be gone before the last exist"
            )


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
