"""Conversations with the example web app while its workers are killed: ``python -m benchmarks.conversations --redis URL``.

The app runs as its own command starts it, in several workers over Redis. Visitors begin conversations, say something and hang
up; workers are killed meanwhile, and a stranger sends the callbacks that came again, as they were and with other words. The
sandbox outlives it all and is the judge.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import aiohttp
from redis.asyncio import Redis

from benchmarks.ports import reserved_port
from zego_aigc.callbacks import load_event
from zego_aigc.sandbox import LiveSandbox

ROOT = Path(__file__).parent.parent

PATIENCE = 180.0
"""Seconds after which something hangs. Only a bound: what waits is measured."""

VISITORS_PATIENCE = 10.0
"""Seconds that a visitor waits for the agent, or for its answer, which a killed worker cannot give, before hanging up."""


class Verdict(NamedTuple):
    """What came of it."""

    conversations: int
    answered: int
    """Those in which the visitor has heard an answer."""
    kills: int
    longest_wait: float
    """Seconds for which a visitor has waited until a conversation began: one whose worker was killed in the middle, mostly."""
    forged: int
    """Callbacks with other words under a signature that had been used."""
    forged_taken: int
    replayed: int
    """Callbacks that were sent again as they were."""
    handled_again: int
    """Events that the app has more often than the service has sent them."""
    delivered: int
    """Callbacks that the app has answered with success."""
    lost: int
    """Those of them that the app does not have."""
    left: int
    """Instances that live in the end."""
    seconds: float

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return self.answered > 0 < self.forged and not (self.forged_taken or self.handled_again or self.lost or self.left)


class App:
    """The example, as several workers.

    Args:
        live: the service.
        redis: the URL of a Redis that is empty.
        workers: how many.
        lease: seconds without a sign of life after which a worker counts as dead.
        log: where its output goes.
    """

    def __init__(self, live: LiveSandbox, redis: str, *, workers: int, lease: float, log: Path) -> None:
        self._live = live
        self._redis = redis
        self._workers = workers
        self._lease = lease
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        port = reserved_port()
        self.url = f"http://127.0.0.1:{port}"
        self._live.sandbox.app.callback_url = f"{self.url}/callbacks"
        environ = {
            **os.environ,
            **self._live.env,
            "PUBLIC_URL": self.url,
            "LLM_API_KEY": "a key",
            "WORKER_LEASE": str(self._lease),
            "PYTHONPATH": str(ROOT),
        }
        command = ["-m", "examples.fastapi_app", "--workers", str(self._workers), "--redis", self._redis, "--port", str(port)]
        with self._log.open("w") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, *command, cwd=ROOT, env=environ, stdout=output, stderr=output, start_new_session=True
            )
        await until(lambda: len(self.workers()) == self._workers)
        async with asyncio.timeout(PATIENCE), aiohttp.ClientSession(self.url) as session:
            await patiently(session, "GET", "/health", {200})
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    def workers(self) -> list[int]:
        """The processes that answer requests."""
        assert self._process is not None
        found: list[int] = []
        for task in Path(f"/proc/{self._process.pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                with contextlib.suppress(OSError):
                    if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                        found.append(child)
        return found

    async def stop(self) -> None:
        """As a deployment stops it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            await self._process.wait()


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - it is in another process or thread
            await asyncio.sleep(0.05)


async def patiently(
    session: aiohttp.ClientSession, method: str, path: str, expected: set[int], **options: Any
) -> tuple[int, Any]:
    """As a visitor's page would, again and again: a request to a worker that is killed gets no answer."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.request(method, path, **options) as response:
                    if response.status in expected:
                        return response.status, await response.json() if response.content_length else None
            await asyncio.sleep(0.2)


async def hears(visitor: aiohttp.ClientSession, path: str, event: str) -> bool:
    """Follow a conversation from its beginning until an event has come; False if it ended before, or that takes too long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(VISITORS_PATIENCE):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with visitor.get(f"{path}/events") as stream:
                        if stream.status == 404:
                            return False
                        async for line in stream.content:
                            if line in {b"event: %s\n" % event.encode(), b"event: end\n"}:
                                return line != b"event: end\n"
                await asyncio.sleep(0.2)
    return False


class Run:
    """One run.

    Args:
        app: the example.
        live: the service.
        conversations: how many there are to be.
        seed: for what is drawn.
    """

    def __init__(self, app: App, live: LiveSandbox, conversations: int, seed: int) -> None:
        self._app = app
        self._live = live
        self._conversations = conversations
        self._random = random.Random(seed)
        self._done = 0
        self.answered = self.kills = self.forged = self.forged_taken = self.replayed = 0
        self.longest_wait = 0.0

    async def visit(self, numbers: Iterator[int]) -> None:
        """Visitors, one after another, each with a cookie of their own."""
        for number in numbers:
            async with aiohttp.ClientSession(self._app.url, headers={"Cookie": f"visitor={number:032x}"}) as visitor:
                began = time.monotonic()
                # 429: it was made before its worker was killed, and is ended by the others once they know that.
                _, begun = await patiently(visitor, "POST", "/conversations", {201})
                self.longest_wait = max(self.longest_wait, time.monotonic() - began)
                await self._talk(visitor, f"/conversations/{begun['id']}")
                self._done += 1

    async def _talk(self, visitor: aiohttp.ClientSession, path: str) -> None:
        """A question and its answer, unless the visitor hangs up before. Where the worker is killed, the others end it."""
        if await hears(visitor, path, "AgentInstanceCreated"):
            said = {"text": "When are you open?"}
            await patiently(visitor, "POST", f"{path}/messages", {202, 404}, json=said)
            if self._random.random() < 0.75:
                heard = await hears(visitor, path, "LLMResult")
                self.answered += heard
        await patiently(visitor, "DELETE", path, {204, 404, 502})

    async def kill(self, kills: int) -> None:
        """Kill a worker again and again, by how far the visitors are."""
        for number in range(1, kills + 1):
            await until(lambda: self._done >= number * self._conversations // (kills + 2))  # noqa: B023 - within this turn
            await until(self._app.workers)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._random.choice(self._app.workers()), signal.SIGKILL)
                self.kills += 1

    async def forge(self) -> None:
        """Send callbacks again, as they were and with other words.

        Those that the app has had: of two bodies under one signature nothing tells which one is the service's, so the first is
        taken.
        """
        async with aiohttp.ClientSession(self._app.url) as stranger:
            while True:
                await asyncio.sleep(0.05)
                sent = self._live.call(
                    lambda sandbox: [each.body for each in sandbox.outbox.deliveries if each.state == "delivered"]
                )
                if not sent:
                    continue
                body = self._random.choice(sent)
                with contextlib.suppress(aiohttp.ClientError):
                    async with stranger.post("/callbacks", json=body):
                        self.replayed += 1
                    forged = {**body, "Data": {**body["Data"], "Text": "forged"}}
                    async with stranger.post("/callbacks", json=forged) as answer:
                        self.forged += 1
                        self.forged_taken += answer.status not in {403, 503}

    async def judge(self, redis: Any) -> tuple[int, int, int]:
        """How many callbacks were delivered, how many of them the app does not have, and how many it has too often."""
        delivered = lost = again = 0
        had: dict[str, Counter[tuple[str, int | None]]] = {}
        for delivery in self._live.call(lambda sandbox: list(sandbox.outbox.deliveries)):
            if delivery.about not in had:
                entries = await redis.xrange(f"conversation:{delivery.about}:events")
                self.forged_taken += sum("forged" in fields["event"] for _, fields in entries)
                events = [load_event(fields["event"]) for _, fields in entries]
                had[delivery.about] = Counter((event.event, event.order) for event in events)  # type: ignore[attr-defined]  # all that come are of conversations
            count = had[delivery.about][delivery.event, delivery.body["Sequence"]]
            again += max(0, count - len(delivery.attempts))
            if delivery.state == "delivered":
                delivered += 1
                lost += not count
        return delivered, lost, again


async def run(
    redis: str, *, workers: int = 4, conversations: int = 200, kills: int = 20, lease: float = 15.0, seed: int = 1
) -> Verdict:
    """Have so many conversations, and judge.

    Args:
        redis: the URL of a Redis that is empty.
        workers: of the app.
        conversations: how many there are to be, three times as many at the same time as there are workers at most.
        kills: how often a worker is killed.
        lease: seconds without a sign of life after which a worker counts as dead.
        seed: for what is drawn.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, LiveSandbox(quota=None, rate_limit=None) as live:
        app = App(live, redis, workers=workers, lease=lease, log=Path(folder) / "log.txt")
        async with app, _redis(redis) as client:
            job = Run(app, live, conversations, seed)
            forging = asyncio.create_task(job.forge())
            numbers = iter(range(1, conversations + 1))
            async with asyncio.TaskGroup() as group:
                for _ in range(3 * workers):
                    group.create_task(job.visit(numbers))
                group.create_task(job.kill(kills))
            forging.cancel()
            await asyncio.wait({forging})
            # What killed workers had begun is ended by the others.
            await until(lambda: not live.call(lambda sandbox: list(sandbox.app.instances)))
            live.settle()
            delivered, lost, again = await job.judge(client)
            await until(lambda: len(app.workers()) == workers)
            await app.stop()
        return Verdict(
            conversations=conversations,
            answered=job.answered,
            kills=job.kills,
            longest_wait=job.longest_wait,
            forged=job.forged,
            forged_taken=job.forged_taken,
            replayed=job.replayed,
            handled_again=again,
            delivered=delivered,
            lost=lost,
            left=live.call(lambda sandbox: len(sandbox.app.instances)),
            seconds=time.monotonic() - began,
        )


@contextlib.asynccontextmanager
async def _redis(url: str) -> AsyncIterator[Any]:
    make: Any = Redis  # its types are loose
    client = make.from_url(url, decode_responses=True)
    try:
        yield client
    finally:
        await client.aclose()


def main() -> int:
    """Have conversations, and print what came of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversations", description=__doc__)
    parser.add_argument("--redis", metavar="URL", required=True, help="a Redis that is empty: redis://host:6379/0")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--conversations", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--lease", type=float, default=15.0, help="seconds after which a killed worker is known to be dead")
    parser.add_argument("--seed", type=int, default=1)
    options = vars(parser.parse_args())
    verdict = asyncio.run(run(options.pop("redis"), **options))
    print(verdict)
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
