"""(a) A call on uvloop, which the library neither needs nor knows: the application chooses its loop."""

from __future__ import annotations

import asyncio
import contextlib

from benchmarks.calls import BY_HAND, OURS, PREPARED, by_hand, installed, ours, prepared
from benchmarks.measure import crowd, package, side_by_side
from benchmarks.report import Table
from benchmarks.server import running


def new_event_loop() -> asyncio.AbstractEventLoop:
    """uvloop's, where it is installed."""
    loop: asyncio.AbstractEventLoop = package("uvloop").new_event_loop() if installed("uvloop") else asyncio.new_event_loop()
    return loop


async def run(*, quick: bool) -> list[Table]:
    """Measure."""
    if not installed("uvloop"):
        return []
    makers = {PREPARED: prepared, OURS: ours, BY_HAND: by_hand}
    rows: list[list[str | float | None]] = []
    for in_flight in (1, 64):
        count, rounds = (64, 3) if quick else (64 * min(4, in_flight), 50 if in_flight == 1 else 25)
        async with contextlib.AsyncExitStack() as stack:
            url = stack.enter_context(running())
            calls = {name: crowd(await stack.enter_async_context(make(url)), in_flight) for name, make in makers.items()}
            least = 8 if in_flight == 1 else in_flight
            costs = await side_by_side(calls, count=count, rounds=rounds, baseline=PREPARED, least=least)
        rows += [
            [f"{name}, {in_flight} in flight", cost.cpu, cost.ratio, cost.spread, cost.wall] for name, cost in costs.items()
        ]
    columns = ["", "CPU us", "x aiohttp", "+-", "wall us"]
    return [Table(part="uvloop", title="A call on uvloop, relative to aiohttp on uvloop", columns=columns, rows=rows)]
