"""What outlives the code that made it: started, attached to, ended; and a voice agent where no digital human is to be had."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from callback_requests import SECRET, body_of
from requests_made import live, register, stream, talking, voice

from zego_aigc import Client, ConfigurationError, LocalLimiter, LocalQuota, NotFound, QuotaExceeded, aiagent, digitalhuman
from zego_aigc.callbacks import parse_callback
from zego_aigc.handles import AgentInstance, LiveAgentInstance, StreamTaskHandle
from zego_aigc.sandbox import Pace, Sandbox

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(rate_limit=None, quota=None, pace=Pace(stream_start=0, stream_stop=0)) as running:
        yield running


@pytest.fixture
def quota() -> LocalQuota:
    return LocalQuota(agents=2, digital_humans=1, streams=1)


@pytest.fixture
async def client(sandbox: Sandbox, quota: LocalQuota) -> AsyncIterator[Client]:
    async with sandbox.client(limiter=LocalLimiter(limit=1000), timeout=60, quota=quota) as client:
        await client.call(register())
        yield client


# --- start and end


async def test_what_is_started_lives_until_it_is_ended(sandbox: Sandbox, client: Client, quota: LocalQuota) -> None:
    agent = await client.start(talking())
    assert type(agent) is AgentInstance
    assert agent.created.digital_human_config
    assert (await agent.say("Hello!")).round
    assert quota.usage("digital_humans").live == 1
    await agent.end()
    await agent.end()
    assert not sandbox.app.instances
    assert quota.usage("digital_humans").used == 0


async def test_each_create_is_started_as_a_handle_with_its_verbs(client: Client) -> None:
    assert type(await client.start(voice("1"))) is AgentInstance
    assert type(await client.start(live("2"))) is LiveAgentInstance
    task = await client.start(stream("3"))
    assert type(task) is StreamTaskHandle
    assert (await task.streaming(every=0.01)).room_id == "room-3"


async def test_what_was_started_may_be_left_to_a_block(sandbox: Sandbox, client: Client) -> None:
    agent = await client.start(voice())
    async with agent:
        assert agent.id in sandbox.app.instances
        with pytest.raises(ConfigurationError, match="make a new one"):
            await agent.__aenter__()
    assert not sandbox.app.instances


async def test_closing_ends_what_was_started(sandbox: Sandbox, client: Client) -> None:
    await client.start(voice())
    assert await client.aclose() == []
    assert not sandbox.app.instances


async def test_what_makes_nothing_that_lives_cannot_be_started(client: Client) -> None:
    with pytest.raises(ConfigurationError, match=r"ListAgents makes nothing that could be ended: await client\.call"):
        await client.start(aiagent.ListAgents())


# --- attach


async def test_an_instance_is_attached_to_by_its_id_and_ended(sandbox: Sandbox, client: Client, quota: LocalQuota) -> None:
    started = await client.start(voice())
    agent = client.attach(started.id)
    assert agent.created == aiagent.CreatedAgentInstance(agent_instance_id=started.id)
    assert (await agent.say("Hello!")).round
    await agent.end()
    assert not sandbox.app.instances
    assert quota.usage("agents").used == 0


@pytest.mark.parametrize("create", [voice(), talking(), stream()], ids=lambda create: type(create).__name__)
async def test_another_process_attaches_to_what_lives_and_ends_it(sandbox: Sandbox, client: Client, create: Any) -> None:
    made = await client.start(create)
    async with sandbox.client() as other:
        handle: Any = other.attach(made.id)
        assert isinstance(
            handle, StreamTaskHandle if isinstance(create, digitalhuman.CreateDigitalHumanStreamTask) else AgentInstance
        )
        assert repr(made.id).strip("'") in repr(handle)
        await handle.status()
        await handle.end()
    assert not sandbox.app.instances
    assert not [task for task in sandbox.app.tasks.values() if task.running]


async def test_without_a_registry_what_was_attached_to_has_no_place_in_the_quota(sandbox: Sandbox, client: Client) -> None:
    made = await client.start(voice("1"))
    quota = LocalQuota(agents=1)
    async with sandbox.client(quota=quota) as other:
        agent = other.attach(made.id)
        await other.start(voice("2"))
        await agent.end()
        assert quota.usage("agents").live == 1


async def test_a_client_that_has_only_attached_leaves_it_alone_when_it_closes(sandbox: Sandbox, client: Client) -> None:
    made = await client.start(voice())
    async with sandbox.client() as other:
        await other.attach(made.id).status()
    assert made.id in sandbox.app.instances


async def test_attaching_asks_nothing_and_the_first_call_says_that_there_is_nothing(client: Client) -> None:
    agent = client.attach("404")
    with pytest.raises(NotFound):
        await agent.status()
    await agent.end()  # it is gone


# --- a fallback


@pytest.mark.parametrize("full", ["the quota", "the account"])
async def test_a_voice_agent_is_made_where_no_digital_human_is_to_be_had(
    sandbox: Sandbox, client: Client, quota: LocalQuota, full: str
) -> None:
    if full == "the account":
        sandbox.app.quotas.digital_humans = 0
    else:
        await client.start(talking("1"))
    agent = await client.start(talking("2"), fallback=voice("2"))
    assert agent.fell_back
    assert agent.action == voice("2")
    assert sandbox.app.instances[agent.id].room_id == "room-2"
    assert quota.usage("agents").live == 1
    await agent.end()
    assert quota.usage("agents").used == 0
    async with client.digital_human_agent(talking("3"), fallback=voice("3")) as handle:
        assert handle.fell_back


async def test_callbacks_and_quota_follow_the_fallback(sandbox: Sandbox, client: Client, quota: LocalQuota) -> None:
    sandbox.app.quotas.digital_humans = 0
    agent = await client.start(talking("1"), fallback=voice("1"))
    following = agent.events()
    events = [
        parse_callback(body_of(instance=agent.id, RoomId="room-1", Event=name, Data={"Code": 0}), secret=SECRET)
        for name in ("AgentInstanceCreated", "LLMResult", "AgentInstanceDeleted")
    ]
    await client.observe(events[0])
    await agent.joined(timeout=60)
    for event in events[1:]:
        await client.observe(event)
    assert [event async for event in following] == events
    assert quota.usage("agents").used == quota.usage("digital_humans").used == 0, "it ended by itself, as the callback said"
    await agent.end()
    assert not sandbox.received(aiagent.DeleteAgentInstance), "and is not ended again"


async def test_a_digital_human_is_made_where_there_is_one(client: Client, quota: LocalQuota) -> None:
    agent = await client.start(talking(), fallback=voice())
    assert not agent.fell_back
    assert agent.action == talking()
    assert (quota.usage("digital_humans").live, quota.usage("agents").used) == (1, 0)


async def test_when_the_fallback_is_not_to_be_had_either_that_is_raised(sandbox: Sandbox, client: Client) -> None:
    sandbox.app.quotas.digital_humans = sandbox.app.quotas.agents = 0
    with pytest.raises(QuotaExceeded) as caught:
        await client.start(talking(), fallback=voice())
    assert caught.value.action == "CreateAgentInstance"


async def test_a_fallback_has_the_same_verbs(client: Client) -> None:
    with pytest.raises(ConfigurationError, match="CreateAgentInstance cannot be the fallback of CreateDigitalHumanStreamTask"):
        client.handle(stream(), fallback=voice())
