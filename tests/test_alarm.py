"""Alarms that share timers, on a loop whose time is simulated."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_time import SimulatedLoop

from zego_aigc.transport.deadlines import TICK, Alarm, Alarms


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    loop = SimulatedLoop()
    yield loop
    loop.close()


async def overstay(alarms: Alarms, seconds: float) -> float:
    """Wait for ever; returns when an alarm ended that."""
    alarm = Alarm(alarms, seconds)
    try:
        await alarms.loop.create_future()
    except asyncio.CancelledError:
        if not alarm.stop():
            raise
    finally:
        alarm.stop()
    return alarms.loop.time()


@settings(deadline=None)
@given(st.floats(0, 100), st.floats(0.001, 100))
def test_an_alarm_by_itself_rings_on_time(start: float, seconds: float) -> None:
    loop = SimulatedLoop()
    loop.now = start
    try:
        ended = loop.run_until_complete(overstay(Alarms(loop), seconds))
    finally:
        loop.close()
    late = ended - (start + seconds)
    assert abs(late) <= 1e-9 * max(1.0, start)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.001, 10)), min_size=1, max_size=30))
def test_of_many_none_rings_early_and_none_more_than_a_tick_late(schedule: list[tuple[float, float]]) -> None:
    loop = SimulatedLoop()
    alarms = Alarms(loop)

    async def one(start: float, seconds: float) -> float:
        await asyncio.sleep(start)
        due = loop.time() + seconds
        return await overstay(alarms, seconds) - due

    async def all_of_them() -> list[float]:
        return await asyncio.gather(*(one(*when) for when in schedule))

    try:
        late = loop.run_until_complete(all_of_them())
    finally:
        loop.close()
    assert min(late) >= -1e-9
    assert max(late) <= TICK + 1e-9
    assert [*alarms] == []


def test_alarms_share_a_timer_and_nothing_runs_meanwhile(loop: SimulatedLoop) -> None:
    alarms = Alarms(loop)

    async def many() -> None:
        before = loop.timers
        for _ in range(1000):
            Alarm(alarms, 30.0).stop()
        assert loop.timers - before == 1
        await asyncio.gather(*(overstay(alarms, 30.0) for _ in range(1000)))
        assert loop.timers - before == 1

    loop.run_until_complete(many())


def test_one_that_is_stopped_in_time_does_not_ring(loop: SimulatedLoop) -> None:
    alarms = Alarms(loop)

    async def work() -> str:
        for seconds in (0.1, 30.0):
            alarm = Alarm(alarms, seconds)
            await asyncio.sleep(seconds / 2)
            assert not alarm.stop()
        await asyncio.sleep(60.0)
        return "not cancelled"

    assert loop.run_until_complete(work())


def test_a_cancellation_from_outside_is_not_taken_for_the_alarm(loop: SimulatedLoop) -> None:
    task = loop.create_task(overstay(Alarms(loop), 30.0))
    loop.settle()
    task.cancel()
    loop.settle()
    assert task.cancelled()


def test_a_cancellation_that_comes_with_the_alarm_goes_on(loop: SimulatedLoop) -> None:
    alarms = Alarms(loop)
    task = loop.create_task(overstay(alarms, 30.0))
    loop.settle()
    loop.call_at(loop.now + 30.0, task.cancel)
    loop.now += 30.0 + TICK  # both fall due in the same turn of the loop
    loop.settle()
    assert task.cancelled()


def test_one_without_a_time_never_rings(loop: SimulatedLoop) -> None:
    alarms = Alarms(loop)

    async def work() -> bool:
        alarm = Alarm(alarms, None)
        await asyncio.sleep(1000)
        return alarm.stop()

    assert loop.run_until_complete(work()) is False


def test_what_is_under_way_can_be_listed(loop: SimulatedLoop) -> None:
    alarms = Alarms(loop)

    async def work() -> None:
        under_way = {Alarm(alarms, seconds) for seconds in (0.1, 0.2, 1.0, 1.0, 30.0)}
        assert {*alarms} == under_way
        for alarm in under_way:
            alarm.stop()
        assert [*alarms] == []

    loop.run_until_complete(work())
