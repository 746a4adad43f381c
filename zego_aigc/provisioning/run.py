"""Provisioning a fleet: everything once, as fast as the limits allow, safe to kill and start again."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, get_args

from zego_aigc.callbacks.events import Event
from zego_aigc.limits.quota import Quota
from zego_aigc.provisioning import cautions, observation, plan, preflight
from zego_aigc.provisioning.entry_handler import EntryHandler, Lanes, Reporting
from zego_aigc.provisioning.errors import JournalError
from zego_aigc.provisioning.events import Outcome, Pruned, Started, Warned
from zego_aigc.provisioning.executor import Executor, IfExists, OnQuota
from zego_aigc.provisioning.finder import Finder
from zego_aigc.provisioning.journal_file import Row
from zego_aigc.provisioning.journal_update import JournalUpdate
from zego_aigc.provisioning.listings import Listings
from zego_aigc.provisioning.lock import Lock
from zego_aigc.provisioning.observation import Observer, Revive
from zego_aigc.provisioning.operation import GRACE, Operation, pace
from zego_aigc.provisioning.options import OnUnknown, Options, Until
from zego_aigc.provisioning.outage import Outages
from zego_aigc.provisioning.plan import Item
from zego_aigc.provisioning.planning import Plan, draw_up
from zego_aigc.provisioning.preflight import Entries
from zego_aigc.provisioning.presence import Presence
from zego_aigc.provisioning.quota_gate import QuotaGate
from zego_aigc.provisioning.refresh import Refreshed, refresh
from zego_aigc.provisioning.removal import Removal, Which, removal_pool
from zego_aigc.provisioning.run_calls import RunCalls
from zego_aigc.provisioning.service_clock import ServiceClock
from zego_aigc.provisioning.streaming import Streams
from zego_aigc.provisioning.workers import Lane, WorkerPool
from zego_aigc.schema.lifecycle import LIFECYCLES, QuotaKind

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["Provisioning", "Upkeep", "provision"]

UPDATABLE = frozenset(action for action, life in LIFECYCLES.items() if life.updated_by is not None)
"""The Actions of which what they made can be made something else."""

_REPORTED_AS = {"sent": "unknown", "made": "pending", "removed": "pending"}


def provision(
    client: Client,
    entries: Entries,
    *,
    journal: str | os.PathLike[str],
    quota: Quota | None = None,
    on_quota: OnQuota = "wait",
    on_unknown: OnUnknown = "report",
    if_exists: IfExists = "fail",
    rollback: bool = False,
    extend: bool = False,
    until: Until = "created",
    quota_wait: float = 600.0,
    lookup_delay: float = 3.0,
    background: bool = True,
    refresh: bool = False,
    update: bool = False,
    prune: bool = False,
) -> Provisioning:
    """Carry out every entry of a fleet once, however often the same call is made.

    ::

        async with provision(client, Fleet("fleet.toml"), journal="fleet.journal") as run:
            async for outcome in run:
                print(outcome.key, outcome.status)
        print(run.report.done)

    Entering the block checks the whole fleet and sends nothing that changes anything before all of it is sound. The outcomes
    then come as they are known. Leaving the block early, or being cancelled, stops the run: what has left is waited for and
    noted, and the same call goes on from there.

    Args:
        client: whom to call. The limiter and the quota are the client's, unless a `quota` is given.
        entries: Actions or :class:`Entry` objects, from any iterable or async iterable, or a :class:`Fleet`. Memory stays flat
            however many they are.
        journal: path of the journal; it is made if there is none. One journal belongs to one target and one fleet.
        quota: places for live instances.
        on_quota: what to do when the account is full. ``"wait"`` carries on as instances go away; ``"fail"`` fails the entry;
            a function of the entry and the :class:`~zego_aigc.errors.QuotaExceeded` may return another Action to send in
            its place, or None to fail. It may be a coroutine function.
        on_unknown: what to do about instances that may have been made. ``"report"`` leaves them unknown. ``"wait"`` says that
            no user can be in their rooms: they are waited out (MaxIdleTime) and made afresh.
        if_exists: what to do about an agent that is registered already: ``"fail"``, ``"keep"`` it as it is, or ``"update"``.
            Kept and updated agents are not removed by :func:`teardown`.
        rollback: remove what this run made, unless everything is done and the block ends without an error.
        extend: let a fleet join a journal that knows none of its entries.
        until: when a stream task counts as done: once it is ``"created"``, or once it is ``"streaming"``. One that fails to
            stream fails with the vendor's FailReason.
        quota_wait: seconds without any progress after which a full account is waited for no longer; the rest stays pending.
        lookup_delay: seconds that a request whose answer was lost is given to be carried out late, before it is looked up.
        background: whether other calls of the client may go first at the limiter and in the quota: a visitor's create before
            the fleet's. While the fleet waits, at least one call in ten is of the fleet.
        refresh: ask the service what of the entries that are done is still there, and make anew what has ended.
        update: send UpdateAgent for agents that are done and say something else now.
        prune: remove first what this journal made and the fleet does not name any more. Not together with `extend`.
    """
    options = Options(
        quota=quota,
        on_quota=on_quota,
        on_unknown=on_unknown,
        if_exists=if_exists,
        rollback=rollback,
        extend=extend,
        until=until,
        quota_wait=quota_wait,
        lookup_delay=lookup_delay,
        background=background,
        refresh=refresh,
        update=update,
        prune=prune,
    )
    return Provisioning(client, entries, journal, options)


class Upkeep(NamedTuple):
    """What a run that keeps a fleet alive is to know."""

    revive: Revive
    """Whether an entry that has ended is to be made anew by this run."""
    news: Sequence[observation.News]
    """What callbacks have said since the last run."""


class Provisioning(Operation):
    """A run of :func:`provision`."""

    def __init__(
        self,
        client: Client,
        entries: Entries,
        journal: str | os.PathLike[str],
        options: Options,
        *,
        sandbox: str | None = None,
        upkeep: Upkeep | None = None,
        lock: Lock | None = None,
    ) -> None:
        options.check()
        super().__init__(client, journal, must_exist=False, sandbox=sandbox, lock=lock)
        self._upkeep = upkeep
        self._entries = entries
        self._options = options
        self._clock = ServiceClock()
        self._calls = RunCalls(client, background=options.background)
        self._listings = Listings(self._calls, self._clock)
        self._gate = QuotaGate(
            self._calls,
            options.quota or client.quota,
            options.quota_wait,
            self._listings,
            partial(self._set_note, "quota"),
            background=options.background,
        )
        self._outages = Outages(self._calls, partial(self._set_note, "outage"))
        if options.rollback:
            self._grace = GRACE / 2  # the rest is the rollback's
        self._rolled_back = False
        self._handler: EntryHandler
        self._observer: Observer

    async def plan(self, *, live: bool = False) -> Plan:
        """What this run would do, instead of doing it. Nothing is changed, nor locked; the service is asked only if `live`.

        Args:
            live: ask the service which agents exist, and what of the entries that are done is still there.

        Raises:
            InvalidFleet: with all that is wrong with the fleet.
            JournalError: the journal cannot be used.
            ZegoError: the service could not be asked.
        """
        return await draw_up(self._entries, self._path, client=self._client if live else None, rules=self._rules())

    async def _prepare(self) -> None:
        options = self._options
        totals = await preflight.check(
            self._calls,
            self._entries,
            self._journal,
            rules=self._rules(),
            pause=self._pause,
            progress=self._set_checked,
        )
        await self._journal.begin(self._target)
        if self._upkeep is not None:
            await self._journal.run_in_transaction(self._apply_news)
        refreshed = await self._refresh() if options.refresh else None
        await self._journal.run_in_transaction(partial(plan.adopt, update=options.update))
        self.report.counts = {action: Counter(pending=count) for action, count in totals.actions.items()}
        self.report.warnings = [*totals.warnings]
        if refreshed is not None:
            self.report.warnings += refreshed.warnings(gone=self._upkeep is None)
        await self._warn_of_others()
        self._handler = handler = self._entry_handler()
        self._workers = pool = WorkerPool(self._client.pool.spawn, [[[action] for action in totals.actions]])
        handler.lanes = Lanes(
            {
                action: Lane(pool, self._feed(partial(plan.take_ready, action=action)), handler.create, actions=[action])
                for action in totals.actions
            },
            known=Lane(pool, self._feed(plan.take_known), handler.report_known),
            unclear=Lane(pool, self._feed(plan.take_unclear), handler.recover),
            expiring=Lane(pool, self._feed(plan.take_expiring), handler.expire),
            changed=Lane(pool, self._feed(plan.take_changed), handler.update),
        )

    def _entry_handler(self) -> EntryHandler:
        calls, journal, options = self._calls, self._journal, self._options
        gate, outages, clock = self._gate, self._outages, self._clock
        executor = Executor(
            calls,
            journal,
            gate=gate,
            outages=outages,
            clock=clock,
            on_quota=options.on_quota,
            if_exists=options.if_exists,
        )
        self._observer = Observer(journal, gate, clock, self._wake_known)
        return EntryHandler(
            journal,
            executor=executor,
            finder=Finder(calls, executor, self._listings, gate, outages, self.stop),
            gate=gate,
            observer=self._observer,
            clock=clock,
            reporting=Reporting(
                self._report, self._apply_backpressure, self.stop, self._not_recorded, partial(self._set_note, "expiry")
            ),
            streams=Streams(calls, self._listings) if options.until == "streaming" else None,
            on_unknown=options.on_unknown,
            lookup_delay=options.lookup_delay,
            brief=self._upkeep is not None,
        )

    def _rules(self) -> preflight.Rules:
        options = self._options
        quota = options.quota or self._client.quota
        limit, window, guard = pace(self._client)
        return preflight.Rules(
            extend=options.extend,
            update=options.update or options.if_exists == "update",
            changed=UPDATABLE if options.update else frozenset(),
            prune=options.prune,
            budget={} if quota is None else {kind: quota.usage(kind).limit for kind in get_args(QuotaKind)},
            seconds_a_call=(window + guard) / limit,
        )

    def _set_checked(self, count: int) -> None:
        self._checked = count

    async def _refresh(self) -> Refreshed:
        """Note what has ended, so that it is made anew."""
        progress = partial(self._set_note, "refresh")
        revive = _always if self._upkeep is None else self._upkeep.revive
        refreshed = await refresh(self._calls, self._journal, self._clock, revive=revive, progress=progress)
        self._set_note("refresh", None)
        self.report.gone = refreshed.gone
        return refreshed

    def _apply_news(self, connection: sqlite3.Connection) -> None:
        """Note what callbacks have said since the last run."""
        assert self._upkeep is not None
        for news in self._upkeep.news:
            observation.apply(connection, news, self._clock.now(), revive=self._upkeep.revive)

    async def _warn_of_others(self) -> None:
        """Say what is not done unasked: ask about what may have ended, and remove what the fleet does not name."""
        options, report = self._options, self.report
        if not options.refresh and self._upkeep is None and await self._journal.run_in_transaction(plan.has_mortal):
            await self._clock.ask(self._client)
            stale = await self._journal.run_in_transaction(partial(plan.stale, now=self._clock.now()))
            report.stale = len(stale)
            if stale:
                report.warnings.append(cautions.may_have_ended(stale))
        if not options.prune and not options.extend:
            left = await self._journal.run_in_transaction(plan.left)
            if left:
                report.warnings.append(cautions.left_over(left))

    async def _work(self) -> None:
        await self._emit(Started({action: counter.total() for action, counter in self.report.counts.items()}))
        for warning in self.report.warnings:
            await self._emit(Warned(warning))
        if self._options.prune:
            await self._prune()
        if await self._journal.run_in_transaction(plan.has_doubts):
            await self._clock.ask(self._client)  # how long ago it was sent is judged by the service's time
        if await self._journal.run_in_transaction(plan.has_work):
            await self._gate.count_known(self._journal, self._clock.now())
            await self._let_window_pass()
        lanes = self._handler.lanes
        await self._workers.run([*lanes.actions.values(), *lanes[1:]], self.report.total)
        await self._journal.flush()  # when it was stopped, some outcomes are still on their way to the disk

    async def _prune(self) -> None:
        """Remove what this journal made and the fleet does not name any more."""
        pool, self._workers = self._workers, removal_pool(self._client)
        self._set_note("prune", "removing what is no longer in the fleet")
        await self._removal(self._workers, self._emit_pruned, self.stop, Which.left()).run()
        if self._workers.stopping:
            pool.stop()
        self._workers = pool
        self._set_note("prune", None)

    async def _emit_pruned(self, outcome: Outcome) -> None:
        if outcome.status == "done":
            self.report.pruned += 1
            self._handler.names_may_be_closing = True
        else:
            self.report.not_pruned += 1
        await self._emit(Pruned(outcome))

    def _removal(
        self, workers: WorkerPool, report: Callable[[Outcome], Awaitable[None]], stop: Callable[[str], object], which: Which
    ) -> Removal:
        return Removal(
            self._calls,
            self._journal,
            workers,
            report,
            stop=stop,
            outages=self._outages,
            listings=self._listings,
            clock=self._clock,
            which=which,
        )

    def _feed(self, take: Callable[..., list[Item]]) -> Callable[[int], Awaitable[list[Item]]]:
        """What fetches a lane's next entries from the plan."""
        return lambda most: self._journal.run_in_transaction(partial(take, most=most))

    def _wake_known(self) -> None:
        """There is more that is only to be reported."""
        self._handler.lanes.known.wake()

    def _report(self, outcome: Outcome) -> None:
        """Report an outcome, and stop if it spoils a run that is to be all or nothing."""
        if self._options.rollback and outcome.status == "failed":
            self.stop(f"{outcome.key} failed, and nothing half done was to be left")
        self._emit_outcome(outcome)
        self._workers.entry_finished()

    def _not_recorded(self, update: JournalUpdate, error: JournalError) -> None:
        """The disk refused an outcome."""
        self._unrecorded.append(update)
        self._workers.fail(error)

    async def observe(self, event: Event) -> None:
        """Take note of a callback: AgentInstanceCreated settles an unknown with its id, what has ended frees its place.

        Register it with a router while the run goes on::

            router.on(AgentInstanceCreated, AgentInstanceDeleted, StreamTaskEvent)(run.observe)
        """
        news = observation.news_of(event)
        if news is not None and not self._over.is_set():
            await self._observer.observe(news)

    # --- the end

    async def _finalize(self) -> None:
        """Take the final counts from the journal, which alone knows what was in flight when the run was stopped."""
        report = self.report
        if self._workers.open:
            for counter in report.counts.values():
                counter.clear()
            for action, status, count in await self._journal.run_in_transaction(plan.tally):
                report.counts[action][_REPORTED_AS.get(status, status)] += count
        if report.exit_status != 0:
            await self._rollback()

    async def _rollback(self) -> None:
        if not self._options.rollback or self._rolled_back or self._error is not None:
            return
        self._rolled_back = True
        self._set_note("rollback", "removing again what this run made")
        self._workers = workers = removal_pool(self._client)
        removal = self._removal(workers, self._emit_left, lambda _: workers.stop(), Which.made_in(self._journal.run))
        await removal.run()
        self.report.rolled_back = removal.removed
        if workers.stopping:
            await self._warn("the rollback was cut off: 'zego-aigc teardown', or teardown(), removes the rest")
        self._set_note("rollback", None)

    async def _emit_left(self, outcome: Outcome) -> None:
        """Warn of what a rollback could not remove."""
        if outcome.status != "done":
            await self._warn(f"{outcome.key} was not removed again: {outcome.error}")

    async def _warn(self, warning: str) -> None:
        self.report.warnings.append(warning)
        await self._emit(Warned(warning))


def _always(row: Row, presence: Presence) -> bool:  # noqa: ARG001 - as a Revive is called
    return True
