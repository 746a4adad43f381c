"""The sandbox's clock: real time plus an offset, and timers that follow it."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zego_aigc.sandbox.clock import Clock

pytestmark = pytest.mark.anyio


async def test_the_clock_is_real_time_until_it_is_moved() -> None:
    clock = Clock()
    assert clock.now() == pytest.approx(time.time(), abs=60)  # for a machine that halts between the two
    await clock.advance(3600)
    assert clock.now() == pytest.approx(time.time() + 3600, abs=60)


async def test_timers_on_the_way_fire_in_order_each_at_its_own_time() -> None:
    clock, fired = Clock(start=0.0), list[tuple[str, float, float]]()
    now = clock.now()
    for name, seconds in (("late", 50.0), ("early", 10.0), ("never", 200.0), ("middle", 20.0), ("middle again", 20.0)):
        clock.call_at(now + seconds, lambda at, name=name: fired.append((name, round(at - now), clock.now() - at)))  # type: ignore[misc]  # mypy does not know a default of a lambda
    await clock.advance(100)
    assert [(name, at) for name, at, _ in fired] == [("early", 10), ("middle", 20), ("middle again", 20), ("late", 50)]
    assert all(lag == 0 for *_, lag in fired)


async def test_what_a_timer_starts_falls_due_within_the_same_advance() -> None:
    clock, ticks = Clock(), list[float]()
    began = clock.now()

    def tick(at: float) -> None:
        ticks.append(at - began)
        clock.call_at(at + 10, tick)

    clock.call_at(began + 10, tick)
    await clock.advance(35)
    assert ticks == [pytest.approx(10), pytest.approx(20), pytest.approx(30)]


async def test_a_cancelled_timer_does_not_fire() -> None:
    clock, fired = Clock(), list[float]()
    timer = clock.call_at(clock.now() + 1, fired.append)
    assert not timer.cancelled
    timer.cancel()
    await clock.advance(10)
    assert fired == []
    assert timer.cancelled


async def test_timers_fire_by_themselves_as_real_time_passes() -> None:
    clock, fired = Clock(), asyncio.Event()
    clock.call_at(clock.now() + 10, lambda _: None)
    timer = clock.call_at(clock.now() + 0.02, lambda _: fired.set())
    await asyncio.wait_for(fired.wait(), 60)
    assert timer.cancelled
    await clock.advance(9.99)
    await clock.sleep(0.001)
    clock.close()


async def test_a_sleeper_wakes_when_the_clock_has_passed() -> None:
    clock = Clock(start=0.0)
    sleeper = asyncio.create_task(clock.sleep(3600))
    await asyncio.sleep(0)
    await clock.advance(3599)
    assert not sleeper.done()
    await clock.advance(2)
    assert sleeper.done()
    cancelled = asyncio.create_task(clock.sleep(3600))
    await asyncio.sleep(0)
    clock.close()
    with pytest.raises(asyncio.CancelledError):
        await cancelled


async def test_what_timers_started_is_over_before_the_next_one_fires() -> None:
    events: list[str] = []
    busy: list[str] = []

    async def settle() -> None:
        await asyncio.sleep(0)
        events.extend(f"settled {name}" for name in busy)
        busy.clear()

    clock = Clock(settle)

    def fire(number: int) -> None:
        events.append(f"fired {number}")
        busy.append(str(number))

    clock.call_at(clock.now() + 1, lambda _: fire(1))
    clock.call_at(clock.now() + 2, lambda _: fire(2))
    await clock.advance(5)
    assert events == ["fired 1", "settled 1", "fired 2", "settled 2"]


async def test_the_clock_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="forward"):
        await Clock().advance(-1)


async def test_two_advances_at_once_add_up() -> None:
    clock, fired = Clock(start=0.0), list[float]()
    began = clock.now()
    clock.call_at(began + 15, lambda _: fired.append(clock.now() - began))
    await asyncio.gather(clock.advance(10), clock.advance(10))
    assert clock.now() - began == 20
    assert len(fired) == 1


@given(st.lists(st.floats(0, 100), max_size=30), st.lists(st.floats(0, 40), max_size=6))
def test_exactly_the_timers_that_are_due_have_fired_in_order(delays: list[float], steps: list[float]) -> None:
    async def run() -> None:
        clock, fired = Clock(), list[float]()
        for delay in delays:
            clock.call_at(clock.now() + delay, fired.append)
        for step in steps:
            await clock.advance(step)
        assert fired == sorted(fired)
        assert all(at <= clock.now() for at in fired)
        assert len(fired) >= sum(1 for delay in delays if delay < sum(steps))
        clock.close()

    asyncio.run(run())
