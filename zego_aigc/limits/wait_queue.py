"""A queue of callers in two lines, foreground and background: one timer for both, one wake-up for each thing handed out."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from zego_aigc.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["BACKGROUND_SHARE", "WaitQueue", "rebind_to_loop"]

BACKGROUND_SHARE = 10
"""While the background waits, at least one in so many of what is handed out is for it."""


class Returnable(Protocol):
    """What is handed out: it can be given back unused."""

    def release(self) -> None:
        """Give it back."""
        ...


T = TypeVar("T", bound=Returnable)


class WaitQueue(Generic[T]):
    """Callers of one event loop who wait for something that :meth:`take` hands out.

    The foreground goes first, and the background is never starved (:data:`BACKGROUND_SHARE`); within each line callers are
    served first in, first out. While callers wait, either a timer runs until :meth:`take` may succeed by the passing of time,
    or :meth:`delay` is None and the code that changes that calls :meth:`dispatch` or :meth:`schedule`.
    """

    __slots__ = ("_background", "_due", "_foreground", "_overtaken", "loop", "timer", "waiting", "waiting_background")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop: asyncio.AbstractEventLoop = loop
        self.timer: asyncio.Handle | None = None
        self._due = 0.0  # of the timer: uvloop's cannot always tell
        self.waiting: int = 0
        """How many wait, in both lines."""
        self.waiting_background: int = 0
        """How many of them wait in the background."""
        # Cancelled callers stay in their line, done, until they come to its head or there are too many of them: removing from
        # the middle of a deque is linear.
        self._foreground: deque[asyncio.Future[T]] = deque()
        self._background: deque[asyncio.Future[T]] | None = None  # made when it is needed: most queues never have one
        self._overtaken = 0  # how many of the foreground were served since the background's first came to its head

    @abstractmethod
    def take(self, *, background: bool) -> T | None:
        """Take one for a caller of that line, if there is one to be had now."""

    @abstractmethod
    def delay(self, *, background: bool) -> float | None:
        """Seconds until :meth:`take` may succeed for that line without anything else happening; None if it never will."""

    def take_at_once(self, *, background: bool) -> T | None:
        """Take one for a caller that has just come, unless others go first."""
        if not self.waiting:
            return self.take(background=background)
        if background or self.waiting > self.waiting_background or self._overtaken >= BACKGROUND_SHARE - 1:
            return None
        if (taken := self.take(background=False)) is not None:
            self._overtaken += 1
        return taken

    async def wait(self, *, background: bool) -> T:
        """Wait for one's turn. Cancelling gives up the place, and gives back what was just handed out."""
        turn = self.enqueue(background=background)
        try:
            return await turn
        except asyncio.CancelledError:
            self.cancel(turn, background=background)
            raise

    def enqueue(self, *, background: bool) -> asyncio.Future[T]:
        """A place at the end of a line. A caller that is cancelled while it waits must :meth:`cancel` it."""
        turn: asyncio.Future[T] = self.loop.create_future()
        if background:
            if self._background is None:
                self._background = deque()
            self._background.append(turn)
            self.waiting_background += 1
        else:
            self._foreground.append(turn)
        self.waiting += 1
        self.schedule()  # also where a timer runs: what was just given back may be reserved for a caller that has left
        return turn

    def cancel(self, turn: asyncio.Future[T], *, background: bool) -> None:
        """Give up a place, after a cancellation."""
        if not turn.cancelled():
            turn.result().release()  # the grant and the cancellation crossed
            return
        self.waiting -= 1
        self.waiting_background -= background
        line = self._background if background else self._foreground
        if line is not None and len(line) > 2 * self.waiting + 10:
            left = [other for other in line if not other.done()]
            line.clear()
            line.extend(left)

    def dispatch(self) -> None:
        """Hand out what there is to the callers whose turn it is."""
        while (line := self._next_line()) is not None:
            background = line is self._background
            taken = self.take(background=background)
            if taken is None and background and _first(self._foreground) is not None:
                line, background = self._foreground, False  # it is the background's turn, but not its time
                taken = self.take(background=False)
            if taken is None:
                self.schedule()
                return
            self.waiting -= 1
            if background:
                self.waiting_background -= 1
                self._overtaken = 0
            elif self.waiting_background:
                self._overtaken += 1
            line.popleft().set_result(taken)

    def clear(self) -> None:
        """Forget the callers: their event loop is closed, and they cannot be woken any more."""
        self._foreground.clear()
        self._background = None
        self.waiting = self.waiting_background = 0

    def schedule(self) -> None:
        """Let the timer run out when :meth:`take` may next succeed, if not before."""
        delay = self.delay(background=self.waiting == self.waiting_background)
        if delay is None:
            return
        when = self.loop.time() + delay
        if self.timer is not None:
            if self._due <= when:
                return
            self.timer.cancel()
        self._due = when
        self.timer = self.loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        self.timer = None
        self.dispatch()

    def _next_line(self) -> deque[asyncio.Future[T]] | None:
        """The line whose turn it is, its head alive; None if nobody waits."""
        foreground = _first(self._foreground)
        if self._background is None or _first(self._background) is None:
            return None if foreground is None else self._foreground
        return self._background if foreground is None or self._overtaken >= BACKGROUND_SHARE - 1 else self._foreground


def _first(line: deque[asyncio.Future[T]]) -> asyncio.Future[T] | None:
    """The head of a line, after cancelled callers were removed from it."""
    while line:
        if not line[0].done():
            return line[0]
        line.popleft()
    return None


def rebind_to_loop(what: str, old: asyncio.AbstractEventLoop | None, queues: Iterable[WaitQueue[T]]) -> None:
    """Make sure that nothing on the event loop `old` uses `what` any more, so that another loop may.

    Raises:
        ConfigurationError: `old` is running, or could go on and has callers in a queue.
    """
    if old is not None and not old.is_closed():
        if old.is_running():
            raise ConfigurationError(
                f"this {what} is in use by another running event loop: give each loop (each thread) a {what} of its own"
            )
        if any(queue.waiting for queue in queues):
            raise ConfigurationError(
                f"callers of another event loop, which is not closed, still wait for this {what}: close that loop first, or "
                f"give each loop a {what} of its own"
            )
    for queue in queues:
        queue.clear()
