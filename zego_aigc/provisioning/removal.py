"""Removing what a journal made, and nothing else: instances and stream tasks before the agents that they use."""

# ruff: noqa: S608 - what the SQL is put together from are words of our own
from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from zego_aigc.calls.lookup import kept_under
from zego_aigc.errors import ApiError, ConfigurationError, ZegoError
from zego_aigc.provisioning import journal_file
from zego_aigc.provisioning.entry import is_described
from zego_aigc.provisioning.errors import JournalError, NotTried
from zego_aigc.provisioning.events import Outcome, Started, error_facts
from zego_aigc.provisioning.journal import Journal
from zego_aigc.provisioning.journal_file import Row
from zego_aigc.provisioning.journal_update import JournalUpdate
from zego_aigc.provisioning.listings import Listings, unsure
from zego_aigc.provisioning.operation import Operation
from zego_aigc.provisioning.outage import CircuitOpen, Outages, Retries, ServiceGone, may_pass
from zego_aigc.provisioning.recovery import MARGIN, left_of
from zego_aigc.provisioning.removal_outcomes import anothers, ended, failed, may_be_older, may_live, unknown
from zego_aigc.provisioning.run_calls import RunCalls
from zego_aigc.provisioning.service_clock import ServiceClock
from zego_aigc.provisioning.workers import InFlight, Lane, WorkerPool
from zego_aigc.schema.actions import Action
from zego_aigc.schema.codes import is_over
from zego_aigc.schema.lifecycle import LIFECYCLES, Lifecycle, Names, Recovery
from zego_aigc.schema.naming import did_you_mean

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["Removal", "Teardown", "Which", "require_known", "teardown"]

MAX_KNOWN = 10_000
"""Keys among which a similar one is looked for: comparing is slow in a large journal."""

_OURS = "origin = 'made' AND made_id IS NOT NULL AND status NOT IN ('removed', 'sent', 'unknown')"
_IN_DOUBT = "status IN ('sent', 'unknown') AND action IN (SELECT value FROM json_each(?))"
"""Only what makes something can be lost."""


class Which(NamedTuple):
    """Which entries of a journal are to be removed: SQL of our own, with its values."""

    where: str = "1"
    values: tuple[Any, ...] = ()

    @classmethod
    def made_in(cls, run: int) -> Which:
        """What a run has made."""
        return cls("run = ?", (run,))

    @classmethod
    def keys(cls, keys: Sequence[str]) -> Which:
        """Entries by their keys."""
        return cls("key IN (SELECT value FROM json_each(?))", (json.dumps(list(keys)),))

    @classmethod
    def left(cls) -> Which:
        """What the plan knows nothing of."""
        return cls("key NOT IN (SELECT key FROM main.plan)")


MAX_LIST_AGE = 5.0
"""Seconds that a list may be old by which lost entries are found."""


def _phases() -> list[list[list[str]]]:
    """The Actions whose work is removed side by side, phase by phase.

    What is ended by the same Action shares a lane as it shares that Action's limit.
    """
    phases: dict[int, dict[str, list[str]]] = {}
    for action, life in LIFECYCLES.items():
        phases.setdefault(life.removal_phase, {}).setdefault(life.lane, []).append(action)
    return [list(phases[number].values()) for number in sorted(phases)]


def teardown(
    client: Client,
    journal: str | os.PathLike[str],
    *,
    only: Sequence[str] | None = None,
    background: bool = True,
) -> Teardown:
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
        only: the keys of what is to be removed; everything unless given. A key that the journal does not know is a
            ConfigurationError when the block is entered. The next run makes them anew.
        background: whether other calls of the client may go first at the limiter.
    """
    return Teardown(client, journal, only=only, background=background)


def removal_pool(client: Client) -> WorkerPool:
    """Workers that remove, phase by phase."""
    return WorkerPool(client.pool.spawn, _phases())


class Removal:
    """The work of a teardown, on a journal that is open for writing.

    Args:
        calls: to the service.
        journal: begun.
        workers: see :func:`removal_pool`.
        report: awaited with each outcome.
        stop: called with why no more is to be removed.
        outages: knows whether the service answers.
        listings: asks what lives.
        clock: the service's.
        which: what to remove; everything unless given.
    """

    def __init__(
        self,
        calls: RunCalls,
        journal: Journal,
        workers: WorkerPool,
        report: Callable[[Outcome], Awaitable[None]],
        *,
        stop: Callable[[str], object],
        outages: Outages,
        listings: Listings,
        clock: ServiceClock,
        which: Which | None = None,
    ) -> None:
        self._calls = calls
        self._journal = journal
        self._workers = workers
        self._emit = report
        self._stop = stop
        self._outages = outages
        self._listings = listings
        self._clock = clock
        which = Which() if which is None else which
        self._ours = f"({_OURS}) AND ({which.where})"
        self._lost = f"({_IN_DOUBT}) AND ({which.where})"
        self._values = which.values
        self._began = time.monotonic()
        self.removed: int = 0

    async def count(self) -> dict[str, int]:
        """How much there is to remove, by Action, unknown ones included."""
        rows = await self._journal.run_in_transaction(
            lambda connection: connection.execute(
                f"SELECT action, count(*) FROM journal.entries WHERE ({self._ours}) OR ({self._lost})"
                " GROUP BY action ORDER BY min(seq)",
                (*self._values, _makers(), *self._values),
            ).fetchall()
        )
        return dict(rows)

    async def has_doubts(self) -> bool:
        """Whether something may or may not have been made."""
        return bool(await self._counts(self._lost, (_makers(), *self._values)))

    async def run(self) -> None:
        """Remove everything, phase by phase; what may have been made is looked for beside the first one."""
        lost = await self._counts(self._lost, (_makers(), *self._values))
        for phase in _phases():
            if not self._workers.stopping:
                await self._run_phase(phase, sum(lost.values()))
                lost = {}
        if self._workers.error is not None:
            raise self._workers.error

    async def _run_phase(self, phase: Sequence[Sequence[str]], lost: int) -> None:
        counts = await self._counts(self._ours, self._values)
        todo = {tuple(actions): sum(counts.get(action, 0) for action in actions) for actions in phase}
        lanes = [
            Lane(
                self._workers,
                _Feed(
                    self._journal, f"{self._ours} AND action IN ({', '.join('?' * len(actions))})", (*self._values, *actions)
                ),
                self._remove,
                actions=actions,
            )
            for actions, count in todo.items()
            if count
        ]
        if lost:
            lanes.append(Lane(self._workers, _Feed(self._journal, self._lost, (_makers(), *self._values)), self._find))
        await self._workers.run(lanes, lost + sum(todo.values()))

    async def _counts(self, where: str, values: Sequence[Any]) -> dict[str, int]:
        """How many rows there are by Action."""
        rows = await self._journal.run_in_transaction(
            lambda connection: connection.execute(
                f"SELECT action, count(*) FROM journal.entries WHERE {where} GROUP BY action", values
            ).fetchall()
        )
        return dict(rows)

    async def _report(self, outcome: Outcome) -> None:
        """An entry is done with."""
        await self._emit(outcome)
        self._workers.entry_finished()

    async def _record(self, update: JournalUpdate) -> None:
        """Record an outcome; return once it is durable."""
        self._journal.record_outcome(update)
        await self._journal.flush()

    # --- what was made

    async def _remove(self, row: Row, in_flight: InFlight) -> None:
        """End what an entry made. An outage is waited out."""
        assert row.made_id is not None
        ending = LIFECYCLES[row.action].end(row.made_id)
        retries = Retries(self._outages, type(ending).__name__)
        while True:
            try:
                request_id, attempts = await self._end(ending, in_flight)
            except CircuitOpen:
                in_flight.free()
                failure: ZegoError | None = None
            except ZegoError as error:
                if not may_pass(error):
                    await self._report(failed(row, ending, error))
                    return
                in_flight.free()
                failure = error
            else:
                break
            try:
                if failure is None:
                    await self._outages.wait_out(type(ending).__name__)
                else:
                    await retries.wait(failure, counted=True)
            except ServiceGone as gone:
                self._stop(str(gone))  # or each of the others would find that out anew
                await self._report(failed(row, ending, failure or NotTried(str(gone))))
                return
        await self._record(JournalUpdate(row.key, "removed", self._clock.now()))
        self.removed += 1
        await self._report(ended(row, ending, request_id, attempts))

    async def _end(self, ending: Action[Any], in_flight: InFlight) -> tuple[str | None, int]:
        """Send what ends something: its RequestId, and the number of attempts. What is gone already counts as ended.

        Raises:
            CircuitOpen: it was not sent.
            ZegoError: it could not be ended.
        """
        name = type(ending).__name__
        left = False

        async def before_send(attempt: int) -> None:
            nonlocal left
            if attempt == 1:
                self._outages.leaves(name)
                left = True
            await in_flight.leave()

        try:
            response = await self._calls.call_with_response(ending, before_send=before_send)
        except BaseException as error:
            if left:
                self._outages.count(name, error)
            if isinstance(error, ApiError) and is_over(error):
                return error.request_id, error.attempts
            raise
        self._outages.answered(name)
        self._clock.observe(response.headers.get("Date"))
        return response.request_id, response.attempts

    # --- what may have been made

    async def _find(self, row: Row, in_flight: InFlight) -> None:
        """Find what an entry of unknown outcome made and remove it; or report that it is unknown. An outage is waited out."""
        retries = Retries(self._outages, row.action)
        while True:
            try:
                await self._found_or_not(row, in_flight)
                return
            except JournalError:
                raise
            except ZegoError as error:
                try:
                    if may_pass(error):
                        await retries.wait(error)
                        continue
                except ServiceGone as gone:
                    self._stop(str(gone))
                await self._report(unknown(row, f"it could not be looked up: {error}"))
                return

    async def _found_or_not(self, row: Row, in_flight: InFlight) -> None:
        life = LIFECYCLES[row.action]
        if life.recovery is Recovery.FIND:
            # One list serves all: what they were made by was sent before this began.
            found = await self._listings.find(life, _names(row), row.first_sent, since=self._began, max_age=MAX_LIST_AGE)
            if found is None:
                await self._report_absent(row)
            elif not found.ours:
                await self._report(unknown(row, unsure(life, found)))
            else:
                await self._remove_found(row, found.made_id, in_flight)
        elif life.recovery is Recovery.COMPARE:
            await self._compare(row, life, in_flight)
        else:
            await self._wait_for_end(row)

    async def _remove_found(self, row: Row, made_id: str, in_flight: InFlight) -> None:
        await self._record(JournalUpdate(row.key, "done", self._clock.now(), origin="made", made_id=made_id))
        await self._remove(row._replace(made_id=made_id), in_flight)

    async def _compare(self, row: Row, life: Lifecycle, in_flight: InFlight) -> None:
        """Remove what stands under the id that the request chose, if it is what the request asked for: so it is in a run, too.

        What is something else was there before: the request was refused as taken.
        """
        chosen = _chosen_id(row, life)
        assert life.listing is not None
        response = await self._calls.call_with_response(life.listing.ask([chosen]))
        self._clock.observe(response.headers.get("Date"))
        kept = kept_under(life, chosen, response.data)
        if kept is None:
            await self._report_absent(row)
        elif row.spec is None:
            await self._report(unknown(row, may_be_older(row, life, chosen)))
        elif is_described(row.spec, kept):
            await self._remove_found(row, chosen, in_flight)
        else:
            error = anothers(row, life, chosen)
            await self._record(JournalUpdate(row.key, "failed", self._clock.now(), error=error_facts(error)))
            await self._report(failed(row, life.end(chosen), error))

    async def _report_absent(self, row: Row) -> None:
        """What is not there was not made, or is not made yet."""
        if (left := self._left_of(MARGIN, row)) > 0:
            why = f"it is not there, but the service may still carry the request out: tear down again at {_in(left)} or later"
            await self._report(unknown(row, why))
        else:
            await self._strike_off(row)

    async def _wait_for_end(self, row: Row) -> None:
        """What cannot be asked about has ended by itself after a time, or is unknown until then."""
        if row.idle is None:
            await self._report(unknown(row, may_live(row)))
        elif (left := self._left_of(row.idle + MARGIN, row)) > 0:
            ends = f"Without its user it has ended by {_in(left)}: tear down again then"
            await self._report(unknown(row, f"{may_live(row)}. {ends}"))
        else:
            await self._strike_off(row)

    def _left_of(self, length: float, row: Row) -> float:
        """Seconds that are left of a time that began as the last attempt left."""
        left = left_of(length, since=row.last_sent or 0.0, now=self._clock.now())
        return min(left, length - (time.monotonic() - self._began))  # it left before this began, whatever the clocks say

    async def _strike_off(self, row: Row) -> None:
        """Nothing of an entry lives, nor will."""
        await self._record(JournalUpdate(row.key, "removed", self._clock.now()))
        life = LIFECYCLES[row.action]
        await self._report(ended(row, life.end(_chosen_id(row, life)), None, 0))


class Teardown(Operation):
    """A run of :func:`teardown`."""

    def __init__(
        self,
        client: Client,
        journal: str | os.PathLike[str],
        *,
        only: Sequence[str] | None = None,
        background: bool = True,
        sandbox: str | None = None,
    ) -> None:
        super().__init__(client, journal, must_exist=True, sandbox=sandbox)
        self._only = only
        self._calls = RunCalls(client, background=background)
        self._workers = removal_pool(client)
        self._removal: Removal
        self._clock = ServiceClock()

    async def _prepare(self) -> None:
        if self._only is not None:
            await require_known(self._journal, self._only)
        await self._journal.begin(self._target)
        self._removal = Removal(
            self._calls,
            self._journal,
            self._workers,
            self._report,
            stop=self.stop,
            outages=Outages(self._calls, partial(self._set_note, "outage")),
            listings=Listings(self._calls, self._clock),
            clock=self._clock,
            which=None if self._only is None else Which.keys(self._only),
        )
        counts = await self._removal.count()
        self.report.counts = {action: Counter(pending=count) for action, count in counts.items()}

    async def _work(self) -> None:
        await self._emit(Started({action: counter.total() for action, counter in self.report.counts.items()}))
        if self.report.total:
            await self._let_window_pass()
        if await self._removal.has_doubts():
            await self._clock.ask(self._client)  # how long ago it was sent is judged by the service's time
        await self._removal.run()

    async def _report(self, outcome: Outcome) -> None:
        self._emit_outcome(outcome)
        await self._apply_backpressure()


class _Feed:
    """Rows to deal with, in order, a chunk at a time."""

    def __init__(self, journal: Journal, where: str, values: Sequence[Any]) -> None:
        self._journal = journal
        self._where = where
        self._values = values
        self._at = 0

    async def __call__(self, most: int) -> list[Row]:
        take = partial(journal_file.rows, where=self._where, values=self._values, after=self._at, most=most)
        rows = await self._journal.run_in_transaction(take)
        if rows:
            self._at = rows[-1].seq
        return rows


async def require_known(journal: Journal, keys: Sequence[str]) -> None:
    """See that a journal knows keys.

    Raises:
        ConfigurationError: it does not know one; the closest that it knows is named.
    """
    if isinstance(keys, str):
        raise ConfigurationError(f"give the keys as a list: [{keys!r}]")
    known = await journal.run_in_transaction(
        lambda connection: [key for (key,) in connection.execute("SELECT key FROM journal.entries ORDER BY seq")]
    )
    for key in keys:
        if key not in known:
            raise ConfigurationError(f"the journal {journal.path} knows no entry {key!r}{did_you_mean(key, known[:MAX_KNOWN])}")


def _in(seconds: float) -> str:
    """The time of day in so many seconds."""
    return time.strftime("%H:%M:%S UTC", time.gmtime(time.time() + seconds))


def _makers() -> str:
    """The Actions that make something, as JSON."""
    return json.dumps([*LIFECYCLES])


def _names(row: Row) -> Names:
    return Names(agent_id=row.agent_id, stream_id=row.stream_id, agent_user_id=row.agent_user_id, room_id=row.room_id)


def _chosen_id(row: Row, life: Lifecycle) -> str:
    """The name that stands for something whose id is not known: that which must be unique."""
    return (getattr(_names(row), life.unique[0]) if life.unique else None) or "-"
