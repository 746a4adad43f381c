"""Checking a whole fleet before the first call that changes anything.

Every entry by itself, the entries among themselves, and the fleet against its journal and the agents that the service has.
"""

# pyright: reportUnknownArgumentType=false
# (entries are what callers give us, until they have been checked)
from __future__ import annotations

import asyncio
import os
import sqlite3
import warnings
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import anyio.lowlevel

from zego_aigc.aiagent import QueryAgents
from zego_aigc.errors import ConfigurationError, InvalidRequest, Problem, VendorAdvice
from zego_aigc.provisioning import plan
from zego_aigc.provisioning.cautions import warnings_of
from zego_aigc.provisioning.cross_checks import cross_checks, is_another_fleet, path_at, place_of
from zego_aigc.provisioning.entry import Entry, default_key, described, unseen_life
from zego_aigc.provisioning.errors import MAX_PROBLEMS, InvalidFleet, JournalError, ProblemGroup
from zego_aigc.provisioning.fleet import Fleet, Located, problems_of_action
from zego_aigc.provisioning.journal import Journal
from zego_aigc.schema import validation
from zego_aigc.schema.actions import Action
from zego_aigc.schema.construction import note_mistake
from zego_aigc.schema.lifecycle import QuotaKind, names_in

if TYPE_CHECKING:
    from zego_aigc.provisioning.run_calls import RunCalls

__all__ = ["Entries", "Rules", "Totals", "check"]

Entries = Iterable["Entry | Located | Action[Any]"] | AsyncIterable["Entry | Located | Action[Any]"]

CHUNK = 256
"""Entries that go into the plan at a time."""

BREATH = 16
"""Entries that are looked at before other tasks get their turn."""


class Rules(NamedTuple):
    """What a fleet may be."""

    extend: bool = False
    """Whether it may join a journal that knows none of its entries."""
    update: bool = False
    """Whether agents that exist are to be updated, so that RegisterAgent must be valid as an UpdateAgent too."""
    changed: frozenset[str] = frozenset()
    """The Actions of which entries that are done may have changed."""
    prune: bool = False
    """Whether what the journal knows and the fleet does not is to be removed first."""
    budget: Mapping[QuotaKind, int | None] = {}
    """How many instances of each kind may live; None for any number. What is not in it is the account's."""
    seconds_a_call: float = 0.105
    """What a call of one Action takes at the limit."""


class Totals(NamedTuple):
    """What a checked fleet amounts to."""

    actions: dict[str, int]
    """How many entries there are of each Action, in the order of their first."""
    warnings: tuple[str, ...]


class _Findings:
    """Problems with the place of each entry, as many as are worth keeping."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, Problem]] = []
        self._groups: dict[Problem, tuple[int, str, int]] = {}
        """Equal problems: the number and the place of the first entry that has it, and how many do."""
        self.count = 0

    def add(self, seq: int, place: str, problem: Problem) -> None:
        self.count += 1
        if len(self._kept) < MAX_PROBLEMS:
            path = f"{place}: {problem.path}" if problem.path else place
            self._kept.append((seq, problem.at(path)))
        first, where, count = self._groups.get(problem, (seq, place, 0))
        if count or len(self._groups) < MAX_PROBLEMS:
            self._groups[problem] = (first, where, count + 1)

    def raise_if_any(self) -> None:
        """Raise what was found.

        Raises:
            InvalidFleet: if anything was.
        """
        if self.count:
            problems = [problem for _, problem in sorted(self._kept, key=lambda found: found[0])]
            groups = sorted(self._groups.items(), key=lambda group: group[1][0])
            raise InvalidFleet(
                problems,
                more=self.count - len(problems),
                groups=[ProblemGroup(place, problem, count) for problem, (_, place, count) in groups],
            )


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
    calls: RunCalls | None,
    entries: Entries,
    journal: Journal,
    *,
    rules: Rules,
    pause: Callable[[], float],
    progress: Callable[[int], object],
) -> Totals:
    """Put the checked entries into the journal's scratch plan.

    Args:
        calls: to the service, which is asked, without changing anything, which agents exist; None to ask nothing.
        entries: the fleet. It is gone through once, as a stream.
        journal: opened, not begun.
        rules: what the fleet may be.
        pause: seconds until the service may be called.
        progress: called from time to time with how many entries were looked at.

    Raises:
        ConfigurationError: the entries are none.
        InvalidFleet: with all that is wrong.
        JournalError: the journal is of another fleet.
        ZegoError: the service could not be asked.
    """
    _require_entries(entries)
    findings, advice = _Findings(), _Advice()
    await journal.run_alone(plan.create)
    taken = await _take_in(entries, journal, findings, advice, update=rules.update, progress=progress)
    if not taken.entries and not findings.count:
        raise InvalidFleet(
            [Problem("", "empty", f"{_name(entries)} holds no entries: 'zego-aigc init' writes a fleet to start with")]
        )
    await journal.run_alone(plan.build_indexes)
    cross = partial(cross_checks, keys_known=taken.keys_known, changed=rules.changed, prune=rules.prune)
    for seq, place, problem in await journal.run_alone(cross):
        findings.add(seq, place, problem)
    findings.raise_if_any()
    if not rules.extend and await journal.run_alone(is_another_fleet):
        raise JournalError(
            f"the journal {journal.path} belongs to another fleet: it knows none of these entries. It was left as it is. "
            "Use another file, or extend it with this fleet (--extend, or extend=True)"
        )
    if calls is not None:
        await _ask_for_agents(calls, journal, findings, pause)
        findings.raise_if_any()
    actions = await journal.run_alone(
        lambda connection: dict(connection.execute("SELECT action, count(*) FROM plan GROUP BY action ORDER BY min(seq)"))
    )
    for text in advice:
        warnings.warn(text, VendorAdvice, stacklevel=1)
    cautions = [
        *advice,
        *await journal.run_alone(lambda connection: list(warnings_of(connection, rules.budget, rules.seconds_a_call))),
    ]
    return Totals(actions, tuple(cautions))


# --- each entry --------------------------------------------------------------------------------------------------


class _Taken(NamedTuple):
    """How the entries were taken in."""

    entries: int
    keys_known: bool
    """Whether the key of every entry can be determined, of the invalid ones too."""


async def _take_in(
    entries: Entries,
    journal: Journal,
    findings: _Findings,
    advice: _Advice,
    *,
    update: bool,
    progress: Callable[[int], object],
) -> _Taken:
    count, keys_known = 0, True
    chunk: list[plan.Planned] = []
    invalid: list[str] = []
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
            invalid.append(key)
        else:
            keys_known = False
        if len(chunk) + len(invalid) >= CHUNK:
            await journal.run_in_transaction(partial(_add, planned=chunk, invalid=invalid))
            chunk, invalid = [], []
            progress(count)
    await journal.run_in_transaction(partial(_add, planned=chunk, invalid=invalid))
    return _Taken(count, keys_known)


def _add(connection: sqlite3.Connection, planned: Sequence[plan.Planned], invalid: Sequence[str]) -> None:
    plan.add(connection, planned)
    plan.add_invalid(connection, invalid)


def _key(entry: Entry | None) -> str | None:
    """The key of an entry that may be invalid, if it can be determined."""
    if entry is None or not isinstance(entry.action, Action):  # pyright: ignore[reportUnnecessaryIsInstance]
        return None
    return entry.key or default_key(entry.action, "")


def _require_entries(entries: object) -> None:
    if isinstance(entries, str | bytes | os.PathLike):
        raise ConfigurationError(f"a fleet's file is read by Fleet: provision(client, Fleet({os.fspath(entries)!r}), ...)")
    if not isinstance(entries, Iterable | AsyncIterable):
        raise ConfigurationError(
            f"entries are a list of Actions, or another iterable of them, not a {type(entries).__name__}: put one into brackets"
        )


async def _numbered(entries: Entries) -> AsyncIterator[tuple[int, Any]]:
    seq = 0
    try:
        if isinstance(entries, AsyncIterable):
            async for given in entries:
                yield (seq := seq + 1), given
            return
        for given in entries:
            yield (seq := seq + 1), given
            if seq % BREATH == 0:
                await anyio.lowlevel.checkpoint()
    except TypeError as error:  # the iterable is the caller's code, which makes Actions
        note_mistake(error)
        raise


def _located(given: object, seq: int) -> Located:
    match given:
        case Located():
            return given
        case Entry():
            return Located(place_of(seq), given)
        case Action():
            return Located(place_of(seq), Entry(given))
        case _:
            problem = Problem("", "type", f"must be an Action or an Entry, {_instead(given)}")
            return Located(place_of(seq), None, (problem,))


def _instead(given: object) -> str:
    match given:
        case type():
            return f"not the class {given.__name__}: write {given.__name__}(...)"
        case Mapping():
            return "not a map: Fleet(path) reads a file of them, and RegisterAgent.from_wire(body) makes an Action of one"
        case _:
            return f"not a {type(given).__name__}"


def _planned(
    entry: Entry, seq: int, place: str, *, checked: bool, update: bool
) -> tuple[plan.Planned | None, tuple[Problem, ...]]:
    action = entry.action
    if not checked and (wrong := [*_problems(action), *_entry_problems(entry)]):
        return None, tuple(wrong)
    name = type(action).__name__
    if update and (update_ := updated(action)) is not None and (problems := _problems(update_)):
        return None, tuple(
            Problem(path_at(problem.path, seq, place), problem.rule, f"{problem.message} (to update agents)")
            for problem in problems
        )
    digits, spec = described(action)
    known = names_in(action)
    planned = plan.Planned(
        seq,
        place,
        entry.key or default_key(action, digits, known),
        digits,
        name,
        known.agent_id,
        known.stream_id,
        known.agent_user_id,
        known.user_id,
        known.room_id,
        unseen_life(action),
        spec,
        plan.pack(action),
        entry.after,
    )
    return planned, ()


def _problems(action: Action[Any]) -> Sequence[Problem]:
    if not isinstance(action, Action):  # pyright: ignore[reportUnnecessaryIsInstance] - callers need not be type checked
        return [Problem("", "type", f"must be an Action, not a {type(action).__name__}")]
    if (trouble := problems_of_action(type(action))) is not None:
        return [trouble]
    try:
        validation.encode(action)
    except InvalidRequest as error:
        return error.problems
    return ()


def _entry_problems(entry: Entry) -> Iterator[Problem]:
    """What is wrong with an entry beside its Action."""
    key, after = entry.key, entry.after
    if key is not None and (not isinstance(key, str) or not key):  # pyright: ignore[reportUnnecessaryIsInstance]
        yield Problem("Key", "type", "must be a string that is not empty")
    if isinstance(after, str) or not all(isinstance(item, str) for item in after):  # pyright: ignore[reportUnnecessaryIsInstance]
        yield Problem("After", "type", "must be a list of keys")


def updated(action: Action[Any]) -> Action[Any] | None:
    """The Action that makes what exists already what this one says; None if there is none."""
    update = None if action.lifecycle is None else action.lifecycle.updated_by
    if update is None:
        return None
    changed: Action[Any] = update(**{name: getattr(action, name) for name in update.__struct_fields__})
    return changed


def _name(entries: object) -> str:
    return str(entries) if isinstance(entries, Fleet) else "the fleet"


# --- against the service -----------------------------------------------------------------------------------------

_FOREIGN = """
CREATE TABLE foreign_agents AS
SELECT plan.agent_id, min(plan.seq) AS seq, plan.place, count(*) AS users FROM plan
WHERE plan.agent_id IS NOT NULL AND plan.action NOT IN ({owners})
    AND NOT EXISTS (SELECT 1 FROM plan AS agent WHERE agent.action IN ({owners}) AND agent.agent_id = plan.agent_id)
    AND NOT EXISTS (SELECT 1 FROM journal.entries AS entries WHERE entries.key = plan.key AND entries.status = 'done')
GROUP BY plan.agent_id
"""


async def _ask_for_agents(calls: RunCalls, journal: Journal, findings: _Findings, pause: Callable[[], float]) -> None:
    """Agents that entries refer to and that the fleet does not register must exist."""
    foreign = _FOREIGN.format(owners=plan.owners_of("agent_id"))
    await journal.run_in_transaction(lambda connection: connection.execute(foreign) and None)
    at = 0
    while rows := await journal.run_in_transaction(partial(_foreign_agents, at=at)):
        at += len(rows)
        await anyio.sleep(pause())
        # Side by side, so that only the limit counts and not how long each answer takes.
        batches = [[agent_id for agent_id, *_ in rows[start : start + 10]] for start in range(0, len(rows), 10)]
        queries = [calls.call(QueryAgents(agent_ids=batch)) for batch in batches]
        there: set[str] = set()
        for answer in await asyncio.gather(*queries, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise answer
            there.update(agent.agent_id for agent in answer.agents)
        for agent_id, seq, place, users in rows:
            if agent_id not in there:
                more = f" (in {users} entries)" if users > 1 else ""
                message = f"refers to the agent {agent_id!r}, which neither this fleet registers nor the service has{more}"
                findings.add(seq, place, Problem(path_at("AgentId", seq, place), "agent", message))


def _foreign_agents(connection: sqlite3.Connection, at: int) -> list[tuple[str, int, str, int]]:
    return connection.execute("SELECT * FROM foreign_agents ORDER BY rowid LIMIT 200 OFFSET ?", (at,)).fetchall()
