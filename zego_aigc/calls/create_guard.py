"""Creates that are cancelled: what they make must not be forgotten, since it bills."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from zego_aigc.calls.orphans import Orphan
from zego_aigc.errors import OutcomeUnknown
from zego_aigc.transport.shielding import wait_done, wait_shielded

if TYPE_CHECKING:
    from zego_aigc.calls.route import Route
    from zego_aigc.errors import ConfigurationError
    from zego_aigc.limits.limiter import FullPermit
    from zego_aigc.transport.deadlines import DrainedDeadline

__all__ = ["CreateGuard", "Creates", "Creation", "GuardedCall"]

T = TypeVar("T")

CANCELLING = 1.0
"""Seconds that a task gets to end after it was cancelled."""


class Creation(Protocol):
    """Learns what becomes of one create. All methods return at once."""

    def made(self, result: Any) -> None:
        """It was carried out, and that was its result."""
        ...

    def not_made(self) -> None:
        """It was not carried out."""
        ...

    def unknown(self) -> None:
        """It may or may not have been carried out."""
        ...

    def orphaned(self, orphan: Orphan) -> None:
        """Its caller was cancelled, and will not hear what it made or may have made."""
        ...


class Creates(Protocol):
    """Takes care of creates."""

    def begin(self, action: Any) -> Creation:
        """One is about to be sent: nothing of it has left."""
        ...


class GuardedCall(Protocol):
    """What the guard needs of a :class:`~zego_aigc.calls.call.Call`."""

    @property
    def action(self) -> Any:
        """The Action."""
        ...

    @property
    def result(self) -> Any:
        """What it returned, once the call is over."""
        ...

    @property
    def may_have_been_processed(self) -> bool:
        """Whether the work may have been done, as things stand at this moment."""
        ...

    async def attempt(self, permit: FullPermit, guard: CreateGuard | None = None) -> bool:
        """Make an attempt; whether the call is over."""
        ...

    async def run(self, *, detached: bool = False) -> Any:
        """Carry the call on from where it stands, until it is over; `detached` if another task is to report its end."""
        ...

    def suppress_send(self) -> None:
        """Let the attempt under way not leave any more, unless it has."""
        ...

    def closed_error(self) -> ConfigurationError:
        """What the call ends in when the client is closed."""
        ...

    def final(self, error: BaseException) -> BaseException:
        """What the call ends in if `error` ends it."""
        ...


class CreateGuard:
    """Sees to it that what a create makes is known although its caller is cancelled meanwhile.

    The first attempt is nearly always the only one, and it is rarely cancelled. So it is made in its caller's task. If that is
    cancelled with the request in flight, only the wait for the answer goes on in a task of its own (:meth:`finish_read`), for
    ``RetryPolicy.cancel_grace`` at most; the attempt then ends in its caller's task. What follows the first attempt runs in a
    task of its own from the beginning, and so does all of it where requests go through aiohttp's session.

    Args:
        route: of the call. Tasks run in the scope of its pool.
        creation: learns what becomes of the create.
    """

    __slots__ = ("_creation", "_held_until", "_reported", "_route", "cancelled_by")

    def __init__(self, route: Route, creation: Creation) -> None:
        self._route = route
        self._creation = creation
        self._reported = False
        self._held_until = 0.0  # how long a cancelled caller waits at most, by the monotonic clock
        self.cancelled_by: asyncio.CancelledError | None = None
        """The cancellation that came during the first attempt. It is raised when that is over."""

    async def run(self, call: GuardedCall, permit: FullPermit) -> None:
        """Carry out all that follows the first permit.

        Raises:
            CancelledError: the caller was cancelled.
            ZegoError: what the call ended in.
        """
        try:
            if not self._route.pool.past_session:
                await self._run_detached(call, permit)  # no wait in there can be taken over
            elif not await self._first_attempt(call, permit):
                await self._run_detached(call)
        except asyncio.CancelledError:
            if not self._reported:
                self._creation.not_made()
            raise
        except BaseException as error:
            if self._is_unknown(call, error):
                self._creation.unknown()
            else:
                self._creation.not_made()
            raise
        self._creation.made(call.result)

    async def _first_attempt(self, call: GuardedCall, permit: FullPermit) -> bool:
        """Make the first attempt; whether the call is over. If its caller is cancelled, what it may have made is reported.

        Raises:
            CancelledError: the caller was cancelled.
            ZegoError: what the call ended in.
        """
        try:
            over = await call.attempt(permit, self)
        except BaseException as error:
            cancelled = self.cancelled_by is not None or isinstance(error, asyncio.CancelledError)
            if cancelled and self._may_be_lost(call, error):
                self._report_orphan(call, certain=False)
            if self.cancelled_by is not None:
                raise self.cancelled_by from None
            raise
        if self.cancelled_by is not None:
            if over:
                self._report_orphan(call, certain=True)
            else:
                rest = self._route.pool.spawn(call.run(detached=True))
                await self._abandon(call, rest, self._held_until - time.monotonic())
            raise self.cancelled_by
        return over

    async def finish_read(
        self, cancelled: asyncio.CancelledError, deadline: DrainedDeadline, waiting: Coroutine[Any, Any, T]
    ) -> T:
        """Wait for a part of the answer although the caller is cancelled.

        All parts together get the grace, or the time until the attempt's deadline.

        Raises:
            CancelledError: it has taken too long.
        """
        if self.cancelled_by is None:
            self.cancelled_by = cancelled
            self._held_until = time.monotonic() + self._route.policy.cancel_grace
        task = self._route.pool.spawn(waiting)
        deadline.redirected_to = task
        try:
            await wait_shielded(task, self._held_until - time.monotonic())
        finally:
            if not deadline.expired:
                deadline.redirected_to = None
        if not task.done():
            task.cancel()
            await wait_shielded(task, CANCELLING)
        if not task.done() or task.cancelled():
            raise self.cancelled_by
        return task.result()

    async def _run_detached(self, call: GuardedCall, permit: FullPermit | None = None) -> None:
        """Carry out the rest of a call in a task of its own."""
        task = self._route.pool.spawn(_rest(call, permit))
        try:
            await wait_done(task)
        except asyncio.CancelledError:
            # aiohttp's session writes in a task of its own: without this, one might leave after it was seen not to have left.
            call.suppress_send()
            # The deadline of a call whose before_send this is leaves no time.
            too_late = self._route.pool.deadlines.expired_for_current_task()
            await self._abandon(call, task, 0.0 if too_late else self._route.policy.cancel_grace)
            raise
        finally:
            if permit is not None:
                permit.release()  # the task may have been cancelled before its first step
        if task.cancelled():
            raise call.closed_error()  # nothing else cancels it
        task.result()

    async def _abandon(self, call: GuardedCall, task: asyncio.Task[None], within: float) -> None:
        """The caller is cancelled: let the rest of the call go on for a bounded time, and report what it made."""
        if call.may_have_been_processed:
            await wait_shielded(task, within)
        if not task.done():
            task.cancel()
            await wait_shielded(task, CANCELLING)
        if not task.done() or task.cancelled():
            if call.may_have_been_processed:
                self._report_orphan(call, certain=False)
        elif (error := task.exception()) is None:
            self._report_orphan(call, certain=True)
        elif self._is_unknown(call, error):
            self._report_orphan(call, certain=False)

    def _report_orphan(self, call: GuardedCall, *, certain: bool) -> None:
        self._reported = True
        self._creation.orphaned(Orphan(call.action, call.result if certain else None, certain=certain))

    @classmethod
    def _may_be_lost(cls, call: GuardedCall, error: BaseException) -> bool:
        """Whether a call that this error ended may have made something of which nobody hears."""
        if isinstance(error, asyncio.CancelledError):
            return call.may_have_been_processed
        return cls._is_unknown(call, error)

    @staticmethod
    def _is_unknown(call: GuardedCall, error: BaseException) -> bool:
        return call.may_have_been_processed and isinstance(call.final(error), OutcomeUnknown)


async def _rest(call: GuardedCall, permit: FullPermit | None) -> None:
    if permit is None or not await call.attempt(permit):
        await call.run(detached=True)
