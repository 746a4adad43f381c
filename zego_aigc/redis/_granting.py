"""Asking Redis for something until it is granted: one line of callers and one loop, for tokens and for places."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from zego_aigc.redis._script_runner import RedisUnavailable, ScriptRunner

__all__ = ["ProcessLine", "wait_for_grant"]


class ProcessLine:
    """The callers of this process that wait for one thing, in the foreground or in the background.

    They share one place in the common queue, so one of them asks at a time.

    Args:
        who: its id in the common queue.
    """

    __slots__ = ("_turn", "queued", "waiting", "who")

    def __init__(self, who: str) -> None:
        self.who: str = who
        self.waiting: int = 0
        """How many callers wait."""
        self.queued: bool = False
        """Whether the process may have a place in the common queue."""
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def turn(self, leave: Callable[[], None]) -> AsyncGenerator[None]:
        """Wait for one's turn to ask. When the last caller has gone without a grant, `leave` gives up the common place."""
        self.waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self.waiting -= 1
            if self.queued and not self.waiting:
                self.queued = False
                leave()


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
    doubtful = False  # whether an answer was lost
    try:
        while True:
            if pause := runner.pause:
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
