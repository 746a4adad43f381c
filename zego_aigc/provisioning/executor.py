"""Carrying out one entry: its place in the quota, the call with its intent noted, and what the answer means."""

# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# (results are of whatever type their Action declares)
from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import msgspec

from zego_aigc.calls.unknown import unknown_advice
from zego_aigc.errors import (
    AlreadyExists,
    AuthenticationError,
    ConfigurationError,
    ConnectFailed,
    InvalidRequest,
    OutcomeUnknown,
    QuotaExceeded,
    ZegoError,
)
from zego_aigc.limits.quota import Reservation
from zego_aigc.provisioning.entry import Entry, mask, unseen_life
from zego_aigc.provisioning.errors import JournalError, NotTried
from zego_aigc.provisioning.events import Status, error_facts
from zego_aigc.provisioning.journal import Journal
from zego_aigc.provisioning.journal_update import JournalUpdate
from zego_aigc.provisioning.outage import CircuitOpen, Outages, Retries, ServiceGone, may_pass
from zego_aigc.provisioning.plan import Item
from zego_aigc.provisioning.preflight import updated
from zego_aigc.provisioning.quota_gate import QuotaGate
from zego_aigc.provisioning.recovery import MARGIN
from zego_aigc.provisioning.service_clock import ServiceClock
from zego_aigc.provisioning.workers import InFlight
from zego_aigc.schema import validation
from zego_aigc.schema.actions import Action
from zego_aigc.schema.decoding import enc_hook
from zego_aigc.schema.lifecycle import LIFECYCLES, QuotaKind, names_in

if TYPE_CHECKING:
    from zego_aigc.provisioning.run_calls import RunCalls

__all__ = ["Executor", "Made", "OnQuota", "Unreachable"]

OnQuota: TypeAlias = (
    "Literal['wait', 'fail'] | Callable[[Entry, QuotaExceeded], Action[Any] | Awaitable[Action[Any] | None] | None]"
)
IfExists = Literal["fail", "keep", "update"]


class Made(NamedTuple):
    """What came of an entry."""

    action: Action[Any]
    """What was sent: the entry's Action, or its substitute."""
    status: Status
    result: Any = None
    error: ZegoError | None = None
    origin: Literal["made", "kept", "updated"] | None = None
    made_id: str | None = None
    request_id: str | None = None
    attempts: int = 0
    wire: Any = None
    """The result in wire form, secrets masked."""


class Unreachable(Exception):
    """The run makes no sense any more: the service is not there, or does not know the caller."""

    def __init__(self, made: Made) -> None:
        super().__init__(str(made.error))
        self.made = made


class Executor:
    """Carries out entries, one at a time for each worker.

    Args:
        calls: to the service.
        journal: begun.
        gate: hands out places for live instances.
        outages: knows whether the service answers.
        clock: the service's.
        on_quota: what to do when there is no place; see :func:`zego_aigc.provisioning.provision`.
        if_exists: what to do about an agent that is there already.
    """

    def __init__(
        self,
        calls: RunCalls,
        journal: Journal,
        *,
        gate: QuotaGate,
        outages: Outages,
        clock: ServiceClock,
        on_quota: OnQuota,
        if_exists: IfExists,
    ) -> None:
        self._calls = calls
        self._journal = journal
        self._gate = gate
        self._outages = outages
        self._clock = clock
        self._on_quota = on_quota
        self._if_exists: IfExists = if_exists

    async def execute(self, item: Item, in_flight: InFlight, *, probing: bool = False) -> Made:
        """Carry out an entry that nothing is known to have been done about, however long the service says "later".

        Args:
            item: the entry.
            in_flight: tracks the worker's request.
            probing: an earlier attempt may have done it, and then the service refuses this one.

        Raises:
            QuotaClosed: the entry was not carried out, nor will others of its kind be.
            Unreachable: the run should stop.
        """
        if item.made_id is not None:
            await self._delete_leftover(item)
        action = item.action
        retries = Retries(self._outages, type(action).__name__)
        while True:
            place = await self._place(item, action)
            if isinstance(place, Made):
                return place
            if isinstance(place, Action):
                action, retries = place, Retries(self._outages, type(place).__name__)
                continue
            try:
                return await self._call(item, action, in_flight, place, probing=probing)
            except CircuitOpen:
                in_flight.free()
                await self._wait_out(action)
            except QuotaExceeded as error:
                await self.not_done(item, in_flight, error)
                refused = await self._refused(item, action, error)
                if isinstance(refused, Made):
                    return refused
                action, retries = refused, Retries(self._outages, type(refused).__name__)
            except JournalError:
                raise
            except ZegoError as error:
                if isinstance(error, ConnectFailed) and not self._outages.has_answered(type(action).__name__):
                    raise Unreachable(_failed(action, error)) from error
                await self.not_done(item, in_flight, error)
                try:
                    await retries.wait(error, counted=True)
                except ServiceGone as gone:
                    raise _given_up(action, gone) from error

    async def _wait_out(self, action: Action[Any]) -> None:
        try:
            await self._outages.wait_out(type(action).__name__)
        except ServiceGone as gone:
            raise _given_up(action, gone) from gone

    async def _call(
        self, item: Item, action: Action[Any], in_flight: InFlight, hold: Reservation | None, *, probing: bool
    ) -> Made:
        """Send a request.

        Raises:
            CircuitOpen: it was not sent.
            ZegoError: nothing was done, and it may be sent later.
            Unreachable: the run should stop.
        """
        name = type(action).__name__
        left = False

        async def before_send(attempt: int) -> None:
            nonlocal left
            if attempt == 1:
                self._outages.leaves(name)
                left = True
            await in_flight.leave()
            await self._journal.record_attempt(item.key, substitute=_substitute(item, action), now=self._clock.now())

        try:
            response = await self._calls.call_with_response(action, before_send=before_send)
        except BaseException as error:  # noqa: BLE001 - it is raised again, or the entry's
            if left:
                self._outages.count(name, error)
            return await self._failed(item, action, hold, error, probing=probing)
        self._outages.answered(name)
        if behind := self._clock.observe(response.headers.get("Date")):
            self._journal.correct_times(behind)
        made = made_of(action, response.result, request_id=response.request_id, attempts=response.attempts)
        life = action.lifecycle
        if life is not None and life.quota is not None and made.made_id is not None:
            self._gate.made(action, hold, made.made_id)
        return made

    async def _failed(
        self, item: Item, action: Action[Any], hold: Reservation | None, error: BaseException, *, probing: bool
    ) -> Made:
        """What a request that has failed comes to.

        Raises:
            BaseException: `error`, if the entry is not done with.
            Unreachable: the run should stop.
        """
        kind = _quota_kind(action)
        if isinstance(error, QuotaExceeded) and kind is not None:
            self._gate.refused(kind, hold)
            raise error
        if isinstance(error, OutcomeUnknown):
            if hold is not None:
                self._gate.unknown(item.key, hold, expires_in=(unseen_life(action) or 0) + MARGIN)
            return Made(action, "unknown", error=error, attempts=error.attempts)
        if hold is not None:
            hold.release()
        match error:
            case AlreadyExists():
                return await self._handle_conflict(action, error, probing=probing)
            case AuthenticationError():
                raise Unreachable(_failed(action, error)) from error
            case ZegoError() if not isinstance(error, JournalError) and not may_pass(error):
                return _failed(action, error)
            case _:
                raise error

    async def not_done(self, item: Item, in_flight: InFlight, error: ZegoError) -> None:
        """The attempt has provably done nothing, and the entry goes on waiting: the journal does not call it unknown."""
        self._journal.record_outcome(JournalUpdate(item.key, "pending", self._clock.now(), error=error_facts(error)))
        await self._journal.flush()
        in_flight.free()

    async def _delete_leftover(self, item: Item) -> None:
        """End what an earlier attempt made and what was of no use, before it is made anew."""
        assert item.made_id is not None
        ending = LIFECYCLES[item.sent_as].end(item.made_id)
        with suppress(ZegoError):  # if it is still there, the service refuses to make it again, and says so
            await self._calls.call(ending)

    # --- agents that are there already

    async def _handle_conflict(self, action: Action[Any], error: AlreadyExists, *, probing: bool) -> Made:
        if action.lifecycle is None or action.lifecycle.updated_by is None:
            if probing:
                lives = OutcomeUnknown(
                    "an earlier attempt may have made it: one with its stream lives, but the service does not say its id",
                    action=action,
                    attempts=error.attempts,
                    advice=unknown_advice(action),
                )
                lives.__cause__ = error
                return Made(action, "unknown", error=lives, attempts=error.attempts)
            return _failed(action, error)
        return await self.registered_agent(action, error)

    async def registered_agent(self, action: Action[Any], error: AlreadyExists) -> Made:
        """What becomes of an agent whose id is taken, as `if_exists` says."""
        assert action.lifecycle is not None
        agent_id = action.lifecycle.id_of(action, None)
        if self._if_exists == "keep":
            return Made(action, "done", origin="kept", made_id=agent_id, request_id=error.request_id, attempts=error.attempts)
        if self._if_exists == "update":
            try:
                update = updated(action)
                assert update is not None
                response = await self._calls.call_with_response(update)
            except ZegoError as failure:
                return _failed(action, failure)
            return Made(
                action, "done", origin="updated", made_id=agent_id, request_id=response.request_id, attempts=response.attempts
            )
        return _failed(action, error)

    async def update(self, item: Item, in_flight: InFlight) -> Made:
        """Make what an entry has made what the fleet says now. A repeat does no harm, so no attempt is noted."""

        async def before_send(_: int) -> None:
            await in_flight.leave()

        update = updated(item.action)
        assert update is not None
        try:
            response = await self._calls.call_with_response(update, before_send=before_send)
        except ZegoError as failure:
            return _failed(item.action, failure)
        return Made(
            item.action,
            "done",
            origin="updated",
            made_id=item.made_id,
            request_id=response.request_id,
            attempts=response.attempts,
        )

    # --- places

    async def _place(self, item: Item, action: Action[Any]) -> Reservation | Made | Action[Any] | None:
        """A place in the quota for an Action that needs one; or what becomes of the entry without."""
        kind = _quota_kind(action)
        if kind is None or self._gate.unlimited(kind):
            return None
        self._gate.forget_unknown(item.key)
        if self._on_quota == "wait":
            return await self._gate.acquire(kind)
        try:
            return await self._gate.acquire_nowait(kind)
        except QuotaExceeded as error:
            return await self._refused(item, action, error)

    async def _refused(self, item: Item, action: Action[Any], error: QuotaExceeded) -> Made | Action[Any]:
        """The account is full: the Action to try next, or what the entry has come to."""
        if self._on_quota == "wait":
            kind = _quota_kind(action)
            assert kind is not None
            self._gate.waits_for(kind)
            return action
        if isinstance(self._on_quota, str) or action is not item.action:
            return _failed(action, error)
        try:
            answer = self._on_quota(Entry(item.action, item.key), error)
            substitute = await answer if isinstance(answer, Awaitable) else answer
        except Exception as failure:  # noqa: BLE001 - the caller's, and this entry's alone
            return _failed(action, _wrong_substitute(f"raised {type(failure).__name__}: {failure}", failure))
        if substitute is None:
            return _failed(action, error)
        if (wrong := _wrong(substitute, action)) is not None:
            return _failed(action, _wrong_substitute(wrong, error))
        return substitute


def _wrong(substitute: object, action: Action[Any]) -> str | None:
    """What is wrong with what ``on_quota`` returned, if anything is."""
    if not isinstance(substitute, Action):
        return f"returned a {type(substitute).__name__}"
    kind = _quota_kind(substitute)
    if kind is not None and kind == _quota_kind(action):
        return f"returned a {type(substitute).__name__}, for which there is no place either"
    try:
        validation.encode(substitute)
    except InvalidRequest as problem:
        return f"returned a {type(substitute).__name__} that breaks rules: {problem}"
    return None


def _wrong_substitute(what: str, cause: Exception) -> ConfigurationError:
    error = ConfigurationError(f"on_quota {what}: it must return an Action of another kind, or None to fail the entry")
    error.__cause__ = cause
    return error


def _given_up(action: Action[Any], gone: ServiceGone) -> Unreachable:
    return Unreachable(Made(action, "pending", error=not_tried(str(gone))))


def made_of(action: Action[Any], result: Any, *, request_id: str | None = None, attempts: int = 0) -> Made:
    """What a successful answer, or a look-up, says was made."""
    wire: Any = None
    if result is not None:
        wire = msgspec.to_builtins(result, enc_hook=enc_hook)
        mask(type(result), wire)
    made_id = None if action.lifecycle is None else action.lifecycle.id_of(action, result)
    return Made(
        action,
        "done",
        result=result,
        origin="made" if made_id else None,
        made_id=made_id,
        request_id=request_id,
        attempts=attempts,
        wire=wire,
    )


def _quota_kind(action: Action[Any]) -> QuotaKind | None:
    return None if action.lifecycle is None else action.lifecycle.quota


def _failed(action: Action[Any], error: ZegoError) -> Made:
    return Made(
        action, "failed", error=error, request_id=getattr(error, "request_id", None), attempts=getattr(error, "attempts", 0)
    )


def _substitute(item: Item, action: Action[Any]) -> dict[str, Any] | None:
    """The journal's columns that differ when another Action is sent in the entry's place, or its own after all."""
    name = type(action).__name__
    if action is item.action and item.sent_as == name:
        return None
    known = names_in(action)
    return {
        "action": name,
        "agent_id": known.agent_id,
        "stream_id": known.stream_id,
        "agent_user_id": known.agent_user_id,
        "room_id": known.room_id,
        "idle": unseen_life(action),
    }


def not_tried(why: str) -> NotTried:
    """The error of an entry that stays pending."""
    return NotTried(f"not tried: {why}")
