"""Creates that are cancelled: what was made must not be forgotten, since it bills."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from zego_aigc._calling import Call, Response, notify
from zego_aigc.errors import ConfigurationError, OutcomeUnknown

if TYPE_CHECKING:
    from zego_aigc.pool import SessionPool

__all__ = ["PATIENCE", "Orphan", "run_create"]

logger = logging.getLogger("zego_aigc")

PATIENCE = 5.0
"""Seconds that a cancelled create waits for its answer."""


class Orphan(NamedTuple):
    """Something that a cancelled create made, or may have made, and that nobody else knows of."""

    action: Any
    """The Action."""
    result: Any
    """What it made; None when no answer came in time, so that it may exist or not."""


async def run_create(call: Call, pool: SessionPool, on_orphan: Callable[[Orphan], object] | None) -> Response[Any]:
    """Run a create so that cancelling the caller does not lose what is being made.

    A create that is still waiting is simply cancelled. One that may have left gets :data:`PATIENCE` seconds to be
    answered; then the caller's cancellation goes on, and `on_orphan` and the log are told what was made.
    """
    task = pool.spawn(call.run())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled():
            raise _closed(call) from None
        await _settle(task, call)
        _tell_orphan(task, call, on_orphan)
        raise


async def _settle(task: asyncio.Task[Response[Any]], call: Call) -> None:
    """End the task: at once when nothing can have been made, with patience otherwise."""
    with anyio.CancelScope(shield=True):
        if call.in_flight or call.may_have_run:
            await asyncio.wait({task}, timeout=PATIENCE)
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=1.0)


def _tell_orphan(task: asyncio.Task[Response[Any]], call: Call, on_orphan: Callable[[Orphan], object] | None) -> None:
    if not task.done() or task.cancelled():
        if not (call.in_flight or call.may_have_run):
            return
        orphan = Orphan(call.request.action, None)
    elif (error := task.exception()) is not None:
        if not isinstance(error, OutcomeUnknown):
            return
        orphan = Orphan(call.request.action, None)
    else:
        orphan = Orphan(call.request.action, task.result().result)
    if on_orphan is not None:
        notify(on_orphan, orphan)
    elif orphan.result is not None:
        logger.warning("%s was cancelled, but made %r: end it, or it goes on billing", call.request.name, orphan.result)
    else:
        logger.warning("%s was cancelled without an answer: what it makes may exist", call.request.name)


def _closed(call: Call) -> Exception:
    if call.in_flight or call.may_have_run:
        return OutcomeUnknown(
            f"the client was closed while {call.request.name} was under way", action=call.request.action, attempts=call.attempts
        )
    return ConfigurationError(f"the client was closed before {call.request.name} was sent")
