"""Asking Redis for something until it is granted: one loop for tokens and for places."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from zego_aigc.redis._script_runner import RedisUnavailable, ScriptRunner

__all__ = ["wait_for_grant"]


async def wait_for_grant(
    runner: ScriptRunner,
    ask: Callable[[], Awaitable[float | None]],
    *,
    prepare: Callable[[], Awaitable[None]],
    while_down: Callable[[], bool],
    withdraw: Callable[[], None],
    look: float,
) -> bool:
    """Ask until it is granted, and wait while Redis is gone.

    Args:
        runner: knows whether Redis is gone, and when to try again.
        ask: asks once. It returns None when it is granted, otherwise the seconds until that may be so.
        prepare: awaited before each question; what it sends must be with Redis before that.
        while_down: called now and then while Redis is gone. True ends the wait; it may also raise.
        withdraw: called where the wait ends and it may have been granted all the same, by an answer that was lost.
        look: seconds between two questions, at most.

    Returns:
        whether it was granted; False where `while_down` ended the wait.

    Raises:
        ConfigurationError: Redis refuses to be used like this.
    """
    loop = asyncio.get_running_loop()
    doubtful = False  # whether an answer was lost
    try:
        while True:
            if runner.is_down and (pause := runner.retry_at - loop.time()) > 0:
                if while_down():
                    if doubtful:
                        withdraw()
                    return False
                await asyncio.sleep(min(pause, look))
                continue
            try:
                await prepare()
                doubtful = False  # while it runs, ScriptRunner.run() knows better: it calls `abandoned` once it has ended
                wait = await ask()
            except RedisUnavailable:
                doubtful = True
                continue
            if wait is None:
                return True
            await asyncio.sleep(min(wait, look))
    except BaseException:
        if doubtful:
            withdraw()
        raise
