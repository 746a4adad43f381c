"""Two lines for each Action: people in the foreground, fleets in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from limiter_fixtures import *  # noqa: F403 - fixtures
from limiter_fixtures import ACTION, APP, SPAN
from simulated_time import SimulatedLoop

from zego_aigc.aiagent import ListAgents
from zego_aigc.limits.limiter import FullPermit, full_limiter
from zego_aigc.limits.local_limiter import LocalLimiter
from zego_aigc.sandbox import Sandbox


class Order:
    """Callers in either line, and the order in which they are served."""

    def __init__(self, loop: SimulatedLoop, limiter: LocalLimiter) -> None:
        self.loop = loop
        self.limiter = limiter
        self.served: list[str] = []
        self.times: list[float] = []
        self.tasks: list[asyncio.Task[None]] = []

    def come(self, name: str, count: int = 1, *, background: bool = False) -> None:
        async def call() -> None:
            (await self.limiter.acquire(APP, ACTION, background=background)).departed()
            self.served.append(name)
            self.times.append(self.loop.now)

        self.tasks += [self.loop.create_task(call()) for _ in range(count)]
        self.loop.settle()

    def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*self.tasks, return_exceptions=True))


@pytest.fixture
def order(loop: SimulatedLoop, limiter: LocalLimiter) -> Iterator[Order]:
    order = Order(loop, limiter)
    yield order
    order.end()


def test_the_foreground_goes_before_those_who_wait_in_the_background(loop: SimulatedLoop, order: Order) -> None:
    order.come("fleet", 20, background=True)
    order.come("person", 3)
    loop.advance(SPAN + 0.01)
    assert order.served == ["fleet"] * 10 + ["person"] * 3 + ["fleet"]  # and the fleet spaces its calls from now on


def test_one_token_in_ten_is_for_the_background_while_it_waits(loop: SimulatedLoop, order: Order) -> None:
    order.come("person", 100)
    order.come("fleet", 5, background=True)
    loop.advance(4 * SPAN)
    served = order.served[10:]
    assert [number for number, name in enumerate(served) if name == "fleet"] == [9, 19, 29]


def test_a_person_takes_a_free_token_at_once_while_the_fleet_bides_its_time(loop: SimulatedLoop, order: Order) -> None:
    order.come("person")
    order.come("fleet", 5, background=True)
    assert order.served == ["person", "fleet"]
    order.come("person")
    assert order.served == ["person", "fleet", "person"]
    loop.advance(0.41)
    assert order.served.count("fleet") == 5
    assert order.times[-1] - order.times[1] == pytest.approx(0.4)


def test_a_minute_after_the_last_person_the_fleet_spends_what_it_has_at_once(loop: SimulatedLoop, order: Order) -> None:
    order.come("person")
    loop.advance(61)
    order.come("fleet", 9, background=True)
    assert order.served == ["person"] + ["fleet"] * 9


def test_cancelled_callers_of_either_line_cost_nothing(loop: SimulatedLoop, order: Order) -> None:
    order.come("first", 10)
    order.come("fleet", 30, background=True)
    order.come("person", 30)
    for task in order.tasks[10:39] + order.tasks[40:69]:
        task.cancel()
    loop.settle()
    stats = order.limiter.stats(APP, ACTION)
    assert (stats.waiting, stats.waiting_background) == (1, 1)
    loop.advance(SPAN + 0.2)
    assert order.served[10:] == ["person", "fleet"]


def test_the_estimate_knows_both_lines(loop: SimulatedLoop, order: Order, limiter: LocalLimiter) -> None:
    order.come("first", 10)
    order.come("fleet", 20, background=True)
    assert limiter.estimate(APP, ACTION) == pytest.approx(SPAN, abs=0.01)
    assert limiter.estimate(APP, ACTION, background=True) == pytest.approx(3 * SPAN, abs=0.01)
    order.come("person", 9)
    # Ten people wait for nine of ten tokens.
    assert limiter.estimate(APP, ACTION) == pytest.approx(2 * SPAN, abs=0.01)


class OneLine:
    """A limiter of somebody who has never heard of a background."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.permits = LocalLimiter()

    async def acquire(self, app_id: int, action: str) -> FullPermit:
        self.asked.append(action)
        return await self.permits.acquire(app_id, action)


class OldSubclass(LocalLimiter):
    """One of ours, with a method from before there was a background."""

    async def acquire(self, app_id: int, action: str) -> FullPermit:  # type: ignore[override]  # that is the point
        return await super().acquire(app_id, action)


class TwoLines(OneLine):
    """A limiter of somebody who has."""

    async def acquire(self, app_id: int, action: str, *, background: bool = False) -> FullPermit:
        self.asked.append(f"{action} {background}")
        return await self.permits.acquire(app_id, action)


@pytest.mark.anyio
async def test_a_limiter_that_knows_no_background_keeps_one_line_and_that_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limiter = OneLine()
    async with Sandbox() as sandbox, sandbox.client(limiter=limiter) as client:
        for background in (False, True, True):
            await client.call(ListAgents(), background=background)
    assert limiter.asked == ["ListAgents"] * 3
    said = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1
    assert "OneLine.acquire() does not take the keyword 'background'" in said[0].getMessage()


@pytest.mark.anyio
async def test_a_subclass_of_ours_that_knows_no_background_works_as_well(caplog: pytest.LogCaptureFixture) -> None:
    async with Sandbox() as sandbox, sandbox.client(limiter=OldSubclass()) as client:
        await client.call(ListAgents(), background=True)
    assert "OldSubclass.acquire() does not take the keyword 'background'" in caplog.text


@pytest.mark.anyio
async def test_a_limiter_of_ones_own_may_know_the_background(caplog: pytest.LogCaptureFixture) -> None:
    limiter = TwoLines()
    full = full_limiter(limiter)
    await full.acquire(1, "A")
    await full.acquire(1, "A", background=True)
    assert limiter.asked == ["A False", "A True"]
    assert not caplog.records
