"""Work that ends in time, or goes on without its caller: nothing is lost, done twice or left waiting, whoever is cancelled."""

from __future__ import annotations

import asyncio
import gc
from asyncio.tasks import _PyTask  # type: ignore[attr-defined]  # the same rules as the one in C
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_time import SimulatedLoop

from zego_aigc._alarm import Alarms
from zego_aigc._detaching import Detachable

pytestmark = pytest.mark.anyio


class Work:
    """Waits for its steps one after the other, and notes what happens to it."""

    def __init__(self, steps: int = 1) -> None:
        loop = asyncio.get_running_loop()
        self.steps: list[asyncio.Future[int]] = [loop.create_future() for _ in range(steps)]
        self.seen: list[int] = []
        self.ended: list[str] = []

    async def run(self) -> int:
        try:
            for step in self.steps:
                self.seen.append(await step)
        except BaseException as error:
            self.ended.append(type(error).__name__)
            raise
        self.ended.append("done")
        return sum(self.seen)


def begin(
    coroutine: Coroutine[Any, Any, Any], *, survives: Callable[[], bool] | None = lambda: True, seconds: float = 60.0
) -> Detachable[Any]:
    detachable = Detachable(coroutine, Alarms(asyncio.get_running_loop()), seconds)
    detachable.survives = survives
    return detachable


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def awaiting(work: Detachable[Any]) -> Any:
    return await work


async def test_work_that_nobody_cancels_is_as_if_it_were_awaited_itself() -> None:
    work = Work(2)
    task = asyncio.ensure_future(awaiting(begin(work.run())))
    await turns()
    work.steps[0].set_result(1)
    await turns()
    work.steps[1].set_result(2)
    assert await task == 3
    assert work.ended == ["done"]


async def test_errors_pass_through() -> None:
    work = Work()
    task = asyncio.ensure_future(awaiting(begin(work.run())))
    await turns()
    work.steps[0].set_exception(OSError("broken"))
    with pytest.raises(OSError, match="broken"):
        await task
    assert work.ended == ["OSError"]


async def test_work_that_does_not_wait_is_done_at_once() -> None:
    async def seven() -> int:
        return 7

    assert await begin(seven()) == 7


async def test_work_that_survives_is_left_alone_and_another_task_goes_on_with_it() -> None:
    work = Work(2)
    detachable = begin(work.run())
    first = asyncio.ensure_future(awaiting(detachable))
    await turns()
    first.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await first
    assert detachable.detached
    assert detachable.cancelled
    assert work.ended == []
    second = asyncio.ensure_future(awaiting(detachable))
    await turns()
    work.steps[0].set_result(1)
    await turns()
    work.steps[1].set_result(2)
    assert await second == 3


async def test_work_whose_wait_is_over_as_its_caller_is_cancelled_goes_on_too() -> None:
    work = Work()
    detachable = begin(work.run())
    first = asyncio.ensure_future(awaiting(detachable))
    await turns()
    work.steps[0].set_result(5)
    first.cancel()  # before the loop could wake it
    await asyncio.wait({first})
    assert first.cancelled()
    assert await asyncio.ensure_future(awaiting(detachable)) == 5


async def test_work_that_does_not_survive_is_cancelled_with_its_caller() -> None:
    work = Work()
    detachable = begin(work.run(), survives=None)
    task = asyncio.ensure_future(awaiting(detachable))
    await turns()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert not detachable.detached
    assert work.ended == ["CancelledError"]
    assert work.steps[0].cancelled()


async def test_whoever_took_work_over_takes_it_along_when_cancelled() -> None:
    work = Work()
    detachable = begin(work.run())
    for expected in ([], ["CancelledError"]):
        task = asyncio.ensure_future(awaiting(detachable))
        await turns()
        task.cancel()
        await asyncio.wait({task})
        assert work.ended == expected


async def test_an_interruption_ends_the_work_and_leaves_the_task_alone() -> None:
    work = Work()
    detachable = begin(work.run())

    async def caller() -> str:
        with suppress(asyncio.CancelledError):
            await detachable
        await asyncio.sleep(0)
        return "went on"

    task = asyncio.ensure_future(caller())
    await turns()
    detachable.interrupt()
    assert await task == "went on"
    assert task.cancelling() == 0
    assert detachable.interrupted
    assert not detachable.cancelled
    assert work.ended == ["CancelledError"]


async def test_an_interruption_that_comes_as_a_wait_ends_meets_the_next_wait() -> None:
    work = Work(2)
    detachable = begin(work.run())
    task = asyncio.ensure_future(awaiting(detachable))
    await turns()
    work.steps[0].set_result(1)
    detachable.interrupt()
    await asyncio.wait({task}, timeout=1)
    assert work.seen == [1]
    assert work.ended == ["CancelledError"]


async def test_an_interruption_also_meets_work_that_yields_its_turns() -> None:
    async def run() -> None:
        for _ in range(1000):
            await asyncio.sleep(0)

    detachable = begin(run())
    task = asyncio.ensure_future(awaiting(detachable))
    await turns()
    detachable.interrupt()
    await asyncio.wait({task}, timeout=1)
    assert task.cancelled()


async def test_whoever_wants_to_know_is_told_when_it_is_over() -> None:
    work = Work()
    detachable = begin(work.run())
    task = asyncio.ensure_future(awaiting(detachable))
    await turns()
    detachable.over = asyncio.get_running_loop().create_future()
    work.steps[0].set_result(1)
    await asyncio.wait_for(detachable.over, 1)
    assert await task == 1


@settings(deadline=None)
@given(st.floats(0.001, 100))
def test_work_is_cut_when_its_time_is_up_and_its_task_is_not_cancelled(seconds: float) -> None:
    loop = SimulatedLoop()

    async def caller() -> None:
        work = Work()
        detachable = begin(work.run(), seconds=seconds)
        began = loop.time()
        with suppress(asyncio.CancelledError):
            await detachable
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        assert detachable.rang
        assert not detachable.cancelled
        assert seconds - 1e-9 <= loop.time() - began <= seconds + 0.02 + 1e-9
        assert work.ended == ["CancelledError"]

    try:
        loop.run_until_complete(caller())
    finally:
        loop.close()


async def test_a_cancellation_that_comes_with_the_end_of_its_time_is_not_forgotten() -> None:
    for first in ("ring", "cancel"):
        work = Work()
        detachable = begin(work.run(), survives=None)
        task = asyncio.ensure_future(awaiting(detachable))
        await turns()
        if first == "ring":
            detachable.ring()
        task.cancel()
        if first == "cancel":
            detachable.ring()
        await asyncio.wait({task}, timeout=1)
        assert task.cancelled()
        assert detachable.cancelled
        assert work.ended == ["CancelledError"]


async def test_a_timeout_inside_of_it_that_was_dealt_with_is_no_cancellation_of_it() -> None:
    seen: list[bool] = []

    async def run() -> None:
        seen.append(detachable.cancelled)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.get_running_loop().create_future()
        seen.append(detachable.cancelled)

    detachable = begin(run(), survives=None)
    await detachable
    assert seen == [False, False]


async def test_one_within_another_is_cut_with_it() -> None:
    work = Work()
    inner = begin(work.run())
    outer = begin(awaiting(inner))
    task = asyncio.ensure_future(awaiting(outer))
    await turns()
    outer.ring()
    await asyncio.wait({task}, timeout=1)
    assert task.cancelled()
    assert not inner.detached
    assert work.ended == ["CancelledError"]


async def test_what_was_left_behind_can_be_closed() -> None:
    work = Work()
    detachable = begin(work.run())
    task = asyncio.ensure_future(awaiting(detachable))
    await turns()
    task.cancel()
    await asyncio.wait({task})
    detachable.close()
    assert work.ended == ["GeneratorExit"]
    assert work.steps[0].cancelled()


async def test_scopes_that_cancel_again_and_again_cancel_once() -> None:
    work = Work()
    detachable = begin(work.run())
    with anyio.move_on_after(0.01) as scope:
        await detachable
    assert scope.cancelled_caught
    assert detachable.detached
    work.steps[0].set_result(1)
    assert await asyncio.ensure_future(awaiting(detachable)) == 1


async def test_work_that_yields_a_turn_survives_there_as_well() -> None:
    turned = 0

    async def run() -> int:
        nonlocal turned
        for _ in range(5):
            await asyncio.sleep(0)
            turned += 1
        return turned

    detachable = begin(run())
    task = asyncio.ensure_future(awaiting(detachable))
    await turns(2)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert await asyncio.ensure_future(awaiting(detachable)) == 5


def test_work_that_is_forgotten_is_closed_when_its_time_is_up() -> None:
    loop = SimulatedLoop()

    async def forget() -> Work:
        work = Work()
        task = asyncio.ensure_future(awaiting(begin(work.run())))
        await turns()
        task.cancel()
        await asyncio.wait({task})
        return work

    work = loop.run_until_complete(forget())
    loop.advance(61)
    gc.collect()
    assert work.ended == ["GeneratorExit"]
    loop.close()


EVENTS = ["cancel", "scope", "interrupt", "ring", "step", "turn"]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(EVENTS), max_size=12),
    st.integers(1, 3),
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.sampled_from([asyncio.Task, _PyTask]),
)
def test_whatever_happens_in_whatever_order_the_work_ends_once(
    events: list[str], steps: int, survives: list[bool], make: Any
) -> None:
    asyncio.run(schedule(events, steps, survives, make))


async def schedule(events: list[str], steps: int, survives: list[bool], make: Any) -> None:
    """As a caller would use it: another task goes on with what was left behind."""
    loop = asyncio.get_running_loop()

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        return make(coroutine, loop=loop, **options)

    loop.set_task_factory(factory)
    work = Work(steps)
    answers = iter(survives)
    detachable = begin(work.run(), survives=lambda: next(answers))
    task = asyncio.ensure_future(awaiting(detachable))
    await turns(1)
    interrupted = False
    for event in events:
        match event:
            case "cancel":
                task.cancel()
            case "scope":
                task.cancel("Cancelled by cancel scope 1")
            case "interrupt":
                detachable.interrupt()
                interrupted = True
            case "ring":
                detachable.ring()
                interrupted = True
            case "step":
                for step in work.steps:
                    if not step.done():
                        step.set_result(1)
                        break
            case _:
                await asyncio.sleep(0)
        if task.done() and detachable.detached:
            task = asyncio.ensure_future(awaiting(detachable))
    for _ in range(3):  # it may be cancelled, and taken over, once more
        for step in work.steps:
            if not step.done():
                step.set_result(1)
        await asyncio.wait({task}, timeout=1)
        assert task.done()
        if detachable.detached:
            task = asyncio.ensure_future(awaiting(detachable))
    if task.cancelled():
        assert work.ended == ["CancelledError"]
        assert interrupted or "cancel" in events or "scope" in events
    else:
        assert task.result() == steps
        assert work.ended == ["done"]
