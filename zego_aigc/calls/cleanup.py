"""Deletes and stops that must come through: shielded from cancellation, and tried again until they do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from zego_aigc.calls.hooks import logger
from zego_aigc.calls.retry import Backoff
from zego_aigc.errors import ConfigurationError, TimedOut, ZegoError
from zego_aigc.transport.shielding import wait_shielded

if TYPE_CHECKING:
    from zego_aigc.calls.endpoint import Endpoints
    from zego_aigc.schema.actions import Action

__all__ = ["Cleanup", "CleanupListener"]

PAUSES = Backoff(first=1.0, cap=60.0)
"""Between the attempts in the background to end what could not be ended at once."""

SLACK = 1.0
"""Seconds that waiting for an ending may take beside what the ending itself may take."""


class CleanupListener(Protocol):
    """Learns what has ended, and what has not."""

    def ended(self, made_id: str) -> None:
        """Something is gone: ended by the client, by somebody else, or by itself."""
        ...

    def not_ended(self, made_id: str) -> None:
        """Something could not be ended in time. That is said once; it is tried again."""
        ...


class Cleanup:
    """What a client is ending, and what it could not end yet.

    An ending is a call whose deadline starts when the limiter grants it, so that many at once get their turn. If it fails, it
    is tried again in the background, with growing pauses, while the client lives.

    Args:
        endpoints: what makes its calls.
        within: seconds that an ending may take (``RetryPolicy.delete_timeout``).
        listener: learns what has ended, and what has not.
        note_ended: awaited with the id of what was ended.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        within: float,
        listener: CleanupListener,
        note_ended: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._within = within
        self._listener = listener
        self._note_ended = note_ended
        self._closing: float | None = None  # the time for each that is left, once the client closes
        self._endings: dict[str, _Ending] = {}

    @property
    def unended(self) -> list[str]:
        """The ids of what is not ended, or not yet."""
        return list(self._endings)

    def ended(self, made_id: str) -> None:
        """It turned out to be gone."""
        if (ending := self._endings.pop(made_id, None)) is not None:
            ending.settle(None)
            ending.wake.set()
        self._listener.ended(made_id)

    async def end(self, made_id: str, action: Action[None]) -> ZegoError | None:
        """Delete or stop something, whatever happens to the caller meanwhile. What is gone already counts as ended.

        Args:
            made_id: the AgentInstanceId or TaskId.
            action: what ends it.

        Returns:
            Why it could not be ended at once, or None.
        """
        ending = self.begin(made_id, action)
        cancelled = await self._wait([ending.first], [action], self._within + SLACK)
        if cancelled is not None:
            raise cancelled
        if ending.first.done():
            return ending.first.result()
        return TimedOut(
            f"{made_id} was not ended within {self._within:g} s beside the time that the limiter's queue took at first, and "
            "bills until it is: that is tried again in the background. Are there many calls of that Action?",
            waited_for="limiter",
        )

    def begin(self, made_id: str, action: Action[None]) -> _Ending:
        """Begin to end something, unless that is under way."""
        ending = self._endings.get(made_id)
        if ending is None:
            ending = self._endings[made_id] = _Ending(action)
            ending.task = self._endpoints.pool.spawn(self._run(made_id, ending))
        return ending

    async def finish(self, drain: float) -> asyncio.CancelledError | None:
        """The client closes: let what is being ended be ended, and try once more at once what could not be.

        Args:
            drain: seconds for each, beside the time in the limiter's queue.

        Returns:
            the cancellation that came meanwhile.
        """
        endings = [*self._endings.values()]
        if not endings:
            return None
        self._closing = drain
        for ending in endings:
            ending.wake.set()
        tasks = [ending.task for ending in endings if ending.task is not None]
        cancelled = await self._wait(tasks, [ending.action for ending in endings], drain)
        for task in tasks:
            task.cancel()
        return cancelled

    async def _wait(
        self, endings: Sequence[asyncio.Future[Any]], actions: Iterable[Action[None]], within: float
    ) -> asyncio.CancelledError | None:
        """Wait for endings that may just have begun, beside the time in the limiter's queue, in spite of all cancellations."""
        # After a turn of the loop those that begin together with these, as a crowd's do, are in the queue as well.
        cancelled = await wait_shielded(asyncio.ensure_future(asyncio.sleep(0)), SLACK)
        bound = within + max(map(self._queue, actions))
        waiting = asyncio.ensure_future(asyncio.wait(endings, timeout=bound))
        return await wait_shielded(waiting, bound + SLACK) or cancelled

    def _queue(self, action: Action[None]) -> float:
        """Seconds that the limiter's queue takes at the moment."""
        return self._endpoints.pool.limiter.estimate(self._endpoints.app_id, type(action).__name__)

    async def _run(self, made_id: str, ending: _Ending) -> None:
        attempts = 0
        try:
            while made_id in self._endings:
                attempts += 1
                last = self._closing is not None
                error = await self._attempt(ending.action)
                if error is None:
                    if self._note_ended is not None:
                        await self._note_ended(made_id)
                    self.ended(made_id)
                    return
                if not ending.first.done():
                    logger.warning("%s could not be ended, and bills until it is; trying again: %s", made_id, error)
                    self._listener.not_ended(made_id)
                    ending.settle(error)
                if last or self._endpoints.pool.closed:
                    return
                await ending.pause(PAUSES.delay(attempts, chance=0.5 + random.random() / 2))  # noqa: S311 - jitter
        finally:
            ending.settle(ConfigurationError(f"the client was closed while {made_id} was being ended, and it may live on"))

    async def _attempt(self, action: Action[None]) -> ZegoError | None:
        timeout = self._within if self._closing is None else min(self._within, self._closing)
        try:
            await self._endpoints.end(action, timeout=max(timeout, 0.001))
        except ZegoError as error:
            return error
        return None


class _Ending:
    """Something that is being ended."""

    def __init__(self, action: Action[None]) -> None:
        self.action: Action[None] = action
        self.task: asyncio.Task[None] | None = None
        self.first: asyncio.Future[ZegoError | None] = asyncio.get_running_loop().create_future()
        """What the first attempt came to, with all its retries."""
        self.wake: asyncio.Event = asyncio.Event()
        """Set to end a pause between attempts."""

    def settle(self, error: ZegoError | None) -> None:
        """The first attempt is over; later ones change nothing."""
        if not self.first.done():
            self.first.set_result(error)

    async def pause(self, seconds: float) -> None:
        """Wait before the next attempt, unless it is woken."""
        try:
            async with asyncio.timeout(seconds):
                await self.wake.wait()
        except TimeoutError:
            pass
        self.wake.clear()
