"""Seeing a task through although the caller is cancelled."""

from __future__ import annotations

import asyncio
import time
from typing import Any

__all__ = ["join", "outlast"]


async def join(task: asyncio.Task[Any]) -> None:
    """Wait until a task is over. Cancelling the wait leaves the task alone; what it ended in is not looked at."""
    if task.done():
        return
    # Unlike asyncio.shield(), this neither wraps the task's exception nor reports it when nobody waits any more.
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(_: asyncio.Task[Any]) -> None:
        if not over.done():
            over.set_result(None)

    task.add_done_callback(wake)
    try:
        await over
    finally:
        task.remove_done_callback(wake)


async def outlast(task: asyncio.Task[Any], within: float) -> asyncio.CancelledError | None:
    """Wait for a task through whatever cancellations come meanwhile, of anyio's scopes and of asyncio alike.

    Args:
        task: may still be running afterwards.
        within: seconds to wait at most.

    Returns:
        the cancellation that came, for the caller to raise in the end.
    """
    import anyio  # now, and not with every client that is made: few calls are ever cancelled

    until = time.monotonic() + within
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done() and (left := until - time.monotonic()) > 0:
            try:
                await asyncio.wait({task}, timeout=left)
            except asyncio.CancelledError as error:
                cancelled = error
    return cancelled
