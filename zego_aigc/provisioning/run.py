"""Provisioning a fleet: everything once, as fast as the limits allow, safe to kill and start again."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import anyio

from zego_aigc.callbacks.events import Event
from zego_aigc.errors import AlreadyExists, ZegoError
from zego_aigc.limits.quota import Quota
from zego_aigc.provisioning import journal_file, observation, plan, preflight
from zego_aigc.provisioning.entry import whereabouts
from zego_aigc.provisioning.errors import JournalError, NotTried, StreamFailed
from zego_aigc.provisioning.events import Outcome, Pruned, Started, Warned, error_facts
from zego_aigc.provisioning.executor import Executor, IfExists, Made, OnQuota, Unreachable, made_of, not_tried
from zego_aigc.provisioning.finder import Finder, earlier_result, left_unknown, unclear
from zego_aigc.provisioning.journal_file import Row
from zego_aigc.provisioning.journal_update import Block, Effects, JournalUpdate, Release
from zego_aigc.provisioning.listings import Listings
from zego_aigc.provisioning.lock import Lock
from zego_aigc.provisioning.observation import Revive
from zego_aigc.provisioning.operation import GRACE, Operation, pace
from zego_aigc.provisioning.options import OnUnknown, Options, Until
from zego_aigc.provisioning.outage import Outages
from zego_aigc.provisioning.plan import Delay, Item, State
from zego_aigc.provisioning.planning import Plan, draw_up
from zego_aigc.provisioning.preflight import Entries
from zego_aigc.provisioning.presence import Presence
from zego_aigc.provisioning.quota_gate import QuotaClosed, QuotaGate
from zego_aigc.provisioning.recovery import MARGIN, RecoveryAction, delay, left_of, recovery_action
from zego_aigc.provisioning.refresh import Refreshed, refresh
from zego_aigc.provisioning.removal import Removal, Which, removal_pool
from zego_aigc.provisioning.service_clock import ServiceClock
from zego_aigc.provisioning.streaming import Streams, could_not_ask
from zego_aigc.provisioning.workers import InFlight, Lane, WorkerPool
from zego_aigc.schema.actions import Action
from zego_aigc.schema.lifecycle import LIFECYCLES, Lifecycle, QuotaKind, Recovery, makers_of, names_in

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["Provisioning", "Upkeep", "provision"]

CLOSING_PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts to make anew what this journal has made before, while that is still being closed at the service."""

MAX_LISTED = 3
"""Keys that a warning names."""

_MAY_LIVE = "status IN ('done', 'made', 'sent', 'unknown') AND origin IS NOT 'kept' AND origin IS NOT 'updated'"


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


class _Lanes(NamedTuple):
    """The lanes of a run."""

    actions: dict[str, Lane]
    """Entries to carry out, by Action."""
    known: Lane
    """Entries that are only to be reported: done by an earlier run, or blocked."""
    unclear: Lane
    """Entries that an earlier attempt may have done."""
    expiring: Lane
    """Entries to make anew once what an earlier attempt may have made has ended by itself."""
    changed: Lane
    """Entries that are to become what the fleet says now."""


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
        self._listings = Listings(client, self._clock)
        self._gate = QuotaGate(
            client,
            options.quota or client.quota,
            options.quota_wait,
            self._listings,
            partial(self._set_note, "quota"),
            background=options.background,
        )
        self._outages = Outages(client, partial(self._set_note, "outage"))
        self._streams = Streams(client, self._listings) if options.until == "streaming" else None
        if options.rollback:
            self._grace = GRACE / 2  # the rest is the rollback's
        self._rolled_back = False
        self._expiring: dict[str, float] = {}
        """Until when, in Unix time, entries are waited for to end by themselves; by key."""
        self._observed: dict[str, str] = {}
        """Ids that callbacks brought of what was in flight or unknown; by key."""
        self._settled = anyio.Event()
        """Set when a callback has settled an unknown."""
        self._executor: Executor
        self._finder: Finder
        self._lanes: _Lanes

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
            self._client,
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
        self.report.warnings = [*totals.warnings, *(() if refreshed is None else self._refresh_warnings(refreshed))]
        await self._warn_of_others()
        self._executor = Executor(
            self._client,
            self._journal,
            gate=self._gate,
            outages=self._outages,
            clock=self._clock,
            on_quota=options.on_quota,
            if_exists=options.if_exists,
            background=options.background,
        )
        self._finder = Finder(self._client, self._executor, self._listings, self._gate, self._outages, self.stop)
        self._workers = pool = WorkerPool(self._client.pool.spawn, [[[action] for action in totals.actions]])
        self._lanes = _Lanes(
            {
                action: Lane(pool, self._feed(partial(plan.take_ready, action=action)), self._create, actions=[action])
                for action in totals.actions
            },
            known=Lane(pool, self._feed(plan.take_known), self._report_known),
            unclear=Lane(pool, self._feed(plan.take_unclear), self._recover),
            expiring=Lane(pool, self._feed(plan.take_expiring), self._expire),
            changed=Lane(pool, self._feed(plan.take_changed), self._update),
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
        refreshed = await refresh(
            self._client, self._journal, self._clock, revive=revive, progress=progress, background=self._options.background
        )
        self._set_note("refresh", None)
        self.report.gone = refreshed.gone
        return refreshed

    def _refresh_warnings(self, refreshed: Refreshed) -> Iterator[str]:
        if refreshed.gone and self._upkeep is None:
            more = f" and {refreshed.gone - len(refreshed.examples)} more" if refreshed.gone > len(refreshed.examples) else ""
            yield f"gone at the service, and made anew: {', '.join(refreshed.examples)}{more}"
        if refreshed.not_known:
            yield f"{refreshed.not_known} entries could not be asked about, and count as there: {refreshed.trouble}"

    def _apply_news(self, connection: sqlite3.Connection) -> None:
        """Note what callbacks have said since the last run."""
        assert self._upkeep is not None
        for news in self._upkeep.news:
            observation.apply(connection, news, self._clock.now(), revive=self._upkeep.revive)

    async def _warn_of_others(self) -> None:
        """Say what is not done unasked: ask about what may have ended, and remove what the fleet does not name."""
        options, warnings = self._options, self.report.warnings
        if not options.refresh and self._upkeep is None:
            stale = await self._journal.run_in_transaction(partial(plan.stale, now=self._clock.now()))
            self.report.stale = len(stale)
            if stale:
                what = f"{_listed(stale)} {'was' if len(stale) == 1 else 'were'} made longer ago than"
                warnings.append(f"{what} MaxIdleTime, and may have ended by now: --refresh (refresh=True) asks, and makes anew")
        if not options.prune and not options.extend:
            left = await self._journal.run_in_transaction(plan.left)
            if left:
                what = f"{_listed(left)} {'is' if len(left) == 1 else 'are'} in the journal and no longer in the fleet"
                warnings.append(f"{what}: --prune (prune=True) removes what this journal made of them")

    async def _work(self) -> None:
        await self._emit(Started({action: counter.total() for action, counter in self.report.counts.items()}))
        for warning in self.report.warnings:
            await self._emit(Warned(warning))
        if self._options.prune:
            await self._prune()
        if await self._journal.run_in_transaction(plan.has_work):
            await self._count_places()
            await self._let_window_pass()
        lanes = self._lanes
        await self._workers.run([*lanes.actions.values(), *lanes[1:]], self.report.total)
        await self._journal.flush()  # when it was stopped, some outcomes are still on their way to the disk

    async def _count_places(self) -> None:
        """Count against the budget what the journal knows to live, or to live perhaps, before anything is made."""
        if not self._gate.counts:
            return
        for row in await self._journal.run_in_transaction(partial(journal_file.rows, where=_MAY_LIVE)):
            if (life := LIFECYCLES.get(row.action)) is None:
                continue
            if row.made_id is not None:
                self._gate.adopt(life, row.made_id)
            elif row.status != "done":
                length = (row.idle or 0) + MARGIN
                self._gate.adopt_unknown(row.key, life, left_of(length, since=row.last_sent or 0.0, now=self._clock.now()))

    async def _prune(self) -> None:
        """Remove what this journal made and the fleet does not name any more."""
        pool, self._workers = self._workers, removal_pool(self._client)
        self._set_note("prune", "removing what is no longer in the fleet")
        await self._removal(self._workers, self._emit_pruned, Which.left()).run()
        if self._workers.stopping:
            pool.stop()
        self._workers = pool
        self._set_note("prune", None)

    async def _emit_pruned(self, outcome: Outcome) -> None:
        if outcome.status == "done":
            self.report.pruned += 1
        else:
            self.report.not_pruned += 1
        await self._emit(Pruned(outcome))

    def _removal(self, workers: WorkerPool, report: Callable[[Outcome], Awaitable[None]], which: Which) -> Removal:
        return Removal(
            self._client,
            self._journal,
            workers,
            report,
            outages=self._outages,
            listings=self._listings,
            clock=self._clock,
            which=which,
            background=self._options.background,
        )

    def _feed(self, take: Callable[..., list[Item]]) -> Callable[[int], Awaitable[list[Item]]]:
        """What fetches a lane's next entries from the plan."""
        return lambda most: self._journal.run_in_transaction(partial(take, most=most))

    # --- one entry, from its execution to its outcome

    async def _create(self, item: Item, in_flight: InFlight, *, probing: bool = False, final: bool = False) -> None:
        """Carry out an entry: `probing` when an earlier attempt may have done it, `final` when it may remain unknown."""
        probed = probing or item.probed
        try:
            made = await self._executor.execute(item, in_flight, probing=probing)
            for pause in CLOSING_PAUSES:
                if not (item.attempts or self.report.pruned) or made.error is None or not _is_taken(made):
                    break
                await self._executor.not_done(item, in_flight, made.error)
                await anyio.sleep(pause)
                made = await self._executor.execute(item, in_flight, probing=probing)
        except QuotaClosed as closed:
            await self._close_kind(item, closed)
        except Unreachable as reason:
            self.stop(str(reason))
            await self._record(item, reason.made)
        else:
            how = self._recovery_action(item, made.action, probed=probed)
            if made.status == "unknown" and not final and how is not RecoveryAction.GIVE_UP:
                await self._put_off(item, made, probed=probed)
            else:
                await self._finish(item, made, in_flight)

    async def _update(self, item: Item, in_flight: InFlight) -> None:
        """Make what an entry has made what the fleet says now. Until that is done, the journal keeps what it was."""
        made = await self._executor.update(item, in_flight)
        if made.status == "done":
            await self._journal.run_in_transaction(partial(plan.record_spec, seq=item.seq))
        self._report(
            Outcome(
                key=item.key,
                action=item.action,
                status=made.status,
                error=made.error,
                origin=made.origin,
                request_id=made.request_id,
                attempts=made.attempts,
            )
        )
        await self._apply_backpressure()

    async def _finish(self, item: Item, made: Made, in_flight: InFlight) -> None:
        """Record the outcome of an entry, that of a stream task perhaps only once it streams."""
        life = made.action.lifecycle
        starts = life is not None and life.status is not None and life.status.starting
        if made.status == "done" and made.made_id is not None and self._streams is not None and life is not None and starts:
            self._journal.record_outcome(
                JournalUpdate(item.key, "made", self._clock.now(), origin=made.origin, made_id=made.made_id, result=made.wire)
            )
            await self._journal.flush()
            in_flight.answered()
            made = await self._streamed(self._streams, made, life, made.made_id)
        await self._record(item, made)

    async def _streamed(self, streams: Streams, made: Made, life: Lifecycle, task_id: str) -> Made:
        try:
            if await streams.wait(life, task_id):
                return made
            why = f"the task {task_id} was made, but is still on its way up"
        except StreamFailed as error:
            self._gate.ended(life.quota, task_id)
            return made._replace(status="failed", error=error)
        except ZegoError as error:
            why = could_not_ask(task_id, error)
        return made._replace(status="pending", error=NotTried(why))

    async def _record(self, item: Item, made: Made) -> None:
        """Record what came of an entry, release or block its dependents, and report it once that is durable.

        Nothing waits for that: the worker that sends next waits for its attempt to be durable, which is so after this or with
        it. So no more entries are ever in doubt than there are workers.
        """
        if made.status == "unknown" and (made_id := self._observed.pop(item.key, None)) is not None:
            made = self._by_callback(item, made_id)
        then: Release | Block | None = None
        if item.dependents and made.status == "done":
            then = Release(item.seq)
        elif item.dependents:
            why = {"failed": "failed", "unknown": "may or may not have been done"}.get(made.status, "was not tried")
            then = Block(item.seq, f"it waits for {item.key!r}, which {why}")
        outcome = Outcome(
            key=item.key,
            action=item.action,
            status=made.status,
            result=made.result,
            error=made.error,
            origin=made.origin,
            request_id=made.request_id,
            attempts=made.attempts,
            where=_where(item.action) if made.status == "unknown" else None,
        )
        self._journal.record_outcome(
            JournalUpdate(
                item.key,
                "made" if made.status == "pending" and made.made_id is not None else made.status,
                self._clock.now(),
                origin=made.origin,
                made_id=made.made_id,
                result=made.wire,
                error=None if made.error is None else error_facts(made.error),
                then=then,
                done=partial(self._recorded, outcome),
            )
        )
        await self._apply_backpressure()

    def _recorded(self, outcome: Outcome, update: JournalUpdate, effects: Effects, error: JournalError | None) -> None:
        """What came of an entry is durable: go on with its dependents, and report it."""
        if error is not None:
            self._unrecorded.append(update)
            self._workers.fail(error)
            return
        for action in effects.ready:
            self._lanes.actions[action].wake()
        if effects.blocked:
            self._lanes.known.wake()
        self._report(outcome)

    def _report(self, outcome: Outcome) -> None:
        """Report an outcome, and stop if it spoils a run that is to be all or nothing."""
        if self._options.rollback and outcome.status == "failed":
            self.stop(f"{outcome.key} failed, and nothing half done was to be left")
        self._emit_outcome(outcome)
        self._workers.entry_finished()

    async def _close_kind(self, item: Item, closed: QuotaClosed) -> None:
        """The account stays full: leave the rest of a kind pending."""
        actions = [action for action, _ in makers_of(closed.kind)]
        block = partial(plan.block_actions, actions=actions, why=str(closed))
        if await self._journal.run_in_transaction(block):
            self._lanes.known.wake()
        self._report(Outcome(key=item.key, action=item.action, status="pending", error=not_tried(str(closed))))
        await self._apply_backpressure()

    async def _report_known(self, item: Item, _: InFlight) -> None:
        """Report an entry that an earlier run did, or that is blocked."""
        if item.why is not None:
            self._report(Outcome(key=item.key, action=item.action, status="pending", error=not_tried(item.why)))
            await self._apply_backpressure()
            return
        self._report(
            Outcome(
                key=item.key,
                action=item.action,
                status="done",
                result=earlier_result(item),
                origin=item.origin,  # type: ignore[arg-type] # our own words
                earlier=True,
                attempts=item.attempts,
            )
        )
        await self._apply_backpressure()

    # --- what may have been done

    def _recovery_action(self, item: Item, sent: Action[Any] | None = None, *, probed: bool) -> RecoveryAction:
        sent_as = item.sent_as if sent is None else type(sent).__name__
        if sent_as != type(item.action).__name__:  # a substitute: there is nothing to look it up by
            return RecoveryAction.GIVE_UP
        return recovery_action(item.action, self._options.on_unknown, idle=item.idle, probed=probed)

    async def _put_off(self, item: Item, made: Made, *, probed: bool) -> None:
        """Record that an entry is unknown, and recover it later in this run."""
        assert made.error is not None
        now = self._clock.now()
        later = Delay(State.TO_RECOVER, now, probed, item.seq)
        self._journal.record_outcome(JournalUpdate(item.key, "unknown", now, error=error_facts(made.error), then=later))
        await self._journal.flush()
        self._lanes.unclear.wake()

    async def _recover(self, item: Item, in_flight: InFlight) -> None:
        """Find out whether an earlier attempt did an entry, or make it not matter."""
        if item.status == "made":  # it is there; whether it streams was still open
            made = made_of(item.action, earlier_result(item), attempts=item.attempts)
            await self._finish(item, made, in_flight)
            return
        how = self._recovery_action(item, probed=item.probed)
        if how is not RecoveryAction.WAIT_FOR_EXPIRY:
            await anyio.sleep(self._delay(item, how))
        match how:
            case RecoveryAction.REPEAT:
                await self._create(item, in_flight)
            case RecoveryAction.LOOK_UP:
                found = await self._finder.look_up(item)
                if found is None:
                    await self._create_absent(item, in_flight)
                else:
                    await self._finish(item, found, in_flight)
            case RecoveryAction.PROBE:
                await self._create(item, in_flight, probing=True)
            case RecoveryAction.WAIT_FOR_EXPIRY if self._upkeep is not None and self._delay(item, how) > 0:
                await self._record(item, left_unknown(item))  # a later run makes it anew: this one must not take long
            case RecoveryAction.WAIT_FOR_EXPIRY:  # a lane of its own, so that nothing waits behind it
                when = self._clock.now() + self._delay(item, how)
                delay = Delay(State.AWAITING_EXPIRY, when, item.probed, item.seq)
                await self._journal.run_in_transaction(partial(plan.put_off, delays=[delay]))
                self._lanes.expiring.wake()
            case RecoveryAction.GIVE_UP:
                await self._record(item, left_unknown(item))

    def _delay(self, item: Item, how: RecoveryAction) -> float:
        now = self._clock.now()
        last_sent = now if item.last_sent is None else item.last_sent
        return delay(how, last_sent=last_sent, now=now, lookup_delay=self._options.lookup_delay, idle=item.idle)

    async def _expire(self, item: Item, in_flight: InFlight) -> None:
        """Wait until what an earlier attempt may have made has surely ended, and make it anew."""
        seconds = self._delay(item, RecoveryAction.WAIT_FOR_EXPIRY)
        self._expiring[item.key] = time.time() + seconds
        self._note_expiry()
        try:
            with anyio.move_on_after(seconds):
                while item.key not in self._observed:
                    await self._settled.wait()
        finally:
            del self._expiring[item.key]
            self._note_expiry()
        if (made_id := self._observed.pop(item.key, None)) is not None:
            await self._record(item, self._by_callback(item, made_id))
            return
        await self._create(item, in_flight, probing=True, final=True)

    def _note_expiry(self) -> None:
        """Say what is waited for, and until when."""
        if not self._expiring:
            self._set_note("expiry", None)
            return
        until = time.strftime("%H:%M:%S UTC", time.gmtime(min(self._expiring.values())))
        first = min(self._expiring, key=self._expiring.__getitem__)
        others = f" and {len(self._expiring) - 1} more" if len(self._expiring) > 1 else ""
        self._set_note(
            "expiry",
            f"{first}{others} may live and must end by itself (MaxIdleTime) before it is made anew: waiting until {until}",
        )

    async def _create_absent(self, item: Item, in_flight: InFlight) -> None:
        """Send again what was not there. If it is there now, the earlier attempt was late."""
        try:
            made = await self._executor.execute(item, in_flight)
        except QuotaClosed as closed:
            await self._close_kind(item, closed)
            return
        except Unreachable as reason:
            self.stop(str(reason))
            made = reason.made
        if made.status == "failed" and isinstance(made.error, AlreadyExists):
            made = await self._finder.look_up(item) or unclear(
                item, "what has its stream is not listed, and may be what an earlier attempt made", made.error
            )
        await self._finish(item, made, in_flight)

    # --- what callbacks say

    async def observe(self, event: Event) -> None:
        """Take note of a callback: AgentInstanceCreated settles an unknown with its id, what has ended frees its place.

        Register it with a router while the run goes on::

            router.on(AgentInstanceCreated, AgentInstanceDeleted, StreamTaskEvent)(run.observe)
        """
        news = observation.news_of(event)
        if news is None or self._over.is_set():
            return
        row = await self._journal.run_in_transaction(partial(observation.apply, news=news, now=self._clock.now()))
        if row is None:
            return
        life = LIFECYCLES[row.action]
        if not news.lives:
            self._gate.ended(life.quota, news.made_id)
            return
        self._gate.found(row.key, life, news.made_id)
        if not await self._journal.run_in_transaction(partial(plan.settle, key=row.key)):
            self._observed[row.key] = news.made_id  # it is under way: what is done with it looks here
            self._settled.set()
            self._settled = anyio.Event()
        self._lanes.known.wake()

    def _by_callback(self, item: Item, made_id: str) -> Made:
        life = item.action.lifecycle
        assert life is not None
        result = None if item.action.result is None else item.action.result(**{life.id_field: made_id})
        return made_of(item.action, result, attempts=item.attempts)

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
        removal = self._removal(workers, self._emit_left, Which.made_in(self._journal.run))
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


UPDATABLE = frozenset(action for action, life in LIFECYCLES.items() if life.updated_by is not None)
"""The Actions of which what they made can be made something else."""


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - MAX_LISTED} more" if len(keys) > MAX_LISTED else ""
    return ", ".join(keys[:MAX_LISTED]) + more


_REPORTED_AS = {"sent": "unknown", "made": "pending", "removed": "pending"}


def _is_taken(made: Made) -> bool:
    """Whether an entry was refused because one with its names lives, or is still being closed."""
    life = made.action.lifecycle
    taken = made.status == "failed" and isinstance(made.error, AlreadyExists)
    return taken and life is not None and life.recovery is not Recovery.COMPARE


def _where(action: Action[Any]) -> str | None:
    known = names_in(action)
    return whereabouts(known.stream_id, known.room_id)
