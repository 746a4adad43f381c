"""Deadlines that share timers, on a loop whose time is simulated."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_time import SimulatedLoop

from zego_aigc._deadlines import Deadlines


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    loop = SimulatedLoop()
    yield loop
    loop.close()


async def overstay(deadlines: Deadlines, seconds: float) -> float:
    """Stay in a block for ever; returns when it ended."""
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError), deadlines.within(seconds):
        await loop.create_future()
    return loop.time()


@given(st.floats(0, 100), st.floats(0.001, 100))
def test_a_deadline_never_rings_early_and_at_most_a_twentieth_of_a_second_late(start: float, seconds: float) -> None:
    loop = SimulatedLoop()
    loop.now = start
    try:
        ended = loop.run_until_complete(overstay(Deadlines(loop), seconds))
    finally:
        loop.close()
    late = ended - (start + seconds)
    assert -1e-9 <= late <= (0.05 if seconds >= 2 else 0.0) + 1e-9


def test_a_block_that_ends_in_time_is_left_alone(loop: SimulatedLoop) -> None:
    deadlines = Deadlines(loop)

    async def work() -> str:
        with deadlines.within(30.0) as far, deadlines.within(1.0) as near:
            await asyncio.sleep(0.5)
        await asyncio.sleep(60.0)
        assert not far.expired
        assert not near.expired
        return "done"

    assert loop.run_until_complete(work()) == "done"


def test_far_deadlines_share_a_timer(loop: SimulatedLoop) -> None:
    deadlines = Deadlines(loop)

    async def many() -> None:
        before = loop.timers
        for _ in range(1000):
            with deadlines.within(30.0):
                pass
        assert loop.timers - before == 1
        await asyncio.gather(*(overstay(deadlines, 30.0) for _ in range(1000)))
        assert loop.timers - before == 1

    loop.run_until_complete(many())


def test_a_cancellation_from_outside_stays_a_cancellation(loop: SimulatedLoop) -> None:
    task = loop.create_task(overstay(Deadlines(loop), 30.0))
    loop.settle()
    task.cancel()
    loop.settle()
    assert task.cancelled()


def test_a_cancellation_that_comes_with_the_deadline_wins(loop: SimulatedLoop) -> None:
    deadlines = Deadlines(loop)

    async def block() -> None:
        with deadlines.within(1.0) as deadline:
            task = asyncio.current_task()
            assert task
            deadline.ring()
            task.cancel()
            await asyncio.sleep(10)

    task = loop.create_task(block())
    loop.settle()
    assert task.cancelled()


def test_an_error_in_the_block_is_not_hidden_by_the_deadline(loop: SimulatedLoop) -> None:
    deadlines = Deadlines(loop)

    async def block() -> int:
        with deadlines.within(1.0):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                raise KeyError("of the clean-up") from None
        return 0

    async def outside() -> int:
        with pytest.raises(KeyError):
            await block()
        await asyncio.sleep(1)  # the cancellation is taken back
        task = asyncio.current_task()
        assert task
        return task.cancelling()

    assert loop.run_until_complete(outside()) == 0


def test_a_deadline_may_be_set_late_and_moved(loop: SimulatedLoop) -> None:
    deadlines = Deadlines(loop)

    async def block() -> float:
        try:
            with deadlines.within(None) as deadline:
                await asyncio.sleep(100)
                deadline.move(1.0)
                await asyncio.sleep(0.9)
                deadline.move(30.0)
                await asyncio.sleep(10.0)
                deadline.move(0.5)
                await asyncio.sleep(10.0)
        except TimeoutError:
            return loop.time()
        return 0.0

    assert loop.run_until_complete(block()) == pytest.approx(1000 + 100 + 0.9 + 10.0 + 0.5)


def test_moving_a_deadline_that_is_over_changes_nothing(loop: SimulatedLoop) -> None:
    deadlines = Deadlines(loop)

    async def block() -> None:
        with deadlines.within(1.0) as deadline:
            try:
                await asyncio.sleep(10.0)
            finally:
                deadline.move(5.0)

    async def outside() -> str:
        with pytest.raises(TimeoutError):
            await block()
        await asyncio.sleep(10.0)
        return "not cancelled again"

    assert loop.run_until_complete(outside())
