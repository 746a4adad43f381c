"""client.ensure_agent(): registered, updated, or left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from requests_made import llm, register

from zego_aigc import Client, InvalidRequest
from zego_aigc.aiagent import RegisterAgent, UpdateAgent
from zego_aigc.sandbox import Sandbox

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(rate_limit=None) as running:
        yield running


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[Client]:
    async with sandbox.client() as client:
        yield client


async def test_an_agent_is_registered_once_and_updated_when_it_changes(sandbox: Sandbox, client: Client) -> None:
    agent = register(LLM=llm().to_wire())
    assert await client.ensure_agent(agent) is True
    assert await client.ensure_agent(agent) is False
    assert agent.llm is not None
    changed = msgspec.structs.replace(agent, llm=msgspec.structs.replace(agent.llm, system_prompt="Be brief."))
    assert await client.ensure_agent(changed) is True
    assert await client.ensure_agent(changed) is False
    assert len(sandbox.received(RegisterAgent)) == 1
    (update,) = sandbox.received(UpdateAgent)
    assert update.llm == changed.llm
    assert await client.is_registered(changed) is True


async def test_several_processes_may_do_so_at_the_same_time(sandbox: Sandbox) -> None:
    clients = [sandbox.client() for _ in range(4)]
    changed = await asyncio.gather(*(each.ensure_agent(register()) for each in clients))
    assert changed.count(True) == 1
    assert sandbox.received(UpdateAgent) == []
    for each in clients:
        await each.aclose()


async def test_a_name_that_an_update_does_not_take_is_said_before_anything_is_sent(sandbox: Sandbox, client: Client) -> None:
    await client.ensure_agent(register())
    with pytest.raises(InvalidRequest, match="Name"):
        await client.ensure_agent(register(Name="x" * 100))
    assert sandbox.received(UpdateAgent) == []
