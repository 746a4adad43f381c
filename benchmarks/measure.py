"""Measuring side by side: every contender in every round, in a different order each time.

Ratios are taken within a round, and medians over the rounds: a noisy neighbour then slows all of them alike. CPU time is
the process's own, user and system.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import importlib
import os
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple


class Cost(NamedTuple):
    """What one operation of a contender cost, as medians over the rounds."""

    cpu: float
    """Microseconds."""
    wall: float
    """Microseconds."""
    ratio: float
    """CPU time, relative to the baseline of the same round."""
    spread: float
    """Half the range of the middle half of the ratios: how far to trust the last digit."""


async def side_by_side(
    contenders: Mapping[str, Callable[[int], Awaitable[None]]], *, count: int, rounds: int, baseline: str, least: int = 1
) -> dict[str, Cost]:
    """Let every contender do `count` operations a round; dear ones do fewer, but `least`, so that turns take alike.

    What lives before the first round is hidden from the garbage collector: contenders with large heaps slow nobody else.
    """
    costs: dict[str, float] = {}
    for name, run in contenders.items():
        await run(least)  # connections, caches, lazy imports
        start = time.perf_counter()
        await run(least)
        costs[name] = (time.perf_counter() - start) / least
    cheapest = min(costs.values())
    turns = {name: max(least, round(count * min(1.0, 4 * cheapest / cost))) for name, cost in costs.items()}
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    order, chance = list(contenders), random.Random(rounds)
    gc.collect()
    gc.freeze()
    try:
        for _ in range(rounds):
            chance.shuffle(order)  # whoever follows a heavy one finds the processor's caches full of that
            for name in order:
                gc.collect()
                cpu, wall = time.process_time(), time.perf_counter()
                await contenders[name](turns[name])
                cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
                samples[name].append((cpu / turns[name] * 1e6, wall / turns[name] * 1e6))
    finally:
        gc.unfreeze()
    base = [cpu for cpu, _ in samples[baseline]]
    return {name: _cost(taken, base) for name, taken in samples.items()}


def _cost(samples: list[tuple[float, float]], base: list[float]) -> Cost:
    ratios = sorted(cpu / own for (cpu, _), own in zip(samples, base, strict=True))
    quarter = len(ratios) // 4
    return Cost(
        cpu=statistics.median(cpu for cpu, _ in samples),
        wall=statistics.median(wall for _, wall in samples),
        ratio=statistics.median(ratios),
        spread=(ratios[-1 - quarter] - ratios[quarter]) / 2,
    )


def crowd(call: Callable[[], Awaitable[object]], in_flight: int) -> Callable[[int], Awaitable[None]]:
    """A contender that keeps so many calls in flight."""

    async def run(count: int) -> None:
        if in_flight == 1:
            for _ in range(count):
                await call()
            return
        turns = iter(range(count))

        async def worker() -> None:
            for _ in turns:
                await call()

        await asyncio.gather(*(worker() for _ in range(in_flight)))

    return run


def package(name: str) -> Any:
    """A package that may be missing where types are checked; import it only after having seen that it is there."""
    return importlib.import_module(name)


def steady_memory() -> None:
    """Have the C library keep what it was given, where it is glibc.

    asyncio asks for 256 KiB with each read. Whether that comes out of memory at hand or from the kernel depends on how the heap
    happens to lie: a tenth of a call, for one contender and not for another.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in ((-1, 2**30), (-2, 2**24), (-3, 2**30)):  # trim threshold, top pad, mmap threshold
            mallopt(parameter, value)


def pin(processor: int) -> None:
    """Stay on one processor, where the system lets us: 0 for what is measured, 1 for the servers."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(available) > 1:
        os.sched_setaffinity(0, {available[processor % len(available)]})
