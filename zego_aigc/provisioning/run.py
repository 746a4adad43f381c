"""Provisioning a fleet: everything once, as fast as the limits allow, safe to kill and start again."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import anyio
import msgspec

from zego_aigc.errors import AlreadyExists, ApiError, ConfigurationError, OutcomeUnknown, TransportError, ZegoError
from zego_aigc.limits.quota import Quota
from zego_aigc.provisioning import plan, preflight
from zego_aigc.provisioning.entry import whereabouts
from zego_aigc.provisioning.errors import NotTried, StreamFailed
from zego_aigc.provisioning.events import Outcome, Started, Warned, error_facts, error_from_facts
from zego_aigc.provisioning.executor import IfExists, Made, Maker, OnQuota, Unreachable, made_of, not_tried
from zego_aigc.provisioning.journal import Follow
from zego_aigc.provisioning.operation import Operation
from zego_aigc.provisioning.plan import Delay, Item, State
from zego_aigc.provisioning.preflight import Entries
from zego_aigc.provisioning.quota_gate import Placing, QuotaClosed
from zego_aigc.provisioning.recovery import Remedy, due, remedy
from zego_aigc.provisioning.removal import Removal
from zego_aigc.provisioning.streaming import Streams, could_not_ask
from zego_aigc.provisioning.workers import Crew, Lane, Sending
from zego_aigc.schema.actions import ACTIONS, Action
from zego_aigc.schema.decoding import dec_hook
from zego_aigc.schema.lifecycle import LIFECYCLES, Lifecycle, Recovery, makers_of, names_in

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["Options", "Provisioning", "provision"]

OnUnknown = Literal["report", "wait"]
Until = Literal["created", "streaming"]

LOOK_UPS = 4
"""How often a look-up is tried before its entry is left unknown."""


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
    settle: float = 3.0,
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
        settle: seconds that a request whose answer was lost is given to be carried out late, before it is sent again.
    """
    options = Options(
        quota=quota, on_quota=on_quota, on_unknown=on_unknown, if_exists=if_exists, rollback=rollback, extend=extend,
        until=until, quota_wait=quota_wait, settle=settle,
    )  # fmt: skip
    return Provisioning(client, entries, journal, options)


class Options(NamedTuple):
    """How a fleet is provisioned; :func:`provision` says what each option means."""

    quota: Quota | None = None
    on_quota: OnQuota = "wait"
    on_unknown: OnUnknown = "report"
    if_exists: IfExists = "fail"
    rollback: bool = False
    extend: bool = False
    until: Until = "created"
    quota_wait: float = 600.0
    settle: float = 3.0

    def check(self) -> None:
        """See that each option is one of those that there are.

        Raises:
            ConfigurationError: it is not.
        """
        _one_of("on_unknown", self.on_unknown, ("report", "wait"))
        _one_of("if_exists", self.if_exists, ("fail", "keep", "update"))
        _one_of("until", self.until, ("created", "streaming"))
        if not callable(self.on_quota):
            _one_of("on_quota", self.on_quota, ("wait", "fail"))
        for name, seconds in (("quota_wait", self.quota_wait), ("settle", self.settle)):
            if not seconds >= 0:
                raise ConfigurationError(f"{name} must be a number of seconds, 0 or more, not {seconds!r}")


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
    ) -> None:
        options.check()
        super().__init__(client, journal, must_exist=False, sandbox=sandbox)
        self._entries = entries
        self._options = options
        self._placing = Placing(client, options.quota or client.quota, options.quota_wait, self._take_note)
        self._streams = Streams(client) if options.until == "streaming" else None
        self._undone = False
        self._maker: Maker

    async def _prepare(self) -> None:
        options = self._options
        totals = await preflight.check(
            self._client,
            self._entries,
            self._journal,
            extend=options.extend,
            update=options.if_exists == "update",
            pause=self._pause,
        )
        await self._journal.begin(self._target)
        await self._journal.ask(plan.adopt)
        self.report.counts = {action: Counter(pending=count) for action, count in totals.actions.items()}
        self.report.warnings = list(totals.warnings)
        self._maker = Maker(
            self._client, self._journal, placing=self._placing, on_quota=options.on_quota, if_exists=options.if_exists,
            note=self._take_note,
        )  # fmt: skip
        self._crew = Crew(self.report.total)

    # --- the run

    async def _work(self) -> None:
        await self._tell(Started({action: counter.total() for action, counter in self.report.counts.items()}))
        for warning in self.report.warnings:
            await self._tell(Warned(warning))
        if await self._journal.ask(plan.has_work):
            await self._let_window_pass()
        crew = self._crew
        for action in self.report.counts:
            fetch = partial(self._fetch, partial(plan.take_ready, action=action))
            crew.lanes[action] = Lane(crew, action, fetch, self._make)
        crew.lanes["settled"] = Lane(crew, "settled", partial(self._fetch, plan.take_settled), self._tell_settled)
        crew.lanes["lost"] = Lane(crew, "lost", partial(self._fetch, plan.take_due), self._reconcile)
        crew.lanes["idle"] = Lane(crew, "idle", partial(self._fetch, plan.take_idle), self._outwait)
        await crew.run()
        await self._journal.flush()  # when it was stopped, some outcomes are still on their way to the disk

    async def _fetch(self, take: Callable[..., list[Item]], most: int) -> list[Item]:
        return await self._journal.ask(partial(take, most=most))

    async def _make(self, item: Item, sending: Sending, *, probing: bool = False, final: bool = False) -> None:
        """Carry out an entry: `probing` when an earlier attempt may have done it, `final` when it may remain unknown."""
        probed = probing or item.probed
        try:
            made = await self._maker.carry_out(item, sending, probing=probing)
        except QuotaClosed as closed:
            await self._close_kind(item, closed)
        except Unreachable as reason:
            self.stop(str(reason))
            await self._settle_item(item, reason.made)
        else:
            if made.status == "unknown" and not final and self._remedy(item, made.action, probed=probed) is not Remedy.LEAVE:
                await self._put_off(item, made, probed=probed)
            else:
                await self._conclude_item(item, made, sending)

    async def _conclude_item(self, item: Item, made: Made, sending: Sending) -> None:
        """Settle an entry, a stream task perhaps only once it streams."""
        life = made.action.lifecycle
        starts = life is not None and life.status is not None and life.status.starting
        if made.status == "done" and made.made_id is not None and self._streams is not None and life is not None and starts:
            self._journal.settle(item.key, "made", origin=made.origin, made_id=made.made_id, result=made.wire, now=time.time())
            await self._journal.flush()
            sending.settled()
            made = await self._streamed(self._streams, made, life, made.made_id)
        await self._settle_item(item, made)

    async def _streamed(self, streams: Streams, made: Made, life: Lifecycle, task_id: str) -> Made:
        try:
            if await streams.wait(life, task_id):
                return made
            why = f"the task {task_id} was made, but is still on its way up"
        except StreamFailed as error:
            self._placing.ended(life.quota, task_id)
            return made._replace(status="failed", error=error)
        except ZegoError as error:
            why = could_not_ask(task_id, error)
        return made._replace(status="pending", error=NotTried(why))

    async def _settle_item(self, item: Item, made: Made) -> None:
        """Note what came of an entry, let go or block what waits for it, and tell once it is durable.

        Nobody waits for that: whoever sends next waits for its intent, which becomes durable after this or with it. So no more
        entries are ever in doubt than there are workers.
        """
        follow: Follow[Any, set[str] | int] | None = None
        if item.heirs and made.status == "done":
            follow = Follow(plan.release_heirs, item.seq)
        elif item.heirs:
            why = {"failed": "failed", "unknown": "may or may not have been done"}.get(made.status, "was not tried")
            follow = Follow(plan.block_heirs, (item.seq, f"it waits for {item.key!r}, which {why}"))
        status = "made" if made.status == "pending" and made.made_id is not None else made.status
        outcome = Outcome(
            key=item.key, action=item.action, status=made.status, result=made.result, error=made.error,
            origin=made.origin, request_id=made.request_id, attempts=made.attempts,
            where=_where(item.action) if made.status == "unknown" else None,
        )  # fmt: skip
        self._journal.settle(
            item.key, status, origin=made.origin, made_id=made.made_id, result=made.wire,
            error=None if made.error is None else error_facts(made.error), now=time.time(),
            follow=follow, then=partial(self._settled, outcome),
        )  # fmt: skip
        await self._heard()

    def _settled(self, outcome: Outcome, woken: set[str] | int | None, error: Exception | None) -> None:
        """What came of an entry is durable: let go what waited for it, and tell."""
        if error is not None:
            self._crew.fail(error)
            return
        if isinstance(woken, set):
            for action in woken:
                self._crew.lanes[action].wake()
        elif woken:
            self._crew.lanes["settled"].wake()
        self._outcome(outcome)

    def _outcome(self, outcome: Outcome) -> None:
        if self._options.rollback and outcome.status == "failed":
            self.stop(f"{outcome.key} failed, and nothing half done was to be left")
        super()._outcome(outcome)

    async def _close_kind(self, item: Item, closed: QuotaClosed) -> None:
        """The account stays full: leave the rest of a kind pending."""
        actions = [action for action, _ in makers_of(closed.kind)]
        if await self._journal.ask(partial(plan.block_actions, actions=actions, why=str(closed))):
            self._crew.lanes["settled"].wake()
        self._outcome(Outcome(key=item.key, action=item.action, status="pending", error=not_tried(str(closed))))
        await self._heard()

    async def _tell_settled(self, item: Item, _: Sending) -> None:
        """Tell an entry that an earlier run did, or that is blocked."""
        if item.why is not None:
            self._outcome(Outcome(key=item.key, action=item.action, status="pending", error=not_tried(item.why)))
            await self._heard()
            return
        if item.made_id is not None and (life := LIFECYCLES.get(item.sent_as)) is not None:
            self._placing.adopt(life, item.made_id)
        self._outcome(
            Outcome(
                key=item.key, action=item.action, status="done", result=_result(item),
                origin=item.origin, earlier=True, attempts=item.attempts,  # type: ignore[arg-type] # our own words
            )
        )  # fmt: skip
        await self._heard()

    # --- what may have been done

    def _remedy(self, item: Item, sent: Action[Any] | None = None, *, probed: bool) -> Remedy:
        sent_as = item.sent_as if sent is None else type(sent).__name__
        if sent_as != type(item.action).__name__:  # a substitute: there is nothing to look it up by
            return Remedy.LEAVE
        return remedy(item.action, self._options.on_unknown, idle=item.idle, probed=probed)

    async def _put_off(self, item: Item, made: Made, *, probed: bool) -> None:
        """Note that an entry is unknown, and look into it later in this run."""
        assert made.error is not None
        later = Follow(plan.put_off, Delay(State.TO_RECONCILE, time.time(), probed, item.seq))
        self._journal.settle(item.key, "unknown", error=error_facts(made.error), now=time.time(), follow=later)
        await self._journal.flush()
        self._crew.lanes["lost"].wake()

    async def _reconcile(self, item: Item, sending: Sending) -> None:
        if item.status == "made":  # it is there; whether it streams was still open
            made = made_of(item.action, _result(item), attempts=item.attempts)
            await self._conclude_item(item, made, sending)
            return
        how = self._remedy(item, probed=item.probed)
        when = due(how, last_sent=item.last_sent or time.time(), settle=self._options.settle, idle=item.idle)
        if how is not Remedy.OUTWAIT:
            await _sleep_until(when)
        match how:
            case Remedy.AGAIN:
                await self._make(item, sending)
            case Remedy.LOOK_UP:
                found = await self._look_up(item)
                if found is None:
                    await self._make_absent(item, sending)
                else:
                    await self._conclude_item(item, found, sending)
            case Remedy.PROBE:
                await self._make(item, sending, probing=True)
            case Remedy.OUTWAIT:  # a lane of its own, so that nothing waits behind it
                delay = Delay(State.TO_OUTWAIT, when, item.probed, item.seq)
                await self._journal.ask(partial(plan.put_off, delays=[delay]))
                self._crew.lanes["idle"].wake()
            case Remedy.LEAVE:
                await self._settle_item(item, self._left_unknown(item))

    async def _outwait(self, item: Item, sending: Sending) -> None:
        """Wait until what an earlier attempt may have made has surely ended, and make it afresh."""
        when = due(Remedy.OUTWAIT, last_sent=item.last_sent or time.time(), settle=self._options.settle, idle=item.idle)
        await _sleep_until(when)
        await self._make(item, sending, probing=True, final=True)

    def _left_unknown(self, item: Item) -> Made:
        if item.error is not None:
            error = error_from_facts(msgspec.json.decode(item.error), item.action)
        else:
            error = OutcomeUnknown("an earlier run was ended while the request was under way", action=item.action)
        return Made(item.action, "unknown", error=error, attempts=item.attempts)

    async def _look_up(self, item: Item) -> Made | None:
        """What an earlier attempt made; None if it made nothing."""
        for attempt in range(1, LOOK_UPS + 1):
            try:
                return await self._looked_up(item)
            except (TransportError, ApiError) as error:
                if attempt == LOOK_UPS:
                    unknown = OutcomeUnknown(f"it could not be looked up: {error}", action=item.action, attempts=item.attempts)
                    unknown.__cause__ = error
                    return Made(item.action, "unknown", error=unknown, attempts=item.attempts)
                await anyio.sleep(2.0 ** (attempt - 1))
        raise AssertionError

    async def _looked_up(self, item: Item) -> Made | None:
        life = item.action.lifecycle
        if life is not None and life.recovery is Recovery.COMPARE:
            ours = await self._client.is_registered(item.action)
            if ours is None:
                return None
            if ours:
                return made_of(item.action, None, attempts=item.attempts)
            return await self._maker.taken_agent(item.action, _another(item))
        found = await self._client.look_up(item.action, not_before=item.first_sent)
        return None if found is None else made_of(item.action, found, attempts=item.attempts)

    async def _make_absent(self, item: Item, sending: Sending) -> None:
        """Send again what was not there. If it is there now, the earlier attempt was late."""
        try:
            made = await self._maker.carry_out(item, sending)
        except QuotaClosed as closed:
            await self._close_kind(item, closed)
            return
        except Unreachable as reason:
            self.stop(str(reason))
            made = reason.made
        if made.status == "failed" and isinstance(made.error, AlreadyExists):
            found = await self._look_up(item)
            made = made if found is None else found
        await self._conclude_item(item, made, sending)

    # --- the end

    async def _conclude(self) -> None:
        """Take the final counts from the journal, which alone knows what was in flight when the run was stopped."""
        report = self.report
        if self._crew.open:
            for counter in report.counts.values():
                counter.clear()
            for action, status, count in await self._journal.ask(plan.tally):
                report.counts[action][_AS_TOLD.get(status, status)] += count
        if report.exit_status != 0:
            await self._undo()

    async def _undo(self) -> None:
        if not self._options.rollback or self._undone or self._crew.error is not None:
            return
        self._undone = True
        self._take_note("removing again what this run made")
        removal = Removal(self._client, self._journal, made_in=self._journal.run)
        await removal.run(self._tell_left)
        self.report.rolled_back = removal.removed
        self._take_note(None)

    async def _tell_left(self, outcome: Outcome) -> None:
        """Tell what a rollback could not remove."""
        if outcome.status != "done":
            warning = f"{outcome.key} was not removed again: {outcome.error}"
            self.report.warnings.append(warning)
            await self._tell(Warned(warning))


_AS_TOLD = {"sent": "unknown", "made": "pending", "removed": "pending"}


def _where(action: Action[Any]) -> str | None:
    known = names_in(action)
    return whereabouts(known.stream_id, known.room_id)


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigurationError(f"{name} must be {' or '.join(map(repr, known))}, not {value!r}")


def _result(item: Item) -> Any:
    """The result that an earlier run noted."""
    kind = ACTIONS[item.sent_as].result
    if item.result is None or kind is None:
        return None
    return msgspec.json.decode(item.result, type=kind, dec_hook=dec_hook)


def _another(item: Item) -> AlreadyExists:
    return AlreadyExists(
        code=0, name="AlreadyExists", action=type(item.action).__name__, attempts=item.attempts,
        advice="What stands under the id is not what was asked for: choose another id, or say if_exists='keep' or 'update'.",
    )  # fmt: skip


async def _sleep_until(when: float) -> None:
    if (left := when - time.time()) > 0:
        await anyio.sleep(left)
