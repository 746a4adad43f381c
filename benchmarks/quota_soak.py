"""Many conversations under a budget, with faults and cancellations: ``python -m benchmarks.quota_soak [--calls N]``.

A place in a budget that nobody gives back stops a product. A tenth of the calls meets a fault, a twentieth of the
conversations is cut off at some moment, and callbacks come in as they would. The pace must be the same at the end as at the
beginning, and then the budget's books and the service's must be equal: nothing lives, and no place is taken.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import logging
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import anyio
from aiohttp import web

from zego_aigc import Client, LocalLimiter, LocalQuota, Orphan, RetryPolicy, ZegoError, aiagent, digitalhuman
from zego_aigc.callbacks import AgentInstanceCreated, AgentInstanceDeleted, CallbackRouter, StreamTaskEvent
from zego_aigc.client import CallEvent
from zego_aigc.sandbox import FaultRule, Pace, Sandbox

PLACES = 64
VISITORS = 128
IDLE = 10
"""MaxIdleTime in seconds: after it, what may have been made has ended, and its place comes free."""

POLICY = RetryPolicy(initial_backoff=0.002, max_backoff=0.05, lookup_delay=0.02, cancel_grace=2.0, delete_timeout=10.0)


class Verdict(NamedTuple):
    """How it went."""

    calls: int
    seconds: float
    tenths: tuple[float, ...]
    """Seconds that each tenth of the calls took."""
    taken: int
    """Places that are taken in the end."""
    living: int
    """What lives at the service in the end."""

    @property
    def good(self) -> bool:
        """Whether the pace was kept and the books are equal: no tenth took three times as long as the one in the middle."""
        return not (self.taken or self.living) and max(self.tenths) < 3 * statistics.median(self.tenths)


def unleash(sandbox: Sandbox, chance: float) -> None:
    """Have so many of the calls meet a fault of some kind."""
    effects: list[Callable[[FaultRule], object]] = [
        lambda calls: calls.cut_before_work(),
        lambda calls: calls.cut_after_work(),
        lambda calls: calls.answer(503, b"busy", retry_after="0"),
        lambda calls: calls.refuse(410000003),
    ]
    for effect in effects:
        effect(sandbox.faults.everywhere().chance(chance / len(effects)))


class Soak:
    """One soak."""

    def __init__(self, sandbox: Sandbox, calls: int, seed: int) -> None:
        self.sandbox = sandbox
        self.wanted = calls
        self.seed = seed
        self.quota = LocalQuota(agents=PLACES, digital_humans=PLACES, streams=PLACES)
        self.client: Client
        self.calls = 0
        self.visits = 0
        self.marks: list[float] = []

    def count(self, _: CallEvent) -> None:
        """A call is over."""
        self.calls += 1
        if len(self.marks) < 10 and self.calls >= self.wanted * (len(self.marks) + 1) / 10:
            self.marks.append(time.monotonic())

    async def take_care(self, orphan: Orphan) -> None:
        """Something lives that no handle owns."""
        life = type(orphan.action).lifecycle
        if orphan.certain and life is not None and life.quota is not None:
            await self.client.attach(life.id_of(orphan.action, orphan.result), type(orphan.action)).end()

    async def visit(self) -> None:
        """A conversation after the other, until there were enough calls."""
        while self.calls < self.wanted:
            self.visits += 1
            number = self.visits
            dice = random.Random(f"{self.seed}-{number}")
            patience = dice.random() * 0.2 if dice.random() < 0.05 else 60.0
            with anyio.move_on_after(patience), suppress(ZegoError):
                await (self.stream(number) if number % 3 == 0 else self.talk(number))

    async def talk(self, number: int) -> None:
        create = aiagent.CreateAgentInstance(
            agent_id="guide",
            user_id="visitor",
            rtc=aiagent.RTC(
                room_id=f"room-{number}",
                agent_stream_id=f"agent-{number}",
                agent_user_id=f"bot-{number}",
                user_stream_id=f"user-{number}",
            ),
            advanced_config=aiagent.AdvancedConfig(max_idle_time=IDLE),
        )
        async with self.client.agent(create) as agent:
            await agent.say("Hello!")
            await agent.status()

    async def stream(self, number: int) -> None:
        create = digitalhuman.CreateDigitalHumanStreamTask(
            digital_human_config=digitalhuman.DigitalHumanConfig(digital_human_id="human"),
            rtc_config=digitalhuman.RTCConfig(room_id=f"room-{number}", stream_id=f"stream-{number}"),
            max_idle_time=30,
        )
        async with self.client.stream_task(create) as task:
            await task.status()

    def taken(self) -> int:
        """Places that are taken."""
        return sum(self.quota.usage(kind).used for kind in ("agents", "digital_humans", "streams"))

    def living(self) -> int:
        """What lives at the service."""
        app = self.sandbox.app
        return len(app.instances) + sum(task.running for task in app.tasks.values())


async def soak(calls: int, seed: int) -> Verdict:
    """Make about so many calls, and compare the books."""
    pace = Pace(join=0, stream_start=0, stream_stop=0)
    async with Sandbox(rate_limit=None, quota=2 * PLACES, pace=pace) as sandbox:
        job = Soak(sandbox, calls, seed)
        router = CallbackRouter(secret=sandbox.app.callback_secret)
        async with router, serve(router) as port:
            sandbox.app.callback_url = f"http://127.0.0.1:{port}/"
            limiter = LocalLimiter(limit=10_000)
            async with sandbox.client(
                limiter=limiter, quota=job.quota, retry=POLICY, on_orphan=job.take_care, on_result=job.count
            ) as job.client:
                router.on(AgentInstanceCreated, AgentInstanceDeleted, StreamTaskEvent)(job.client.observe)
                await job.client.call(aiagent.RegisterAgent.from_wire({"AgentId": "guide", "Name": "Guide"}))
                job.client.pool.budget.capacity = job.client.pool.budget.tokens = 1e9  # what is tested is not its shortage
                sandbox.faults.seed(seed)
                unleash(sandbox, 0.1)
                began = time.monotonic()
                async with anyio.create_task_group() as group:
                    for _ in range(VISITORS):
                        group.start_soon(job.visit)
                sandbox.faults.clear()
                # What may have been made has ended by itself by then.
                with anyio.move_on_after(4 * IDLE + 30):
                    while job.taken() or job.living():  # noqa: ASYNC110 - nothing else tells of both
                        await anyio.sleep(0.1)
                moments = [began, *job.marks]
                tenths = tuple(round(later - earlier, 2) for earlier, later in itertools.pairwise(moments))
                return Verdict(job.calls, round(time.monotonic() - began, 1), tenths, job.taken(), job.living())


@asynccontextmanager
async def serve(router: CallbackRouter) -> AsyncIterator[int]:
    """A server for callbacks; its port."""
    app = web.Application()
    app.router.add_post("/", router.aiohttp_handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def main() -> int:
    """Soak, and print how it went."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quota_soak", description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000, help="how many calls (default: 100,000)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.getLogger("zego_aigc").setLevel(logging.CRITICAL)
    verdict = asyncio.run(soak(options.calls, options.seed))
    print(verdict)
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
