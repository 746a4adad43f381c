"""Deadlines for the path that every call takes: :func:`asyncio.timeout` at a fraction of its cost.

A timer of the event loop for each call is among the dearest things that a call does, and hardly any ever rings. Here the alarms
that fall into the same :data:`TICK` share one, which rings at its end. Nothing is looked through, however many calls wait.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

__all__ = ["TICK", "Alarm", "Alarms"]

TICK = 0.02
"""Seconds by which an alarm may ring late, where it was set for :data:`COARSE` or more. Shorter ones are exact."""

COARSE = 0.5


class Alarms:
    """The alarms of one event loop."""

    __slots__ = ("_sharing", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self._sharing: dict[int, set[Alarm]] = {}

    def add(self, alarm: Alarm, seconds: float) -> set[Alarm]:
        """Let an alarm ring in so many seconds, together with the others of the set that is returned."""
        tick = math.ceil((self.loop.time() + seconds) / TICK)
        sharing = self._sharing.get(tick)
        if sharing is None:
            sharing = self._sharing[tick] = set()
            self.loop.call_at(tick * TICK, self._ring, tick)
        sharing.add(alarm)
        return sharing

    def _ring(self, tick: int) -> None:
        for alarm in self._sharing.pop(tick):
            alarm.ring()


class Alarm:
    """Cancels the current task when it rings. Whoever sets it must :meth:`stop` it, whatever happens.

    ::

        alarm = Alarm(alarms, seconds)
        try:
            await something
        except asyncio.CancelledError:
            if not alarm.stop():
                raise               # somebody else's cancellation
            ...                     # too late
        finally:
            alarm.stop()

    Args:
        alarms: those of the running loop.
        seconds: from now until it rings; None to set it later.
    """

    __slots__ = ("_alarms", "_cancelling", "_handle", "_sharing", "_stopped", "_task", "rang")

    def __init__(self, alarms: Alarms, seconds: float | None) -> None:
        task = asyncio.current_task(alarms.loop)
        assert task is not None
        self._alarms = alarms
        self._task = task
        self._cancelling = task.cancelling()
        self._sharing: set[Alarm] | None = None  # with whom it shares a timer
        self._handle: asyncio.TimerHandle | None = None  # or its own
        self.rang: bool = False
        """Whether its time was up."""
        self._stopped: bool | None = None
        if seconds is not None:
            self.reset(seconds)

    def reset(self, seconds: float) -> None:
        """Let it ring in so many seconds instead. One that has rung stays so."""
        if self.rang:
            return
        self._forget()
        if seconds >= COARSE:
            self._sharing = self._alarms.add(self, seconds)
        else:
            self._handle = self._alarms.loop.call_later(seconds, self.ring)

    def stop(self) -> bool:
        """Switch it off.

        Returns:
            whether it rang and is the only reason for which the task is being cancelled.
        """
        if self._stopped is None:
            self._forget()
            # Takes its own cancellation back, as asyncio.timeout() does: what is left is somebody else's.
            self._stopped = self.rang and self._task.uncancel() <= self._cancelling
        return self._stopped

    def move_to(self, task: asyncio.Task[Any]) -> None:
        """Let it cancel another task, which has just been made."""
        self._task = task
        self._cancelling = 0

    def ring(self) -> None:
        """Its time is up."""
        self.rang = True
        self._task.cancel()

    def _forget(self) -> None:
        if self._sharing is not None:
            self._sharing.discard(self)
            self._sharing = None
        elif self._handle is not None:
            self._handle.cancel()
            self._handle = None
