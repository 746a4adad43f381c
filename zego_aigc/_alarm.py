"""Deadlines for the path that every call takes: :func:`asyncio.timeout` at a fraction of its cost.

A timer of the event loop for each call is among the dearest things that a call does, and hardly any ever rings. Here the alarms
that fall into the same :data:`TICK` share one, which rings at its end. Nothing is looked through, however many calls wait.
"""

from __future__ import annotations

import asyncio
import math
from abc import abstractmethod
from collections.abc import Iterator

__all__ = ["TICK", "Alarm", "Alarms", "Timed"]

TICK = 0.02
"""Seconds by which an alarm may ring late, where it was set for :data:`COARSE` or more. Shorter ones are exact."""

COARSE = 0.5


class Alarms:
    """What is under way on one event loop, and when its time is up."""

    __slots__ = ("_exact", "_sharing", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self._sharing: dict[int, set[Timed]] = {}  # by the tick at whose end they ring
        self._exact: set[Timed] = set()

    def __iter__(self) -> Iterator[Timed]:
        for sharing in self._sharing.values():
            yield from sharing
        yield from self._exact

    def add(self, timed: Timed, seconds: float | None) -> tuple[set[Timed], asyncio.TimerHandle | None]:
        """Let something ring in so many seconds, or never.

        Returns:
            with whom it stands, until it is discarded from them, and its own timer if it has one.
        """
        if seconds is None or seconds < COARSE:
            self._exact.add(timed)
            return self._exact, None if seconds is None else self.loop.call_later(seconds, timed.ring)
        tick = math.ceil((self.loop.time() + seconds) / TICK)
        sharing = self._sharing.get(tick)
        if sharing is None:
            sharing = self._sharing[tick] = set()
            self.loop.call_at(tick * TICK, self._ring, tick)
        sharing.add(timed)
        return sharing, None

    def _ring(self, tick: int) -> None:
        for timed in self._sharing.pop(tick):
            timed.ring()


class Timed:
    """Something whose time may be up."""

    __slots__ = ("_alarms", "_among", "_timer", "rang")

    def __init__(self, alarms: Alarms, seconds: float | None) -> None:
        self._alarms = alarms
        self.rang: bool = False
        """Whether its time was up."""
        self._among: set[Timed] | None
        self._timer: asyncio.TimerHandle | None
        self._among, self._timer = alarms.add(self, seconds)

    @abstractmethod
    def ring(self) -> None:
        """Its time is up."""

    def quiet(self) -> None:
        """Let it not ring any more."""
        if self._among is not None:
            self._among.discard(self)
            self._among = None
            if self._timer is not None:
                self._timer.cancel()


class Alarm(Timed):
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
    """

    __slots__ = ("_cancelling", "_stopped", "_task")

    def __init__(self, alarms: Alarms, seconds: float | None) -> None:
        task = asyncio.current_task(alarms.loop)
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._stopped: bool | None = None
        super().__init__(alarms, seconds)

    def stop(self) -> bool:
        """Switch it off.

        Returns:
            whether it rang and is the only reason for which the task is being cancelled.
        """
        if self._stopped is None:
            self.quiet()
            # Takes its own cancellation back, as asyncio.timeout() does: what is left is somebody else's.
            self._stopped = self.rang and self._task.uncancel() <= self._cancelling
        return self._stopped

    def ring(self) -> None:
        """Its time is up."""
        self.rang = True
        self._task.cancel()
