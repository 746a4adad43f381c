"""Waiting for a task in spite of cancellations."""

from __future__ import annotations

import asyncio
import time
from typing import Any

__all__ = ["wait_done", "wait_shielded"]


async def wait_done(task: asyncio.Task[Any]) -> None:
    """Wait until a task is done. Cancelling the wait leaves the task alone; what it ended in is not looked at."""
    if task.done():
        return
    # Unlike asyncio.shield(), this neither wraps the task's exception nor reports it when nothing waits for it any more.
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake(_: asyncio.Task[Any]) -> None:
        if not done.done():
            done.set_result(None)

    task.add_done_callback(wake)
    try:
        await done
    finally:
        task.remove_done_callback(wake)


async def wait_shielded(task: asyncio.Task[Any], within: float) -> asyncio.CancelledError | None:
    """Wait for a task in spite of all cancellations that come meanwhile, those of anyio's scopes and of asyncio alike.

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
