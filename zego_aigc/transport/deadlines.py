"""Deadlines for the path that every call takes: :func:`asyncio.timeout` at a fraction of its cost.

A timer of the event loop for each call is among the dearest things that a call does, and hardly any ever fires. Here all
deadlines share one, which is set to the first of them. Two invariants of :func:`asyncio.timeout` hold here as well: a deadline
takes back its own cancellation and nobody else's, and a cancellation from outside that comes together with the deadline's own
is not swallowed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

__all__ = ["TICK", "Deadline", "Deadlines", "DrainedDeadline", "QueueDeadline"]

TICK = 0.02
"""Seconds by which a deadline may be late, if another has expired just before."""


class Deadlines:
    """The deadlines of what is under way on one event loop.

    All armed ones are looked through when the first of them expires, and no more often than once in a :data:`TICK`.
    """

    __slots__ = ("_timer", "armed", "fired", "loop", "next_at", "unbounded")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        # Maps to None, and not sets, which take twice as much for each of the thousands that may wait in line.
        self.armed: dict[Deadline, None] = {}
        """Those that may still expire."""
        self.unbounded: dict[Deadline, None] = {}
        """Those that never expire by themselves. They are kept so that closing finds them."""
        self.fired: dict[Deadline, None] = {}
        """Those that have expired and are not stopped yet."""
        self.next_at: float = math.inf
        """When the first one expires, or earlier, by the loop's clock."""
        self._timer: asyncio.TimerHandle | None = None

    def __iter__(self) -> Iterator[Deadline]:
        yield from self.armed
        yield from self.unbounded

    def expired_for_current_task(self) -> bool:
        """Whether a deadline of the current task has expired and is not stopped yet."""
        task = asyncio.current_task(self.loop)
        return any(deadline.task is task for deadline in self.fired)

    def wake_at(self, at: float) -> None:
        """Set the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self.next_at = at
        self._timer = self.loop.call_at(at, self._expire_due)

    def expire(self, deadline: Deadline) -> None:
        """Let a deadline expire now: cancel its task."""
        if deadline.registry is None or deadline.expired:
            return
        deadline.expired = True
        del deadline.registry[deadline]
        deadline.registry = self.fired
        self.fired[deadline] = None
        (deadline.redirected_to or deadline.task).cancel()

    def _expire_due(self) -> None:
        now = max(self.loop.time(), self.next_at)  # a loop may be early by what its clock cannot tell apart
        self.next_at, self._timer = math.inf, None
        due = [deadline for deadline in self.armed if deadline.expires_at <= now]
        for deadline in due:
            self.expire(deadline)
        if self.armed:
            self.wake_at(max(now + TICK, min(deadline.expires_at for deadline in self.armed)))


class Deadline:
    """Cancels the current task when it expires. The code that sets it must :meth:`stop` it in any case.

    ::

        deadline = Deadline(deadlines, seconds)
        try:
            await something
        except asyncio.CancelledError:
            if not deadline.stop():
                raise               # a cancellation from outside
            ...                     # too late
        finally:
            deadline.stop()

    Args:
        deadlines: those of the running loop.
        seconds: from now until it expires; None for never.
    """

    __slots__ = ("cancelling", "expired", "expires_at", "registry", "task")

    at_close: ClassVar[Literal["expire", "drain"] | None] = None
    """What becomes of it when the client closes: it is left alone, or see the derived classes."""

    redirected_to: asyncio.Task[Any] | None = None
    stopped: asyncio.Future[None] | None = None
    # See DrainedDeadline for both.

    expires_at: float
    """When it expires, by the loop's clock; not set if never."""

    def __init__(self, deadlines: Deadlines, seconds: float | None) -> None:
        task = asyncio.current_task(deadlines.loop)
        assert task is not None
        self.task: asyncio.Task[Any] = task
        """The task that it cancels."""
        self.expired: bool = False
        """Whether it has expired."""
        self.cancelling: int = task.cancelling()
        """How often the task was being cancelled when the deadline was set."""
        registry = deadlines.unbounded
        if seconds is not None:
            registry = deadlines.armed
            self.expires_at = expires_at = deadlines.loop.time() + seconds
            if expires_at < deadlines.next_at:
                deadlines.wake_at(expires_at)
        registry[self] = None
        self.registry: dict[Deadline, None] | None = registry
        """Which of the maps of :class:`Deadlines` it is in, until it is stopped."""

    def stop(self) -> bool:
        """Switch it off.

        Returns:
            whether it has expired and is the only reason for which the task is being cancelled; False when it was off already.
        """
        if self.registry is None:
            return False
        del self.registry[self]
        self.registry = None
        if self.stopped is not None and not self.stopped.done():
            self.stopped.set_result(None)
        # Takes its own cancellation back, as asyncio.timeout() does: what is left came from outside.
        return self.expired and self.redirected_to is None and self.task.uncancel() <= self.cancelling


class QueueDeadline(Deadline):
    """The deadline of something that waits for its turn, and expires at once when the client closes."""

    __slots__ = ()

    at_close: ClassVar[Literal["expire", "drain"] | None] = "expire"


class DrainedDeadline(Deadline):
    """The deadline of something that gets time to end by itself when the client closes, and only then expires.

    Args:
        deadlines: those of the running loop.
        seconds: from now until it expires.
    """

    __slots__ = ("__dict__",)  # which is made for the few of which anything is set

    at_close: ClassVar[Literal["expire", "drain"] | None] = "drain"

    stopped: asyncio.Future[None] | None = None
    """Set it to be woken when the deadline is stopped."""

    redirected_to: asyncio.Task[Any] | None = None
    """A task to cancel instead: the deadline's own does nothing but wait for it. To be left set once it has expired, so
    that :meth:`stop` takes back no cancellation that was never made."""
