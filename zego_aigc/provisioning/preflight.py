"""Checking a whole fleet before the first call that changes anything.

Every entry by itself, the entries among themselves, and the fleet against its journal and the agents that the service has.
"""

# ruff: noqa: S608 - what the SQL is put together from are words of our own
# pyright: reportUnknownArgumentType=false
# (entries are what callers give us, until they have been checked)
from __future__ import annotations

import itertools
import sqlite3
import warnings
from array import array
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import anyio.lowlevel

from zego_aigc import _checking
from zego_aigc.actions import Action
from zego_aigc.errors import InvalidRequest, Problem, VendorAdvice
from zego_aigc.provisioning import plan
from zego_aigc.provisioning.entry import Entry, default_key, digest, idle_time, names
from zego_aigc.provisioning.errors import MOST_PROBLEMS, InvalidFleet, JournalError
from zego_aigc.provisioning.fleet import Located, problems_of_action
from zego_aigc.provisioning.journal import Journal

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["Entries", "Totals", "check"]

Entries = Iterable["Entry | Located | Action[Any]"] | AsyncIterable["Entry | Located | Action[Any]"]

CHUNK = 256
"""Entries that go into the plan at a time."""

BREATH = 16
"""Entries that are looked at before other tasks get their turn."""

SECONDS_A_CALL = 0.105
"""What a call of one Action costs at the limit: a tenth of a second and the limiter's guard."""


class Totals(NamedTuple):
    """What a checked fleet amounts to."""

    actions: dict[str, int]
    """How many entries there are of each Action, in the order of their first."""
    warnings: tuple[str, ...]


class _Findings:
    """Problems with the place of each entry, as many as are worth keeping."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, Problem]] = []
        self.count = 0

    def add(self, seq: int, place: str, problem: Problem) -> None:
        self.count += 1
        if len(self._kept) < MOST_PROBLEMS:
            path = f"{place}: {problem.path}" if problem.path else place
            self._kept.append((seq, problem._replace(path=path)))

    def raise_if_any(self) -> None:
        """Raise what was found.

        Raises:
            InvalidFleet: if anything was.
        """
        if self.count:
            problems = [problem for _, problem in sorted(self._kept, key=lambda found: found[0])]
            raise InvalidFleet(problems, more=self.count - len(problems))


class _Advice:
    """The vendor's advice, each piece once, with how often it applies."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[str, int]] = {}

    def add(self, place: str, text: str) -> None:
        first, count = self._places.get(text, (place, 0))
        if count or len(self._places) < 50:
            self._places[text] = first, count + 1

    def __iter__(self) -> Iterator[str]:
        for text, (place, count) in self._places.items():
            yield f"{place}{f' and {count - 1} more' if count > 1 else ''}: {text}"


async def check(
    client: Client, entries: Entries, journal: Journal, *, extend: bool, update: bool, pause: Callable[[], float]
) -> Totals:
    """Put the checked entries into the journal's scratch plan.

    Args:
        client: asked, without changing anything, which agents exist.
        entries: the fleet. It is gone through once, as a stream.
        journal: opened, not begun.
        extend: whether a fleet may join a journal that knows none of its entries.
        update: whether agents that exist are to be updated, so that RegisterAgent must be sound as an UpdateAgent too.
        pause: seconds until the service may be called.

    Raises:
        InvalidFleet: with all that is wrong.
        JournalError: the journal is of another fleet.
        ZegoError: the service could not be asked.
    """
    findings, advice = _Findings(), _Advice()
    await journal.ask_alone(plan.create)
    taken = await _take_in(entries, journal, findings, advice, update=update)
    if not taken.entries and not findings.count:
        raise InvalidFleet([Problem("", "empty", f"{_name(entries)} holds no entries")])
    await journal.ask_alone(plan.close_intake)
    for seq, place, problem in await journal.ask_alone(partial(_some_relations, legible=taken.legible)):
        findings.add(seq, place, problem)
    findings.raise_if_any()
    if not extend and await journal.ask_alone(_is_another_fleet):
        raise JournalError(
            f"the journal {journal.path} belongs to another fleet: it knows none of these entries. It was left as it is. "
            "Use another file, or extend it with this fleet (--extend, or extend=True)"
        )
    await _ask_for_agents(client, journal, findings, pause)
    findings.raise_if_any()
    actions = await journal.ask_alone(
        lambda connection: dict(connection.execute("SELECT action, count(*) FROM plan GROUP BY action ORDER BY min(seq)"))
    )
    for text in advice:
        warnings.warn(text, VendorAdvice, stacklevel=1)
    concerns = [*advice, *await journal.ask_alone(lambda connection: list(_concerns(connection)))]
    return Totals(actions, tuple(concerns))


# --- each entry --------------------------------------------------------------------------------------------------


class _Taken(NamedTuple):
    """How the entries were taken in."""

    entries: int
    legible: bool
    """Whether the key of every entry can be told, of the unsound ones too."""


async def _take_in(entries: Entries, journal: Journal, findings: _Findings, advice: _Advice, *, update: bool) -> _Taken:
    count, legible = 0, True
    chunk: list[plan.Planned] = []
    unsound: list[str] = []
    async for seq, given in _numbered(entries):
        count = seq
        place, entry, problems, said, key = _located(given, seq)
        for text in said:
            advice.add(place, text)
        planned: plan.Planned | None = None
        if entry is not None and not problems:
            planned, problems = _planned(entry, seq, place, checked=isinstance(given, Located), update=update)
        for problem in problems:
            findings.add(seq, place, problem)
        if planned is not None:
            chunk.append(planned)
        elif (key := key or _key(entry)) is not None:
            unsound.append(key)
        else:
            legible = False
        if len(chunk) + len(unsound) >= CHUNK:
            await journal.ask(partial(_add, planned=chunk, unsound=unsound))
            chunk, unsound = [], []
    await journal.ask(partial(_add, planned=chunk, unsound=unsound))
    return _Taken(count, legible)


def _add(connection: sqlite3.Connection, planned: Sequence[plan.Planned], unsound: Sequence[str]) -> None:
    plan.add(connection, planned)
    plan.add_unsound(connection, unsound)


def _key(entry: Entry | None) -> str | None:
    """The key of an entry that may be unsound, if it can be told."""
    if entry is None or not isinstance(entry.action, Action):  # pyright: ignore[reportUnnecessaryIsInstance]
        return None
    return entry.key or default_key(entry.action, "")


async def _numbered(entries: Entries) -> AsyncIterator[tuple[int, Any]]:
    seq = 0
    if isinstance(entries, AsyncIterable):
        async for given in entries:
            yield (seq := seq + 1), given
        return
    for given in entries:
        yield (seq := seq + 1), given
        if seq % BREATH == 0:
            await anyio.lowlevel.checkpoint()


def _located(given: object, seq: int) -> Located:
    match given:
        case Located():
            return given
        case Entry():
            return Located(_place(seq), given)
        case Action():
            return Located(_place(seq), Entry(given))
        case _:
            problem = Problem("", "type", f"must be an Action or an Entry, not a {type(given).__name__}")
            return Located(_place(seq), None, (problem,))


def _place(seq: int) -> str:
    """The place of an entry that comes from no file."""
    return f"entry {seq}"


def _planned(
    entry: Entry, seq: int, place: str, *, checked: bool, update: bool
) -> tuple[plan.Planned | None, tuple[Problem, ...]]:
    action = entry.action
    if not checked and (wrong := [*_problems(action), *_problems_of_place(entry)]):
        return None, tuple(wrong)
    name = type(action).__name__
    if update and name == "RegisterAgent" and (problems := _problems(updated(action))):
        return None, tuple(
            Problem(_path(problem.path, seq, place), problem.rule, f"{problem.message} (to update agents)")
            for problem in problems
        )
    spec = digest(action)
    known = names(action)
    planned = plan.Planned(
        seq, place, entry.key or default_key(action, spec), spec, name,
        known.agent_id, known.stream_id, known.agent_user_id, known.user_id, known.room_id,
        idle_time(action), plan.pack(action), entry.after,
    )  # fmt: skip
    return planned, ()


def _problems(action: Action[Any]) -> Sequence[Problem]:
    if not isinstance(action, Action):  # pyright: ignore[reportUnnecessaryIsInstance] - callers need not be type checked
        return [Problem("", "type", f"must be an Action, not a {type(action).__name__}")]
    if (trouble := problems_of_action(type(action))) is not None:
        return [trouble]
    try:
        _checking.encode(action)
    except InvalidRequest as error:
        return error.problems
    return ()


def _problems_of_place(entry: Entry) -> Iterator[Problem]:
    """What is wrong with an entry beside its Action."""
    key, after = entry.key, entry.after
    if key is not None and (not isinstance(key, str) or not key):  # pyright: ignore[reportUnnecessaryIsInstance]
        yield Problem("Key", "type", "must be a string that is not empty")
    if isinstance(after, str) or not all(isinstance(item, str) for item in after):  # pyright: ignore[reportUnnecessaryIsInstance]
        yield Problem("After", "type", "must be a list of keys")


def updated(action: Action[Any]) -> Action[Any]:
    """The UpdateAgent that makes a registered agent what a RegisterAgent says."""
    from zego_aigc.aiagent import RegisterAgent, UpdateAgent

    assert isinstance(action, RegisterAgent)
    return UpdateAgent(
        agent_id=action.agent_id, name=action.name, llm=action.llm, tts=action.tts, asr=action.asr, extra=action.extra
    )


def _name(entries: object) -> str:
    return str(path) if (path := getattr(entries, "path", None)) else "the fleet"


# --- the entries among themselves, and against the journal -------------------------------------------------------

_LIVE = "('sent', 'made', 'done', 'unknown')"


def _some_relations(connection: sqlite3.Connection, *, legible: bool) -> list[tuple[int, str, Problem]]:
    return list(itertools.islice(_relations(connection, legible=legible), 2 * MOST_PROBLEMS))


def _relations(connection: sqlite3.Connection, *, legible: bool) -> Iterator[tuple[int, str, Problem]]:
    yield from _duplicates(connection)
    yield from _real_users(connection)
    yield from _against_journal(connection)
    yield from _missing_keys(connection, legible=legible)
    yield from _circles(connection)


class _Column(NamedTuple):
    """A name that must be unique."""

    name: str
    where: str = "{table}.{name} IS NOT NULL"

    def of(self, table: str) -> str:
        """The condition under which a row has such a name."""
        return self.where.format(table=table, name=self.name)


_UNIQUE = (
    _Column("stream_id"),
    _Column("agent_user_id"),
    _Column("agent_id", "{table}.action = 'RegisterAgent'"),
    _Column("key"),
)


def _path(path: str, seq: int, place: str) -> str:
    """A path within a request as it stands in the entry; in a file, the request is the entry's Body."""
    return path if place == _place(seq) else f"Body.{path}"


def _path_of(column: str, action: str, seq: int, place: str) -> str:
    """Where a name stands in an entry."""
    if column == "key":
        return "Key"
    path = {"stream_id": "RTC.AgentStreamId", "agent_user_id": "RTC.AgentUserId", "agent_id": "AgentId"}[column]
    return _path("RTCConfig.StreamId" if action == "CreateDigitalHumanStreamTask" else path, seq, place)


def _duplicates(connection: sqlite3.Connection) -> Iterator[tuple[int, str, Problem]]:
    told: set[int] = set()
    for column in _UNIQUE:
        name = column.name
        rows = connection.execute(
            f"SELECT plan.seq, plan.place, plan.action, plan.{name}, first.place FROM"
            f" (SELECT {name} AS value, min(seq) AS seq FROM plan WHERE {column.of('plan')}"
            f"  GROUP BY {name} HAVING count(*) > 1) AS twice"
            f" JOIN plan ON plan.{name} = twice.value AND plan.seq > twice.seq AND {column.of('plan')}"
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
    for column in _UNIQUE[:-1]:
        name = column.name
        rows = connection.execute(
            f"SELECT plan.seq, plan.place, plan.action, plan.{name}, entries.key FROM journal.entries AS entries"
            f" JOIN plan ON plan.{name} = entries.{name} AND plan.key <> entries.key"
            f" AND {column.of('plan')} AND {column.of('entries')}"
            f" WHERE entries.status IN {_LIVE} ORDER BY plan.seq"
        )
        for seq, place, action, value, key in rows:
            path = _path_of(name, action, seq, place)
            yield seq, place, Problem(path, "unique", f"{value!r} is taken by {key!r}, as the journal says")


def _missing_keys(connection: sqlite3.Connection, *, legible: bool) -> Iterator[tuple[int, str, Problem]]:
    rows = connection.execute(
        "SELECT after.seq, owner.place, after.key FROM after JOIN plan AS owner ON owner.seq = after.seq"
        " LEFT JOIN plan ON plan.key = after.key WHERE plan.seq IS NULL AND after.key NOT IN"
        " (SELECT key FROM journal.entries WHERE status = 'done' UNION SELECT key FROM unsound) ORDER BY after.seq"
    )
    of = "no entry" if legible else "no entry that can be read"
    for seq, place, key in rows:
        yield seq, place, Problem("After", "unknown", f"{key!r} is the Key of {of}")


def _circles(connection: sqlite3.Connection) -> Iterator[tuple[int, str, Problem]]:
    """Entries that wait for themselves, by way of others."""
    if connection.execute("SELECT 1 FROM edges WHERE parent >= child LIMIT 1").fetchone() is None:
        return  # everything waits for what stands before it
    (last,) = connection.execute("SELECT max(seq) FROM plan").fetchone()
    waiting = array("l", [0]) * (last + 1)
    for _, child in connection.execute("SELECT parent, child FROM edges"):
        waiting[child] += 1
    free = [seq for (seq,) in connection.execute("SELECT DISTINCT parent FROM edges") if not waiting[seq]]
    while free:
        for (child,) in connection.execute("SELECT child FROM edges WHERE parent = ?", (free.pop(),)).fetchall():
            waiting[child] -= 1
            if not waiting[child]:
                free.append(child)
    for seq, place, key in connection.execute("SELECT seq, place, key FROM plan ORDER BY seq"):
        if waiting[seq]:
            yield seq, place, Problem("After", "circle", f"{key!r} waits in a circle, or for an entry that does")


def _is_another_fleet(connection: sqlite3.Connection) -> bool:
    (known,) = connection.execute("SELECT EXISTS (SELECT 1 FROM journal.entries)").fetchone()
    (shared,) = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM plan JOIN journal.entries AS entries ON entries.key = plan.key)"
    ).fetchone()
    return bool(known and not shared)


# --- against the service -----------------------------------------------------------------------------------------

_FOREIGN = """
CREATE TABLE foreign_agents AS
SELECT plan.agent_id, min(plan.seq) AS seq, plan.place, count(*) AS users FROM plan
WHERE plan.agent_id IS NOT NULL AND plan.action <> 'RegisterAgent'
    AND NOT EXISTS (SELECT 1 FROM plan AS agent WHERE agent.action = 'RegisterAgent' AND agent.agent_id = plan.agent_id)
    AND NOT EXISTS (SELECT 1 FROM journal.entries AS entries WHERE entries.key = plan.key AND entries.status = 'done')
GROUP BY plan.agent_id
"""


async def _ask_for_agents(client: Client, journal: Journal, findings: _Findings, pause: Callable[[], float]) -> None:
    """Agents that entries refer to and that the fleet does not register must exist."""
    from zego_aigc.aiagent import QueryAgents

    await journal.ask(lambda connection: connection.execute(_FOREIGN) and None)
    at = 0
    while rows := await journal.ask(partial(_foreign_agents, at=at)):
        at += len(rows)
        await anyio.sleep(pause())
        answer = await client.call(QueryAgents(agent_ids=[row[0] for row in rows]), deadline_from="grant")
        there = {agent.agent_id for agent in answer.agents}
        for agent_id, seq, place, users in rows:
            if agent_id not in there:
                more = f" (in {users} entries)" if users > 1 else ""
                message = f"refers to the agent {agent_id!r}, which neither this fleet registers nor the service has{more}"
                findings.add(seq, place, Problem(_path("AgentId", seq, place), "agent", message))


def _foreign_agents(connection: sqlite3.Connection, at: int) -> list[tuple[str, int, str, int]]:
    return connection.execute("SELECT * FROM foreign_agents ORDER BY rowid LIMIT 10 OFFSET ?", (at,)).fetchall()


# --- what may go well and yet not as meant -----------------------------------------------------------------------


def _concerns(connection: sqlite3.Connection) -> Iterator[str]:
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
