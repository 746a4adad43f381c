"""Handles: what they make they end, whatever happens; the quota they keep to; what closing a client finishes."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from typing import Any

import anyio
import msgspec
import pytest
from raw_server import Exchange, http, ok, raw_server
from requests_made import register, rtc, stream, talking, voice

from zego_aigc import (
    AccessDenied,
    Client,
    ConfigurationError,
    ConnectFailed,
    LocalLimiter,
    LocalQuota,
    NotFound,
    Orphan,
    OutcomeUnknown,
    QuotaExceeded,
    TimedOut,
    TransportError,
    ZegoError,
    aiagent,
    digitalhuman,
)
from zego_aigc.aiagent import CreateDigitalHumanAgentInstance, DeleteAgentInstance
from zego_aigc.callbacks import events
from zego_aigc.calls.retry import RetryPolicy
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask, StopDigitalHumanStreamTask, TaskStatus
from zego_aigc.sandbox import Pace, Sandbox

pytestmark = pytest.mark.anyio

QUICK = RetryPolicy(
    max_attempts=2,
    initial_backoff=0.001,
    max_backoff=0.01,
    lookup_delay=0.02,
    cancel_grace=30.0,
)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(rate_limit=None, pace=Pace(stream_start=0, stream_stop=0)) as running:
        yield running


@pytest.fixture
def orphans() -> list[Orphan]:
    return []


@pytest.fixture
async def client(sandbox: Sandbox, orphans: list[Orphan]) -> AsyncIterator[Client]:
    options: dict[str, Any] = {
        "quota": LocalQuota(agents=2, digital_humans=2, streams=2),
        "retry": QUICK,
        "on_orphan": orphans.append,
    }
    async with sandbox.client(limiter=LocalLimiter(limit=1000), timeout=60, **options) as client:
        await client.call(register())
        yield client


def used(client: Client, kind: str = "digital_humans") -> int:
    assert client.quota is not None
    return client.quota.usage(kind).used  # type: ignore[arg-type] # a Literal


# --- verbs


async def test_an_agent_lives_as_long_as_its_block_and_has_the_verbs(sandbox: Sandbox, client: Client) -> None:
    async with client.digital_human_agent(talking()) as agent:
        assert agent.id in sandbox.app.instances
        assert agent.created.digital_human_config
        assert (await agent.say("Hello!")).round < (await agent.ask("Who are you?")).round
        assert (await agent.interrupt()).round
        assert (await agent.status()).status
        await agent.add_messages([aiagent.Message(role="user", content="Hi")])
        assert [message.content for message in await agent.messages()][-1:] == ["Hi"]
        await agent.reset_messages()
        assert list(await agent.messages()) == []
        await agent.update(rtc=aiagent.UpdateRTC(user_stream_id="another"))
    assert agent.id not in sandbox.app.instances
    assert used(client) == 0


async def test_a_voice_agent_takes_turns_in_walkie_talkie_mode(client: Client) -> None:
    mode = aiagent.AdvancedConfig(communication_mode=2)
    async with client.agent(agent_id="guide", user_id="visitor", rtc=rtc(), advanced_config=mode) as agent:
        begun = await agent.start_listening(sequence=1)
        ended = await agent.stop_listening(sequence=2)
        assert ended.round >= begun.round


async def test_a_live_digital_human_speaks_what_it_is_told(sandbox: Sandbox, client: Client) -> None:
    async with client.live_digital_human_agent(
        agent_id="guide",
        rtc=aiagent.LiveRTC(room_id="r", agent_stream_id="s", agent_user_id="bot"),
        digital_human=aiagent.DigitalHuman(digital_human_id="human"),
    ) as agent:
        assert (await agent.say("Welcome!")).round
    assert not sandbox.app.instances


async def test_a_stream_task_lives_as_long_as_its_block_and_has_the_verbs(sandbox: Sandbox, client: Client) -> None:
    timbre = (await client.call(digitalhuman.GetTimbreList())).timbres[0].timbre_id
    async with client.stream_task(stream()) as task:
        assert (await task.streaming(every=0.01)).room_id == "room-1"
        assert (await task.drive_text("Hello!", digitalhuman.TTSConfig(timbre_id=timbre))).drive_id
        assert (await task.drive_audio("https://audio.example/a.mp3")).drive_id
        assert (await task.drive_rtc("room", "stream")).drive_id
        await task.act("wave")
        assert [sent.action for sent in sandbox.received(digitalhuman.DoAction)] == ["wave"]
        await task.interrupt()
        assert (await task.status()).status is digitalhuman.TaskStatus.STREAMING
    assert used(client, "streams") == 0
    with pytest.raises(ZegoError):
        await client.call(digitalhuman.DoAction(task_id=task.id, action="wave"))


async def test_a_stream_that_does_not_begin_is_named_with_its_status_when_last_seen() -> None:
    async with (
        Sandbox(rate_limit=None, pace=Pace(stream_start=60)) as sandbox,
        sandbox.client() as client,
        client.stream_task(stream()) as task,
    ):
        await task.status()  # there is a connection
        with pytest.raises(TimedOut, match=f"task {task.id} does not stream after 0.5 s: .*INITIALIZING") as caught:
            await task.streaming(within=0.5, every=0.01)
    assert caught.value.waited_for == "streaming"


async def test_a_stream_that_fails_to_start_says_why(sandbox: Sandbox, client: Client) -> None:
    sandbox.app.failing_streams.append("no camera")
    async with client.stream_task(stream()) as task:
        with pytest.raises(ZegoError, match="failed to start: no camera"):
            await task.streaming(every=0.01)


async def test_what_cannot_be_ended_says_so(sandbox: Sandbox, client: Client) -> None:
    task = await client.start(stream())
    refused = sandbox.faults.on(StopDigitalHumanStreamTask).refuse(400000003)
    with pytest.raises(ZegoError, match="was refused"):
        await task.end()
    refused.remove()
    await client.call(StopDigitalHumanStreamTask(task_id=task.id))


async def test_audio_goes_over_a_websocket_in_whole_samples(client: Client) -> None:
    async with client.stream_task(stream()) as task:
        await task.streaming(every=0.01)
        async with task.open_audio(sample_rate=24000) as audio:
            await audio.write(b"\x01" * 5001)
            await audio.write(b"\x02" * 3)
        assert audio.drive_id


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("ws://127.0.0.1:9/?token=hunter2", "at 127.0.0.1 cannot be opened: Connection refused"),
        ("{url}/?token=hunter2", "at 127.0.0.1 cannot be opened: Invalid response status"),
        ("wss://[hunter2", "at no host cannot be opened: its address is not a URL"),
    ],
)
async def test_an_audio_websocket_that_cannot_be_opened_names_the_host_and_no_token(address: str, why: str) -> None:
    async def handle(exchange: Exchange) -> None:
        if exchange.method == "GET":
            await exchange.send(http(403, b""))
        else:
            await exchange.send(ok({"TaskId": "t", "DriveId": "d", "WssAddress": address.format(url=url)}))

    async with raw_server(handle) as url, Client(1, "s", digitalhuman_url=url) as client, client.stream_task(stream()) as task:
        with pytest.raises(ConnectFailed, match=why) as caught:
            async with task.open_audio():
                pass
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


async def test_a_handle_is_used_once_and_only_inside_its_block(client: Client) -> None:
    handle = client.agent(voice())
    assert repr(handle) == "<AgentInstance not made yet>"
    with pytest.raises(ConfigurationError, match="use 'async with' first"):
        await handle.say("Hello!")
    async with handle:
        with pytest.raises(ConfigurationError, match="make a new one"):
            await handle.__aenter__()


# --- endings


class Boom(Exception):
    pass


async def test_a_body_that_fails_ends_the_instance_and_its_error_goes_on(sandbox: Sandbox, client: Client) -> None:
    with pytest.raises(Boom):
        async with client.digital_human_agent(talking()):
            raise Boom
    assert not sandbox.app.instances


async def test_a_body_that_is_cancelled_ends_the_instance(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.on(DeleteAgentInstance).latency(0.05)
    with anyio.move_on_after(0.05) as scope:
        async with client.digital_human_agent(talking()):
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert not sandbox.app.instances
    assert used(client) == 0


async def test_the_ending_outlasts_cancellations_of_every_kind(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.on(DeleteAgentInstance).latency(0.1)
    entered = asyncio.Event()

    async def visit() -> None:
        async with client.digital_human_agent(talking()):
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.ensure_future(visit())
    await entered.wait()
    for _ in range(4):
        task.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not sandbox.app.instances


async def test_an_instance_that_is_gone_already_counts_as_ended(sandbox: Sandbox, client: Client) -> None:
    async with client.digital_human_agent(talking()) as agent:
        await client.call(DeleteAgentInstance(agent_instance_id=agent.id))
    async with client.stream_task(stream()) as task:
        await client.call(StopDigitalHumanStreamTask(task_id=task.id))
    assert await client.aclose() == []


async def test_an_ending_that_fails_is_raised_unless_the_body_failed_already(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.on(DeleteAgentInstance).refuse(410000006)
    with pytest.raises(AccessDenied):
        async with client.digital_human_agent(talking("1")):
            pass
    with pytest.raises(Boom):
        async with client.digital_human_agent(talking("2")):
            raise Boom
    assert used(client) == 2
    sandbox.faults.clear()
    assert await client.aclose() == []
    assert used(client) == 0


@pytest.mark.usefixtures("client")
async def test_closing_returns_the_ids_of_what_could_not_be_ended(sandbox: Sandbox) -> None:
    async with sandbox.client(retry=msgspec.structs.replace(QUICK, delete_timeout=0.5)) as client:
        sandbox.faults.on(DeleteAgentInstance).stall()
        with pytest.raises(TransportError):
            async with client.digital_human_agent(talking()) as agent:
                pass
        assert await client.aclose(drain=0.1) == [agent.id]


async def test_closing_waits_for_an_ending_that_is_under_way_and_does_not_ask_twice(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.on(DeleteAgentInstance).latency(0.1)
    entered, leave = asyncio.Event(), asyncio.Event()

    async def visit() -> None:
        async with client.digital_human_agent(talking()):
            entered.set()
            await leave.wait()

    task = asyncio.ensure_future(visit())
    await entered.wait()
    leave.set()
    await asyncio.sleep(0.02)
    assert await client.aclose() == []
    await task
    assert len(sandbox.received(DeleteAgentInstance)) == 1


# --- creates that fail or are cancelled


async def test_a_create_that_is_cancelled_in_flight_is_ended_and_nobody_else_needs_to_know(
    sandbox: Sandbox, client: Client, orphans: list[Orphan]
) -> None:
    sandbox.faults.on(CreateDigitalHumanAgentInstance, CreateDigitalHumanStreamTask).latency(0.05)
    for handle in (client.digital_human_agent(talking()), client.stream_task(stream())):
        with anyio.move_on_after(0.02) as scope:
            async with handle:
                pytest.fail("it was entered")
        assert scope.cancelled_caught
    assert not sandbox.app.instances
    assert not [task for task in sandbox.app.tasks.values() if task.running]
    assert orphans == []
    assert used(client) == used(client, "streams") == 0


@pytest.mark.usefixtures("client")
async def test_a_create_that_is_cancelled_and_not_answered_is_an_orphan_that_holds_its_place(
    sandbox: Sandbox, orphans: list[Orphan]
) -> None:
    quota = LocalQuota(digital_humans=1)
    policy = msgspec.structs.replace(QUICK, cancel_grace=0.2)
    async with sandbox.client(quota=quota, retry=policy, on_orphan=orphans.append) as client:
        with anyio.CancelScope() as scope:

            def arrives(_: object) -> bool:
                scope.cancel()  # so that no machine is too slow for it to have been sent
                return True

            sandbox.faults.on(CreateDigitalHumanAgentInstance).where(arrives).stall_after_work()
            async with client.digital_human_agent(talking()):
                pytest.fail("it was entered")
        assert orphans == [Orphan(talking(), None, certain=False)]
        assert used(client) == 1


async def test_a_refused_create_gives_its_place_back(client: Client) -> None:
    with pytest.raises(NotFound):
        async with client.digital_human_agent(talking(agent_id="nobody")):
            pass
    assert used(client) == 0


# --- the quota


async def test_a_handle_waits_for_a_place_in_the_quota(sandbox: Sandbox, client: Client) -> None:
    at_most = 0

    async def visit(n: int) -> None:
        nonlocal at_most
        async with client.digital_human_agent(talking(str(n))):
            at_most = max(at_most, len(sandbox.app.instances))
            await asyncio.sleep(0.01)

    async with anyio.create_task_group() as group:
        for n in range(7):
            group.start_soon(visit, n)
    assert at_most == 2


async def test_a_service_that_says_full_is_believed_and_then_asked_with_care(sandbox: Sandbox, client: Client) -> None:
    sandbox.app.quotas.digital_humans = 0
    with pytest.raises(QuotaExceeded):
        async with client.digital_human_agent(talking()):
            pass
    assert client.quota is not None
    assert client.quota.usage("digital_humans").full
    assert used(client) == 0


async def test_an_unknown_create_holds_its_place_until_it_expires(sandbox: Sandbox) -> None:
    now = 0.0
    quota = LocalQuota(agents=1, clock=lambda: now)
    async with sandbox.client(quota=quota, retry=QUICK) as client:
        await client.call(register())
        sandbox.faults.on(aiagent.CreateAgentInstance).times(1).cut_after_work()
        with pytest.raises(OutcomeUnknown):
            async with client.agent(voice()):
                pass
        assert quota.usage("agents").unknown == 1
        now = 119.0
        assert quota.usage("agents").used == 1
        now = 121.0  # MaxIdleTime is 120 s unless given: without its user in the room the instance has ended
        assert quota.usage("agents").used == 0


ENVELOPE: dict[str, Any] = {"app_id": 1, "nonce": "n", "signature": "s", "timestamp": 1}


def created(instance_id: str, room_id: str, user_id: str | None) -> events.AgentInstanceCreated:
    data = events.AgentInstanceCreatedData(created_timestamp=1)
    return events.AgentInstanceCreated(
        event="AgentInstanceCreated",
        agent_instance_id=instance_id,
        room_id=room_id,
        agent_user_id=user_id,
        data=data,
        **ENVELOPE,
    )


def deleted(instance_id: str) -> events.AgentInstanceDeleted:
    data = events.AgentInstanceDeletedData(code=1202)
    return events.AgentInstanceDeleted(event="AgentInstanceDeleted", agent_instance_id=instance_id, data=data, **ENVELOPE)


async def test_a_callback_frees_the_place_of_an_instance_that_ended_by_itself(sandbox: Sandbox, client: Client) -> None:
    async with client.digital_human_agent(talking()) as agent:
        assert used(client) == 1
        await client.observe(deleted(agent.id))
        assert used(client) == 0


async def test_a_callback_tells_the_id_of_what_a_lost_create_made(
    sandbox: Sandbox, client: Client, orphans: list[Orphan]
) -> None:
    sandbox.faults.on(CreateDigitalHumanAgentInstance).times(1).cut_after_work()
    with pytest.raises(OutcomeUnknown):
        async with client.digital_human_agent(talking()):
            pass
    (lives,) = sandbox.app.instances
    await client.observe(created("99", "another-room", "bot-1"))
    await client.observe(created("99", "room-1", "another-bot"))
    assert orphans == []
    await client.observe(created(lives, "room-1", "bot-1"))
    assert orphans == [Orphan(talking(), aiagent.CreatedAgentInstance(agent_instance_id=lives), certain=True)]
    assert client.quota is not None
    assert (client.quota.usage("digital_humans").live, client.quota.usage("digital_humans").unknown) == (1, 0)
    await client.observe(deleted(lives))
    assert used(client) == 0


async def test_a_callback_of_a_stream_task_frees_its_place_only_when_it_has_ended(client: Client) -> None:
    async with client.stream_task(stream()) as task:
        for status, left in ((3, 1), (4, 1), (5, 0)):
            detail = events.StreamTaskDetail(status=TaskStatus(status), room_id="r", stream_id="s")
            event = events.StreamTaskEvent(event_type=3, task_id=task.id, detail=detail, **ENVELOPE)
            await client.observe(event)
            assert used(client, "streams") == left
