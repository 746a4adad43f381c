"""Creates that are cancelled: what was made must not be forgotten, since it bills."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from zego_aigc._calling import Call
from zego_aigc._outlasting import join, outlast
from zego_aigc.errors import ConfigurationError, OutcomeUnknown, ZegoError

if TYPE_CHECKING:
    from zego_aigc.limiter import Permit

__all__ = ["Orphan", "see_through"]


class Orphan(NamedTuple):
    """Something that a cancelled create made, or may have made, and that nobody else knows of."""

    action: Any
    """The Action."""
    result: Any
    """What it returned; None when no answer came in time, or when the Action returns nothing."""
    certain: bool
    """Whether it was made for sure. Otherwise it may exist or not."""


async def see_through(call: Call[Any], permit: Permit) -> None:
    """Carry out a create from its first permit on, so that cancelling the caller does not lose what is being made.

    A create that has not left yet is simply cancelled. One that may have left gets the client's patience to be answered;
    then whoever takes care of orphans is told what was made, and the caller's cancellation goes on.

    Raises:
        ZegoError: what the call ended in.
    """
    if call.route.pool.borrowed:

        async def whole() -> None:
            await _finish(call, call.attempt(permit))

        try:
            # Who knows what in a session of the user's is tied to the task that it began in.
            await _apart(call, whole())
        finally:
            permit.release()  # the task may have been cancelled before its first step
        return
    # Nearly always the first attempt is the only one, and nobody is cancelled: so no task of its own until either happens.
    attempt = call.attempt(permit)
    attempt.survives = call.outlives_cancellation
    try:
        over = await attempt
    except asyncio.CancelledError:
        if attempt.detached:
            try:
                await _leave_behind(call, call.route.pool.spawn(_finish(call, attempt)))
            finally:
                if attempt.detached:  # its new task was cancelled before its first step
                    attempt.close()
        elif attempt.interrupted and not attempt.cancelled:
            raise _closed(call) from None
        elif call.may_exist:  # its time was up at the same moment
            _tell(call, Orphan(call.action, None, certain=False))
        raise
    if not over:
        await _apart(call, call.go_on())


async def _finish(call: Call[Any], attempt: Awaitable[bool]) -> None:
    if not await attempt:
        await call.go_on()


async def _apart(call: Call[Any], work: Coroutine[Any, Any, None]) -> None:
    """Carry out the rest of a call in a task of its own."""
    task = call.route.pool.spawn(work)
    try:
        await join(task)
    except asyncio.CancelledError:
        # aiohttp writes in a task of its own: without this, a request might leave after it was seen not to have left.
        call.withhold()
        await _leave_behind(call, task)
        raise
    if task.cancelled():
        raise _closed(call)
    task.result()


async def _leave_behind(call: Call[Any], task: asyncio.Task[None]) -> None:
    if call.may_exist:
        await outlast(task, call.route.patience.cancelled)
    if not task.done():
        task.cancel()
        await outlast(task, 1.0)
    if (orphan := _orphan(task, call)) is not None:
        _tell(call, orphan)


def _tell(call: Call[Any], orphan: Orphan) -> None:
    (call.on_orphan or call.route.on_orphan)(orphan)


def _orphan(task: asyncio.Task[None], call: Call[Any]) -> Orphan | None:
    if not task.done() or task.cancelled():
        return Orphan(call.action, None, certain=False) if call.may_exist else None
    if (error := task.exception()) is not None:
        return Orphan(call.action, None, certain=False) if isinstance(call.final(error), OutcomeUnknown) else None
    return Orphan(call.action, call.result, certain=True)


def _closed(call: Call[Any]) -> ZegoError:
    if call.may_exist:
        return OutcomeUnknown(
            f"the client was closed while {call.request.name} was under way", action=call.action, attempts=call.attempts
        )
    return ConfigurationError(f"the client was closed before {call.request.name} was sent")
