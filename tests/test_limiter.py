"""Waiting for the limit, on a loop whose time is simulated: order, cancellation, wake-ups, memory, loops."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc
from collections.abc import Callable
from contextvars import Context
from typing import Any

import pytest
from limiter_fixtures import *  # noqa: F403 - fixtures
from limiter_fixtures import ACTION, APP, SPAN
from simulated_time import SimulatedLoop

from zego_aigc.errors import ConfigurationError
from zego_aigc.limits.limiter import FullPermit
from zego_aigc.limits.local_limiter import LocalLimiter


class RoughLoop(asyncio.SelectorEventLoop):
    """Rounds timers to milliseconds, and those that fall due at once are none: as uvloop does."""

    def call_at(  # type: ignore[override] # what it returns need not be a timer: that is the point
        self, when: float, callback: Callable[[], object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        delay = round(when - self.time(), 3)
        if delay <= 0:
            return self.call_soon(callback, *args, context=context)
        return super().call_at(self.time() + delay, callback, *args, context=context)


def test_nobody_is_left_in_line_on_a_loop_whose_timers_are_rough() -> None:
    limiter = LocalLimiter(limit=1, window=0.0014, guard=0)

    async def one() -> None:
        permit = await limiter.acquire(APP, ACTION)
        permit.departed()
        permit.answered()

    async def many() -> None:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for _ in range(500):
                group.create_task(one())
                await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=RoughLoop) as runner:
        runner.run(many())


def crowd(loop: SimulatedLoop, limiter: LocalLimiter, count: int) -> list[asyncio.Task[FullPermit]]:
    """`count` callers in the order of the list, each of whom has taken or queued for a permit."""
    tasks = [loop.create_task(limiter.acquire(APP, ACTION)) for _ in range(count)]
    loop.settle()
    return tasks


def granted(tasks: list[asyncio.Task[FullPermit]]) -> list[int]:
    return [index for index, task in enumerate(tasks) if task.done() and not task.cancelled()]


def depart(tasks: list[asyncio.Task[FullPermit]]) -> None:
    for task in tasks:
        task.result().departed()


def dismiss(loop: SimulatedLoop, tasks: list[asyncio.Task[FullPermit]]) -> None:
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


def test_120_calls_that_leave_at_once_take_eleven_spans(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    times: list[float] = []

    async def call() -> None:
        (await limiter.acquire(APP, ACTION)).departed()
        times.append(loop.time())

    async def all_of_them() -> None:
        await asyncio.gather(*(call() for _ in range(120)))

    loop.run_until_complete(all_of_them())
    assert times[-1] - times[0] == pytest.approx(11 * SPAN, abs=1e-3)
    assert all(later - earlier > SPAN for earlier, later in zip(times, times[10:], strict=False))


def test_callers_are_served_in_the_order_of_their_coming(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    order: list[int] = []

    async def call(number: int) -> None:
        (await limiter.acquire(APP, ACTION)).departed()
        order.append(number)

    async def all_of_them() -> None:
        await asyncio.gather(*(call(number) for number in range(55)))

    loop.run_until_complete(all_of_them())
    assert order == list(range(55))


def test_a_newcomer_does_not_overtake_those_who_wait(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    tasks = crowd(loop, limiter, 11)
    depart(tasks[:10])
    loop.now += 1.06  # the loop was busy: tokens are due, and the timer has not rung yet
    tasks += [loop.create_task(limiter.acquire(APP, ACTION))]
    loop.run_until_complete(tasks[11])
    assert tasks[10].done()
    newcomer_first: list[str] = []
    tasks[10].add_done_callback(lambda _: newcomer_first.append("waiter"))
    loop.settle()
    assert newcomer_first == ["waiter"]


def test_actions_and_apps_have_limits_of_their_own(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    crowd(loop, limiter, 10)
    others = [loop.create_task(limiter.acquire(*key)) for key in [(APP, "ListAgents"), (2, ACTION)]]
    loop.settle()
    assert granted(others) == [0, 1]


def test_a_permit_counts_once_whatever_is_called_after(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    tasks = crowd(loop, limiter, 13)
    permit = tasks[0].result()
    permit.release()
    permit.release()
    permit.departed()
    loop.settle()
    assert granted(tasks) == list(range(11))
    permit = tasks[1].result()
    permit.departed()
    permit.release()
    permit.departed()
    loop.settle()
    assert granted(tasks) == list(range(11))
    loop.advance(1.06)
    assert granted(tasks) == list(range(12))
    dismiss(loop, tasks[12:])


def test_an_answer_brings_the_next_caller_forward(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    tasks = crowd(loop, limiter, 12)
    depart(tasks[:10])  # starts the timer, for a whole span
    start = loop.now
    loop.advance(0.02)
    tasks[3].result().answered()
    tasks[3].result().answered()
    tasks[3].result().release()
    loop.run_until_complete(tasks[10])
    assert loop.now - start == pytest.approx(1.025, abs=1e-4)
    assert not tasks[11].done()
    loop.run_until_complete(tasks[11])
    assert loop.now - start == pytest.approx(SPAN, abs=1e-4)


def test_an_answer_to_a_request_that_never_left_means_nothing(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    tasks = crowd(loop, limiter, 11)
    tasks[0].result().answered()
    loop.advance(10.0)
    assert not tasks[10].done()
    tasks[0].result().release()
    loop.settle()
    assert tasks[10].done()


def test_a_caller_cancelled_in_the_queue_spends_nothing(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    tasks = crowd(loop, limiter, 14)
    tasks[10].cancel()
    tasks[12].cancel()
    loop.settle()
    for task in tasks[:2]:
        task.result().release()
    loop.settle()
    assert granted(tasks[10:]) == [1, 3]


def test_a_caller_cancelled_in_the_tick_of_its_grant_hands_the_token_on(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    tasks = crowd(loop, limiter, 12)
    tasks[0].result().release()  # grants to task 10, which has not run yet
    tasks[10].cancel()
    loop.settle()
    assert tasks[10].cancelled()
    assert granted(tasks) == [*range(10), 11]


def test_a_grant_in_the_tick_of_a_cancellation_goes_to_the_next(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    tasks = crowd(loop, limiter, 12)
    tasks[10].cancel()
    tasks[0].result().release()  # finds task 10's future cancelled, but still in the queue
    loop.settle()
    assert tasks[10].cancelled()
    assert granted(tasks) == [*range(10), 11]


def test_while_all_tokens_are_held_nothing_runs(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    tasks = crowd(loop, limiter, 15)
    callbacks, timers = loop.callbacks, loop.timers
    loop.advance(3600)
    assert loop.timers - timers == 1  # advance()'s own
    assert loop.callbacks - callbacks < 10
    assert granted(tasks) == list(range(10))
    dismiss(loop, tasks[10:])


def test_a_token_that_comes_back_as_a_waiter_gives_up_is_there_for_a_newcomer(
    loop: SimulatedLoop, limiter: LocalLimiter
) -> None:
    tasks = crowd(loop, limiter, 11)
    newcomer = loop.create_task(limiter.acquire(APP, ACTION))
    tasks[10].cancel()  # and has not left the line yet when the newcomer joins it
    tasks[0].result().release()
    loop.settle()
    assert newcomer.done()


@pytest.mark.parametrize("waiting", [2, 100, 1000])
def test_each_token_wakes_one_caller_whatever_the_number_of_waiters(
    loop: SimulatedLoop, limiter: LocalLimiter, waiting: int
) -> None:
    tasks = crowd(loop, limiter, 10 + waiting)
    idle = callbacks_of(loop, 1.06)
    tasks[0].result().departed()
    assert callbacks_of(loop, 1.06) == idle + 1  # the caller's wake-up
    assert granted(tasks) == list(range(11))
    dismiss(loop, tasks[11:])


def callbacks_of(loop: SimulatedLoop, seconds: float) -> int:
    before = loop.callbacks
    loop.advance(seconds)
    return loop.callbacks - before


def test_one_timer_serves_a_long_queue(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    async def call() -> None:
        (await limiter.acquire(APP, ACTION)).departed()

    async def all_of_them() -> None:
        await asyncio.gather(*(call() for _ in range(500)))

    loop.run_until_complete(all_of_them())
    assert loop.timers <= 2 * 50  # tokens that come back together ring once


@pytest.mark.slow
def test_a_thousand_queued_callers_hold_little(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    count = 1000
    crowd(loop, limiter, 10)

    async def bare() -> None:
        await loop.create_future()

    async def waiting() -> None:
        await limiter.acquire(APP, ACTION)

    def held_by(make: object) -> int:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        tasks = [loop.create_task(make()) for _ in range(count)]  # type: ignore[operator]  # one of the two above
        loop.settle()
        gc.collect()
        size = tracemalloc.get_traced_memory()[0] - before
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        return size

    tracemalloc.start()
    try:
        own = held_by(bare)
        assert (held_by(waiting) - own) / count <= 1024
    finally:
        tracemalloc.stop()


def test_cancelled_callers_leave_nothing_behind(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    tasks = crowd(loop, limiter, 2000)
    assert limiter.estimate(APP, ACTION) > 190 * SPAN
    dismiss(loop, tasks[10:])
    assert limiter.estimate(APP, ACTION) <= SPAN


def test_the_estimate_names_the_wait_of_a_newcomer(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    assert limiter.estimate(APP, ACTION) == 0.0
    tasks = crowd(loop, limiter, 25)
    depart(tasks[:10])
    assert limiter.estimate(APP, ACTION) == pytest.approx(2 * SPAN, abs=0.01)
    start = loop.now

    async def newcomer() -> float:
        await limiter.acquire(APP, ACTION)
        return loop.now - start

    def pass_on(task: asyncio.Task[FullPermit]) -> None:
        if not task.cancelled():
            task.result().departed()

    for task in tasks[10:]:
        task.add_done_callback(pass_on)
    assert loop.run_until_complete(newcomer()) == pytest.approx(2 * SPAN, abs=0.01)


def test_after_a_complaint_some_tokens_are_left_to_others(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    limiter.too_fast(APP, "NeverCalled")
    tasks = crowd(loop, limiter, 20)
    depart(tasks[:10])
    limiter.too_fast(APP, ACTION)
    assert limiter.stats(APP, ACTION).withheld == 3
    loop.advance(1.10)
    assert granted(tasks) == list(range(17))
    loop.advance(5)  # windows
    assert granted(tasks) == list(range(18))
    dismiss(loop, tasks[18:])


def test_a_clock_that_runs_behind_the_loop_only_asks_again(loop: SimulatedLoop) -> None:
    limiter = LocalLimiter(clock=lambda: loop.now * 0.999)
    tasks = crowd(loop, limiter, 11)
    depart(tasks[:10])
    timers = loop.timers
    loop.advance(1.1)
    assert tasks[10].done()
    assert loop.timers - timers < 10


def test_actions_that_are_not_used_any_more_are_forgotten(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    async def use(app_id: int) -> None:
        permit = await limiter.acquire(app_id, ACTION)
        permit.departed()
        permit.answered()
        permit.served("host")

    async def use_all(count: int) -> None:
        for app_id in range(1, count + 1):
            await use(app_id)

    loop.run_until_complete(use_all(500))
    assert limiter.stats(500, ACTION).sent == 1
    loop.advance(300)
    loop.run_until_complete(use(1001))
    assert limiter.stats(500, ACTION).sent == 0
    assert limiter.stats(1001, ACTION).sent == 1


def test_who_holds_a_token_or_waits_is_not_forgotten(loop: SimulatedLoop) -> None:
    limiter = LocalLimiter(limit=1, clock=loop.time)
    permit = loop.run_until_complete(limiter.acquire(1, ACTION))
    waiting = loop.create_task(limiter.acquire(1, ACTION))
    loop.advance(300)
    loop.run_until_complete(limiter.acquire(2, ACTION))
    permit.release()
    loop.settle()
    assert waiting.done()


def test_it_is_built_outside_a_loop_and_serves_one_loop_after_another() -> None:
    limiter = LocalLimiter(clock=lambda: 0.0)

    async def use() -> float:
        permits = [await limiter.acquire(APP, ACTION) for _ in range(5)]
        permits[0].departed()
        return limiter.estimate(APP, ACTION)

    assert asyncio.run(use()) == 0.0
    # The first five keep their place in the server's window: four of them may have left just before their loop ended.
    assert asyncio.run(use()) == pytest.approx(SPAN)


def test_a_second_running_loop_is_refused() -> None:
    limiter = LocalLimiter()
    outcome: list[BaseException | None] = []

    async def use() -> None:
        await limiter.acquire(APP, ACTION)

    def elsewhere() -> None:
        try:
            asyncio.run(use())
        except ConfigurationError as error:
            outcome.append(error)

    async def first() -> None:
        await limiter.acquire(APP, ACTION)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)

    asyncio.run(first())
    assert "another running event loop" in str(outcome[0])


def test_a_paused_loop_with_waiters_is_not_robbed_of_them(loop: SimulatedLoop, limiter: LocalLimiter) -> None:
    tasks = crowd(loop, limiter, 12)
    with pytest.raises(ConfigurationError, match="still wait"):
        asyncio.run(limiter.acquire(APP, ACTION))
    dismiss(loop, tasks[10:])


def test_a_closed_loop_takes_its_waiters_along() -> None:
    limiter = LocalLimiter(limit=1, window=0.001, guard=0.0)
    first = asyncio.new_event_loop()
    permit = first.run_until_complete(limiter.acquire(APP, ACTION))
    waiter = first.create_task(limiter.acquire(APP, ACTION))
    first.run_until_complete(asyncio.sleep(0))
    waiter._log_destroy_pending = False  # type: ignore[attr-defined]  # it is lost on purpose
    first.close()
    asyncio.run(limiter.acquire(APP, ACTION))
    permit.release()  # of a loop that is gone: gives the newcomer nothing, and harms nobody


def test_numbers_that_make_no_sense_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="limit"):
        LocalLimiter(limit=0)


def test_it_says_what_it_is() -> None:
    assert repr(LocalLimiter()) == "LocalLimiter(limit=10, window=1.0, guard=0.05)"
