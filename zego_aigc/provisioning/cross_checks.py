"""What can be wrong between the entries of a fleet, and between a fleet and its journal.

All of it is asked of the scratch plan in SQL, so that memory stays flat.
"""

# ruff: noqa: S608 - what the SQL is put together from are words of our own
from __future__ import annotations

import itertools
import sqlite3
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from zego_aigc.errors import Problem
from zego_aigc.provisioning.changes import FieldChange, field_changes
from zego_aigc.provisioning.errors import MAX_PROBLEMS
from zego_aigc.provisioning.plan import owners_of
from zego_aigc.schema.lifecycle import LIFECYCLES
from zego_aigc.schema.naming import did_you_mean

__all__ = ["ChangedEntry", "changed_entries", "cross_checks", "is_another_fleet", "path_at", "place_of"]

MAX_HINTS = 20
"""Unknown keys for which a similar one is looked for: comparing is slow in a large fleet."""

MAX_CANDIDATES = 10_000

MAX_SHOWN = 8
"""Keys of a cycle that are shown."""

MAX_FIELDS = 5
"""Changed fields of an entry that are shown."""


class ChangedEntry(NamedTuple):
    """An entry that was done, or may have been, with another spec."""

    seq: int
    place: str
    key: str
    action: str
    status: str
    fields: tuple[FieldChange, ...]


def place_of(seq: int) -> str:
    """The place of an entry that comes from no file."""
    return f"entry {seq}"


_LIVE = "('sent', 'made', 'done', 'unknown')"


def cross_checks(
    connection: sqlite3.Connection, *, keys_known: bool, changed: frozenset[str], prune: bool
) -> list[tuple[int, str, Problem]]:
    """What is wrong between entries, with the number and the place of each: as much as is worth keeping.

    Args:
        connection: to the plan, with the journal attached.
        keys_known: whether the key of every entry could be determined.
        changed: the Actions of which entries that are done may have changed.
        prune: whether what the journal knows and the fleet does not is to be removed first.
    """
    problems = itertools.chain(
        _duplicates(connection),
        _real_users(connection),
        _changed(connection, changed),
        _taken_names(connection, prune=prune),
        _missing_keys(connection, keys_known=keys_known),
        _dependency_cycles(connection),
    )
    return list(itertools.islice(problems, 2 * MAX_PROBLEMS))


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
    reported: set[int] = set()
    for name in _UNIQUE:
        rows = connection.execute(
            f"SELECT plan.seq, plan.place, plan.action, plan.{name}, first.place FROM"
            f" (SELECT {name} AS value, min(seq) AS seq FROM plan WHERE {_owned(name, 'plan')}"
            f"  GROUP BY {name} HAVING count(*) > 1) AS twice"
            f" JOIN plan ON plan.{name} = twice.value AND plan.seq > twice.seq AND {_owned(name, 'plan')}"
            " JOIN plan AS first ON first.seq = twice.seq ORDER BY plan.seq"
        )
        for seq, place, action, value, first in rows:
            if name == "key" and seq in reported:
                continue  # the default key is made of the name that was just reported
            reported.add(seq)
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


def changed_entries(connection: sqlite3.Connection) -> Iterator[ChangedEntry]:
    """Entries that were done, or may have been, as the fleet said then, and now say something else."""
    rows = connection.execute(
        "SELECT plan.seq, plan.place, plan.key, entries.action, entries.status, entries.spec, plan.spec"
        " FROM journal.entries AS entries JOIN plan ON plan.key = entries.key"
        f" WHERE entries.digest <> plan.digest AND entries.status IN {_LIVE} ORDER BY plan.seq"
    )
    for seq, place, key, action, status, before, after in rows:
        yield ChangedEntry(seq, place, key, action, status, tuple(field_changes(before, after)))


def _changed(connection: sqlite3.Connection, allowed: frozenset[str]) -> Iterator[tuple[int, str, Problem]]:
    for entry in changed_entries(connection):
        if entry.action in allowed and entry.status == "done":
            continue
        done = "was done" if entry.status == "done" else "may have been done"
        fields = ", ".join(map(str, entry.fields[:MAX_FIELDS]))
        more = f" and {len(entry.fields) - MAX_FIELDS} more fields" if len(entry.fields) > MAX_FIELDS else ""
        life = LIFECYCLES.get(entry.action)
        way = "'zego-aigc teardown JOURNAL --only KEY' ends it, and the same run makes it anew; or give the new one its own Key"
        if life is not None and life.updated_by is not None:
            way = f"--update (update=True) sends {life.updated_by.__name__}; or {way}"
        message = f"{entry.key!r} {done} with another spec, as the journal says{f' ({fields}{more})' if fields else ''}: {way}"
        yield entry.seq, entry.place, Problem("", "changed", message)


def _taken_names(connection: sqlite3.Connection, *, prune: bool) -> Iterator[tuple[int, str, Problem]]:
    kept = " AND entries.key IN (SELECT key FROM plan)" if prune else ""
    for name in _UNIQUE[:-1]:
        rows = connection.execute(
            f"SELECT plan.seq, plan.place, plan.action, plan.{name}, entries.key FROM journal.entries AS entries"
            f" JOIN plan ON plan.{name} = entries.{name} AND plan.key <> entries.key"
            f" AND {_owned(name, 'plan')} AND {_owned(name, 'entries')}"
            f" WHERE entries.status IN {_LIVE}{kept} ORDER BY plan.seq"
        )
        for seq, place, action, value, key in rows:
            path = _path_of(name, action, seq, place)
            yield seq, place, Problem(path, "unique", f"{value!r} is taken by {key!r}, as the journal says")
    if not prune:
        return
    rows = connection.execute(
        "SELECT plan.seq, plan.place, plan.agent_id, entries.key FROM journal.entries AS entries"
        f" JOIN plan ON plan.agent_id = entries.agent_id AND plan.action NOT IN ({owners_of('agent_id')})"
        f" WHERE entries.action IN ({owners_of('agent_id')}) AND entries.origin = 'made' AND entries.status IN {_LIVE}"
        " AND entries.key NOT IN (SELECT key FROM plan) ORDER BY plan.seq"
    )
    for seq, place, agent_id, key in rows:
        message = f"refers to the agent {agent_id!r}, which is to be pruned: {key!r} is no longer in the fleet"
        yield seq, place, Problem(path_at("AgentId", seq, place), "agent", message)


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
