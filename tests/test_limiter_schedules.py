"""Any schedule of callers, departures, releases, cancellations and time, against a model that a reader can check."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from simulated_time import SimulatedLoop

from zego_aigc.limits.limiter import FullPermit
from zego_aigc.limits.local_limiter import LocalLimiter

LIMIT, WINDOW, GUARD, SLACK = 3, 1.0, 0.0625, 0.005


class Schedule(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = SimulatedLoop()
        self.limiter = LocalLimiter(LIMIT, WINDOW, GUARD, clock=self.loop.time)
        self.waiting: list[asyncio.Task[FullPermit]] = []  # by the order of their coming
        self.held: list[FullPermit] = []
        self.sent: list[FullPermit] = []
        self.departures: list[float] = []
        self.latest: list[float] = []  # by when each has arrived

    def settle(self) -> None:
        self.loop.settle()
        served = [task for task in self.waiting if task.done()]
        assert served == self.waiting[: len(served)], "first come, first served"
        del self.waiting[: len(served)]
        self.held += [task.result() for task in served]

    @rule(count=st.integers(1, 4))
    def come(self, count: int) -> None:
        self.waiting += [self.loop.create_task(self.limiter.acquire(1, "A")) for _ in range(count)]
        self.settle()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def depart(self, data: st.DataObject) -> None:
        permit = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        permit.departed()
        self.sent.append(permit)
        self.departures.append(self.loop.now)
        self.latest.append(self.loop.now + GUARD + SLACK)
        self.settle()

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.sent) - 1))
        self.sent[place].answered()
        self.latest[place] = min(self.latest[place], self.loop.now + SLACK)
        self.settle()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.held.pop(data.draw(st.integers(0, len(self.held) - 1))).release()
        self.settle()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        task = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        task.cancel()
        self.settle()
        assert task.cancelled()

    @precondition(lambda self: self.held and self.waiting)
    @rule(cancel_first=st.booleans())
    def release_and_cancel_in_one_tick(self, cancel_first: bool) -> None:
        """The first in the queue is granted a token and cancelled before it runs, in either order."""
        task, permit = self.waiting.pop(0), self.held.pop(0)
        if cancel_first:
            task.cancel()
        permit.release()
        task.cancel()
        self.settle()
        assert task.cancelled()

    @rule(seconds=st.one_of(st.just(WINDOW + GUARD + SLACK), st.floats(0, 1.5)))
    def wait(self, seconds: float) -> None:
        self.loop.advance(seconds)
        self.settle()

    @rule(seconds=st.floats(0, 3))
    def be_busy(self, seconds: float) -> None:
        """The loop is blocked: time passes and no timer rings until it is over."""
        self.loop.now += seconds
        self.loop.advance(0.001)  # the timer's turn
        self.settle()

    @invariant()
    def the_window_holds(self) -> None:
        latest = sorted(self.latest)
        pairs = zip(latest, self.departures[LIMIT:], strict=False)
        assert all(later > earlier + WINDOW for earlier, later in pairs)

    @invariant()
    def every_token_is_accounted_for(self) -> None:
        out = sum(self.loop.now <= latest + WINDOW for latest in self.latest)
        assert len(self.held) + out <= LIMIT
        if self.waiting:  # nobody waits while there is a token (one that is due this very instant may be on its way)
            due_now = sum(abs(latest + WINDOW - self.loop.now) < 1e-6 for latest in self.latest)
            assert len(self.held) + out + due_now >= LIMIT

    def teardown(self) -> None:
        try:
            for task in self.waiting:
                task.cancel()
            for permit in self.held:
                permit.release()
            self.loop.settle()
            self.loop.advance(2 * (WINDOW + GUARD))
            everyone = [self.loop.create_task(self.limiter.acquire(1, "A")) for _ in range(LIMIT + 1)]
            self.loop.settle()
            assert [task.done() for task in everyone] == [True] * LIMIT + [False], "no token lost, none made"
            everyone[-1].cancel()
            self.loop.settle()
        finally:
            self.loop.close()


TestSchedule = Schedule.TestCase
TestSchedule.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
