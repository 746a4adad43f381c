"""Deadlines for the path that every call takes: :func:`asyncio.timeout` at a fraction of its cost.

A timer of the event loop for each call is among the dearest things that a call does, and hardly any ever rings. Here all
alarms share one, which is set to the first of them.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any, Literal

__all__ = ["TICK", "Alarm", "Alarms"]

TICK = 0.02
"""Seconds by which an alarm may ring late, if another has rung just before."""


class Alarms:
    """What is under way on one event loop, and when its time is up.

    All that may still ring is looked through when the first one does, and no more often than once in a :data:`TICK`.
    """

    __slots__ = ("_timer", "loop", "patient", "pressed", "rings_at", "rung")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self.rung: set[Alarm] = set()
        """Those that have rung and are not stopped yet."""
        self.pressed: set[Alarm] = set()
        """Those that may still ring."""
        self.patient: set[Alarm] = set()
        """Those whose time is never up."""
        self.rings_at: float = math.inf
        """When the first one rings, or earlier, by the loop's clock."""
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self.pressed) + len(self.patient)

    def __iter__(self) -> Iterator[Alarm]:
        yield from self.pressed
        yield from self.patient

    def ring_at(self, at: float) -> None:
        """Let the first one ring then."""
        if self._timer is not None:
            self._timer.cancel()
        self.rings_at = at
        self._timer = self.loop.call_at(at, self._ring)

    def ring(self, alarm: Alarm) -> None:
        """An alarm's time is up."""
        if alarm.among is None or alarm.rang:
            return
        alarm.rang = True
        alarm.among.discard(alarm)
        alarm.among = self.rung
        self.rung.add(alarm)
        (alarm.diverted or alarm.task).cancel()

    def _ring(self) -> None:
        now = max(self.loop.time(), self.rings_at)  # a loop may be early by what its clock cannot tell apart
        self.rings_at, self._timer = math.inf, None
        due = [alarm for alarm in self.pressed if alarm.due <= now]
        for alarm in due:
            self.ring(alarm)
        if self.pressed:
            self.ring_at(max(now + TICK, min(alarm.due for alarm in self.pressed)))


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
        seconds: from now until it rings; None for never.
        at_close: what becomes of it when the client closes: it rings at once, or only when what is under way has had time to
            end by itself, or not at all.
    """

    __slots__ = ("among", "at_close", "cancelling", "diverted", "due", "over", "rang", "task")

    due: float
    """When it rings, by the loop's clock; not set if never."""

    def __init__(self, alarms: Alarms, seconds: float | None, at_close: Literal["ring", "drain"] | None = None) -> None:
        task = asyncio.current_task(alarms.loop)
        assert task is not None
        self.task: asyncio.Task[Any] = task
        """Whom it cancels."""
        self.at_close = at_close
        self.rang: bool = False
        """Whether it did."""
        self.over: asyncio.Future[None] | None = None
        """Set it to be woken when the alarm is stopped."""
        self.cancelling: int = task.cancelling()
        """How often that was being cancelled when the alarm was set."""
        self.diverted: asyncio.Task[Any] | None = None
        """Cancelled in place of the task, which does nothing but wait for it; to be left here if the alarm rang."""
        among = alarms.patient
        if seconds is not None:
            among = alarms.pressed
            self.due = due = alarms.loop.time() + seconds
            if due < alarms.rings_at:
                alarms.ring_at(due)
        among.add(self)
        self.among: set[Alarm] | None = among
        """Of those that :class:`Alarms` has, among whom it is, until it is stopped."""

    def stop(self) -> bool:
        """Switch it off.

        Returns:
            whether it rang and is the only reason for which the task is being cancelled; False when it was off already.
        """
        if self.among is None:
            return False
        self.among.discard(self)
        self.among = None
        if self.over is not None and not self.over.done():
            self.over.set_result(None)
        # Takes its own cancellation back, as asyncio.timeout() does: what is left is somebody else's.
        return self.rang and self.diverted is None and self.task.uncancel() <= self.cancelling
