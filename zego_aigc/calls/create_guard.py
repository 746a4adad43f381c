"""Creates that are cancelled: what they make must not be forgotten, since it bills."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

import msgspec

from zego_aigc.calls.orphans import Orphan
from zego_aigc.errors import OutcomeUnknown
from zego_aigc.transport.shielding import wait_done, wait_shielded

if TYPE_CHECKING:
    from zego_aigc.calls.interpret import Failure
    from zego_aigc.calls.route import Route
    from zego_aigc.errors import ConfigurationError
    from zego_aigc.limits.limiter import FullPermit
    from zego_aigc.transport.deadlines import DrainedDeadline
    from zego_aigc.transport.envelope import Envelope

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

    def result(self) -> Any:
        """What it returned, once the call is over."""
        ...

    @property
    def may_have_been_processed(self) -> bool:
        """Whether the work may have been done, as things stand at this moment."""
        ...

    def attempt(self, permit: FullPermit, guard: CreateGuard | None = None) -> Coroutine[Any, Any, Envelope[Any] | Failure]:
        """Get an attempt ready, to be awaited at once."""
        ...

    def judge(self, response: Envelope[Any] | Failure) -> Envelope[Any] | None:
        """An attempt has come to this response: it is returned if it ends the call."""
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


class CreateGuard(msgspec.Struct, eq=False):
    """Sees to it that what a create makes is known although its caller is cancelled meanwhile.

    The first attempt is nearly always the only one, and it is rarely cancelled. So it is made in its caller's task. If that
    is cancelled with the request in flight, only what aiohttp waits for goes on in a task of its own (:meth:`finish_read`),
    and then the attempt itself, to its end, for ``RetryPolicy.cancel_grace`` at most. What follows the first attempt runs in
    a task of its own from the beginning.

    Args:
        route: of the call. Tasks run in the scope of its pool.
        creation: learns what becomes of the create.
    """

    _route: Route
    creation: Creation
    _reported: bool = False
    _held_until: float = 0.0
    """How long a cancelled caller waits at most, by the monotonic clock."""
    cancelled_by: asyncio.CancelledError | None = None
    """The cancellation that came during the first attempt. It is raised when that is over."""

    def attempt_failed(self, call: GuardedCall, error: BaseException) -> None:
        """The first attempt ended the call. If its caller is cancelled, what it may have made is reported.

        Raises:
            CancelledError: the caller was cancelled meanwhile.
        """
        cancelled = isinstance(error, asyncio.CancelledError)
        if call.may_have_been_processed if cancelled else self._is_unknown(call, error) and self.cancelled_by is not None:
            self._report_orphan(call, certain=False)
        if self.cancelled_by is not None:
            self._failed(call, self.cancelled_by)
            raise self.cancelled_by from None
        self._failed(call, error)

    async def carry_on(self, call: GuardedCall, *, over: bool = False, permit: FullPermit | None = None) -> None:
        """Carry out what is left of the call after its first attempt, or all that follows the first permit.

        Args:
            call: the call.
            over: whether its first attempt has ended it.
            permit: the first one, if no attempt was made yet.

        Raises:
            CancelledError: the caller was cancelled.
            ZegoError: what the call ended in.
        """
        try:
            if self.cancelled_by is not None:
                await self._end_cancelled(call, self.cancelled_by, over=over)
            await self._run_detached(call, permit)
        except BaseException as error:
            self._failed(call, error)
            raise
        self.creation.made(call.result())

    def _failed(self, call: GuardedCall, error: BaseException) -> None:
        """The call has ended in an error."""
        if isinstance(error, asyncio.CancelledError):
            if not self._reported:
                self.creation.not_made()
        elif self._is_unknown(call, error):
            self.creation.unknown()
        else:
            self.creation.not_made()

    async def _end_cancelled(self, call: GuardedCall, cancelled: asyncio.CancelledError, *, over: bool) -> NoReturn:
        """The first attempt has come to its end after the caller was cancelled: report what it made, or what follows makes.

        Raises:
            CancelledError: in any case.
        """
        if over:
            self._report_orphan(call, certain=True)
        else:
            await self._abandon(call, self._route.pool.spawn(call.run(detached=True)), self._held_until - time.monotonic())
        raise cancelled

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
            # aiohttp's own requests write in a task: without this, one might leave after it was seen not to have left.
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
        self.creation.orphaned(Orphan(call.action, call.result() if certain else None, certain=certain))

    @staticmethod
    def _is_unknown(call: GuardedCall, error: BaseException) -> bool:
        return call.may_have_been_processed and isinstance(call.final(error), OutcomeUnknown)


async def _rest(call: GuardedCall, permit: FullPermit | None) -> None:
    if permit is None or call.judge(await call.attempt(permit)) is None:
        await call.run(detached=True)
