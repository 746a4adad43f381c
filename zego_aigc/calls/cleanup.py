"""Deletes and stops that must come through: shielded from cancellation, bounded in time, and tried again at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from zego_aigc.calls.hooks import logger
from zego_aigc.calls.retry import AttemptOutcome, outcome_of_refusal
from zego_aigc.errors import ApiError, TimedOut, ZegoError
from zego_aigc.schema.codes import RETURN_CODES
from zego_aigc.transport.shielding import wait_shielded

if TYPE_CHECKING:
    from zego_aigc.calls.caller import Caller
    from zego_aigc.limits.quota import Quota
    from zego_aigc.schema.actions import Action

__all__ = ["Cleanup"]


class Cleanup:
    """What a client is ending, and what it could not end.

    Args:
        caller: what makes its calls.
        quota: where the places of what has ended come free.
        note_ended: awaited with the id of what was ended.
    """

    def __init__(self, caller: Caller, quota: Quota | None, note_ended: Callable[[str], Awaitable[None]] | None = None) -> None:
        self._caller = caller
        self._quota = quota
        self._note_ended = note_ended
        self._tasks: dict[str, asyncio.Task[ZegoError | None]] = {}
        self._unended: dict[str, Action[None]] = {}

    @property
    def unended(self) -> list[str]:
        """The ids of what is not ended, or not yet."""
        return list(self._unended)

    def ended(self, identity: str) -> None:
        """It is gone: ended by us, by somebody else, or by itself."""
        self._unended.pop(identity, None)
        if self._quota is not None:
            self._quota.ended(identity)

    async def end(self, identity: str, action: Action[None], within: float) -> ZegoError | None:
        """Delete or stop something, whatever happens to the caller meanwhile; what is gone already counts as ended.

        Args:
            identity: the AgentInstanceId or TaskId.
            action: what ends it.
            within: seconds that it may take.

        Returns:
            Why it could not be ended, or None.
        """
        task = self._start(identity, action, within)
        cancelled = await wait_shielded(task, within + 1.0)  # the call's own deadline comes first
        if cancelled is not None:
            raise cancelled
        if task.done() and not task.cancelled():
            return task.result()
        return TimedOut(f"{identity} was not ended in time, and goes on billing until it ends by itself", waited_for="answer")

    async def finish(self, drain: float) -> asyncio.CancelledError | None:
        """Let what is being ended be ended, and try once more what could not be.

        Args:
            drain: seconds that it may take.

        Returns:
            the cancellation that came meanwhile.
        """
        tasks = [self._start(identity, action, drain) for identity, action in self._unended.items()]
        if not tasks:
            return None
        return await wait_shielded(asyncio.ensure_future(asyncio.wait(tasks, timeout=drain)), drain + 1.0)

    def _start(self, identity: str, action: Action[None], within: float) -> asyncio.Task[ZegoError | None]:
        """The task that ends something; the one that is at it already, if there is."""
        task = self._tasks.get(identity)
        if task is None:
            self._unended[identity] = action
            task = self._tasks[identity] = asyncio.get_running_loop().create_task(self._end(identity, action, within))
            task.add_done_callback(lambda _: self._tasks.pop(identity, None))
        return task

    async def _end(self, identity: str, action: Action[None], within: float) -> ZegoError | None:
        try:
            await self._caller.call(action, timeout=within)
        except ZegoError as error:
            if not _is_gone(error):
                logger.warning("%s could not be ended, and goes on billing until it ends by itself: %s", identity, error)
                return error
        self.ended(identity)
        if self._note_ended is not None:
            await self._note_ended(identity)
        return None


def _is_gone(error: ZegoError) -> bool:
    if not isinstance(error, ApiError):
        return False
    known = RETURN_CODES.get(error.code)
    return outcome_of_refusal(known.why if known else None, error.status) is AttemptOutcome.NOT_FOUND
