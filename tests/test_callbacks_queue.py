"""The recipe of the callbacks page: a queue between the callbacks and the work, and no event lost by kills."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from callback_requests import SECRET, body_of
from redis.asyncio import Redis
from redis_server import RedisServer

from benchmarks.ports import reserved_port

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="processes are killed")]

PAGE = (Path(__file__).parent.parent / "docs" / "callbacks.md").read_text()
EVENTS = 80


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


def recipe(folder: Path) -> None:
    """The program as printed, but for what it does with an event, and with times for a test."""
    found = re.search(r"<!-- test: queue -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found
    source = found[1]
    for printed, here in (
        ("idle_timeout=120_000", "idle_timeout=1_000"),
        ("asyncio.sleep(10)", "asyncio.sleep(0.2)"),
        ("seen=RedisSeen(REDIS))", "seen=RedisSeen(REDIS), answer_timeout=0.5)"),
        (
            "    print(type(event).__name__, event.subject, event.order)\n",
            """    import redis.asyncio
    await asyncio.sleep(0.1)
    async with redis.asyncio.Redis.from_url(REDIS) as done:
        await done.rpush("handled", event.data.text)
""",
        ),
    ):
        assert source.count(printed) == 1, printed
        source = source.replace(printed, here)
    (folder / "events.py").write_text(source)


class Process:
    """A process with children of its own, all of which are killed together."""

    def __init__(self, folder: Path, url: str, *command: str) -> None:
        self._command = command
        self._folder = folder
        self._environ = {**os.environ, "REDIS_URL": url, "ZEGO_CALLBACK_SECRET": SECRET, "PYTHONPATH": str(folder)}
        self._running: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with (self._folder / "log.txt").open("a") as log:
            self._running = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *self._command, env=self._environ, stdout=log, stderr=log, start_new_session=True
            )

    async def kill(self) -> None:
        if self._running is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._running.pid, signal.SIGKILL)
            await self._running.wait()


@pytest.fixture
async def processes(server: RedisServer, tmp_path: Path) -> AsyncIterator[tuple[list[Process], list[int]]]:
    """Two web servers and two workers, with the ports of the first."""
    recipe(tmp_path)
    ports = [reserved_port(), reserved_port()]
    made = [
        Process(tmp_path, server.url, "uvicorn", "--port", str(port), "--log-level", "error", "events:app") for port in ports
    ]
    worker = ("taskiq", "worker", "events:broker", "--workers", "1", "--ack-type", "when_executed", "--max-prefetch", "5")
    made += [Process(tmp_path, server.url, *worker) for _ in range(2)]
    try:
        for process in made:
            await process.start()
        yield made, ports
    finally:
        for process in made:
            await process.kill()


async def send(session: aiohttp.ClientSession, ports: list[int], body: bytes, pick: random.Random) -> None:
    """Post until it is taken, to whichever server the load balancer chooses."""
    while True:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            url = f"http://127.0.0.1:{pick.choice(ports)}/callbacks"
            async with session.post(url, data=body, timeout=aiohttp.ClientTimeout(total=3)) as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.1)


async def test_no_event_that_was_answered_for_is_lost_by_kills_and_no_forged_one_handled(
    server: RedisServer, processes: tuple[list[Process], list[int]]
) -> None:
    """Kills follow progress and not the clock, so that a busy machine only makes the test longer."""
    made, ports = processes
    pick = random.Random(11)
    bodies = {str(number): body_of(str(number), instance=f"i{number % 7}", sequence=number) for number in range(EVENTS)}
    refused = 0
    async with (
        aiohttp.ClientSession() as session,
        Redis.from_url(server.url, decode_responses=True) as redis,
        asyncio.timeout(110),
    ):

        async def handled() -> list[str]:
            return [str(text) for text in await redis.lrange("handled", 0, -1)]

        async def kill_workers() -> None:
            for kills in range(6):
                while len(await handled()) < 10 * (kills + 1):  # noqa: ASYNC110 - another process makes the progress
                    await asyncio.sleep(0.05)
                victim = made[2 + kills % 2]
                await victim.kill()
                await victim.start()

        killing = asyncio.create_task(kill_workers())
        for number, (text, body) in enumerate(bodies.items()):
            await send(session, ports, body, pick)
            forged = json.dumps(json.loads(body) | {"Data": {"Text": f"forged {text}"}})
            for port in ports:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.post(f"http://127.0.0.1:{port}/callbacks", data=forged) as answer:
                        assert answer.status in {403, 503}
                        refused += answer.status == 403
            if number % 20 == 10:
                victim = made[number // 20 % 2]
                await victim.kill()
                await victim.start()
        await killing
        while set(await handled()) != set(bodies):
            assert set(await handled()) <= set(bodies)
            await asyncio.sleep(0.1)
        assert refused > EVENTS / 2
