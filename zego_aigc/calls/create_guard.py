"""Creates that are cancelled: what was made must not be forgotten, since it bills."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from zego_aigc.calls.call import Call
from zego_aigc.errors import OutcomeUnknown
from zego_aigc.transport.shielding import join, outlast

if TYPE_CHECKING:
    from zego_aigc.limits.limiter import FullPermit

__all__ = ["Orphan", "broken_off", "hold", "rest", "whole"]


T = TypeVar("T")


class Orphan(msgspec.Struct, frozen=True):
    """Something that a cancelled create made, or may have made, and that nobody else knows of."""

    action: Any
    """The Action."""
    result: Any
    """What it returned; None when no answer came in time, or when the Action returns nothing."""
    certain: bool
    """Whether it was made for sure. Otherwise it may exist or not."""


# The first attempt is nearly always the only one, and nearly nobody is cancelled. So it is made in its caller's task. When
# that is cancelled with the request in flight, only what aiohttp waits for goes on, and then the attempt itself, to its end.


async def whole(call: Call[Any], permit: FullPermit) -> None:
    """Carry out all that follows the first permit, away from the caller.

    Where requests are aiohttp's own (:attr:`SessionPool.posting` is False): their answers cannot be held.

    Raises:
        ZegoError: what the call ended in.
    """

    async def all_of_it() -> None:
        if not await call.attempt(permit):
            await call.go_on()

    try:
        await _apart(call, all_of_it())
    finally:
        permit.release()  # the task may have been cancelled before its first step


async def hold(call: Call[Any], waiting: Coroutine[Any, Any, T]) -> T:
    """Wait for a part of the answer although the caller is cancelled: that is raised in the end.

    Altogether they get the client's patience, or until the attempt's alarm rings.

    Raises:
        CancelledError: it has taken too long.
    """
    task = call.route.pool.spawn(waiting)
    call.alarm.diverted = task
    try:
        await outlast(task, call.held_until - time.monotonic())
    finally:
        if not call.alarm.rang:
            call.alarm.diverted = None
    if not task.done():
        task.cancel()
        await outlast(task, 1.0)
    if not task.done() or task.cancelled():
        assert call.cancelled_by is not None
        raise call.cancelled_by
    return task.result()


def broken_off(call: Call[Any], error: BaseException) -> None:
    """The first attempt ended in an error: if its caller is cancelled, say what may have been made, and let that go on.

    Raises:
        CancelledError: the caller is.
    """
    if isinstance(error, asyncio.CancelledError):
        unclear = call.may_exist
    else:
        unclear = call.cancelled_by is not None and isinstance(call.final(error), OutcomeUnknown)
    if unclear:
        _tell(call, Orphan(call.action, None, certain=False))
    if call.cancelled_by is not None:
        raise call.cancelled_by from None


async def rest(call: Call[Any], *, over: bool) -> None:
    """Carry out what follows the first attempt.

    Raises:
        CancelledError: the caller was cancelled during the first attempt, or is.
        ZegoError: what the call ended in.
    """
    if call.cancelled_by is None:
        await _apart(call, call.go_on())
        return
    if over:
        _tell(call, Orphan(call.action, call.result, certain=True))
    else:
        await _leave_behind(call, call.route.pool.spawn(call.go_on()), call.held_until - time.monotonic())
    raise call.cancelled_by


async def _apart(call: Call[Any], work: Coroutine[Any, Any, None]) -> None:
    """Carry out the rest of a call in a task of its own."""
    task = call.route.pool.spawn(work)
    try:
        await join(task)
    except asyncio.CancelledError:
        # aiohttp's own requests write in a task: without this, one might leave after it was seen not to have left.
        call.withhold()
        await _leave_behind(call, task, call.route.policy.cancel_grace)
        raise
    if task.cancelled():
        call.refuse()
    task.result()


async def _leave_behind(call: Call[Any], task: asyncio.Task[None], within: float) -> None:
    if call.may_exist:
        await outlast(task, within)
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
        unclear = call.may_exist and isinstance(call.final(error), OutcomeUnknown)
        return Orphan(call.action, None, certain=False) if unclear else None
    return Orphan(call.action, call.result, certain=True)
