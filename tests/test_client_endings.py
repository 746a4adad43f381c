"""Endings are more patient than anything else: deletes and stops come through, or somebody learns what is left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from requests_made import register, stream, talking, voice
from unsteady_network import unsteady_network

from zego_aigc import (
    AccessDenied,
    Client,
    ConfigurationError,
    LocalLimiter,
    LocalQuota,
    OutcomeUnknown,
    QuotaExceeded,
    RetryPolicy,
    SessionPool,
    TransportError,
    aiagent,
)
from zego_aigc.aiagent import CreateAgentInstance, DeleteAgentInstance
from zego_aigc.sandbox import Pace, Sandbox

pytestmark = pytest.mark.anyio

QUICK = RetryPolicy(max_attempts=2, initial_backoff=0.001, max_backoff=0.01, delete_timeout=60.0)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(rate_limit=None, quota=None, pace=Pace(stream_start=0, stream_stop=0)) as running:
        yield running


def client_of(sandbox: Sandbox, **options: Any) -> Client:
    return sandbox.client(**{"retry": QUICK, "limiter": LocalLimiter(limit=1000), **options})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a state of the sandbox, which has no event for it
            await asyncio.sleep(0.01)


# --- one ending


async def test_an_ending_is_tried_until_its_deadline_whatever_the_number_of_attempts(sandbox: Sandbox) -> None:
    async with unsteady_network(sandbox.url) as network, anyio.create_task_group() as group:
        policy = RetryPolicy(max_attempts=2, initial_backoff=0.001, max_backoff=0.02)
        async with client_of(sandbox, aiagent_url=network.url, retry=policy) as client:
            await client.call(register())
            async with client.agent(voice()):
                group.start_soon(network.gone_for, 0.4)
                await asyncio.sleep(0)
            assert not sandbox.app.instances


@pytest.mark.slow
async def test_what_could_not_be_ended_in_time_is_ended_in_the_background_while_the_client_lives(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(sandbox) as client:
        await client.call(register())
        sandbox.faults.on(DeleteAgentInstance).times(2).refuse(410000006)
        with pytest.raises(AccessDenied):
            async with client.agent(voice()) as agent:
                pass
        assert agent.id in sandbox.app.instances
        assert f"{agent.id} could not be ended, and bills until it is; trying again" in caplog.text
        await until(lambda: not sandbox.app.instances)
        assert await client.aclose() == []
    assert len(sandbox.received(DeleteAgentInstance)) == 3


async def test_ending_what_is_gone_is_no_failure_that_anybody_is_warned_of(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with client_of(sandbox) as client:
        await client.call(register())
        async with client.agent(voice()) as agent:
            await client.call(DeleteAgentInstance(agent_instance_id=agent.id))
        async with client.stream_task(stream()) as task:
            sandbox.app.tasks.clear()
        assert task.id
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# --- many


@pytest.mark.slow
@pytest.mark.parametrize("how", ["the blocks end", "the client closes"])
async def test_a_crowd_that_ends_at_once_is_ended_although_the_limiters_queue_is_longer_than_an_endings_deadline(
    sandbox: Sandbox, how: str
) -> None:
    limiter = LocalLimiter(limit=10, window=0.4, guard=0.0)  # 100 take 3.6 s, and each may take 2
    leaving, present = asyncio.Event(), list[str]()

    async def visit(n: int) -> None:
        async with client.agent(voice(str(n))) as agent:
            present.append(agent.id)
            await leaving.wait()

    async with client_of(sandbox, limiter=limiter, retry=RetryPolicy(delete_timeout=2.0)) as client:
        await client.call(register())
        async with asyncio.TaskGroup() as group:
            for n in range(100):
                group.create_task(visit(n))
            await until(lambda: len(present) == 100)
            if how == "the client closes":
                assert await client.aclose(drain=2.0) == []
            leaving.set()
        assert not sandbox.app.instances
        assert await client.aclose() == []


# --- the quota


async def test_what_could_not_be_ended_gives_its_place_back_when_it_must_have_ended_by_itself(sandbox: Sandbox) -> None:
    now = 0.0
    quota = LocalQuota(agents=1, clock=lambda: now)
    async with client_of(sandbox, quota=quota) as client:
        await client.call(register())
        sandbox.faults.on(DeleteAgentInstance).refuse(410000006)
        with pytest.raises(AccessDenied):
            async with client.agent(voice()):
                pass
        usage = quota.usage("agents")
        assert (usage.live, usage.unknown) == (0, 1)
        now = 121.0  # MaxIdleTime is 120 s unless given
        assert quota.usage("agents").used == 0
        sandbox.faults.clear()


async def test_waiting_for_a_place_is_part_of_the_deadline_and_says_who_holds_them(sandbox: Sandbox) -> None:
    async with client_of(sandbox, quota=LocalQuota(agents=1)) as client:
        await client.call(register())
        async with client.agent(voice()) as agent:
            with pytest.raises(QuotaExceeded, match=rf"in time \(1 live, .*this client holds {agent.id}\).*Nothing was sent"):
                await client.start(voice("2"), timeout=0.1)
    assert len(sandbox.received(aiagent.CreateAgentInstance)) == 1


async def test_cancelling_the_wait_for_a_place_takes_none(sandbox: Sandbox) -> None:
    quota = LocalQuota(agents=1)
    async with client_of(sandbox, quota=quota) as client:
        await client.call(register())
        async with client.agent(voice()):
            with anyio.move_on_after(0.02) as scope:
                async with client.agent(voice("2")):
                    pass
            assert scope.cancelled_caught
        assert quota.usage("agents").used == quota.waiting("agents") == 0


# --- closing


@pytest.mark.parametrize("shared", [False, True], ids=["own pool", "shared pool"])
async def test_closing_ends_what_open_handles_own_and_refuses_callers_that_wait_for_a_place(
    sandbox: Sandbox, shared: bool
) -> None:
    quota = LocalQuota(agents=1)

    async def visit(name: str) -> None:
        async with client.agent(voice(name)):
            entered.set()
            await leave.wait()

    async with SessionPool(limiter=LocalLimiter(limit=1000)) as pool:
        options: dict[str, Any] = {"pool": pool, "limiter": None} if shared else {}
        client = client_of(sandbox, quota=quota, **options)
        await client.call(register())
        entered, leave = asyncio.Event(), asyncio.Event()
        first = asyncio.ensure_future(visit("1"))
        await entered.wait()
        second = asyncio.ensure_future(visit("2"))
        await asyncio.sleep(0.02)
        assert await client.aclose() == []
        assert not sandbox.app.instances
        with pytest.raises(ConfigurationError, match="the client was closed before CreateAgentInstance was sent"):
            await asyncio.wait_for(second, 60)
        leave.set()
        await asyncio.wait_for(first, 60)  # there is nothing left for it to end
        assert quota.usage("agents").used == 0


@pytest.mark.parametrize("shared", [False, True], ids=["a pool of its own", "a shared pool"])
async def test_what_is_being_made_as_the_client_closes_is_ended_once_it_is_made(sandbox: Sandbox, shared: bool) -> None:
    quota = LocalQuota(agents=1)
    async with SessionPool(limiter=LocalLimiter(limit=1000)) as pool:
        options: dict[str, Any] = {"pool": pool, "limiter": None} if shared else {}
        client = client_of(sandbox, quota=quota, **options)
        await client.call(register())
        closing: list[asyncio.Future[list[str]]] = []

        def close(_: Any) -> bool:
            closing.append(asyncio.ensure_future(client.aclose(drain=60)))
            return True

        sandbox.faults.on(CreateAgentInstance).where(close).latency(0.05)  # closed as it arrives, and answered after that
        making = asyncio.ensure_future(client.start(voice()))
        await until(lambda: bool(closing))
        assert await closing[0] == []
        assert not sandbox.app.instances
        assert len(sandbox.received(DeleteAgentInstance)) == 1
        with pytest.raises(ConfigurationError, match=r"closed while CreateAgentInstance was under way.*is ended"):
            await asyncio.wait_for(making, 60)
        assert quota.usage("agents").used == 0


async def test_what_waits_for_the_limiter_as_the_client_closes_is_refused_at_once(sandbox: Sandbox) -> None:
    client = client_of(sandbox, limiter=LocalLimiter(limit=1, window=3600.0), timeout=7200.0)
    await client.call(register())
    await client.start(voice("1"))
    waiting = asyncio.ensure_future(client.start(voice("2")))
    await asyncio.sleep(0.02)
    assert await asyncio.wait_for(client.aclose(drain=3600.0), 60) == []
    with pytest.raises(ConfigurationError, match="the client was closed before CreateAgentInstance was sent"):
        await asyncio.wait_for(waiting, 60)
    assert not sandbox.app.instances
    assert len(sandbox.received(CreateAgentInstance)) == 1


async def test_what_is_being_made_for_too_long_as_the_client_closes_may_have_been_made(sandbox: Sandbox) -> None:
    client = client_of(sandbox)
    await client.call(register())
    sandbox.faults.on(CreateAgentInstance).stall()
    making = asyncio.ensure_future(client.start(voice()))
    await until(lambda: bool(sandbox.received(CreateAgentInstance)))
    assert await client.aclose(drain=0.05) == []
    with pytest.raises(OutcomeUnknown):
        await asyncio.wait_for(making, 60)


async def test_closing_lists_what_open_handles_own_if_it_cannot_be_ended(sandbox: Sandbox) -> None:
    async def visit() -> None:
        async with client.digital_human_agent(talking()) as agent:
            ids.append(agent.id)
            await asyncio.sleep(60)

    ids: list[str] = []
    client = client_of(sandbox)
    await client.call(register())
    task = asyncio.ensure_future(visit())
    await until(lambda: bool(ids))
    sandbox.faults.on(DeleteAgentInstance).stall()
    assert await client.aclose(drain=0.1) == ids
    task.cancel()
    with pytest.raises((asyncio.CancelledError, TransportError, ConfigurationError)):
        await asyncio.wait_for(task, 60)
