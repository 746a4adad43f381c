"""Handles and the callbacks that are about them: joined(), events()."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from callback_requests import SECRET, body_of
from requests_made import register, voice

from zego_aigc import Client, TimedOut, ZegoError
from zego_aigc.callbacks import AgentInstanceCreated, AgentInstanceDeleted, Event, LLMResult, parse_callback
from zego_aigc.calls import event_hub
from zego_aigc.sandbox import Sandbox

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Sandbox(rate_limit=None) as sandbox, sandbox.client() as client:
        await client.call(register())
        yield client


def event_of(instance: str, name: str = "AgentInstanceCreated", **data: Any) -> Event:
    return parse_callback(body_of(instance=instance, Event=name, Data=data), secret=SECRET)


async def test_joined_waits_for_the_callback_that_says_so(client: Client) -> None:
    async with client.agent(voice()) as agent:
        waiting = asyncio.create_task(agent.joined(timeout=60))
        await asyncio.sleep(0)
        await client.observe(event_of("another"))
        await asyncio.sleep(0)
        assert not waiting.done()
        await client.observe(event_of(agent.id))
        await waiting


async def test_a_callback_that_came_before_the_answer_of_the_create_counts(client: Client) -> None:
    handle = client.agent(voice())
    async with handle as agent:
        await client.observe(event_of(agent.id))
        await agent.joined(timeout=60)
        await agent.joined(timeout=60)


async def test_an_instance_that_ends_before_it_joins_says_why(client: Client) -> None:
    async with client.agent(voice()) as agent:
        waiting = asyncio.create_task(agent.joined(timeout=60))
        await asyncio.sleep(0)
        await client.observe(event_of(agent.id, "AgentInstanceDeleted", Code=1202))
        with pytest.raises(ZegoError, match="has ended: UserAbsent"):
            await waiting


async def test_without_callbacks_joined_says_how_they_come(client: Client) -> None:
    async with client.agent(voice()) as agent:
        with pytest.raises(TimedOut, match=r"router\.on\(AgentInstanceCreated\)\(client\.observe\)") as caught:
            await agent.joined(timeout=0.01)
        assert caught.value.waited_for == "callback"
        await client.observe(event_of("another"))
        with pytest.raises(TimedOut, match="wait longer"):
            await agent.joined(timeout=0.01)


async def test_events_begin_with_the_joining_and_end_with_the_instance(client: Client) -> None:
    async with client.agent(voice()) as agent:
        await client.observe(event_of(agent.id))
        following = agent.events()
        await client.observe(event_of("another", "LLMResult", Text="not this one"))
        await client.observe(event_of(agent.id, "LLMResult", Text="hello"))
        await client.observe(event_of(agent.id, "AgentInstanceDeleted", Code=0))
        kinds = [type(event) async for event in following]
    assert kinds == [AgentInstanceCreated, LLMResult, AgentInstanceDeleted]


async def test_events_end_when_the_client_closes() -> None:
    async with Sandbox() as sandbox:
        client = sandbox.client()
        await client.call(register())
        agent = await client.agent(voice()).__aenter__()
        following = asyncio.create_task(anext(agent.events(), None))
        await asyncio.sleep(0)
        await client.aclose()
        assert await following is None


async def test_a_wait_that_is_cancelled_leaves_nothing_behind_and_what_is_remembered_is_bounded(client: Client) -> None:
    async with client.agent(voice()) as agent:
        hub = client._lifetimes.events
        waiting = asyncio.create_task(agent.joined(timeout=60))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert hub._waiting == {}
        for number in range(event_hub.MAX_REMEMBERED + 10):
            hub.note(event_of(f"i{number}"))
        assert len(hub._remembered) == event_hub.MAX_REMEMBERED
