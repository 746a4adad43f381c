"""The sandbox's time: real time plus an offset that tests move.

Whatever happens later (an expiry, an end of speech, a callback's next attempt) is a timer here, so that
:meth:`Clock.advance` can make it happen now. Nothing in the sandbox sleeps otherwise.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Awaitable, Callable

__all__ = ["MAX_ADVANCE", "Clock", "Timer"]

MAX_ADVANCE = 31 * 86400
"""Seconds by which the clock may be moved at once."""


class Timer:
    """Something that is to happen at a time. Called with that time, so that what follows from it does not drift."""

    __slots__ = ("_what", "when")

    def __init__(self, when: float, what: Callable[[float], None]) -> None:
        self.when: float = when
        self._what: Callable[[float], None] | None = what

    def cancel(self) -> None:
        """Forget it. Harmless when it has happened already."""
        self._what = None

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled or has happened."""
        return self._what is None

    def fire(self) -> None:
        """Let it happen, once."""
        what, self._what = self._what, None
        if what is not None:
            what(self.when)


class Clock:
    """Unix time in seconds, as the sandbox sees it.

    Args:
        settle: awaited by :meth:`advance` between timers, until what they started (deliveries of callbacks) is over.
    """

    def __init__(self, settle: Callable[[], Awaitable[None]] | None = None) -> None:
        # Counted from the monotonic clock: a correction of the host's clock must not open or close a rate window.
        self._base = time.time() - time.monotonic()
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._wake_up: asyncio.TimerHandle | None = None
        self._advancing = asyncio.Lock()
        self._settle = settle
        self._sleepers: set[asyncio.Future[None]] = set()

    def now(self) -> float:
        """Unix time in seconds."""
        return self._base + time.monotonic()

    def call_at(self, when: float, what: Callable[[float], None]) -> Timer:
        """Have `what` called, with `when`, at the time `when`; timers of one time run in the order of their making."""
        timer = Timer(when, what)
        heapq.heappush(self._heap, (when, next(self._order), timer))
        if self._heap[0][2] is timer:
            self._arm()
        return timer

    async def sleep(self, seconds: float) -> None:
        """Wait, in real time or until :meth:`advance` has passed that moment."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.call_at(self.now() + seconds, lambda _: None if woken.done() else woken.set_result(None))
        self._sleepers.add(woken)
        try:
            await woken
        finally:
            self._sleepers.discard(woken)
            timer.cancel()

    async def advance(self, seconds: float) -> None:
        """Move the clock forward; all that falls due on the way happens, in order, before this returns.

        Callbacks that fall due are delivered on the way, and their next attempts too.

        Raises:
            ValueError: unless `seconds` is from 0 (the clock moves forward only) to 2678400, a month.
        """
        if not 0 <= seconds <= MAX_ADVANCE:
            raise ValueError(f"the clock moves forward, by up to {MAX_ADVANCE} seconds at once (a month), not by {seconds}")
        async with self._advancing:
            goal = self.now() + seconds
            try:
                await self._settled()
                while (timer := self._due(goal)) is not None:
                    self._move_to(timer.when)
                    timer.fire()
                    await self._settled()
                self._move_to(goal)
            finally:  # also when what a timer does has failed: the others are not lost
                self._arm()

    def close(self) -> None:
        """Forget every timer and cancel who sleeps."""
        for woken in self._sleepers:
            woken.cancel()
        self._heap.clear()
        if self._wake_up is not None:
            self._wake_up.cancel()
            self._wake_up = None

    async def _settled(self) -> None:
        await asyncio.sleep(0)  # what a timer has woken gets its turn
        if self._settle is not None:
            await self._settle()

    def _move_to(self, when: float) -> None:
        self._base += max(0.0, when - self.now())

    def _due(self, until: float) -> Timer | None:
        """Take the next timer that falls due by `until`."""
        while self._heap and self._heap[0][0] <= until:
            timer = heapq.heappop(self._heap)[2]
            if not timer.cancelled:
                return timer
        return None

    def _arm(self) -> None:
        """One wake-up of the event loop, for the earliest timer."""
        if self._wake_up is not None:
            self._wake_up.cancel()
            self._wake_up = None
        while self._heap and self._heap[0][2].cancelled:
            heapq.heappop(self._heap)
        if self._heap:
            # The loop may call a clock tick early; a timer that is not due then waits for one more wake-up.
            delay = max(0.0, self._heap[0][0] - self.now())
            self._wake_up = asyncio.get_running_loop().call_later(delay, self._run_due)

    def _run_due(self) -> None:
        self._wake_up = None
        if self._advancing.locked():
            return
        try:
            while (timer := self._due(self.now())) is not None:
                timer.fire()
        finally:
            self._arm()
