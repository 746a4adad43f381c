"""Waiting until stream tasks stream: one list of running tasks serves all that wait."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio

from zego_aigc.errors import ApiError, ZegoError
from zego_aigc.provisioning.endings import is_over
from zego_aigc.provisioning.errors import StreamFailed

if TYPE_CHECKING:
    from zego_aigc.client import Client
    from zego_aigc.digitalhuman import TaskStatus

__all__ = ["Streams"]

PATIENCE = 60.0
"""Seconds that a task may take to stream."""

PAUSE = 0.5
"""Seconds between two looks at the list."""


class Streams:
    """Asks how stream tasks are coming along."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = anyio.Lock()
        self._asked = 0.0
        self._listed: dict[str, TaskStatus] = {}

    async def wait(self, task_id: str) -> bool:
        """Wait until a task streams. False when it is still on its way up after a minute.

        Raises:
            StreamFailed: it ended before it streamed; with the vendor's FailReason.
            ZegoError: the service could not be asked.
        """
        from zego_aigc.digitalhuman import TaskStatus

        made = time.monotonic()
        while time.monotonic() - made < PATIENCE:
            status = (await self._list(since=made)).get(task_id)
            if status is None:
                status = await self._ask(task_id)
            if status is TaskStatus.STREAMING:
                return True
            await anyio.sleep(PAUSE)
        return False

    async def _list(self, *, since: float) -> dict[str, TaskStatus]:
        """The running tasks, as they were at `since` (monotonic seconds) or later, and a little while ago at most."""
        from zego_aigc.digitalhuman import QueryDigitalHumanStreamTasks

        async with self._lock:
            now = time.monotonic()
            if self._asked < since or now - self._asked >= PAUSE:
                answer = await self._client.call(QueryDigitalHumanStreamTasks())
                self._asked = now
                self._listed = {task.task_id: task.status for task in answer.task_list}
            return self._listed

    async def _ask(self, task_id: str) -> TaskStatus:
        """The status of a task that is not listed as running.

        Raises:
            StreamFailed: it has ended.
        """
        from zego_aigc.digitalhuman import GetDigitalHumanStreamTaskStatus, TaskStatus

        try:
            answer = await self._client.call(GetDigitalHumanStreamTaskStatus(task_id=task_id), deadline_from="grant")
        except ApiError as error:
            if is_over(error):
                raise StreamFailed(f"the task {task_id} ended before it streamed") from error
            raise
        if answer.status in {TaskStatus.INITIALIZING, TaskStatus.STREAMING}:
            return answer.status
        reason = f": {answer.fail_reason}" if answer.fail_reason else ""
        raise StreamFailed(f"the task {task_id} is {answer.status.name} and does not stream{reason}", reason=answer.fail_reason)


def could_not_ask(task_id: str, error: ZegoError) -> str:
    """Why nobody knows whether a task streams."""
    return f"the task {task_id} was made, but whether it streams could not be asked: {error}"
