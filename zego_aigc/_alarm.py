"""A deadline for one stretch of a task: :func:`asyncio.timeout` for the path that every call takes, at half its cost."""

from __future__ import annotations

import asyncio

__all__ = ["Alarm"]


class Alarm:
    """Cancels the current task when it rings. Whoever sets it must :meth:`stop` it, whatever happens.

    ::

        alarm = Alarm(seconds)
        try:
            await something
        except asyncio.CancelledError:
            if not alarm.stop():
                raise               # somebody else's cancellation
            ...                     # too late
        finally:
            alarm.stop()

    Args:
        seconds: from now until it rings; None to set it later.
    """

    __slots__ = ("_cancelling", "_handle", "_loop", "_rang", "_stopped", "_task")

    def __init__(self, seconds: float | None) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._handle = None if seconds is None else self._loop.call_later(seconds, self._ring)
        self._rang = False
        self._stopped: bool | None = None

    def reset(self, seconds: float) -> None:
        """Let it ring in so many seconds instead. One that has rung stays so."""
        if not self._rang:
            if self._handle is not None:
                self._handle.cancel()
            self._handle = self._loop.call_later(seconds, self._ring)

    def stop(self) -> bool:
        """Switch it off.

        Returns:
            whether it rang and is the only reason for which the task is being cancelled.
        """
        if self._stopped is None:
            if self._handle is not None:
                self._handle.cancel()
            # Takes its own cancellation back, as asyncio.timeout() does: what is left is somebody else's.
            self._stopped = self._rang and self._task.uncancel() <= self._cancelling
        return self._stopped

    def _ring(self) -> None:
        self._rang = True
        self._task.cancel()
