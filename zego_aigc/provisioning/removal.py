"""Removing what a journal made, and nothing else: instances and stream tasks before the agents that they use."""

# ruff: noqa: S608 - what the SQL is put together from are words of our own
from __future__ import annotations

import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from zego_aigc.errors import ApiError, OutcomeUnknown, ZegoError
from zego_aigc.provisioning.entry import whereabouts
from zego_aigc.provisioning.events import Outcome, Started
from zego_aigc.provisioning.journal import Journal
from zego_aigc.provisioning.journal_file import COLUMNS, Row
from zego_aigc.provisioning.journal_update import JournalUpdate
from zego_aigc.provisioning.operation import Operation
from zego_aigc.provisioning.workers import InFlight, Lane, WorkerPool
from zego_aigc.schema.actions import Action
from zego_aigc.schema.codes import is_over
from zego_aigc.schema.lifecycle import LIFECYCLES, Lifecycle, Names, Recovery

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["Removal", "Teardown", "teardown"]

_OURS = "origin = 'made' AND made_id IS NOT NULL AND status <> 'removed' AND (? IS NULL OR run = ?)"
_LOST = "status IN ('sent', 'unknown') AND action IN (SELECT value FROM json_each(?)) AND (? IS NULL OR run = ?)"
"""Only what makes something can be lost."""


def _phases() -> list[list[list[str]]]:
    """The Actions whose work is removed side by side, phase by phase.

    What is ended by the same Action shares a lane as it shares that Action's limit.
    """
    phases: dict[int, dict[str, list[str]]] = {}
    for action, life in LIFECYCLES.items():
        phases.setdefault(life.removal_phase, {}).setdefault(life.lane, []).append(action)
    return [list(phases[number].values()) for number in sorted(phases)]


def teardown(client: Client, journal: str | os.PathLike[str]) -> Teardown:
    """Remove what a journal made and nothing else: instances and stream tasks first, then agents.

    ::

        async with teardown(client, "fleet.journal") as run:
            async for outcome in run:
                print(outcome.key, outcome.status)

    Agents that were kept or updated stay. What is gone already counts as removed. What may or may not have been made is
    looked up where the service can be asked, and reported as unknown otherwise. It may be stopped and done again.

    Args:
        client: of the same target as the journal.
        journal: path of the journal.
    """
    return Teardown(client, journal)


def removal_pool(client: Client) -> WorkerPool:
    """Workers that remove, phase by phase."""
    return WorkerPool(client.pool.spawn, _phases())


class Removal:
    """The work of a teardown, on a journal that is open for writing.

    Args:
        client: of the journal's target.
        journal: begun.
        workers: see :func:`removal_pool`.
        report: awaited with each outcome.
        made_in: only what this run made; everything unless given.
    """

    def __init__(
        self,
        client: Client,
        journal: Journal,
        workers: WorkerPool,
        report: Callable[[Outcome], Awaitable[None]],
        *,
        made_in: int | None = None,
    ) -> None:
        self._client = client
        self._journal = journal
        self._workers = workers
        self._report = report
        self._only = (made_in, made_in)
        self.removed: int = 0

    async def count(self) -> dict[str, int]:
        """How much there is to remove, by Action, unknown ones included."""
        rows = await self._journal.run_in_transaction(
            lambda connection: connection.execute(
                f"SELECT action, count(*) FROM journal.entries WHERE ({_OURS}) OR ({_LOST}) GROUP BY action ORDER BY min(seq)",
                (*self._only, _makers(), *self._only),
            ).fetchall()
        )
        return dict(rows)

    async def run(self) -> None:
        """Remove everything, phase by phase."""
        await self._find_lost()
        for phase in _phases():
            if not self._workers.stopping:
                await self._run_phase(phase)
        if self._workers.error is not None:
            raise self._workers.error

    async def _run_phase(self, phase: Sequence[Sequence[str]]) -> None:
        counts = dict(
            await self._journal.run_in_transaction(
                lambda connection: connection.execute(
                    f"SELECT action, count(*) FROM journal.entries WHERE {_OURS} GROUP BY action",
                    self._only,
                ).fetchall()
            )
        )
        todo = {tuple(actions): sum(counts.get(action, 0) for action in actions) for actions in phase}
        lanes = [
            Lane(self._workers, _Feed(self._journal, actions, self._only), self._remove, actions=actions)
            for actions, count in todo.items()
            if count
        ]
        await self._workers.run(lanes, sum(todo.values()))

    async def _remove(self, row: Row, in_flight: InFlight) -> None:
        assert row.made_id is not None
        ending = LIFECYCLES[row.action].end(row.made_id)

        async def before_send(_: int) -> None:
            in_flight.leaves()

        request_id: str | None = None
        attempts = 0
        try:
            response = await self._client.call_with_response(ending, before_send=before_send, deadline_from="grant")
            request_id, attempts = response.request_id, response.attempts
        except ZegoError as error:
            if not (isinstance(error, ApiError) and is_over(error)):
                attempts = getattr(error, "attempts", 0)
                await self._report(_outcome(row, ending, "failed", error, getattr(error, "request_id", None), attempts))
                self._workers.entry_finished()
                return
            request_id, attempts = error.request_id, error.attempts
        await self._record(JournalUpdate(row.key, "removed", time.time()))
        self.removed += 1
        await self._report(_outcome(row, ending, "done", None, request_id, attempts))
        self._workers.entry_finished()

    async def _record(self, update: JournalUpdate) -> None:
        """Record an outcome; return once it is durable."""
        self._journal.record_outcome(update)
        await self._journal.flush()

    # --- what may have been made

    async def _find_lost(self) -> None:
        at = 0
        while rows := await self._journal.run_in_transaction(
            partial(_rows, where=_LOST, values=(_makers(), *self._only), at=at)
        ):
            for row in rows:
                at = row.seq
                await self._find(row)

    async def _find(self, row: Row) -> None:
        """Find what an entry of unknown outcome made, so that it can be removed; or report that it is unknown."""
        life = LIFECYCLES[row.action]
        try:
            if life.recovery is Recovery.FIND:
                made_id = await self._client.find(row.action, _names(row), not_before=row.first_sent)
                if made_id is not None:
                    await self._record(JournalUpdate(row.key, "done", time.time(), origin="made", made_id=made_id))
                else:
                    await self._absent(row)
                return
            if life.recovery is Recovery.COMPARE and not await self._is_there(row, life):
                await self._absent(row)
                return
        except ZegoError as error:
            await self._report(_unknown(row, f"it could not be looked up: {error}"))
            return
        await self._report(_unknown(row, _what_is_known(row)))

    async def _is_there(self, row: Row, life: Lifecycle) -> bool:
        """Whether something stands under the id that the request chose; it may be somebody else's."""
        chosen = _chosen_id(row, life)
        assert life.listing is not None
        answer = await self._client.call(life.listing.ask([chosen]))
        return any(getattr(item, life.id_field) == chosen for item in life.listing.of(answer))

    async def _absent(self, row: Row) -> None:
        await self._record(JournalUpdate(row.key, "removed", time.time()))
        life = LIFECYCLES[row.action]
        ending = life.end(_chosen_id(row, life))
        await self._report(_outcome(row, ending, "done", None, None, 0))


class Teardown(Operation):
    """A run of :func:`teardown`."""

    def __init__(self, client: Client, journal: str | os.PathLike[str], *, sandbox: str | None = None) -> None:
        super().__init__(client, journal, must_exist=True, sandbox=sandbox)
        self._workers = removal_pool(client)
        self._removal: Removal

    async def _prepare(self) -> None:
        await self._journal.begin(self._target)
        self._removal = Removal(self._client, self._journal, self._workers, self._report)
        counts = await self._removal.count()
        self.report.counts = {action: Counter(pending=count) for action, count in counts.items()}

    async def _work(self) -> None:
        await self._emit(Started({action: counter.total() for action, counter in self.report.counts.items()}))
        if self.report.total:
            await self._let_window_pass()
        await self._removal.run()

    async def _report(self, outcome: Outcome) -> None:
        self._emit_outcome(outcome)
        await self._apply_backpressure()


class _Feed:
    """Rows to remove, in order, a chunk at a time."""

    def __init__(self, journal: Journal, actions: Sequence[str], only: Sequence[int | None]) -> None:
        self._journal = journal
        marks = ", ".join("?" * len(actions))
        self._where = f"{_OURS} AND action IN ({marks})"
        self._values = (*only, *actions)
        self._at = 0

    async def __call__(self, most: int) -> list[Row]:
        take = partial(_rows, where=self._where, values=self._values, at=self._at, most=most)
        rows = await self._journal.run_in_transaction(take)
        if rows:
            self._at = rows[-1].seq
        return rows


def _rows(connection: sqlite3.Connection, *, where: str, values: Sequence[Any], at: int, most: int = 64) -> list[Row]:
    query = f"SELECT {COLUMNS} FROM journal.entries WHERE {where} AND seq > ? ORDER BY seq LIMIT ?"
    return list(map(Row._make, connection.execute(query, (*values, at, most))))


def _outcome(
    row: Row, ending: Action[Any], status: Any, error: ZegoError | None, request_id: str | None, attempts: int
) -> Outcome:
    return Outcome(
        key=row.key, action=ending, made_by=row.action, status=status, error=error, request_id=request_id, attempts=attempts
    )


def _unknown(row: Row, why: str) -> Outcome:
    ending = LIFECYCLES[row.action].end(row.made_id or "unknown")
    return Outcome(
        key=row.key,
        action=ending,
        made_by=row.action,
        status="unknown",
        error=OutcomeUnknown(why, action=ending),
        where=whereabouts(row.stream_id, row.room_id),
    )


def _what_is_known(row: Row) -> str:
    sent = "" if row.last_sent is None else time.strftime(" at %Y-%m-%d %H:%M:%S UTC", time.gmtime(row.last_sent))
    life = LIFECYCLES[row.action]
    if life.recovery is Recovery.COMPARE:
        return (
            f"the request left{sent} and its answer was lost: an {life.makes} {_chosen_id(row, life)!r} exists, which "
            f"may be older. Provision again to find out, or end it yourself with {life.ended_by.__name__}"
        )
    end = "" if row.idle is None else f" It ends by itself after {row.idle} s without its user."
    return (
        f"the request left{sent} and its answer was lost: an instance may live on "
        f"{whereabouts(row.stream_id, row.room_id)}, whose id only the callback AgentInstanceCreated brings.{end}"
    )


def _makers() -> str:
    """The Actions that make something, as JSON."""
    return json.dumps([*LIFECYCLES])


def _names(row: Row) -> Names:
    return Names(agent_id=row.agent_id, stream_id=row.stream_id, agent_user_id=row.agent_user_id, room_id=row.room_id)


def _chosen_id(row: Row, life: Lifecycle) -> str:
    """The name that stands for something whose id is not known: that which must be unique."""
    return (getattr(_names(row), life.unique[0]) if life.unique else None) or "-"
