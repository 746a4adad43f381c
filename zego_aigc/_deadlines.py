"""Deadlines by the thousand with few timers.

A timer of the event loop costs more than all else that a deadline needs, and nearly all are cancelled long before they would
ring. So deadlines that are far away share timers: those that fall into the same twentieth of a second ring together at its end.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Deadline", "Deadlines"]

_GRAIN = 0.05
"""Seconds. A deadline that is far away rings late by this much at most, and never early."""
_FAR = 2.0
"""Seconds. A deadline that is nearer has a timer of its own, and rings in time."""


class Deadlines:
    """The deadlines of what runs on one event loop."""

    __slots__ = ("_loop", "_sharing")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._sharing: dict[int, set[Deadline]] = {}

    def within(self, seconds: float | None) -> Deadline:
        """A block that may take so many seconds: ``with deadlines.within(30.0):`` around code that awaits.

        None sets no deadline yet: :meth:`Deadline.move` may do so inside.
        """
        return Deadline(self, seconds)

    def watch(self, deadline: Deadline, seconds: float) -> set[Deadline] | asyncio.TimerHandle:
        """Let a deadline ring in so many seconds. What is returned forgets it, by ``discard(deadline)`` or ``cancel()``."""
        loop = self._loop
        if seconds < _FAR:
            return loop.call_later(seconds, deadline.ring)
        slot = math.ceil((loop.time() + seconds) / _GRAIN)
        sharing = self._sharing.get(slot)
        if sharing is None:
            sharing = self._sharing[slot] = set()
            loop.call_at(slot * _GRAIN, self._ring, slot)
        sharing.add(deadline)
        return sharing

    def _ring(self, slot: int) -> None:
        for deadline in self._sharing.pop(slot):
            deadline.ring()


class Deadline:
    """A block with a deadline, as ``asyncio.timeout()`` is one.

    When the time is up, the task that entered the block is cancelled. This cancellation, but no other, leaves the block as
    ``TimeoutError``.
    """

    __slots__ = ("_cancelling", "_deadlines", "_seconds", "_task", "_watch", "expired")

    def __init__(self, deadlines: Deadlines, seconds: float | None) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self._watch: set[Deadline] | asyncio.TimerHandle | None = None
        self.expired = False
        """Whether the time was up before the block ended."""

    def move(self, seconds: float) -> None:
        """Let the time be up in so many seconds from now, whatever was said before. To be called inside the block."""
        self._forget()
        if not self.expired:
            self._watch = self._deadlines.watch(self, seconds)

    def ring(self) -> None:
        """The time is up."""
        self._watch = None
        self.expired = True
        self._task.cancel()

    def _forget(self) -> None:
        watch = self._watch
        if watch is not None:
            self._watch = None
            if isinstance(watch, set):
                watch.discard(self)
            else:
                watch.cancel()

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None, "a deadline needs a task to cancel"
        self._task = task
        self._cancelling = task.cancelling()
        if self._seconds is not None:
            self._watch = self._deadlines.watch(self, self._seconds)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._forget()
        # The task may have been cancelled by others as well: then it is their cancellation that goes on.
        if self.expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
