"""Many calls at once, with faults at random: at the end the service's books and the client's must be equal."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
from requests_made import register, stream, talking, voice

from zego_aigc import (
    Action,
    Client,
    LocalLimiter,
    Orphan,
    OutcomeUnknown,
    ZegoError,
    aiagent,
    digitalhuman,
)
from zego_aigc.calls.retry import RetryPolicy
from zego_aigc.sandbox import FaultRule, Pace, Sandbox

__all__ = ["Books", "soak"]

POLICY = RetryPolicy(
    max_attempts=4,
    initial_backoff=0.002,
    max_backoff=0.02,
    attempt_timeout=2.0,
    lookup_delay=0.01,
    cancel_grace=2.0,
    delete_timeout=5.0,
)


class Books:
    """What the client knows to have been made, to have been ended, and not to know."""

    def __init__(self) -> None:
        self.live: set[str] = set()
        self.unknown: list[Action[Any]] = []  # creates
        self.unended: set[str] = set()  # what may or may not have been ended
        self.endings: Counter[str] = Counter()
        self.calls = 0


def book(books: Books, action: Action[Any], result: Any) -> None:
    """A call succeeded."""
    match action:
        case aiagent.RegisterAgent():
            books.live.add(action.agent_id)
        case aiagent.UnregisterAgent():
            books.live.discard(action.agent_id)
        case aiagent.DeleteAgentInstance():
            books.live.discard(action.agent_instance_id)
        case digitalhuman.StopDigitalHumanStreamTask():
            books.live.discard(action.task_id)
        case digitalhuman.CreateDigitalHumanStreamTask():
            books.live.add(result.task_id)
        case aiagent.CreateAgentInstance() | aiagent.CreateDigitalHumanAgentInstance():
            books.live.add(result.agent_instance_id)
        case _:
            pass


def ended(action: Action[Any]) -> str | None:
    """The id of what an Action ends."""
    match action:
        case aiagent.UnregisterAgent():
            return action.agent_id
        case aiagent.DeleteAgentInstance():
            return action.agent_instance_id
        case digitalhuman.StopDigitalHumanStreamTask():
            return action.task_id
        case _:
            return None


async def call(client: Client, books: Books, action: Action[Any], dice: random.Random) -> Any:
    """One call, sometimes cancelled on its way; its ending goes into the books."""
    books.calls += 1
    identity = ended(action)
    if identity is not None:
        books.unended.add(identity)
    try:
        if dice.random() < 0.05:
            with anyio.move_on_after(dice.random() * 0.02) as scope:
                result = await client.call(action)
            if scope.cancelled_caught:
                books.endings["cancelled"] += 1
                return None
        else:
            result = await client.call(action)
    except OutcomeUnknown as error:
        books.endings["OutcomeUnknown"] += 1
        if action.repeatable().value == "creates":
            books.unknown.append(error.action)
        return None
    except ZegoError as error:
        books.endings[type(error).__name__] += 1
        return None
    if identity is not None:
        books.unended.discard(identity)
    book(books, action, result)
    books.endings["done"] += 1
    return result


async def visitor(client: Client, books: Books, name: str, dice: random.Random) -> None:
    """What an application does for one visitor."""
    agent = f"agent-{name}"
    await call(client, books, register(agent), dice)
    await call(client, books, aiagent.QueryAgents(agent_ids=[agent]), dice)
    await call(client, books, aiagent.UpdateAgent(agent_id=agent, name="New"), dice)
    for make in (voice, talking):
        created = await call(client, books, make(f"{name}-{make.__name__}", agent), dice)
        if created is not None:
            one = created.agent_instance_id
            await call(client, books, aiagent.SendAgentInstanceTTS(agent_instance_id=one, text="Hello!"), dice)
            await call(client, books, aiagent.QueryAgentInstanceStatus(agent_instance_id=one), dice)
            if dice.random() < 0.9:
                await call(client, books, aiagent.DeleteAgentInstance(agent_instance_id=one), dice)
    task = await call(client, books, stream(name), dice)
    if task is not None and dice.random() < 0.9:
        await call(client, books, digitalhuman.StopDigitalHumanStreamTask(task_id=task.task_id), dice)
    if dice.random() < 0.9:
        await call(client, books, aiagent.UnregisterAgent(agent_id=agent), dice)


def unleash(sandbox: Sandbox, chance: float) -> None:
    """Every fault that is over soon, each with a chance."""
    faults = sandbox.faults
    faults.everywhere().chance(chance).latency(0.0, jitter=0.02)
    effects: list[Callable[[FaultRule], object]] = [
        lambda calls: calls.cut_before_work(),
        lambda calls: calls.cut_after_work(),
        lambda calls: calls.garbage(),
        lambda calls: calls.truncated(),
        lambda calls: calls.answer(502, b"<html>Bad Gateway</html>"),
        lambda calls: calls.answer(503, b"busy", retry_after="0"),
        lambda calls: calls.refuse(410000001),
        lambda calls: calls.refuse(400010002),
        lambda calls: calls.too_fast(),
        lambda calls: calls.refuse(410000003),
    ]
    for befall in effects:
        befall(faults.everywhere().chance(chance / 3))


async def soak(calls: int, *, seed: int, at_once: int = 64, chance: float = 0.05) -> Books:
    """Make about so many calls, and compare the books.

    Raises:
        AssertionError: they differ.
    """
    books = Books()

    def note(orphan: Orphan) -> None:
        if orphan.certain:
            book(books, orphan.action, orphan.result)
        else:
            books.unknown.append(orphan.action)

    limit, window = 100, 0.1  # a thousand calls a second for each Action
    async with Sandbox(
        rate_limit=limit, rate_window=window, quota=None, pace=Pace(join=0, stream_start=0, stream_stop=0), history=10 * calls
    ) as sandbox:
        sandbox.faults.seed(seed)
        unleash(sandbox, chance)
        limiter = LocalLimiter(limit=limit, window=window, guard=0.01)
        async with sandbox.client(limiter=limiter, timeout=30, retry=POLICY, on_orphan=note) as client:
            client.pool.budget.capacity = client.pool.budget.tokens = 1e9  # retries are what is tested
            names = iter(range(10**9))

            async def work() -> None:
                while books.calls < calls:
                    n = next(names)
                    await visitor(client, books, str(n), random.Random(f"{seed}-{n}"))

            async with anyio.create_task_group() as group:
                for _ in range(at_once):
                    group.start_soon(work)
            sandbox.faults.clear()
            await settle(client, books)
        compare(sandbox, books)
    return books


async def settle(client: Client, books: Books) -> None:
    """End what may not have been ended."""
    for identity in books.unended & books.live:
        with suppress(ZegoError):
            if identity.startswith("agent-"):
                await client.call(aiagent.UnregisterAgent(agent_id=identity))
            elif "-" in identity:
                await client.call(digitalhuman.StopDigitalHumanStreamTask(task_id=identity))
            else:
                await client.call(aiagent.DeleteAgentInstance(agent_instance_id=identity))
        books.live.discard(identity)


def compare(sandbox: Sandbox, books: Books) -> None:
    """The service holds all that the client knows of, and beyond it nothing but what the client said it does not know."""
    app = sandbox.app
    streams = {key: task for key, task in app.tasks.items() if task.running}
    held = {*app.agents, *app.instances, *streams}
    assert books.live <= held, f"thought to live, and do not: {sorted(books.live - held)[:5]}"
    more = held - books.live
    perhaps = {name_of(action) for action in books.unknown}
    for identity in more:
        if identity in app.agents:
            name = identity
        elif identity in app.instances:
            name = app.instances[identity].room_id
        else:
            name = streams[identity].stream_id
        assert name in perhaps, f"{name} lives and nobody knows of it"
    # Nothing was made twice: a stream id, a room and an agent id were each asked for once.
    rooms = Counter(instance.room_id for instance in app.instances.values())
    assert not [room for room, count in rooms.items() if count > 1]


def name_of(action: Any) -> str:
    match action:
        case aiagent.RegisterAgent():
            return action.agent_id
        case digitalhuman.CreateDigitalHumanStreamTask():
            return action.rtc_config.stream_id
        case _:
            name: str = action.rtc.room_id
            return name


if __name__ == "__main__":
    import logging
    import sys
    import time

    logging.getLogger("zego_aigc").setLevel(logging.CRITICAL)
    began = time.monotonic()
    result = asyncio.run(soak(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000, seed=int(began)))
    print(f"{result.calls} calls in {time.monotonic() - began:.1f} s; the books are equal: {dict(result.endings)}")
