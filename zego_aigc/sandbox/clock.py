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

__all__ = ["MAX_ADVANCE", "Clock", "Timer", "Timers"]

MAX_ADVANCE = 31 * 86400
"""Seconds by which the clock may be moved at once."""


class Timer:
    """Something that is to happen at a time. Called with that time, so that what follows from it does not drift."""

    __slots__ = ("_clock", "_what", "when")

    def __init__(self, clock: Clock, when: float, what: Callable[[float], None]) -> None:
        self._clock = clock
        self.when: float = when
        self._what: Callable[[float], None] | None = what

    def cancel(self) -> None:
        """Forget it. Harmless when it has happened already."""
        if self._what is not None:
            self._what = None
            self._clock.forget_one()

    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled or has happened."""
        return self._what is None

    def fire(self) -> None:
        """Let it happen, once."""
        what, self._what = self._what, None
        if what is not None:
            what(self.when)


class Timers:
    """What is to happen to one thing, by name: starting a timer replaces the one of that name."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: dict[str, Timer] = {}

    def start(self, name: str, when: float, what: Callable[[float], None]) -> None:
        """Have `what` called, with `when`, at the time `when`."""
        self.cancel(name)
        self._running[name] = self._clock.call_at(when, what)

    def cancel(self, name: str) -> None:
        """Forget a timer, if there is one of that name."""
        if (timer := self._running.pop(name, None)) is not None:
            timer.cancel()

    def cancel_all(self) -> None:
        """Forget all."""
        for name in list(self._running):
            self.cancel(name)


class Clock:
    """Unix time in seconds, as the sandbox sees it.

    Args:
        start: the time at which the clock stands, to be moved by :meth:`advance` alone; None for one that goes.
        settle: awaited by :meth:`advance` between timers, until what they started (deliveries of callbacks) is over.
    """

    def __init__(self, settle: Callable[[], Awaitable[None]] | None = None, *, start: float | None = None) -> None:
        # Counted from the monotonic clock: a correction of the host's clock must not open or close a rate window.
        self._ticks: Callable[[], float] = time.monotonic if start is None else lambda: 0.0
        self._base = time.time() - time.monotonic() if start is None else start
        self._goes = start is None
        self._forgotten = 0
        """How many timers in the heap are cancelled."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._wake_up: asyncio.TimerHandle | None = None
        self._advancing = asyncio.Lock()
        self._settle = settle
        self._sleepers: set[asyncio.Future[None]] = set()

    def now(self) -> float:
        """Unix time in seconds."""
        return self._base + self._ticks()

    def bind(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Say in which event loop the sandbox runs."""
        self._loop = loop

    def check_loop(self) -> None:
        """See to it that this is the event loop in which the sandbox runs.

        Raises:
            RuntimeError: if it is not, saying what to use instead.
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if self._loop is not None and running is not self._loop:
            where = "outside of any event loop" if running is None else "in another event loop"
            raise RuntimeError(
                f"this sandbox runs in an event loop of its own, and was used {where}: in synchronous tests and other threads "
                "use the fixture zego_live_sandbox, or zego_aigc.sandbox.LiveSandbox"
            )

    def forget_one(self) -> None:
        """A timer was cancelled. Once most are, they leave: a day's worth of them would only fill the memory."""
        self._forgotten += 1
        if self._forgotten > 1000 and self._forgotten > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if not entry[2].cancelled]
            heapq.heapify(self._heap)
            self._forgotten = 0

    def call_at(self, when: float, what: Callable[[float], None]) -> Timer:
        """Have `what` called, with `when`, at the time `when`; timers of one time run in the order of their making."""
        timer = Timer(self, when, what)
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
            RuntimeError: in another event loop than the sandbox's.
            ValueError: unless `seconds` is from 0 (the clock moves forward only) to 2678400, a month.
        """
        if not 0 <= seconds <= MAX_ADVANCE:
            raise ValueError(f"the clock moves forward, by up to {MAX_ADVANCE} seconds at once (a month), not by {seconds}")
        self.check_loop()
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
            self._forgotten = max(0, self._forgotten - 1)
        return None

    def _arm(self) -> None:
        """One wake-up of the event loop, for the earliest timer."""
        if self._wake_up is not None:
            self._wake_up.cancel()
            self._wake_up = None
        while self._heap and self._heap[0][2].cancelled:
            heapq.heappop(self._heap)
            self._forgotten = max(0, self._forgotten - 1)
        # A clock that stands needs no wake-up but for what is due now.
        if self._heap and (self._goes or self._heap[0][0] <= self.now()):
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
