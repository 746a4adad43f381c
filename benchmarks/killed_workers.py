"""Kill the workers of a web app again and again: ``python -m benchmarks.killed_workers [--seconds N] [--redis URL]``.

Four workers make and end conversations on request, are killed at random and started again. The sandbox outlives them and is the
judge: what a worker made that was killed is ended by another within two leases, what a living worker made is ended by nobody
but on request, and in the end nothing lives that nobody owns.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web

from benchmarks.ports import reserved_port
from zego_aigc import aiagent
from zego_aigc.sandbox import Sandbox
from zego_aigc.schema.lifecycle import LIFECYCLES

WORKERS = 4
QUOTA_CODES = LIFECYCLES["CreateAgentInstance"].full_codes
VISITORS = 16
QUOTA = 20
"""Instances that the account may hold: fewer than visitors and dead workers want at times."""


class Verdict(NamedTuple):
    """What the sandbox says in the end."""

    made: int
    kills: int
    unowned: int
    """What lives in the end though the worker that made it was killed, or its end was confirmed."""
    ended: int
    """What was ended though its worker lived and nobody asked for it."""
    over: int
    """Creates that the service refused for its quota, where a shared budget should have kept them back."""
    seconds: float

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not (self.unowned or self.ended or self.over) and self.made > 0


class Worker:
    """One worker at its port, in whichever process it is at the moment."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.port = 0
        self.process: asyncio.subprocess.Process | None = None
        self.serves = False  # it has answered since it was started

    async def start(self) -> None:
        self.serves = False
        self.port = reserved_port()
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "uvicorn", "--port", str(self.port), "--log-level", "error", "benchmarks.worker_app:app",
            env=self.env, cwd=Path(__file__).parent.parent,
        )  # fmt: skip

    async def kill(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        return self.process.pid

    async def post(self, session: aiohttp.ClientSession, path: str, **query: str) -> dict[str, Any] | None:
        """The answer; None where there was none, or a refusal."""
        try:
            async with session.post(f"http://127.0.0.1:{self.port}{path}", params=query) as response:
                self.serves = True
                return await response.json() if response.status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None


class Run:
    """One run: who made what, who was killed, whose end was asked for."""

    def __init__(self, sandbox: Sandbox, env: dict[str, str], seed: int) -> None:
        self.sandbox = sandbox
        self.random = random.Random(seed)
        self.workers = [Worker(env) for _ in range(WORKERS)]
        self.maker: dict[str, int] = {}  # the process that made an instance
        self.killed: set[int] = set()
        self.asked: set[str] = set()  # whose end was asked for
        self.answered: set[str] = set()  # and confirmed
        self.deleted: set[str] = set()
        self.refused: set[str] = set()
        self.kills = 0
        self.count = 0

    async def visit(self, session: aiohttp.ClientSession, until: float) -> None:
        """A visitor: begins a conversation, stays a while, and ends it, mostly."""
        while time.monotonic() < until:
            worker = self.random.choice(self.workers)
            self.count += 1
            made = await worker.post(session, "/make", name=str(self.count))
            if made is None:
                await asyncio.sleep(0.05)
                continue
            self.maker[made["id"]] = made["pid"]
            await asyncio.sleep(self.random.uniform(0, 2))
            self.asked.add(made["id"])
            if await self.random.choice(self.workers).post(session, "/end", id=made["id"]) is not None:
                self.answered.add(made["id"])

    async def kill_at_random(self, until: float) -> None:
        while time.monotonic() < until:
            await asyncio.sleep(self.random.uniform(0.5, 2.5))
            worker = self.random.choice(self.workers)
            if not worker.serves:
                continue  # a busy machine takes long to start one
            self.killed.add(await worker.kill())
            self.kills += 1
            await worker.start()

    async def watch(self, until: float) -> None:
        """Note what was ended and what was refused, before the sandbox forgets the calls."""
        while True:
            for call in self.sandbox.recording.calls:
                if isinstance(call.request, aiagent.DeleteAgentInstance) and call.code == 0:
                    self.deleted.add(call.request.agent_instance_id)
                elif isinstance(call.request, aiagent.CreateAgentInstance) and call.code in QUOTA_CODES:
                    self.refused.add(call.request_id)
            if time.monotonic() >= until:
                return
            await asyncio.sleep(0.2)

    def ended_unasked(self) -> int:
        """Instances of living workers that were ended though nobody asked for it."""
        return sum(self.maker.get(instance_id, 0) not in {0, *self.killed} for instance_id in self.deleted - self.asked)

    def unowned(self) -> set[str]:
        """What lives, and whose worker was killed or whose end was confirmed."""
        return {
            instance_id
            for instance_id in self.sandbox.app.instances
            if instance_id in self.answered or self.maker.get(instance_id, 0) in {0, *self.killed}
        }


async def serve_callbacks(job: Run) -> web.AppRunner:
    """What stands before the workers: it hands each callback to one of them, and answers as that does."""

    async def hand_on(request: web.Request) -> web.Response:
        url = f"http://127.0.0.1:{job.random.choice(job.workers).port}/callbacks"
        try:
            async with aiohttp.request("POST", url, data=await request.read(), headers=request.headers) as response:
                return web.Response(status=response.status)
        except (aiohttp.ClientError, OSError):
            return web.Response(status=502)

    app = web.Application()
    app.router.add_post("/", hand_on)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


async def run(seconds: float, *, redis: str | None = None, lease: float = 2.0, seed: int = 1) -> Verdict:
    """Kill workers for so many seconds, and judge.

    Args:
        seconds: how long.
        redis: where the workers share what they have; None for a file.
        lease: seconds without a sign of life after which a worker counts as dead; a slow machine may keep it from one for long.
        seed: for what is drawn.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        async with Sandbox(rate_limit=None, quota=QUOTA) as sandbox, sandbox.client() as client:
            await client.call(aiagent.RegisterAgent.from_wire({"AgentId": "guide", "Name": "Guide"}))
            env = {
                **os.environ,
                "ZEGO_APP_ID": str(sandbox.app_id),
                "ZEGO_SERVER_SECRET": sandbox.server_secret,
                "ZEGO_AIAGENT_URL": sandbox.url,
                "ZEGO_DIGITALHUMAN_URL": sandbox.url,
                "REGISTRY": redis or str(Path(folder) / "live.db"),
                "LEASE": str(lease),
                "QUOTA": str(QUOTA),
                "ZEGO_CALLBACK_SECRET": sandbox.app.callback_secret,
            }
            job = Run(sandbox, env, seed)
            balancer = await serve_callbacks(job)
            sandbox.app.callback_url = f"http://127.0.0.1:{balancer.addresses[0][1]}/"
            try:
                return await _carry_out(job, seconds, began, shared_quota=redis is not None)
            finally:
                await balancer.cleanup()
                for worker in job.workers:
                    if worker.process is not None and worker.process.returncode is None:
                        await worker.kill()


async def _carry_out(job: Run, seconds: float, began: float, *, shared_quota: bool) -> Verdict:
    for worker in job.workers:
        await worker.start()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        async with asyncio.timeout(120):
            for worker in job.workers:
                while not worker.serves:
                    await worker.post(session, "/end", id="0")
                    await asyncio.sleep(0.1)
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(VISITORS):
                group.create_task(job.visit(session, until))
            group.create_task(job.kill_at_random(until))
            group.create_task(job.watch(until + 1))
        # What dead workers left: a lease until they count as dead, one until all look again, and time to end it. What was being
        # made when its worker died is known once its callback has come, which the service repeats for a minute.
        deadline = time.monotonic() + 70
        while job.unowned() and time.monotonic() < deadline:
            await job.watch(0)
            await asyncio.sleep(0.1)
    return Verdict(
        made=len(job.maker),
        kills=job.kills,
        unowned=len(job.unowned()),
        ended=job.ended_unasked(),
        over=len(job.refused) if shared_quota else 0,
        seconds=time.monotonic() - began,
    )


def main() -> int:
    """Kill workers, and print what the sandbox says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.killed_workers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to go on (default: a minute)")
    parser.add_argument("--redis", metavar="URL", help="keep the registry, the limit and the quota there (default: a file)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    verdict = asyncio.run(run(options.seconds, redis=options.redis, seed=options.seed))
    print(verdict)
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
