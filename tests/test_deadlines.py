"""Deadlines that share timers, on a loop whose time is simulated."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_time import SimulatedLoop

from zego_aigc.transport.deadlines import TICK, Deadline, Deadlines


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    loop = SimulatedLoop()
    yield loop
    loop.close()


async def overstay(deadlines: Deadlines, seconds: float) -> float:
    """Wait for ever; returns when a deadline ended it."""
    deadline = Deadline(deadlines, seconds)
    try:
        await deadlines.loop.create_future()
    except asyncio.CancelledError:
        if not deadline.stop():
            raise
    finally:
        deadline.stop()
    return deadlines.loop.time()


@settings(deadline=None)
@given(st.floats(0, 100), st.floats(0.001, 100))
def test_a_deadline_by_itself_expires_on_time(start: float, seconds: float) -> None:
    loop = SimulatedLoop()
    loop.now = start
    try:
        ended = loop.run_until_complete(overstay(Deadlines(loop), seconds))
    finally:
        loop.close()
    late = ended - (start + seconds)
    assert abs(late) <= 1e-9 * max(1.0, start)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.001, 10)), min_size=1, max_size=30))
def test_of_many_none_expires_early_and_none_more_than_a_tick_late(schedule: list[tuple[float, float]]) -> None:
    loop = SimulatedLoop()
    deadlines = Deadlines(loop)

    async def one(start: float, seconds: float) -> float:
        await asyncio.sleep(start)
        due = loop.time() + seconds
        return await overstay(deadlines, seconds) - due

    async def all_of_them() -> list[float]:
        return await asyncio.gather(*(one(*when) for when in schedule))

    try:
        late = loop.run_until_complete(all_of_them())
    finally:
        loop.close()
    assert min(late) >= -1e-9
    assert max(late) <= TICK + 1e-9
    assert [*deadlines] == []


def test_deadlines_share_a_timer_and_nothing_runs_meanwhile(loop: SimulatedLoop) -> None:
    deadlines = Deadlines(loop)

    async def many() -> None:
        before = loop.timers
        for _ in range(1000):
            Deadline(deadlines, 30.0).stop()
        assert loop.timers - before == 1
        await asyncio.gather(*(overstay(deadlines, 30.0) for _ in range(1000)))
        assert loop.timers - before == 1

    loop.run_until_complete(many())


def test_one_that_is_stopped_in_time_does_not_expire(loop: SimulatedLoop) -> None:
    deadlines = Deadlines(loop)

    async def work() -> str:
        for seconds in (0.1, 30.0):
            deadline = Deadline(deadlines, seconds)
            await asyncio.sleep(seconds / 2)
            assert not deadline.stop()
        await asyncio.sleep(60.0)
        return "not cancelled"

    assert loop.run_until_complete(work())


def test_a_cancellation_from_outside_is_not_taken_for_the_deadline(loop: SimulatedLoop) -> None:
    task = loop.create_task(overstay(Deadlines(loop), 30.0))
    loop.settle()
    task.cancel()
    loop.settle()
    assert task.cancelled()


def test_a_cancellation_that_comes_with_the_deadline_goes_on(loop: SimulatedLoop) -> None:
    deadlines = Deadlines(loop)
    task = loop.create_task(overstay(deadlines, 30.0))
    loop.settle()
    loop.call_at(loop.now + 30.0, task.cancel)
    loop.now += 30.0 + TICK  # both fall due in the same turn of the loop
    loop.settle()
    assert task.cancelled()


def test_one_without_a_time_never_expires(loop: SimulatedLoop) -> None:
    deadlines = Deadlines(loop)

    async def work() -> bool:
        deadline = Deadline(deadlines, None)
        await asyncio.sleep(1000)
        return deadline.stop()

    assert loop.run_until_complete(work()) is False


def test_what_is_under_way_can_be_listed(loop: SimulatedLoop) -> None:
    deadlines = Deadlines(loop)

    async def work() -> None:
        under_way = {Deadline(deadlines, seconds) for seconds in (0.1, 0.2, 1.0, 1.0, 30.0)}
        assert {*deadlines} == under_way
        for deadline in under_way:
            deadline.stop()
        assert [*deadlines] == []

    loop.run_until_complete(work())
