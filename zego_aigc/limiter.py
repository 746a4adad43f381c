"""Waiting for the service's limit of ten calls a second for each AppId and Action.

:class:`Limiter` is what a client asks; :class:`LocalLimiter` answers within one process. When a token is due is decided by
:mod:`zego_aigc._window`; here callers wait for it, first come, first served.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from zego_aigc._window import Window
from zego_aigc.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Limiter", "LocalLimiter", "Permit"]


class Permit(Protocol):
    """The right to send one request. Whichever of the two is called first counts; later calls do nothing.

    A permit that is neither departed nor released keeps its token for good.
    """

    def departed(self) -> None:
        """The request has been handed to the wire: its token comes back a window and a guard from now."""
        ...

    def release(self) -> None:
        """Nothing was sent and nothing will be: the token is free at once."""
        ...


class Limiter(Protocol):
    """Says when a call may be sent."""

    async def acquire(self, app_id: int, action: str) -> Permit:
        """Wait for the right to send one request of the Action. Cancelling the wait gives up the place and spends nothing."""
        ...


class LocalLimiter:
    """At most `limit` calls of an Action in any window, as the server sees them, within this process.

    Each AppId and Action has tokens and a queue of its own. Tokens come back one `window` plus `guard` after the request that
    spent them left, so the server's sliding window never sees more than `limit`, whatever the connections do. Callers are
    served in the order of their coming; each token that comes back wakes one of them. A cancelled caller gives its place
    and its token back.

    One event loop at a time may use a limiter. It may be built outside of any, and used by a later loop once the earlier
    one has stopped and nobody is waiting.

    Args:
        limit: calls that the service takes per window, for each AppId and Action; at least 1.
        window: length of the service's window in seconds.
        guard: seconds by which the delay on the way to the server may vary. It costs ``guard / (window + guard)`` of the pace,
            grows (to half a window at most) after :meth:`too_fast`, and shrinks back while the service does not complain.
        clock: the time in seconds, never running backwards; ``time.monotonic`` unless given.

    Raises:
        ValueError: when a number is out of range.
    """

    def __init__(
        self, limit: int = 10, window: float = 1.0, guard: float = 0.05, *, clock: Callable[[], float] | None = None
    ) -> None:
        Window(limit, window, guard)  # complains now, not at the first call
        self._numbers = limit, window, guard
        # Not loop.time(): uvloop's stands still during an iteration, and would date a departure before it happened.
        self._clock = clock or time.monotonic
        self._lanes: dict[tuple[int, str], _Lane] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def acquire(self, app_id: int, action: str) -> Permit:
        """Wait for the right to send one request of the Action.

        Raises:
            ConfigurationError: another event loop is using this limiter.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._move_to(loop)
        lane = self._lanes.get((app_id, action))
        if lane is None:
            lane = self._lanes[app_id, action] = _Lane(Window(*self._numbers), self._clock, loop)
        waiters = lane.waiters
        if not waiters and lane.window.take(self._clock()):
            return _LocalPermit(lane)
        future: asyncio.Future[_LocalPermit] = loop.create_future()
        waiters[future] = None
        lane.arm()
        try:
            return await future
        except asyncio.CancelledError:
            if waiters.pop(future, _GONE) is _GONE and not future.cancelled():
                future.result().release()  # the grant and the cancellation crossed
            raise

    def estimate(self, app_id: int, action: str) -> float:
        """Seconds that a caller who came now would wait at least, given the queue and when its tokens come back."""
        lane = self._lanes.get((app_id, action))
        return lane.window.estimate(self._clock(), len(lane.waiters)) if lane else 0.0

    def too_fast(self, app_id: int, action: str) -> None:
        """The service refused a call of the Action as too fast: its guard grows for a while."""
        if lane := self._lanes.get((app_id, action)):
            lane.window.too_fast(self._clock())

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        old = self._loop
        if old is not None and not old.is_closed():
            if old.is_running():
                raise ConfigurationError(
                    "this limiter is in use by another running event loop: give each loop (each thread) a limiter of its own"
                )
            if any(lane.waiters for lane in self._lanes.values()):
                raise ConfigurationError("callers of another event loop, which is not closed, still wait for this limiter")
        now = self._clock()
        for lane in self._lanes.values():
            lane.waiters.clear()  # left by a closed loop, and past waking
        self._lanes = {key: _Lane(lane.window.inherited(now), self._clock, loop) for key, lane in self._lanes.items()}
        self._loop = loop

    def __repr__(self) -> str:
        limit, window, guard = self._numbers
        return f"LocalLimiter(limit={limit}, window={window}, guard={guard})"


_GONE = object()


class _Lane:
    """The tokens and the queue of one AppId and Action, on one event loop.

    While somebody waits, either a timer runs until the next token is due, or all tokens are held by requests that have yet
    to leave: then :meth:`_LocalPermit.departed` starts the timer, and :meth:`_LocalPermit.release` serves the queue.
    """

    __slots__ = ("clock", "loop", "timer", "waiters", "window")

    def __init__(self, window: Window, clock: Callable[[], float], loop: asyncio.AbstractEventLoop) -> None:
        self.window = window
        self.clock = clock
        self.loop = loop
        # An ordered dict, since a cancelled waiter anywhere in the queue leaves in constant time.
        self.waiters: OrderedDict[asyncio.Future[_LocalPermit], object] = OrderedDict()
        self.timer: asyncio.TimerHandle | None = None

    def arm(self) -> None:
        """See to it that the queue is served when the next token comes back."""
        if self.timer is None:
            now = self.clock()
            due = self.window.next_free(now)
            if due is not None:
                self.timer = self.loop.call_later(due - now, self._ring)

    def _ring(self) -> None:
        self.timer = None
        self.serve()

    def serve(self) -> None:
        """Give the tokens that are there to those who wait longest: one token, one wake-up."""
        waiters = self.waiters
        take = self.window.take
        clock = self.clock
        while waiters:
            future = next(iter(waiters))
            if not future.done():  # cancelled, and about to leave the queue by itself
                if not take(clock()):
                    self.arm()
                    return
                future.set_result(_LocalPermit(self))
            del waiters[future]


class _LocalPermit:
    __slots__ = ("_lane",)

    def __init__(self, lane: _Lane) -> None:
        self._lane: _Lane | None = lane

    def departed(self) -> None:
        lane = self._lane
        if lane is not None:
            self._lane = None
            lane.window.departed(lane.clock())
            if lane.waiters:
                lane.arm()

    def release(self) -> None:
        lane = self._lane
        if lane is not None:
            self._lane = None
            lane.window.release()
            if lane.waiters:
                lane.serve()
