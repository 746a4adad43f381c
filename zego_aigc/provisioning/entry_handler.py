"""What a run does with one entry: carry it out, or find out what became of it; record that, and report it.

The workers of each lane call one of the handlers with an entry: :meth:`EntryHandler.create`, :meth:`~EntryHandler.update`,
:meth:`~EntryHandler.report_known`, :meth:`~EntryHandler.recover` or :meth:`~EntryHandler.expire`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import anyio

from zego_aigc.errors import AlreadyExists, ZegoError
from zego_aigc.provisioning import plan
from zego_aigc.provisioning.entry import whereabouts
from zego_aigc.provisioning.errors import JournalError, NotTried, StreamFailed
from zego_aigc.provisioning.events import Outcome, error_facts
from zego_aigc.provisioning.executor import Executor, Made, Unreachable, made_of, not_tried
from zego_aigc.provisioning.finder import Finder, earlier_result, left_unknown, unclear
from zego_aigc.provisioning.journal import Journal
from zego_aigc.provisioning.journal_update import Block, Effects, JournalUpdate, Release
from zego_aigc.provisioning.observation import Observer
from zego_aigc.provisioning.options import OnUnknown
from zego_aigc.provisioning.plan import Delay, Item, State
from zego_aigc.provisioning.quota_gate import QuotaClosed, QuotaGate
from zego_aigc.provisioning.recovery import RecoveryAction, delay, recovery_action
from zego_aigc.provisioning.service_clock import ServiceClock
from zego_aigc.provisioning.streaming import Streams, could_not_ask
from zego_aigc.provisioning.workers import InFlight, Lane
from zego_aigc.schema.actions import Action
from zego_aigc.schema.lifecycle import Lifecycle, Recovery, makers_of, names_in

__all__ = ["EntryHandler", "Lanes", "Reporting"]

CLOSING_PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts to make anew what this journal has made before, while that is still being closed at the service."""


class Lanes(NamedTuple):
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


class Reporting(NamedTuple):
    """How a run takes what becomes of its entries."""

    report: Callable[[Outcome], object]
    """Takes an outcome; returns at once."""
    apply_backpressure: Callable[[], Awaitable[None]]
    """Waits while too many outcomes are unread."""
    stop: Callable[[str], None]
    """Called with why the run makes no sense any more."""
    unrecorded: Callable[[JournalUpdate, JournalError], None]
    """Called with an outcome that could not be written, and why."""
    note: Callable[[str | None], None]
    """Called with what is waited for to end by itself, and with None when nothing is."""


class EntryHandler:
    """Deals with entries, one at a time for each worker.

    Args:
        journal: begun.
        executor: carries entries out.
        finder: looks up what earlier attempts made.
        gate: of the quota.
        observer: knows what callbacks say.
        clock: the service's.
        reporting: the run's.
        streams: given where a stream task counts as done only once it streams.
        on_unknown: what to do about instances that may have been made.
        lookup_delay: seconds that a lost request may take to be carried out.
        brief: the run must not take long: what is to expire is left to a later one.
    """

    lanes: Lanes
    """Set before the first entry comes."""

    def __init__(
        self,
        journal: Journal,
        *,
        executor: Executor,
        finder: Finder,
        gate: QuotaGate,
        observer: Observer,
        clock: ServiceClock,
        reporting: Reporting,
        streams: Streams | None,
        on_unknown: OnUnknown,
        lookup_delay: float,
        brief: bool,
    ) -> None:
        self.names_may_be_closing: bool = False
        """Whether something was removed in this run whose names its entries may have."""
        self._journal = journal
        self._executor = executor
        self._finder = finder
        self._gate = gate
        self._observer = observer
        self._clock = clock
        self._reporting = reporting
        self._streams = streams
        self._on_unknown: OnUnknown = on_unknown
        self._lookup_delay = lookup_delay
        self._brief = brief
        self._expiring: dict[str, float] = {}
        """Until when, in Unix time, entries are waited for to end by themselves; by key."""

    # --- from its execution to its outcome

    async def create(self, item: Item, in_flight: InFlight, *, probing: bool = False, final: bool = False) -> None:
        """Carry out an entry: `probing` when an earlier attempt may have done it, `final` when it may remain unknown."""
        probed = probing or item.probed
        try:
            made = await self._executor.execute(item, in_flight, probing=probing)
            for pause in CLOSING_PAUSES:
                if not (item.attempts or self.names_may_be_closing) or made.error is None or not _is_taken(made):
                    break
                await self._executor.not_done(item, in_flight, made.error)
                await anyio.sleep(pause)
                made = await self._executor.execute(item, in_flight, probing=probing)
        except QuotaClosed as closed:
            await self._close_kind(item, closed)
        except Unreachable as reason:
            self._reporting.stop(str(reason))
            await self._record(item, reason.made)
        else:
            how = self._recovery_action(item, made.action, probed=probed)
            if made.status == "unknown" and not final and how is not RecoveryAction.GIVE_UP:
                await self._put_off(item, made, probed=probed)
            else:
                await self._finish(item, made, in_flight)

    async def update(self, item: Item, in_flight: InFlight) -> None:
        """Make what an entry has made what the fleet says now. Until that is done, the journal keeps what it was."""
        made = await self._executor.update(item, in_flight)
        if made.status == "done":
            await self._journal.run_in_transaction(partial(plan.record_spec, seq=item.seq))
        self._reporting.report(
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
        await self._reporting.apply_backpressure()

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
        if made.status == "unknown" and (made_id := self._observer.take_id(item.key)) is not None:
            made = _by_callback(item, made_id)
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
        await self._reporting.apply_backpressure()

    def _recorded(self, outcome: Outcome, update: JournalUpdate, effects: Effects, error: JournalError | None) -> None:
        """What came of an entry is durable: go on with its dependents, and report it."""
        if error is not None:
            self._reporting.unrecorded(update, error)
            return
        for action in effects.ready:
            self.lanes.actions[action].wake()
        if effects.blocked:
            self.lanes.known.wake()
        self._reporting.report(outcome)

    async def _close_kind(self, item: Item, closed: QuotaClosed) -> None:
        """The account stays full: leave the rest of a kind pending."""
        actions = [action for action, _ in makers_of(closed.kind)]
        block = partial(plan.block_actions, actions=actions, why=str(closed))
        if await self._journal.run_in_transaction(block):
            self.lanes.known.wake()
        self._reporting.report(Outcome(key=item.key, action=item.action, status="pending", error=not_tried(str(closed))))
        await self._reporting.apply_backpressure()

    async def report_known(self, item: Item, _: InFlight) -> None:
        """Report an entry that an earlier run did, or that is blocked."""
        if item.why is not None:
            self._reporting.report(Outcome(key=item.key, action=item.action, status="pending", error=not_tried(item.why)))
            await self._reporting.apply_backpressure()
            return
        self._reporting.report(
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
        await self._reporting.apply_backpressure()

    # --- what may have been done

    def _recovery_action(self, item: Item, sent: Action[Any] | None = None, *, probed: bool) -> RecoveryAction:
        sent_as = item.sent_as if sent is None else type(sent).__name__
        if sent_as != type(item.action).__name__:  # a substitute: there is nothing to look it up by
            return RecoveryAction.GIVE_UP
        return recovery_action(item.action, self._on_unknown, idle=item.idle, probed=probed)

    async def _put_off(self, item: Item, made: Made, *, probed: bool) -> None:
        """Record that an entry is unknown, and recover it later in this run."""
        assert made.error is not None
        now = self._clock.now()
        later = Delay(State.TO_RECOVER, now, probed, item.seq)
        self._journal.record_outcome(JournalUpdate(item.key, "unknown", now, error=error_facts(made.error), then=later))
        await self._journal.flush()
        self.lanes.unclear.wake()

    async def recover(self, item: Item, in_flight: InFlight) -> None:
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
                await self.create(item, in_flight)
            case RecoveryAction.LOOK_UP:
                found = await self._finder.look_up(item)
                if found is None:
                    await self._create_absent(item, in_flight)
                else:
                    await self._finish(item, found, in_flight)
            case RecoveryAction.PROBE:
                await self.create(item, in_flight, probing=True)
            case RecoveryAction.WAIT_FOR_EXPIRY if self._brief and self._delay(item, how) > 0:
                await self._record(item, left_unknown(item))  # a later run makes it anew: this one must not take long
            case RecoveryAction.WAIT_FOR_EXPIRY:  # a lane of its own, so that nothing waits behind it
                when = self._clock.now() + self._delay(item, how)
                delay = Delay(State.AWAITING_EXPIRY, when, item.probed, item.seq)
                await self._journal.run_in_transaction(partial(plan.put_off, delays=[delay]))
                self.lanes.expiring.wake()
            case RecoveryAction.GIVE_UP:
                await self._record(item, left_unknown(item))

    def _delay(self, item: Item, how: RecoveryAction) -> float:
        now = self._clock.now()
        last_sent = now if item.last_sent is None else item.last_sent
        return delay(how, last_sent=last_sent, now=now, lookup_delay=self._lookup_delay, idle=item.idle)

    async def expire(self, item: Item, in_flight: InFlight) -> None:
        """Wait until what an earlier attempt may have made has surely ended, and make it anew."""
        seconds = self._delay(item, RecoveryAction.WAIT_FOR_EXPIRY)
        self._expiring[item.key] = time.time() + seconds
        self._note_expiry()
        try:
            with anyio.move_on_after(seconds):
                await self._observer.wait_for_id(item.key)
        finally:
            del self._expiring[item.key]
            self._note_expiry()
        if (made_id := self._observer.take_id(item.key)) is not None:
            await self._record(item, _by_callback(item, made_id))
            return
        await self.create(item, in_flight, probing=True, final=True)

    def _note_expiry(self) -> None:
        """Say what is waited for, and until when."""
        if not self._expiring:
            self._reporting.note(None)
            return
        until = time.strftime("%H:%M:%S UTC", time.gmtime(min(self._expiring.values())))
        first = min(self._expiring, key=self._expiring.__getitem__)
        others = f" and {len(self._expiring) - 1} more" if len(self._expiring) > 1 else ""
        self._reporting.note(
            f"{first}{others} may live and must end by itself (MaxIdleTime) before it is made anew: waiting until {until}"
        )

    async def _create_absent(self, item: Item, in_flight: InFlight) -> None:
        """Send again what was not there. If it is there now, the earlier attempt was late."""
        try:
            made = await self._executor.execute(item, in_flight)
        except QuotaClosed as closed:
            await self._close_kind(item, closed)
            return
        except Unreachable as reason:
            self._reporting.stop(str(reason))
            made = reason.made
        if made.status == "failed" and isinstance(made.error, AlreadyExists):
            made = await self._finder.look_up(item) or unclear(
                item, "what has its stream is not listed, and may be what an earlier attempt made", made.error
            )
        await self._finish(item, made, in_flight)


def _is_taken(made: Made) -> bool:
    """Whether an entry was refused because one with its names lives, or is still being closed."""
    life = made.action.lifecycle
    taken = made.status == "failed" and isinstance(made.error, AlreadyExists)
    return taken and life is not None and life.recovery is not Recovery.COMPARE


def _by_callback(item: Item, made_id: str) -> Made:
    """What an entry has come to whose id a callback brought."""
    life = item.action.lifecycle
    assert life is not None
    result = None if item.action.result is None else item.action.result(**{life.id_field: made_id})
    return made_of(item.action, result, attempts=item.attempts)


def _where(action: Action[Any]) -> str | None:
    known = names_in(action)
    return whereabouts(known.stream_id, known.room_id)
