"""Carrying out one entry: its place in the quota, the call with its intent noted, and what the answer means."""

# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# (results are of whatever type their Action declares)
from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import anyio
import msgspec

from zego_aigc.errors import (
    AlreadyExists,
    AuthenticationError,
    ConnectFailed,
    OutcomeUnknown,
    QuotaExceeded,
    ZegoError,
)
from zego_aigc.limits.quota import Reservation
from zego_aigc.provisioning.entry import Entry, idle_time, mask
from zego_aigc.provisioning.errors import JournalError, NotTried
from zego_aigc.provisioning.events import Status, error_facts
from zego_aigc.provisioning.journal import Journal
from zego_aigc.provisioning.journal_update import JournalUpdate
from zego_aigc.provisioning.plan import Item
from zego_aigc.provisioning.preflight import updated
from zego_aigc.provisioning.quota_gate import QuotaGate
from zego_aigc.provisioning.recovery import MARGIN
from zego_aigc.provisioning.workers import InFlight
from zego_aigc.schema.actions import Action
from zego_aigc.schema.decoding import enc_hook
from zego_aigc.schema.lifecycle import LIFECYCLES, QuotaKind, names_in

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["Executor", "Made", "OnQuota", "Unreachable"]

OnQuota: TypeAlias = (
    "Literal['wait', 'fail'] | Callable[[Entry, QuotaExceeded], Action[Any] | Awaitable[Action[Any] | None] | None]"
)
IfExists = Literal["fail", "keep", "update"]

OUTAGE = 60.0
"""Seconds for which a run that has worked before waits for a network that is gone."""


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
        gate: hands out places for live instances.
        on_quota: what to do when there is none; see :func:`zego_aigc.provisioning.provision`.
        if_exists: what to do about an agent that is there already.
        note: called with what the run waits for, and with None when it goes on.
    """

    def __init__(
        self,
        client: Client,
        journal: Journal,
        *,
        gate: QuotaGate,
        on_quota: OnQuota,
        if_exists: IfExists,
        note: Callable[[str | None], None],
    ) -> None:
        self._client = client
        self._journal = journal
        self._gate = gate
        self._on_quota = on_quota
        self._if_exists: IfExists = if_exists
        self._note = note
        self._answered = False

    async def execute(self, item: Item, in_flight: InFlight, *, probing: bool = False) -> Made:
        """Carry out an entry that nothing is known to have been done about.

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
        outage: float | None = None
        while True:
            hold = await self._place(item, action)
            if isinstance(hold, Made):
                return hold
            if isinstance(hold, Action):
                action = hold
                continue
            try:
                made = await self._call(item, action, in_flight, hold, probing=probing)
            except QuotaExceeded as error:
                await self._not_done(item, in_flight, error)
                refused = await self._refused(item, action, error)
                if isinstance(refused, Made):
                    return refused
                action = refused
            except ConnectFailed as error:
                outage = outage or time.monotonic()
                if not self._answered or time.monotonic() - outage > OUTAGE:
                    raise Unreachable(Made(action, "failed", error=error, attempts=error.attempts)) from error
                await self._not_done(item, in_flight, error)
                self._note("the network is gone; trying again")
                await anyio.sleep(min(15.0, 1.0 + time.monotonic() - outage))
            else:
                self._answered = True
                if outage is not None:
                    self._note(None)
                return made

    async def _call(
        self, item: Item, action: Action[Any], in_flight: InFlight, hold: Reservation | None, *, probing: bool
    ) -> Made:
        async def before_send(_: int) -> None:
            in_flight.leaves()
            await self._journal.record_attempt(item.key, substitute=_substitute(item, action), now=time.time())

        kind = _quota_kind(action)
        try:
            response = await self._client.call_with_response(action, before_send=before_send, deadline_from="grant")
        except QuotaExceeded:
            if kind is not None:
                self._gate.refused(kind, hold)
            raise
        except OutcomeUnknown as error:
            if hold is not None:
                hold.unknown(expires_in=(idle_time(action) or 0) + MARGIN)
            return Made(action, "unknown", error=error, attempts=error.attempts)
        except BaseException as error:
            if hold is not None:
                hold.release()
            match error:
                case AlreadyExists():
                    return await self._handle_conflict(action, error, probing=probing)
                case AuthenticationError():
                    raise Unreachable(_failed(action, error)) from error
                case ZegoError() if not isinstance(error, ConnectFailed | JournalError):
                    return _failed(action, error)
                case _:
                    raise
        made = made_of(action, response.result, request_id=response.request_id, attempts=response.attempts)
        if action.lifecycle is not None and kind is not None and made.made_id is not None:
            self._gate.made(action.lifecycle, hold, made.made_id, action.lifecycle.longest_life(action))
        return made

    async def _not_done(self, item: Item, in_flight: InFlight, error: ZegoError) -> None:
        """The attempt has provably done nothing, and the entry goes on waiting: the journal does not call it unknown."""
        self._journal.record_outcome(JournalUpdate(item.key, "pending", time.time(), error=error_facts(error)))
        await self._journal.flush()
        in_flight.free()

    async def _delete_leftover(self, item: Item) -> None:
        """End what an earlier attempt made and what was of no use, before it is made anew."""
        assert item.made_id is not None
        ending = LIFECYCLES[item.sent_as].end(item.made_id)
        with suppress(ZegoError):  # if it is still there, the service refuses to make it again, and says so
            await self._client.call(ending, deadline_from="grant")

    # --- agents that are there already

    async def _handle_conflict(self, action: Action[Any], error: AlreadyExists, *, probing: bool) -> Made:
        if action.lifecycle is None or action.lifecycle.updated_by is None:
            if probing:
                lives = OutcomeUnknown(
                    "an earlier attempt may have made it: one with its stream lives, but the service does not tell its id",
                    action=action,
                    attempts=error.attempts,
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
                response = await self._client.call_with_response(update, deadline_from="grant")
            except ZegoError as failure:
                return _failed(action, failure)
            return Made(
                action, "done", origin="updated", made_id=agent_id, request_id=response.request_id, attempts=response.attempts
            )
        return _failed(action, error)

    # --- places

    async def _place(self, item: Item, action: Action[Any]) -> Reservation | Made | Action[Any] | None:
        """A place in the quota for an Action that needs one; or what becomes of the entry without."""
        kind = _quota_kind(action)
        if kind is None or self._gate.unlimited(kind):
            return None
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
        answer = self._on_quota(Entry(item.action, item.key), error)
        substitute = await answer if isinstance(answer, Awaitable) else answer
        return _failed(action, error) if substitute is None else substitute


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
        "idle": idle_time(action),
    }


def not_tried(why: str) -> NotTried:
    """The error of an entry that stays pending."""
    return NotTried(f"not tried: {why}")
