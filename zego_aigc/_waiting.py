"""Waiting in line: first come, first served, one timer for the line, one wake-up for each thing handed out."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from zego_aigc.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Line", "hand_over"]


class Returnable(Protocol):
    """What is handed out: it can be given back unused."""

    def release(self) -> None: ...


T = TypeVar("T", bound=Returnable)


class Line(Generic[T]):
    """Callers of one event loop who wait for something that :meth:`take` hands out.

    While somebody waits, either a timer runs until :meth:`take` may succeed by the passing of time, or :meth:`delay` is None
    and whoever changes that calls :meth:`serve` or :meth:`arm`.
    """

    __slots__ = ("loop", "timer", "waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        # An ordered dict, since a cancelled caller anywhere in the line leaves it in constant time.
        self.waiters: OrderedDict[asyncio.Future[T], None] = OrderedDict()
        self.timer: asyncio.TimerHandle | None = None

    @abstractmethod
    def take(self) -> T | None:
        """Take one for the caller at the head of the line, if there is one to be had now."""

    @abstractmethod
    def delay(self) -> float | None:
        """Seconds until :meth:`take` may succeed without anything else happening; None if it never will."""

    async def wait(self) -> T:
        """Join the line and wait for one's turn. Cancelling gives up the place, and gives back what was just handed out."""
        waiters = self.waiters
        future: asyncio.Future[T] = self.loop.create_future()
        waiters[future] = None
        if self.timer is None:
            self.arm()
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled():
                waiters.pop(future, None)
            else:
                future.result().release()  # the grant and the cancellation crossed
            raise

    def serve(self) -> None:
        """Hand out what there is, to those who wait longest."""
        waiters = self.waiters
        while waiters:
            future = next(iter(waiters))
            if not future.done():  # else cancelled, and about to leave the line by itself
                if (taken := self.take()) is None:
                    self.arm()
                    return
                future.set_result(taken)
            del waiters[future]

    def arm(self) -> None:
        """Let the timer ring when :meth:`take` may next succeed, if not before."""
        delay = self.delay()
        if delay is None:
            return
        when = self.loop.time() + delay
        if self.timer is not None:
            if self.timer.when() <= when:
                return
            self.timer.cancel()
        self.timer = self.loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self.timer = None
        self.serve()


def hand_over(what: str, old: asyncio.AbstractEventLoop | None, lines: Iterable[Line[T]]) -> None:
    """See that nobody on the event loop `old` uses `what` any more, so that another loop may.

    Raises:
        ConfigurationError: `old` is running, or could go on and has callers in line.
    """
    if old is not None and not old.is_closed():
        if old.is_running():
            raise ConfigurationError(
                f"this {what} is in use by another running event loop: give each loop (each thread) a {what} of its own"
            )
        if any(line.waiters for line in lines):
            raise ConfigurationError(f"callers of another event loop, which is not closed, still wait for this {what}")
    for line in lines:
        line.waiters.clear()  # left by a closed loop, and past waking
