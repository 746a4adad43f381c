"""Creates that are cancelled: what was made must not be forgotten, since it bills."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from zego_aigc._calling import Call, Response
from zego_aigc._outlasting import outlast
from zego_aigc.errors import ConfigurationError, OutcomeUnknown, ZegoError

if TYPE_CHECKING:
    from zego_aigc.pool import SessionPool

__all__ = ["Orphan", "run_create"]


class Orphan(NamedTuple):
    """Something that a cancelled create made, or may have made, and that nobody else knows of."""

    action: Any
    """The Action."""
    result: Any
    """What it returned; None when no answer came in time, or when the Action returns nothing."""
    certain: bool
    """Whether it was made for sure. Otherwise it may exist or not."""


async def run_create(call: Call, pool: SessionPool, on_orphan: Callable[[Orphan], object]) -> Response[Any]:
    """Run a create so that cancelling the caller does not lose what is being made.

    A create that is still waiting is simply cancelled. One that may have left gets the client's patience to be
    answered; then `on_orphan` is told what was made, and the caller's cancellation goes on.

    Raises:
        ZegoError: what the call ended in.
    """
    over = asyncio.get_running_loop().create_future()

    def wake(*_: object) -> None:
        if not over.done():
            over.set_result(None)

    async def run() -> Response[Any]:
        try:
            return await call.run()
        finally:
            wake()  # one turn of the loop earlier than the end of the task would

    task: asyncio.Task[Response[Any]] = pool.spawn(run(), eager=True)
    if not task.done():
        task.add_done_callback(wake)  # a task that is cancelled before its first step runs nothing of the above
    try:
        await over
    except asyncio.CancelledError:
        # aiohttp writes in a task of its own: without this, a request might leave after it was seen not to have left.
        call.withhold()
        if call.may_exist:
            await outlast(task, call.route.patience.cancelled)
        if not task.done():
            task.cancel()
            await outlast(task, 1.0)
        orphan = _orphan(task, call)
        if orphan is not None:
            on_orphan(orphan)
        raise
    if task.cancelled():
        raise _closed(call)
    return task.result()


def _orphan(task: asyncio.Task[Response[Any]], call: Call) -> Orphan | None:
    action = call.request.action
    if not task.done() or task.cancelled():
        return Orphan(action, None, certain=False) if call.may_exist else None
    if (error := task.exception()) is not None:
        return Orphan(action, None, certain=False) if isinstance(error, OutcomeUnknown) else None
    return Orphan(action, task.result().result, certain=True)


def _closed(call: Call) -> ZegoError:
    if call.may_exist:
        return OutcomeUnknown(
            f"the client was closed while {call.request.name} was under way", action=call.request.action, attempts=call.attempts
        )
    return ConfigurationError(f"the client was closed before {call.request.name} was sent")
