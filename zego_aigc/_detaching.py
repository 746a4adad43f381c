"""Work that ends in time, and that can go on without the caller who began it: at no cost as long as neither happens.

A timeout around a task of its own would do the same, and costs every call two turns of the event loop and a timer, in case that
its caller is cancelled or it takes too long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Generic, TypeVar

from zego_aigc._alarm import Alarms, Timed

__all__ = ["Detachable"]

T = TypeVar("T")


class Detachable(Timed, Generic[T]):
    """A coroutine that runs in the task that awaits it, until its time is up or that task is cancelled.

    When its time is up, the coroutine is cancelled, and not the task. When the task is cancelled, so is the coroutine, unless
    it `survives`: then it is left as it is, and another task may await it and so go on with it::

        work = Detachable(coroutine, alarms, 30.0)
        work.survives = has_left
        try:
            return await work
        except asyncio.CancelledError:
            if work.detached:
                asyncio.create_task(...)    # which awaits work once more
            raise

    Tasks take anything for a future that looks like one, and cancel what they wait for by its ``cancel()``. So the task gets
    this object to wait on, in place of the future that the coroutine waits on.

    What survives must not be tied to the task that began it, as a timeout inside of it would be. Before, such a timeout may
    cancel the task as its caller might, and take that back: `survives` is asked then too, and must change nothing.

    Args:
        coroutine: the work.
        alarms: those of the running loop.
        seconds: until its time is up.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_awaited",
        "_cancelling",
        "_coroutine",
        "_cut",
        "_task",
        "_wake",
        "detached",
        "interrupted",
        "over",
        "running",
        "survives",
    )

    def __init__(self, coroutine: Coroutine[Any, Any, T], alarms: Alarms, seconds: float) -> None:
        super().__init__(alarms, seconds)
        self._coroutine = coroutine
        self._awaited: asyncio.Future[Any] | None = None  # None while it runs, or waits for its next turn only
        self._wake: tuple[Callable[[Any], object], Context | None] | None = None
        self._cut = False  # to be cancelled as soon as it waits
        self._asyncio_future_blocking: bool = False
        self._task: asyncio.Task[Any] | None = None  # who awaits it
        self._cancelling = 0  # how often that was being cancelled when it began to
        self.survives: Callable[[], bool] | None = None
        """Asked when the task is cancelled, whether to leave the work alone."""
        self.running: bool = True
        """Whether it is at work rather than waiting: if so, whoever asks is called by it."""
        self.detached: bool = False
        """Whether it goes on without the task that was cancelled."""
        self.interrupted: bool = False
        """Whether :meth:`interrupt` was called."""
        self.over: asyncio.Future[None] | None = None
        """Set it to be woken when the work is over."""

    def __await__(self) -> Generator[Any, Any, T]:
        error: BaseException | None = None
        if self.detached:  # somebody else takes it over
            self.detached = False
            self.survives = None
        self._task = task = asyncio.current_task(self._alarms.loop)
        assert task is not None
        self._cancelling = task.cancelling()
        while True:
            if self.running:
                try:
                    self._awaited = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
                except StopIteration as end:
                    self._end()
                    result: T = end.value
                    return result
                except BaseException:
                    self._end()
                    raise
                self.running, error = False, None
                if self._cut:
                    self._cut_off()
            try:
                if self._awaited is None:
                    yield
                else:
                    self._awaited._asyncio_future_blocking = False  # noqa: SLF001 - how futures tell tasks to wait
                    self._asyncio_future_blocking = True
                    yield self
            except BaseException as caught:
                if isinstance(caught, asyncio.CancelledError):
                    if self._awaited is None:
                        self.detached = self.survives is not None and self.survives()
                    if self.detached:
                        raise
                error = caught
            else:
                if self._cut and self._awaited is None:
                    self._cut, error = False, asyncio.CancelledError()
            self.running = True

    @property
    def cancelled(self) -> bool:
        """Whether the awaiting task is being cancelled. A timeout inside of the work cancels it too, and takes that back."""
        return self._task is not None and self._task.cancelling() > self._cancelling

    def ring(self) -> None:
        """Its time is up: cancel the work, and not the task that awaits it."""
        self.rang = True
        self._cut_off()

    def interrupt(self) -> None:
        """Cancel the work, and not the task that awaits it."""
        self.interrupted = True
        self._cut_off()

    def close(self) -> None:
        """End work that was left behind and that nobody goes on with."""
        awaited = self._awaited
        if awaited is not None and not awaited.cancel() and not awaited.cancelled():
            awaited.exception()  # seen, or the event loop would complain that nobody did
        self._coroutine.close()
        self._end()

    def _cut_off(self) -> bool:
        awaited = self._awaited
        if awaited is None or self.running:
            cut = False
        elif isinstance(awaited, Detachable):  # a call within a call, in the same task, which is not what is cancelled here
            cut = awaited._cut_off()  # noqa: SLF001 - of the same class
        else:
            cut = awaited.cancel()
        self._cut = not cut  # what is over already cannot be cancelled: then the next wait is
        return cut

    def _end(self) -> None:
        self.quiet()
        self._wake = self.survives = None  # which hold the task's wake-up, and whoever decides
        if self.over is not None and not self.over.done():
            self.over.set_result(None)

    # --- what a task asks of a future

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of what the coroutine waits for."""
        return self._alarms.loop

    def add_done_callback(self, wake: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Wake the task as soon as the coroutine can go on."""
        assert self._awaited is not None
        self._wake = wake, context
        self._awaited.add_done_callback(wake, context=context)

    def cancel(self, msg: object = None) -> bool:
        """The task is cancelled."""
        assert self._awaited is not None
        if self.detached:
            return False
        if self.survives is None or not self.survives():
            return self._awaited.cancel(msg)
        self.detached = True
        assert self._wake is not None
        wake, context = self._wake
        # If there is nothing to remove, what the coroutine waits for is over, and the task is about to be woken.
        if self._awaited.remove_done_callback(wake):
            self._alarms.loop.call_soon(wake, self, context=context)
        return False  # not cancelled itself: the task raises its CancelledError when it is woken

    def result(self) -> None:
        """Asked by a task that is woken by its own cancellation."""
