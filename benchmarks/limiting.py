"""(c) Limiters: what waiting costs, and how well the limit is kept and used.

Costs are the best of several times, since a crowd of thousands meets every disturbance of the machine.
"""

from __future__ import annotations

import _weakrefset
import asyncio
import contextlib
import gc
import itertools
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks.measure import package
from benchmarks.report import Table, Target
from benchmarks.sample import APP_ID, SERVER_SECRET, build
from zego_aigc.client import Client
from zego_aigc.limits.local_limiter import LocalLimiter

LIMIT = 10
OURS = "zego_aigc"

Acquire = Callable[[], Coroutine[Any, Any, object]]
Make = Callable[[int, float], Acquire]
"""Makes a limiter of so many for a window in seconds."""


def _ours(limit: int, window: float) -> Acquire:
    limiter = LocalLimiter(limit, window, 0.0)

    async def acquire() -> None:
        (await limiter.acquire(1, "QueryAgents")).departed()

    return acquire


def _aiolimiter(limit: int, window: float) -> Acquire:
    acquire: Acquire = package("aiolimiter").AsyncLimiter(limit, window).acquire
    return acquire


def _pyrate(limit: int, window: float) -> Acquire:
    pyrate = package("pyrate_limiter")
    limiter = pyrate.Limiter(pyrate.Rate(limit, round(window * 1000)))
    return lambda: limiter.try_acquire_async("QueryAgents")


def _throttled(limit: int, window: float) -> Acquire:
    throttled = package("throttled.asyncio")
    acquire: Acquire = throttled.Throttled(
        key="QueryAgents",
        using=throttled.RateLimiterType.GCRA.value,
        quota=throttled.per_duration(timedelta(seconds=window), limit, burst=limit),
        store=throttled.MemoryStore(),
        timeout=3600,
    ).limit
    return acquire


def _limits(limit: int, window: float) -> Acquire:
    strategy = package("limits.aio.strategies").MovingWindowRateLimiter(package("limits.aio.storage").MemoryStorage())
    item = package("limits").RateLimitItemPerSecond(limit, round(window))

    async def acquire() -> None:
        while not await strategy.hit(item, "QueryAgents"):
            reset, _ = await strategy.get_window_stats(item, "QueryAgents")
            await asyncio.sleep(max(0.001, reset - time.time()))

    return acquire


PACKAGES: dict[str, tuple[str, Make, bool]] = {
    # package, maker, whether its window may be a fraction of a second
    OURS: ("zego_aigc", _ours, True),
    "aiolimiter": ("aiolimiter", _aiolimiter, True),
    "pyrate-limiter": ("pyrate_limiter", _pyrate, True),
    "throttled-py (GCRA)": ("throttled", _throttled, False),
    "limits (moving window)": ("limits", _limits, False),
}


async def crowded(make: Make, waiting: int) -> float:
    """Microseconds of CPU an acquire when so many come at once and are served by tenths, 50 ms apart; their tasks included."""
    samples = []
    for _ in range(5):
        acquire = make(waiting // 10, 0.05)
        gc.collect()
        cpu = time.process_time()
        await asyncio.gather(*(acquire() for _ in range(waiting)))
        samples.append((time.process_time() - cpu) / waiting * 1e6)
    return min(samples)


async def uncontended(make: Make) -> float:
    """Microseconds of CPU an acquire that need not wait."""
    samples = []
    for _ in range(5):
        acquire = make(100_000, 1.0)
        await acquire()
        cpu = time.process_time()
        for _ in range(5000):
            await acquire()
        samples.append((time.process_time() - cpu) / 5000 * 1e6)
    return min(samples)


async def uncontended_alone() -> float:
    """The same for ours, without the departure and the caller's coroutine, which the others do not have or need."""
    samples = []
    for _ in range(15):
        acquire = LocalLimiter(100_000).acquire
        cpu = time.process_time()
        for _ in range(5000):
            await acquire(1, "QueryAgents")
        samples.append((time.process_time() - cpu) / 5000 * 1e6)
    return min(samples)


class Course:
    """How a crowd of callers went through a limiter at 10 a second."""

    def __init__(self, grants: list[tuple[int, float]], start: float) -> None:
        times = sorted(when for _, when in grants)
        self.makespan = times[-1] - start
        self.worst = max(sum(now - 1.0 < when <= now for when in times) for now in times)
        order = [number for number, _ in sorted(grants, key=lambda grant: grant[1])]
        self.inversions = sum(earlier > later for earlier, later in itertools.pairwise(order))


async def course(acquire: Acquire, callers: int) -> Course:
    """Let so many callers come at once."""
    grants: list[tuple[int, float]] = []

    async def call(number: int) -> None:
        await acquire()
        grants.append((number, time.monotonic()))

    start = time.monotonic()
    await asyncio.gather(*(call(number) for number in range(callers)))
    return Course(grants, start)


async def after_cancelling(acquire: Acquire) -> float:
    """Seconds until the last 5 of 30 callers are served, when the 15 before them give up at once. The bound is 1.0."""
    start = time.monotonic()
    tasks = [asyncio.create_task(acquire()) for _ in range(30)]
    await asyncio.sleep(0.05)
    for task in tasks[10:25]:
        task.cancel()
    await asyncio.gather(*tasks[:10], *tasks[25:])
    for task in tasks[10:25]:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    return time.monotonic() - start


async def held_in_line() -> float:
    """Bytes that one of 1,000 calls in line holds beyond a task that waits for anything."""

    async def waiting() -> None:
        await asyncio.get_running_loop().create_future()

    async def held(make: Callable[[], Coroutine[Any, Any, object]]) -> float:
        gc.collect()
        tracemalloc.start()
        tasks = [asyncio.create_task(make()) for _ in range(1000)]
        await asyncio.sleep(0.1)
        gc.collect()
        # Without asyncio's set of all tasks, which grows by leaps.
        traces = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, _weakrefset.__file__)])
        tracemalloc.stop()
        size = sum(trace.size for trace in traces.traces)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return size / 1000

    action = build()
    limiter = LocalLimiter(1, 3600.0)
    async with Client(APP_ID, SERVER_SECRET, limiter=limiter, aiagent_url="http://127.0.0.1:9", timeout=1e9) as client:
        await limiter.acquire(APP_ID, type(action).__name__)
        await held(lambda: client.call(action))  # the first one compiles the check, which no call holds
        return await held(lambda: client.call(action)) - await held(waiting)


async def run(*, quick: bool) -> list[Table]:
    """Measure."""
    found = {name: entry for name, entry in PACKAGES.items() if find_spec(entry[0])}
    skipped = [f"{name} is not installed" for name in PACKAGES if name not in found]
    crowds = (1000,) if quick else (1000, 10_000)
    gc.collect()
    gc.freeze()  # what the packages brought along is not a waiter's
    alone = [await crowded(lambda _limit, _window: partial(asyncio.sleep, 0), waiting) for waiting in crowds]
    costs: dict[str, list[float | None]] = {
        name: [await uncontended(make), *[await crowded(make, waiting) if brief else None for waiting in crowds]]
        for name, (_, make, brief) in found.items()
    }
    callers = 30 if quick else 60
    names = list(found)
    courses = await asyncio.gather(*(course(found[name][1](LIMIT, 1.0), callers) for name in names))
    cancelled = await asyncio.gather(*(after_cancelling(found[name][1](LIMIT, 1.0)) for name in names))
    rows: list[list[str | float | None]] = [["(tasks alone)", None, *alone, None, None, None, None]]
    rows += [
        [name, *costs[name], went.worst, went.makespan, went.inversions, seconds]
        for name, went, seconds in zip(names, courses, cancelled, strict=True)
    ]
    gc.unfreeze()
    ours = costs[OURS][-1]
    assert ours is not None
    return [
        Table(
            part="limiters",
            title=(
                "Limiters: CPU us an acquire that need not wait, and with crowds in line; then at 10 a second: worst count in "
                f"any second, seconds for {callers} calls (bound {(callers - LIMIT) / LIMIT:.1f}), callers out of order, "
                "seconds for the last of 30 when the 15 before give up (bound 1.0)"
            ),
            columns=[
                "",
                "free",
                *(f"{waiting:,} waiting" for waiting in crowds),
                "worst",
                "makespan",
                "inversions",
                "given up",
            ],
            rows=rows,
            targets=[
                Target("zego_aigc: us an acquire that need not wait, by itself", await uncontended_alone(), 1.0),
                Target(f"zego_aigc: us an acquire with {crowds[-1]:,} waiting, beyond the tasks alone", ours - alone[-1], 8.0),
                Target("zego_aigc: bytes that each of 1,000 calls in line holds beyond its task", await held_in_line(), 1024),
                Target("zego_aigc: worst count in any second", courses[names.index(OURS)].worst, LIMIT),
            ],
            skipped=skipped,
        )
    ]
