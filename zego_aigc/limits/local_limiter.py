"""The service's limit of ten calls a second for each AppId and Action, kept within one process.

When a token is released is decided by :mod:`zego_aigc.limits.sliding_window`; here callers wait for it.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from zego_aigc.limits.limiter import DEFAULT_GUARD, VENDOR_LIMIT, VENDOR_WINDOW, LimiterStats
from zego_aigc.limits.sliding_window import Window
from zego_aigc.limits.wait_queue import BACKGROUND_SHARE, WaitQueue, rebind_to_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from zego_aigc.limits.limiter import FullPermit

__all__ = ["CATCH_UP", "PEOPLE_STAY", "LocalLimiter"]

PEOPLE_STAY = 60.0
"""Seconds for which a foreground call makes the background of its Action space its calls."""
CATCH_UP = 0.5
"""Of the space between two calls of the background, how late one may be for the next to come as if it had been in time."""
_SWEEP = 60.0
"""Seconds between two looks for Actions and AppIds that are not used any more."""


class LocalLimiter:
    """At most `limit` calls of an Action in any window, as the server sees them, within this process.

    Each AppId and Action has tokens and a queue of its own. A token is released one `window` plus `guard` after the request
    that spent it left, or sooner where its answer and the smallest round trip seen of late show that it arrived sooner, and
    half a hundredth of the window for clocks that are a little off. So the server's sliding window never sees more than
    `limit`, whatever the connections do. Where it complains all the same, and others seem to use the account, some tokens are
    left to them for a while.

    Each queue has two lines. The foreground goes first; while the background waits, at least one token in ten is for it; within
    a line callers are served in the order of their coming. Where foreground calls were seen in the last minute, the background
    spaces its calls by ``window / limit`` instead of spending all tokens at once, so that a foreground call waits for one token
    and not for a window. Each token that is released wakes one caller. A cancelled caller gives its place and its token back.

    One event loop at a time may use a limiter. It may be built outside of any, and used by a later loop once the earlier
    one has stopped and nobody is waiting. AppIds and Actions that are not used any more are forgotten after a few minutes.

    Args:
        limit: calls that the service takes per window, for each AppId and Action; at least 1.
        window: length of the service's window in seconds.
        guard: seconds by which the delay on the way to the server may vary. It counts for requests that are not answered yet,
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
        self._sweep_at = -math.inf

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

    async def acquire(self, app_id: int, action: str, *, background: bool = False) -> FullPermit:
        """Wait for the right to send one request of the Action.

        Args:
            app_id: whose limit counts.
            action: the vendor's name of the Action.
            background: whether others may go first.

        Raises:
            ConfigurationError: another event loop is using this limiter.
        """
        if (permit := self.take(app_id, action, background=background)) is not None:
            return permit
        lane = self._lanes[app_id, action]
        turn = lane.enqueue(background=background)  # as lane.wait() does, with a frame less for each of thousands
        try:
            return await turn
        except asyncio.CancelledError:
            lane.cancel(turn, background=background)
            raise

    def take(self, app_id: int, action: str, *, background: bool = False) -> FullPermit | None:
        """The right to send one request of the Action, if there is no need to wait for it.

        Raises:
            ConfigurationError: another event loop is using this limiter.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._move_to(loop)
        lane = self._lanes.get((app_id, action))
        if lane is None:
            lane = self._open(app_id, action, loop)
        if not background:
            lane.foreground_at = self._clock()
        return lane.take_at_once(background=background)

    def estimate(self, app_id: int, action: str, *, background: bool = False) -> float:
        """Seconds that a caller who came now would wait at least, given its line, the other one, and when tokens are released.

        For the background that is without foreground calls to come.
        """
        lane = self._lanes.get((app_id, action))
        if lane is None:
            return 0.0
        ahead = lane.waiting
        if not background:
            foreground = lane.waiting - lane.waiting_background
            ahead = min(ahead, foreground + foreground // (BACKGROUND_SHARE - 1))
        return lane.window.estimate(self._clock(), ahead)

    def too_fast(self, app_id: int, action: str) -> None:
        """The service refused a call of the Action as too fast: for a while its guard grows, or it uses fewer tokens."""
        if lane := self._lanes.get((app_id, action)):
            lane.window.too_fast(self._clock())

    def stats(self, app_id: int, action: str) -> LimiterStats:
        """How an Action uses its limit at the moment."""
        lane = self._lanes.get((app_id, action))
        if lane is None:
            return LimiterStats(guard=self.guard)
        window = lane.window
        return LimiterStats(
            sent=window.throughput.total,
            waiting=lane.waiting - lane.waiting_background,
            waiting_background=lane.waiting_background,
            round_trip=window.round_trip,
            guard=window.guard,
            withheld=window.withheld(self._clock()),
            complaints=window.complaints,
            share=window.throughput.share(self._clock()),
        )

    def _open(self, app_id: int, action: str, loop: asyncio.AbstractEventLoop) -> _Lane:
        """The lane of an Action that is new here. Those that are not used any more go, now and then."""
        now = self._clock()
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP
            self._lanes = {key: lane for key, lane in self._lanes.items() if lane.waiting or not lane.window.is_idle(now)}
        lane = self._lanes[app_id, action] = _Lane(loop, Window(*self._numbers), self._clock)
        return lane

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        rebind_to_loop("limiter", self._loop, self._lanes.values())
        now = self._clock()
        self._lanes = {key: _Lane(loop, lane.window.successor(now), self._clock) for key, lane in self._lanes.items()}
        self._loop = loop

    def __repr__(self) -> str:
        limit, window, guard = self._numbers
        return f"LocalLimiter(limit={limit}, window={window}, guard={guard})"


class _Lane(WaitQueue["_LocalPermit"]):
    """The tokens of one AppId and Action, and the callers that wait for them.

    While all tokens are held by requests that have yet to leave, no timer runs: :meth:`_LocalPermit.departed` starts it, or
    :meth:`_LocalPermit.release` dispatches the queue.
    """

    __slots__ = ("_background_at", "_spacing", "clock", "foreground_at", "window")

    def __init__(self, loop: asyncio.AbstractEventLoop, window: Window, clock: Callable[[], float]) -> None:
        super().__init__(loop)
        self.window = window
        self.clock = clock
        self.foreground_at = -math.inf
        """When a foreground call last came."""
        self._background_at = -math.inf  # when the background's last token was due
        self._spacing = window.window / window.limit

    def take(self, *, background: bool) -> _LocalPermit | None:
        now = self.clock()
        if background:
            due = self._background_from(now)
            if now < due or not self.window.take(now):
                return None
            # By its schedule and not by the clock, so that a little lateness of timers is caught up on.
            self._background_at = due if now - due < CATCH_UP * self._spacing else now
            return _LocalPermit(self)
        return _LocalPermit(self) if self.window.take(now) else None

    def delay(self, *, background: bool) -> float | None:
        now = self.clock()
        due = self.window.next_free(now)
        if due is None:
            return None
        if background:
            due = max(due, self._background_from(now))
        return due - now

    def _background_from(self, now: float) -> float:
        """When the background may have its next token."""
        return self._background_at + self._spacing if now < self.foreground_at + PEOPLE_STAY else -math.inf


class _LocalPermit:
    __slots__ = ("_answered_at", "_departed_at", "_lane", "_mark")

    def __init__(self, lane: _Lane) -> None:
        self._lane: _Lane | None = lane
        self._departed_at: float | None = None
        self._answered_at: float | None = None
        self._mark = 0.0  # of the window, once it has departed

    def departed(self, *, unproven: bool = False) -> None:
        lane = self._lane
        if lane is not None and self._departed_at is None:
            self._departed_at = now = lane.clock()
            self._mark = lane.window.departed(now, unproven=unproven)
            if lane.waiting and lane.timer is None:
                lane.schedule()

    def answered(self) -> None:
        lane = self._lane
        if lane is not None and self._departed_at is not None and self._answered_at is None:
            self._answered_at = now = lane.clock()
            mark = self._mark
            self._mark = lane.window.answered(mark, now)
            if lane.waiting and self._mark is not mark:
                lane.schedule()

    def served(self, host: str, *, first: bool = False) -> None:
        lane = self._lane
        if lane is not None and self._departed_at is not None:
            self._lane = None
            answered_at = lane.clock() if self._answered_at is None else self._answered_at
            lane.window.served(self._mark, self._departed_at, answered_at, host, first=first)
            if lane.waiting:
                lane.schedule()

    def release(self) -> None:
        lane = self._lane
        if lane is not None and self._departed_at is None:
            self._lane = None
            lane.window.release()
            if lane.waiting:
                lane.dispatch()
