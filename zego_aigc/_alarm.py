"""Deadlines for the path that every call takes: :func:`asyncio.timeout` at a fraction of its cost.

A timer of the event loop for each call is among the dearest things that a call does. Here one timer serves all calls that
are under way: it looks every :data:`TICK` whose time is up, and rests when there is none.
"""

from __future__ import annotations

import asyncio

__all__ = ["TICK", "Alarm", "Alarms"]

TICK = 0.02
"""Seconds by which an alarm may ring late, where it was set for :data:`COARSE` or more. Shorter ones are exact."""

COARSE = 0.5


class Alarms:
    """The alarms of one event loop."""

    __slots__ = ("_looking", "_set", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self._set: set[Alarm] = set()
        self._looking = False

    def add(self, alarm: Alarm) -> None:
        """Let an alarm ring when its time is up."""
        self._set.add(alarm)
        if not self._looking:
            self._looking = True
            self.loop.call_later(TICK, self._look)

    def remove(self, alarm: Alarm) -> None:
        """Forget an alarm."""
        self._set.discard(alarm)

    def _look(self) -> None:
        now = self.loop.time()
        for alarm in [alarm for alarm in self._set if alarm.when <= now]:
            self._set.discard(alarm)
            alarm.ring()
        self._looking = bool(self._set)
        if self._looking:
            self.loop.call_later(TICK, self._look)


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

    __slots__ = ("_alarms", "_cancelling", "_handle", "_rang", "_stopped", "_task", "when")

    def __init__(self, alarms: Alarms, seconds: float | None) -> None:
        task = asyncio.current_task(alarms.loop)
        assert task is not None
        self._alarms = alarms
        self._task = task
        self._cancelling = task.cancelling()
        self._handle: asyncio.TimerHandle | None = None
        self._rang = False
        self._stopped: bool | None = None
        self.when: float = 0.0
        if seconds is not None:
            self.reset(seconds)

    def reset(self, seconds: float) -> None:
        """Let it ring in so many seconds instead. One that has rung stays so."""
        if self._rang:
            return
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        alarms = self._alarms
        if seconds >= COARSE:
            self.when = alarms.loop.time() + seconds
            alarms.add(self)
        else:
            alarms.remove(self)
            self._handle = alarms.loop.call_later(seconds, self.ring)

    def stop(self) -> bool:
        """Switch it off.

        Returns:
            whether it rang and is the only reason for which the task is being cancelled.
        """
        if self._stopped is None:
            if self._handle is not None:
                self._handle.cancel()
            else:
                self._alarms.remove(self)
            # Takes its own cancellation back, as asyncio.timeout() does: what is left is somebody else's.
            self._stopped = self._rang and self._task.uncancel() <= self._cancelling
        return self._stopped

    def ring(self) -> None:
        """Its time is up."""
        self._rang = True
        self._task.cancel()
