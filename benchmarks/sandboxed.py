"""(f) The sandbox: how many calls a second it answers, checks, state and recording included.

``python -m benchmarks.sandboxed RATE_LIMIT`` serves one, until standard input ends; 0 is no limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import crowd, pin
from benchmarks.report import Table
from benchmarks.sample import APP_ID, SERVER_SECRET
from zego_aigc.aiagent import (
    RTC,
    CreateAgentInstance,
    DeleteAgentInstance,
    QueryAgentInstanceStatus,
    RegisterAgent,
    SendAgentInstanceTTS,
)
from zego_aigc.client import Client
from zego_aigc.digitalhuman import QueryDigitalHumanStreamTasks
from zego_aigc.limits.local_limiter import LocalLimiter


class Served(NamedTuple):
    """A sandbox in a process of its own, on the other processor."""

    url: str
    process: int

    def cpu(self) -> float | None:
        """Seconds of CPU that it has used; None where the system does not tell."""
        try:
            fields = Path(f"/proc/{self.process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def client(self, limiter: LocalLimiter | None = None) -> Client:
        """A client of it."""
        return Client(APP_ID, SERVER_SECRET, limiter=limiter, aiagent_url=self.url, digitalhuman_url=self.url)


@contextlib.contextmanager
def serving(rate_limit: int) -> Iterator[Served]:
    """Run a sandbox without a quota; `rate_limit` 0 is no limit."""
    command = [sys.executable, "-m", "benchmarks.sandboxed", str(rate_limit)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield Served(process.stdout.readline().strip(), process.pid)


async def serve(rate_limit: int) -> None:
    """What :func:`serving` runs."""
    from zego_aigc.sandbox import Sandbox

    async with Sandbox(app_id=APP_ID, server_secret=SERVER_SECRET, quota=None, rate_limit=rate_limit or None) as sandbox:
        print(sandbox.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def visit(client: Client, number: int) -> None:
    """Four calls, as a conversation makes them."""
    rtc = RTC(
        room_id=f"hall-{number}",
        agent_stream_id=f"guide-{number}",
        agent_user_id=f"bot-{number}",
        user_stream_id=f"visitor-{number}-out",
    )
    create = CreateAgentInstance(agent_id="guide", user_id=f"visitor-{number}", rtc=rtc)
    made = (await client.call(create)).agent_instance_id
    await client.call(QueryAgentInstanceStatus(agent_instance_id=made))
    await client.call(SendAgentInstanceTTS(agent_instance_id=made, text="Welcome to the museum"))
    await client.call(DeleteAgentInstance(agent_instance_id=made))


async def run(*, quick: bool) -> list[Table]:
    """Measure."""
    count = 500 if quick else 5000
    rows: list[list[str | float | None]] = []
    with serving(0) as served:
        async with served.client(LocalLimiter(100, window=1e-6, guard=0.0)) as client:
            await client.call(RegisterAgent(agent_id="guide"))
            visitors = itertools.count()
            jobs: list[tuple[str, Callable[[], Awaitable[object]], int, int]] = [
                ("stream tasks listed, 1 in flight", lambda: client.call(QueryDigitalHumanStreamTasks()), 1, 1),
                ("the same, 64 in flight", lambda: client.call(QueryDigitalHumanStreamTasks()), 1, 64),
                ("visits: created, asked about, spoken to, ended, 64 in flight", lambda: visit(client, next(visitors)), 4, 64),
            ]
            for name, job, calls, in_flight in jobs:
                run_jobs = crowd(job, in_flight)
                await run_jobs(100 // calls)
                cpu, wall = served.cpu(), time.perf_counter()
                await run_jobs(count // calls)
                wall = time.perf_counter() - wall
                after = served.cpu()
                used = None if cpu is None or after is None else (after - cpu) / count * 1e6
                rows.append([name, count / wall, used])
    return [
        Table(
            part="sandbox",
            title="The sandbox in a process of its own, called by zego_aigc",
            columns=["", "calls/s", "its CPU us a call"],
            rows=rows,
        )
    ]


if __name__ == "__main__":
    pin(1)
    asyncio.run(serve(int(sys.argv[1])))
