"""The example web app as several workers with Redis: killed at random, with callbacks replayed and forged meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from callback_requests import until
from redis.asyncio import Redis
from redis_server import RedisServer

from zego_aigc.callbacks import load_event
from zego_aigc.sandbox import LiveSandbox

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")]

ROOT = Path(__file__).parent.parent
WORKERS = 3
CONVERSATIONS = int(os.environ.get("CONVERSATIONS", "24"))


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture
def live() -> Iterator[LiveSandbox]:
    with LiveSandbox(quota=None, rate_limit=None) as running:
        yield running


def workers_of(process: int) -> list[int]:
    """The processes of a server that answer requests."""
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            with contextlib.suppress(OSError):
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(child)
    return found


@contextlib.asynccontextmanager
async def served(live: LiveSandbox, redis: str, log: Path) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """The app as its own command starts it, against a service of the test's."""
    probe = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    url = f"http://127.0.0.1:{port}"
    live.sandbox.app.callback_url = f"{url}/callbacks"
    environ = {**os.environ, **live.env, "PUBLIC_URL": url, "LLM_API_KEY": "a key", "PYTHONPATH": str(ROOT)}
    command = ["-m", "examples.fastapi_app", "--workers", str(WORKERS), "--redis", redis, "--port", str(port)]
    with log.open("w") as output:
        running = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=ROOT, env=environ, stdout=output, stderr=output, start_new_session=True
        )
    try:
        await until(lambda: len(workers_of(running.pid)) == WORKERS, 60)
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{url}/health") as answer:
                        if answer.status == 200:
                            break
                await asyncio.sleep(0.1)
        yield url, running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        await running.wait()


async def patiently(session: aiohttp.ClientSession, method: str, path: str, expected: set[int], **options: Any) -> Any:
    """As a visitor's page would, again and again: a request to a worker that is killed gets no answer."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.request(method, path, **options) as response:
                    if response.status in expected:
                        return await response.json() if response.content_type == "application/json" else None
            await asyncio.sleep(0.2)


async def test_workers_are_killed_and_nothing_is_lost_forged_or_left(
    live: LiveSandbox, server: RedisServer, tmp_path: Path
) -> None:
    pick = random.Random(7)
    log = tmp_path / "log.txt"
    forged = refused = kills = 0
    async with served(live, server.url, log) as (url, running), contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(Redis.from_url(server.url, decode_responses=True))
        stranger = await stack.enter_async_context(aiohttp.ClientSession(url))
        done = 0

        async def converse(number: int) -> str:
            nonlocal done
            async with aiohttp.ClientSession(url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as visitor:
                headers = {"Cookie": f"visitor={number:032x}"}
                # 429: it was made before its worker was killed, and is ended by the others once they know that
                begun = await patiently(visitor, "POST", "/conversations", {201}, headers=headers)
                path = f"/conversations/{begun['id']}"
                await patiently(
                    visitor, "POST", f"{path}/messages", {202}, headers=headers, json={"text": "When are you open?"}
                )
                await asyncio.sleep(0.5)
                await patiently(visitor, "DELETE", path, {204, 502}, headers=headers)
                done += 1
                return str(begun["id"])

        async def kill_workers() -> None:
            nonlocal kills
            for goal in range(1, 5):
                while done < goal * CONVERSATIONS // 6:  # noqa: ASYNC110 - it follows the progress and not the clock
                    await asyncio.sleep(0.05)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pick.choice(workers_of(running.pid)), signal.SIGKILL)
                    kills += 1

        async def forge() -> None:
            """Replay what was sent, as it was and with other words."""
            nonlocal forged, refused
            while True:
                await asyncio.sleep(0.05)
                sent = live.call(lambda sandbox: [delivery.body for delivery in sandbox.outbox.deliveries])
                if not sent:
                    continue
                body = pick.choice(sent)
                for data in (body, {**body, "Data": {**body["Data"], "Text": "forged"}}):
                    with contextlib.suppress(aiohttp.ClientError):
                        async with stranger.post("/callbacks", json=data) as answer:
                            if data is not body:
                                forged += 1
                                refused += answer.status in {403, 503}

        forging = asyncio.create_task(forge())
        killing = asyncio.create_task(kill_workers())
        ids: list[str] = []
        for at in range(0, CONVERSATIONS, 6):
            ids += await asyncio.gather(*map(converse, range(at + 1, at + 7)))
        await killing
        forging.cancel()
        await until(lambda: len(workers_of(running.pid)) == WORKERS, 60)

        # What killed workers had begun is ended by the others, at the latest a lease after their death.
        await until(lambda: not live.call(lambda sandbox: list(sandbox.app.instances)), 90)
        live.settle()
        for delivery in live.call(lambda sandbox: list(sandbox.outbox.deliveries)):
            if delivery.state == "delivered":
                entries: Any = await redis.xrange(f"conversation:{delivery.body['AgentInstanceId']}:events")
                events = [load_event(fields["event"]) for _, fields in entries]
                assert delivery.body["Sequence"] in {event.order for event in events}, delivery.body
                assert "forged" not in json.dumps([fields for _, fields in entries])
        assert kills >= 3
        assert forged == refused > 0
        running.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await running.wait()
    assert len(set(ids)) == CONVERSATIONS
    assert live.call(lambda sandbox: list(sandbox.app.instances)) == []
