"""Work that can go on without the caller who began it, at no cost as long as nobody is cancelled.

A task of its own would do the same, and costs every call two turns of the event loop, in case that its caller is cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Generic, TypeVar

__all__ = ["Detachable"]

T = TypeVar("T")


class Detachable(Generic[T]):
    """A coroutine that runs in the task that awaits it, until that task is cancelled; then it may be awaited by another.

    ::

        work = Detachable(coroutine, survives)
        try:
            return await work
        except asyncio.CancelledError:
            if work.detached:
                asyncio.create_task(...)    # which awaits work once more, and so goes on with it
            raise

    Tasks take anything for a future that looks like one, and cancel what they wait for by its ``cancel()``. So the task gets
    this object to wait on, in place of the future that the coroutine waits on. Where the coroutine `survives`, it is left as
    it is, and only the task learns of its cancellation.

    What runs inside must not be tied to the task that began it when it survives, as a timeout around it would be.

    Args:
        coroutine: the work.
        survives: asked when the task is cancelled, whether to leave the work alone.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_awaited",
        "_awaiting",
        "_coroutine",
        "_loop",
        "_survives",
        "_wake",
        "cancelled",
        "detached",
        "interrupted",
    )

    def __init__(self, coroutine: Coroutine[Any, Any, T], survives: Callable[[], bool]) -> None:
        self._coroutine = coroutine
        self._survives: Callable[[], bool] | None = survives
        self._awaiting = False  # whether the coroutine waits: for _awaited, or for its turn if that is None
        self._awaited: asyncio.Future[Any] | None = None
        self._asyncio_future_blocking: bool = False
        self._wake: tuple[Callable[[Any], object], Context | None] | None = None
        self.cancelled: bool = False
        """Whether the awaiting task was cancelled, rather than the work :meth:`interrupt`-ed."""
        self.detached: bool = False
        """Whether it goes on without the task that was cancelled."""
        self.interrupted: bool = False
        """Whether it was cut short."""

    def __await__(self) -> Generator[Any, Any, T]:
        error: BaseException | None = None
        if self.detached:  # somebody else has taken it over
            self.detached = self.cancelled = False
            self._survives = None
        while True:
            if not self._awaiting:
                try:
                    self._awaited = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
                except StopIteration as end:
                    result: T = end.value
                    return result
                self._awaiting, error = True, None
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
                        self.cancelled = True
                        self.detached = self._survives is not None and self._survives()
                    if self.detached:
                        raise
                error = caught
            self._awaiting = False

    @property
    def running(self) -> bool:
        """Whether it is at work rather than waiting: if so, the work is who asks."""
        return not self._awaiting

    def interrupt(self) -> None:
        """Cancel the work, and not the task that awaits it."""
        self.interrupted = True
        if self._awaited is not None:
            self._awaited.cancel()

    # --- what a task asks of a future

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of what the coroutine waits for."""
        assert self._awaited is not None
        return self._awaited.get_loop()

    def add_done_callback(self, wake: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Wake the task as soon as the coroutine can go on."""
        assert self._awaited is not None
        self._wake = wake, context
        self._awaited.add_done_callback(wake, context=context)

    def cancel(self, msg: object = None) -> bool:
        """The task is cancelled."""
        assert self._awaited is not None
        self.cancelled = True
        if self._survives is None or not (self.detached or self._survives()):
            return self._awaited.cancel(msg)
        if not self.detached:
            self.detached = True
            assert self._wake is not None
            wake, context = self._wake
            # If there is nothing to remove, what the coroutine waits for is over, and the task is about to be woken.
            if self._awaited.remove_done_callback(wake):
                self.get_loop().call_soon(wake, self, context=context)
        return False  # not cancelled itself: the task raises its CancelledError when it is woken

    def result(self) -> None:
        """Asked by a task that is woken by its own cancellation."""
