"""What callbacks, and people who know, say about entries: that one lives, with its id, or that one has ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import anyio
import msgspec

from zego_aigc.callbacks.events import AgentInstanceCreated, AgentInstanceDeleted, Event, StreamTaskEvent
from zego_aigc.digitalhuman import TaskStatus
from zego_aigc.provisioning import journal_file, plan
from zego_aigc.provisioning.journal import Journal
from zego_aigc.provisioning.journal_file import Row
from zego_aigc.provisioning.listings import whose
from zego_aigc.provisioning.presence import Presence
from zego_aigc.provisioning.quota_gate import QuotaGate
from zego_aigc.provisioning.service_clock import ServiceClock
from zego_aigc.schema.lifecycle import LIFECYCLES
from zego_aigc.schema.naming import wire

__all__ = ["News", "Observer", "Revive", "apply", "news_of", "set_gone", "set_made"]

ENDED = {TaskStatus.INIT_FAILED, TaskStatus.STOPPED}


ENDED_BY_CALLBACK = Presence(there=False, detail="it has ended, as a callback says")

Revive = Callable[[Row, Presence], bool]
"""Whether an entry that has ended is to be made anew by this run."""


class News(NamedTuple):
    """What an event says about something that an entry may have made."""

    made_id: str
    lives: bool
    room_id: str | None = None
    agent_id: str | None = None
    agent_user_id: str | None = None
    at: datetime | None = None
    """When it came up, or ended."""


def news_of(event: Event) -> News | None:
    """What an event says; None for one that says nothing about the life of anything."""
    match event:
        case AgentInstanceCreated() | AgentInstanceDeleted():
            lives = isinstance(event, AgentInstanceCreated)
            at = event.data.created_at if isinstance(event, AgentInstanceCreated) else event.data.deleted_at
            return News(event.agent_instance_id, lives, event.room_id, event.agent_id, event.agent_user_id, at)
        case StreamTaskEvent() if event.detail.status in ENDED:
            return News(event.task_id, lives=False, room_id=event.detail.room_id)
        case _:
            return None


def apply(connection: sqlite3.Connection, news: News, now: float, *, revive: Revive | None = None) -> Row | None:
    """Note in the journal what is new, and return the entry that it is about; None if it is new of none.

    An entry whose outcome is unknown is settled; one that is done and has ended counts as removed.

    Args:
        connection: to the journal.
        news: what an event says.
        now: Unix time.
        revive: whether one that has ended is to count as removed yet; always unless given.
    """
    row = next(_with_id(connection, news.made_id), None)
    if row is None:
        lost = [row for row in _lost_in(connection, news.room_id) if _may_be(row, news)]
        row = lost[0] if len(lost) == 1 else None  # of several nobody can tell which
    elif news.lives:
        return None
    if row is None:
        return None
    if news.lives:
        set_made(connection, row, news.made_id, now)
    elif revive is None or revive(row, ENDED_BY_CALLBACK):
        set_gone(connection, row, now)
    return row


class Observer:
    """Settles, while a run goes on, what callbacks speak of.

    Args:
        journal: begun.
        gate: of the quota.
        clock: the service's.
        settled: called when an entry has become known that waits to be looked into.
    """

    def __init__(self, journal: Journal, gate: QuotaGate, clock: ServiceClock, settled: Callable[[], object]) -> None:
        self._journal = journal
        self._gate = gate
        self._clock = clock
        self._settled = settled
        self._ids: dict[str, str] = {}
        """What callbacks brought of entries that a worker deals with at present; by key."""
        self._came = anyio.Event()

    async def observe(self, news: News) -> None:
        """Take note of what is new: an id settles an unknown, what has ended frees its place."""
        row = await self._journal.run_in_transaction(partial(apply, news=news, now=self._clock.now()))
        if row is None:
            return
        life = LIFECYCLES[row.action]
        if not news.lives:
            self._gate.ended(life.quota, news.made_id)
            return
        self._gate.found(row.key, life, news.made_id)
        if not await self._journal.run_in_transaction(partial(plan.settle, key=row.key)):
            self._ids[row.key] = news.made_id  # its worker looks here
            self._came.set()
            self._came = anyio.Event()
        self._settled()

    def take_id(self, key: str) -> str | None:
        """The id that a callback brought of an entry, once."""
        return self._ids.pop(key, None)

    async def wait_for_id(self, key: str) -> None:
        """Wait until there is one."""
        while key not in self._ids:
            await self._came.wait()


def set_made(connection: sqlite3.Connection, row: Row, made_id: str, now: float) -> None:
    """An entry is done: what it made is known by its id."""
    life = LIFECYCLES[row.action]
    result = None if life.id_in_request else msgspec.json.encode({wire(life.id_field): made_id}).decode()
    connection.execute(
        "UPDATE journal.entries SET status = 'done', origin = 'made', made_id = ?, result = ?, error = NULL, recorded = ?"
        " WHERE seq = ?",
        (made_id, result, now, row.seq),
    )


def set_gone(connection: sqlite3.Connection, row: Row, now: float) -> None:
    """Nothing of an entry is there any more: the next run makes it anew."""
    connection.execute(
        "UPDATE journal.entries SET status = 'removed', error = NULL, recorded = ? WHERE seq = ?", (now, row.seq)
    )


def _with_id(connection: sqlite3.Connection, made_id: str) -> Iterator[Row]:
    return iter(journal_file.rows(connection, where="made_id = ? AND status IN ('done', 'made')", values=(made_id,)))


def _lost_in(connection: sqlite3.Connection, room_id: str | None) -> list[Row]:
    if room_id is None:
        return []
    return journal_file.rows(connection, where="room_id = ? AND status IN ('sent', 'unknown')", values=(room_id,))


def _may_be(row: Row, news: News) -> bool:
    if news.agent_id is not None and row.agent_id is not None and news.agent_id != row.agent_id:
        return False
    if news.at is not None and whose(news.at.timestamp(), row.first_sent):
        return False  # it is about what was there before: a callback may come late
    user: Any = news.agent_user_id
    # The room's user of a digital human may be called ai_agent_<AgentInstanceId>, whatever was asked for.
    return user is None or row.agent_user_id is None or user == row.agent_user_id or user.startswith("ai_agent_")
