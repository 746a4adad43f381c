"""The workers of a run: what a stop cancels, and what it spares."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import anyio
import pytest

from zego_aigc.provisioning.workers import InFlight, Lane, WorkerPool

pytestmark = pytest.mark.anyio

Work = Callable[[str, InFlight], Awaitable[None]]


async def run(work: Work, then: Callable[[WorkerPool], Awaitable[None]]) -> None:
    """Run a lane of one entry until its pool was stopped, which `then` does, and all its workers have ended."""
    entries = ["entry"]

    async def fetch(_: int) -> Sequence[str]:
        found, entries[:] = list(entries), []
        return found

    pool = WorkerPool(asyncio.create_task, [[["Make"]]])
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(pool.run, [Lane(pool, fetch, work, actions=["Make"])], len(entries))
            await then(pool)


async def test_a_worker_whose_request_is_answered_after_the_stop_waits_for_nothing_more() -> None:
    left, answer, done = anyio.Event(), anyio.Event(), list[str]()

    async def work(_: str, in_flight: InFlight) -> None:
        await in_flight.leave()
        left.set()
        await answer.wait()
        done.append("recorded")
        in_flight.free()
        await anyio.sleep_forever()  # as before the request is sent again

    async def then(pool: WorkerPool) -> None:
        await left.wait()
        pool.stop()
        assert not done, "what has left is waited for"
        answer.set()

    await run(work, then)
    assert done == ["recorded"]


async def test_a_worker_that_was_answered_before_the_stop_is_cancelled() -> None:
    answered = anyio.Event()

    async def work(_: str, in_flight: InFlight) -> None:
        await in_flight.leave()
        in_flight.answered()
        answered.set()
        await anyio.sleep_forever()

    async def then(pool: WorkerPool) -> None:
        await answered.wait()
        pool.stop()

    await run(work, then)


async def test_what_has_not_left_by_the_stop_never_leaves() -> None:
    about_to, sent = anyio.Event(), list[str]()

    async def work(name: str, in_flight: InFlight) -> None:
        about_to.set()
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            await in_flight.leave()  # as a task does that was about to run as its cancellation was asked for
            sent.append(name)

    async def then(pool: WorkerPool) -> None:
        await about_to.wait()
        pool.stop()

    await run(work, then)
    assert not sent
