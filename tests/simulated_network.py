"""A network and a service in simulated time, with a limiter in front: how its laws fare, to be read and run by anybody.

A request leaves, arrives after a delay, is counted by the service in a strict sliding window (refused ones too), and its
answer is back after another delay. Nothing of it takes time; the delays come from a seed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from simulated_time import SimulatedLoop

from benchmarks.counting import LIMIT, WINDOW, SlidingCount, worst
from zego_aigc.limits.local_limiter import LocalLimiter

__all__ = ["Delay", "Network", "jitter", "network", "route_change", "spikes", "stalls", "steady"]

APP, ACTION = 1, "QueryAgents"

Delay = Callable[[random.Random, float], float]
"""Seconds that something takes on its way that leaves at a time."""


def steady(seconds: float) -> Delay:
    """Always the same."""
    return lambda _chance, _now: seconds


def jitter(least: float, more: float) -> Delay:
    """Varies by up to `more`."""
    return lambda chance, _now: least + chance.uniform(0, more)


def spikes(delay: Delay, share: float, least: float, most: float) -> Delay:
    """Some take much longer."""
    return lambda chance, now: delay(chance, now) + (chance.uniform(least, most) if chance.random() < share else 0.0)


def stalls(delay: Delay, every: float, seconds: float) -> Delay:
    """The machine at the other end stands still now and then: whatever would arrive meanwhile is late."""

    def delayed(chance: random.Random, now: float) -> float:
        arrival = now + delay(chance, now)
        into = arrival % every
        return arrival - now + max(0.0, seconds - into)

    return delayed


def route_change(before: Delay, after: Delay, when: float) -> Delay:
    """Another route from some time on."""
    return lambda chance, now: (before if now < when else after)(chance, now)


class Network:
    """A client's limiter, the way to a service and back, and the service.

    Args:
        loop: whose time counts.
        out: delay of requests.
        back: delay of answers.
        seed: of all chance.
        served: whether the limiter learns that requests were served; without, it keeps to its guard.
        service: what counts the requests, if others use it too.
    """

    def __init__(
        self,
        loop: SimulatedLoop,
        out: Delay,
        back: Delay,
        *,
        seed: int = 1,
        served: bool = True,
        service: SlidingCount | None = None,
    ) -> None:
        self.loop = loop
        self.limiter = LocalLimiter(LIMIT, WINDOW, clock=loop.time)
        self.service = SlidingCount() if service is None else service
        self.granted: int = 0
        """How many requests of this client the service has served."""
        self.began: float = loop.now
        self._out = out
        self._back = back
        self._chance = random.Random(seed)
        self._served = served

    # --- what happens

    async def call(self, *, background: bool = False) -> float:
        """One call, until it is served; how long it waited for its first token."""
        came, waited = self.loop.now, None
        while True:
            permit = await self.limiter.acquire(APP, ACTION, background=background)
            waited = self.loop.now - came if waited is None else waited
            permit.departed()
            answer: asyncio.Future[bool] = self.loop.create_future()
            arrives = self.loop.now + self._out(self._chance, self.loop.now)
            self.loop.call_at(arrives, self._arrive, arrives, answer)
            good = await answer
            permit.answered()
            if good:
                if self._served:
                    permit.served("host")
                return waited
            self.limiter.too_fast(APP, ACTION)

    def _arrive(self, now: float, answer: asyncio.Future[bool]) -> None:
        good = self.service.admit(now)
        self.granted += good
        self.loop.call_at(now + self._back(self._chance, now), _answer, answer, good)

    def saturate(self, seconds: float, *, callers: int = 40, background: bool = False) -> None:
        """So many callers call again and again, for so long."""

        async def caller() -> None:
            while True:
                await self.call(background=background)

        tasks = [self.loop.create_task(caller()) for _ in range(callers)]
        self.loop.advance(seconds)
        self.end(tasks)

    def end(self, tasks: list[asyncio.Task[None]]) -> None:
        """Cancel tasks."""
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    # --- what came of it

    @property
    def arrivals(self) -> list[float]:
        """When the service counted a request, in order."""
        return self.service.arrivals

    @property
    def refused(self) -> int:
        """How many the service refused."""
        return self.service.refused

    def worst(self) -> int:
        """The most requests that arrived in any second."""
        return worst(self.arrivals)

    def pace(self, since: float = 10.0) -> float:
        """The share of the limit that was used, from so many seconds after the beginning on."""
        start = self.began + since
        return sum(arrival >= start for arrival in self.arrivals) * WINDOW / (LIMIT * (self.loop.now - start))


def _answer(answer: asyncio.Future[bool], good: bool) -> None:
    if not answer.done():  # else its caller was cancelled
        answer.set_result(good)


@contextmanager
def network(out: Delay, back: Delay, *, seed: int = 1, served: bool = True) -> Iterator[Network]:
    """A network on a loop of its own."""
    loop = SimulatedLoop()
    try:
        yield Network(loop, out, back, seed=seed, served=served)
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
