"""The service's limit of ten calls a second for each AppId and Action, kept within one process.

When a token is released is decided by :mod:`zego_aigc.limits.sliding_window`; here callers wait
for it, first come, first served.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from zego_aigc.limits.limiter import DEFAULT_GUARD, VENDOR_LIMIT, VENDOR_WINDOW
from zego_aigc.limits.sliding_window import Window
from zego_aigc.limits.wait_queue import WaitQueue, rebind_to_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from zego_aigc.limits.limiter import FullPermit

__all__ = ["LocalLimiter"]


class LocalLimiter:
    """At most `limit` calls of an Action in any window, as the server sees them, within this process.

    Each AppId and Action has tokens and a queue of its own. A token is released one `window` plus `guard` after the request
    that spent it left, or one `window` after its answer if that is sooner, and half a hundredth of the window for clocks that
    are a little off. So the server's sliding window never sees more than `limit`, whatever the connections do. Callers are
    served in the order of their coming; each token that is released wakes one of them. A cancelled caller gives its place
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
        self,
        limit: int = VENDOR_LIMIT,
        window: float = VENDOR_WINDOW,
        guard: float = DEFAULT_GUARD,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        Window(limit, window, guard)  # complains now, not at the first call
        self._numbers = limit, window, guard
        # Not loop.time(): uvloop's stands still during an iteration, and would date a departure before it happened.
        self._clock = clock or time.monotonic
        self._lanes: dict[tuple[int, str], _Lane] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def limit(self) -> int:
        """Calls that the service takes in any window, for each AppId and Action."""
        return self._numbers[0]

    @property
    def window(self) -> float:
        """Length of the service's window in seconds."""
        return self._numbers[1]

    @property
    def guard(self) -> float:
        """Seconds by which the delay on the way to the service may vary, as given."""
        return self._numbers[2]

    async def acquire(self, app_id: int, action: str) -> FullPermit:
        """Wait for the right to send one request of the Action.

        Raises:
            ConfigurationError: another event loop is using this limiter.
        """
        if (permit := self.take(app_id, action)) is not None:
            return permit
        lane = self._lanes[app_id, action]
        turn = lane.enqueue()  # as lane.wait() does, with a frame less for each of the thousands that may wait
        try:
            return await turn
        except asyncio.CancelledError:
            lane.cancel(turn)
            raise

    def take(self, app_id: int, action: str) -> FullPermit | None:
        """The right to send one request of the Action, if there is no need to wait for it.

        Raises:
            ConfigurationError: another event loop is using this limiter.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._move_to(loop)
        lane = self._lanes.get((app_id, action))
        if lane is None:
            lane = self._lanes[app_id, action] = _Lane(loop, Window(*self._numbers), self._clock)
        return _LocalPermit(lane) if not lane.waiting and lane.window.take(self._clock()) else None

    def estimate(self, app_id: int, action: str) -> float:
        """Seconds that a caller who came now would wait at least, given the queue and when its tokens come back."""
        lane = self._lanes.get((app_id, action))
        return lane.window.estimate(self._clock(), lane.waiting) if lane else 0.0

    def too_fast(self, app_id: int, action: str) -> None:
        """The service refused a call of the Action as too fast: its guard grows for a while."""
        if lane := self._lanes.get((app_id, action)):
            lane.window.too_fast(self._clock())

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        rebind_to_loop("limiter", self._loop, self._lanes.values())
        now = self._clock()
        self._lanes = {key: _Lane(loop, lane.window.successor(now), self._clock) for key, lane in self._lanes.items()}
        self._loop = loop

    def __repr__(self) -> str:
        limit, window, guard = self._numbers
        return f"LocalLimiter(limit={limit}, window={window}, guard={guard})"


class _Lane(WaitQueue["_LocalPermit"]):
    """The tokens of one AppId and Action, and those who wait for them.

    While all tokens are held by requests that have yet to leave, no timer runs: :meth:`_LocalPermit.departed` starts it, or
    :meth:`_LocalPermit.release` dispatches the queue.
    """

    __slots__ = ("clock", "window")

    def __init__(self, loop: asyncio.AbstractEventLoop, window: Window, clock: Callable[[], float]) -> None:
        super().__init__(loop)
        self.window = window
        self.clock = clock

    def take(self) -> _LocalPermit | None:
        return _LocalPermit(self) if self.window.take(self.clock()) else None

    def delay(self) -> float | None:
        now = self.clock()
        due = self.window.next_free(now)
        return None if due is None else due - now


class _LocalPermit:
    __slots__ = ("_lane", "_latest")

    def __init__(self, lane: _Lane) -> None:
        self._lane: _Lane | None = lane
        self._latest: float | None = None  # when departed: by when the request has arrived

    def departed(self, *, unproven: bool = False) -> None:
        lane = self._lane
        if lane is not None and self._latest is None:
            self._latest = lane.window.departed(lane.clock(), unproven=unproven)
            if lane.waiting and lane.timer is None:
                lane.schedule()

    def answered(self) -> None:
        lane = self._lane
        if lane is not None and self._latest is not None:
            self._lane = None
            if lane.window.answered(self._latest, lane.clock()) and lane.waiting:
                lane.schedule()

    def release(self) -> None:
        lane = self._lane
        if lane is not None and self._latest is None:
            self._lane = None
            lane.window.release()
            if lane.waiting:
                lane.dispatch()
