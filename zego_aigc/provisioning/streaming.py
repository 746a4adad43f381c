"""Waiting until stream tasks stream: one list of running tasks serves all that wait."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio

from zego_aigc.errors import ApiError, ZegoError
from zego_aigc.provisioning.errors import StreamFailed
from zego_aigc.provisioning.listings import Listings
from zego_aigc.schema.codes import is_over

if TYPE_CHECKING:
    from zego_aigc.provisioning.run_calls import RunCalls
    from zego_aigc.schema.lifecycle import Lifecycle, StatusQuery

__all__ = ["Streams"]

MAX_WAIT = 60.0
"""Seconds that a task may take to stream."""

PAUSE = 0.5
"""Seconds between two looks at the list."""


class Streams:
    """Asks how stream tasks are coming along, or whatever else declares that it takes a while until it is up.

    Args:
        calls: to the service.
        listings: asks what lives.
        max_wait: seconds that a task may take to stream.
    """

    def __init__(self, calls: RunCalls, listings: Listings, *, max_wait: float = MAX_WAIT) -> None:
        self._calls = calls
        self._listings = listings
        self._max_wait = max_wait

    async def wait(self, life: Lifecycle, made_id: str) -> bool:
        """Wait until a task streams. False when it is still on its way up after `max_wait`.

        Raises:
            StreamFailed: it ended before it streamed; with the vendor's FailReason.
            ZegoError: the service could not be asked.
        """
        query = life.status
        assert query is not None
        made = time.monotonic()
        while time.monotonic() - made < self._max_wait:
            status = None
            if life.listing is not None:
                items = await self._listings.get(life.listing, since=made, max_age=PAUSE)
                status = next((item.status.name for item in items if getattr(item, life.id_field) == made_id), None)
            if status is None:
                status = await self._ask(life, query, made_id)
            if status in query.running:
                return True
            await anyio.sleep(PAUSE)
        return False

    async def _ask(self, life: Lifecycle, query: StatusQuery, made_id: str) -> str:
        """The status of a task that is not listed as running.

        Raises:
            StreamFailed: it has ended.
        """
        try:
            answer = await self._calls.call(life.ask(made_id))
        except ApiError as error:
            if is_over(error):
                raise StreamFailed(f"the task {made_id} ended before it streamed") from error
            raise
        status: str = answer.status.name
        if query.lives(status):
            return status
        reason = f": {answer.fail_reason}" if answer.fail_reason else ""
        raise StreamFailed(f"the task {made_id} is {status} and does not stream{reason}", reason=answer.fail_reason)


def could_not_ask(task_id: str, error: ZegoError) -> str:
    """Why it is not known whether a task streams."""
    return f"the task {task_id} was made, but whether it streams could not be asked: {error}"
