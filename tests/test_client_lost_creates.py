"""Creates whose answer was lost: looked up where the vendor lets us, never repeated blindly, never claimed wrongly."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate
from typing import Any

import anyio
import msgspec
import pytest
from raw_server import Exchange, http, ok, raw_server
from requests_made import llm, register, stream, talking, voice

from zego_aigc import (
    Action,
    AlreadyExists,
    BadParameter,
    Client,
    ConfigurationError,
    LocalLimiter,
    OutcomeUnknown,
    Permit,
    QuotaExceeded,
    TimedOut,
    aiagent,
    digitalhuman,
)
from zego_aigc.aiagent import RegisterAgent
from zego_aigc.calls.retry import RetryPolicy
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask, QueryDigitalHumanStreamTasks
from zego_aigc.sandbox import Pace, Sandbox

pytestmark = pytest.mark.anyio

QUICK = RetryPolicy(max_attempts=3, initial_backoff=0.001, max_backoff=0.01, attempt_timeout=50.0, lookup_delay=0.05)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(rate_limit=None, quota=None, pace=Pace(stream_start=0)) as running:
        yield running


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[Client]:
    async with sandbox.client(retry=QUICK, limiter=LocalLimiter(limit=1000), timeout=60) as client:
        yield client


# --- stream tasks


async def test_a_stream_task_that_was_made_is_found_and_not_made_again(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.on(CreateDigitalHumanStreamTask).times(1).cut_after_work()
    response = await client.call_with_response(stream())
    assert [response.result.task_id] == list(sandbox.app.tasks)
    assert (response.request_id, response.attempts) == (None, 1)
    assert len(sandbox.received(CreateDigitalHumanStreamTask)) == 1


async def test_a_stream_task_that_was_not_made_is_made_after_a_settle_time(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.on(CreateDigitalHumanStreamTask).times(1).cut_before_work()
    response = await client.call_with_response(stream())
    assert [response.result.task_id] == list(sandbox.app.tasks)
    assert response.attempts == 2
    assert response.elapsed >= QUICK.lookup_delay


async def test_an_older_task_on_the_same_stream_is_somebody_elses(sandbox: Sandbox, client: Client) -> None:
    await client.call(stream())
    await sandbox.clock.advance(10)
    sandbox.faults.on(CreateDigitalHumanStreamTask).times(1).cut_before_work()
    with pytest.raises(AlreadyExists) as caught:
        await client.call(stream())
    assert caught.value.__cause__ is not None
    assert len(sandbox.app.tasks) == 1


async def test_a_task_on_the_same_stream_in_another_room_is_somebody_elses(sandbox: Sandbox, client: Client) -> None:
    other = digitalhuman.RTCConfig(room_id="elsewhere", stream_id="stream-1")
    await client.call(CreateDigitalHumanStreamTask(digital_human_config=stream().digital_human_config, rtc_config=other))
    sandbox.faults.on(CreateDigitalHumanStreamTask).times(1).cut_before_work()
    with pytest.raises(AlreadyExists):
        await client.call(stream())


async def test_a_stream_id_that_is_taken_on_the_first_attempt_needs_no_look_up(sandbox: Sandbox, client: Client) -> None:
    await client.call(stream())
    with pytest.raises(AlreadyExists) as caught:
        await client.call(stream())
    assert caught.value.code == 400000015
    assert not sandbox.received(QueryDigitalHumanStreamTasks)


def scripted(*creates: bytes | None, tasks: Callable[[int], list[dict[str, Any]]]) -> Callable[[Exchange], Any]:
    """A service whose creates answer in turn (None: cut) and whose n-th look-up shows `tasks(n)`."""
    counts = {"create": 0, "query": 0}

    async def handle(exchange: Exchange) -> None:
        if exchange.query["Action"] == "QueryDigitalHumanStreamTasks":
            counts["query"] += 1
            date = formatdate(time.time(), usegmt=True)
            await exchange.send(ok({"TaskList": tasks(counts["query"])}, date=date))
            return
        counts["create"] += 1
        answer = creates[counts["create"] - 1]
        if answer is None:
            exchange.cut()
        else:
            await exchange.send(answer)

    return handle


def refusal(code: int) -> bytes:
    return http(200, f'{{"Code": {code}, "Message": "no", "RequestId": "r"}}'.encode())


def task(task_id: str = "t-1", *, age: float = 0.0) -> dict[str, Any]:
    return {"TaskId": task_id, "RoomId": "room-1", "StreamId": "stream-1", "Status": 1, "CreateTime": int(time.time() - age)}


def scripted_client(url: str) -> Client:
    return Client(1, "s", aiagent_url=url, digitalhuman_url=url, retry=QUICK, timeout=60)


async def test_a_create_that_is_carried_out_late_is_found_when_the_resend_hits_its_stream_id() -> None:
    handle = scripted(None, refusal(400000015), tasks=lambda n: [] if n == 1 else [task()])
    async with raw_server(handle) as url, scripted_client(url) as client:
        response = await client.call_with_response(stream())
    assert (response.result.task_id, response.attempts) == ("t-1", 2)


async def test_a_create_that_is_carried_out_late_and_takes_the_last_place_is_found_when_the_resend_finds_none() -> None:
    handle = scripted(None, refusal(400000008), tasks=lambda n: [] if n == 1 else [task()])
    async with raw_server(handle) as url, scripted_client(url) as client:
        assert (await client.call(stream())).task_id == "t-1"


async def test_a_refusal_of_the_resend_is_raised_when_nothing_came_of_the_first_attempt() -> None:
    handle = scripted(None, refusal(400000008), tasks=lambda _: [])
    async with raw_server(handle) as url, scripted_client(url) as client:
        with pytest.raises(QuotaExceeded) as caught:
            await client.call(stream())
    assert caught.value.attempts == 2


async def test_a_stream_id_that_is_taken_by_nobody_who_is_listed_leaves_the_outcome_unknown() -> None:
    handle = scripted(None, refusal(400000015), tasks=lambda _: [])
    async with raw_server(handle) as url, scripted_client(url) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            await client.call(stream())
    assert isinstance(caught.value.__cause__, AlreadyExists)


async def test_a_look_up_that_fails_leaves_the_outcome_unknown_and_says_why(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.on(CreateDigitalHumanStreamTask).times(1).cut_after_work()
    sandbox.faults.on(QueryDigitalHumanStreamTasks).refuse(400010001)
    with pytest.raises(OutcomeUnknown, match="NoCallPermission") as caught:
        await client.call(stream())
    assert caught.value.action == stream()
    assert caught.value.attempts == 1


async def test_a_deadline_too_short_to_settle_leaves_the_outcome_unknown(sandbox: Sandbox) -> None:
    sandbox.faults.on(CreateDigitalHumanStreamTask).times(1).cut_before_work()
    async with sandbox.client(retry=msgspec.structs.replace(QUICK, lookup_delay=100)) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            await client.call(stream(), timeout=60)
    assert isinstance(caught.value.__cause__, TimedOut)


async def test_one_look_up_serves_all_that_wait_for_one(sandbox: Sandbox) -> None:
    class OneLookUpAtATime:
        def __init__(self) -> None:
            self.creates, self.look_ups = LocalLimiter(limit=1000), LocalLimiter(limit=1, window=0.5)

        async def acquire(self, app_id: int, action: str) -> Permit:
            limiter = self.look_ups if action == "QueryDigitalHumanStreamTasks" else self.creates
            return await limiter.acquire(app_id, action)

    sandbox.faults.on(CreateDigitalHumanStreamTask).times(40).cut_after_work()
    async with sandbox.client(retry=QUICK, limiter=OneLookUpAtATime(), timeout=60) as client:
        results: list[str] = []

        async def make(n: int) -> None:
            results.append((await client.call(stream(str(n)))).task_id)

        async with anyio.create_task_group() as group:
            for n in range(40):
                group.start_soon(make, n)
    assert sorted(results) == sorted(sandbox.app.tasks)
    assert len(sandbox.received(QueryDigitalHumanStreamTasks)) < 20


@pytest.mark.slow
async def test_a_look_up_that_others_share_survives_the_cancellation_of_who_asked_first(sandbox: Sandbox) -> None:
    sandbox.faults.on(CreateDigitalHumanStreamTask).times(2).cut_after_work()
    # The one token of QueryDigitalHumanStreamTasks is out for a moment, so that both wait for the same look-up.
    async with sandbox.client(
        retry=RetryPolicy(cancel_grace=0.01), limiter=LocalLimiter(limit=1, window=0.3, guard=0)
    ) as client:
        await client.call(QueryDigitalHumanStreamTasks())
        results: list[str] = []

        async def make(name: str) -> None:
            results.append((await client.call(stream(name))).task_id)

        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(make, "1")
                await anyio.sleep(0.05)
                scope.cancel()
        assert scope.cancelled_caught
        await make("2")
    assert len(results) == 1


@pytest.mark.parametrize("action", [stream(), register()], ids=["stream", "agent"])
async def test_a_client_that_is_closed_after_a_create_was_lost_leaves_its_outcome_unknown(action: Action[Any]) -> None:
    looked_up = anyio.Event()

    async def handle(exchange: Exchange) -> None:
        if not exchange.query["Action"].startswith("Query"):
            exchange.cut()
            return
        await exchange.send(ok({"TaskList": [], "Agents": []}))
        looked_up.set()

    async with raw_server(handle) as url, anyio.create_task_group() as group:
        client = Client(1, "s", aiagent_url=url, digitalhuman_url=url, retry=RetryPolicy(lookup_delay=0.1, initial_backoff=0.2))

        async def make() -> None:
            with pytest.raises(OutcomeUnknown, match="may or may not have been carried out") as caught:
                await client.call(action)
            assert caught.value.action is action

        group.start_soon(make)
        await looked_up.wait()
        await client.aclose(drain=5)


@pytest.mark.parametrize("action", [stream(), register()], ids=["stream", "agent"])
@pytest.mark.parametrize("where", ["before_send", "limiter"])
async def test_what_fails_between_two_attempts_of_a_create_leaves_its_outcome_unknown(action: Action[Any], where: str) -> None:
    trouble = RuntimeError("the disk is full")
    attempts: list[str] = []

    def fail_the_second(name: str) -> None:
        attempts.append(name)
        if attempts.count(type(action).__name__) == 2:
            raise trouble

    class Faltering:
        async def acquire(self, app_id: int, action: str) -> Permit:
            if where == "limiter":
                fail_the_second(action)
            return await LocalLimiter().acquire(app_id, action)

    async def before_send(_: int) -> None:
        if where == "before_send":
            fail_the_second(type(action).__name__)

    async def handle(exchange: Exchange) -> None:
        if exchange.query["Action"].startswith("Query"):
            await exchange.send(ok({"TaskList": [], "Agents": []}))
        else:
            exchange.cut()

    async with raw_server(handle) as url:
        client = Client(1, "s", aiagent_url=url, digitalhuman_url=url, retry=QUICK, limiter=Faltering())
        async with client:
            with pytest.raises(OutcomeUnknown, match="the disk is full") as caught:
                await client.call(action, before_send=before_send)
    assert caught.value.__cause__ is trouble


# --- registered agents


async def test_a_registration_that_was_carried_out_is_found_to_be_ours(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.on(RegisterAgent).times(1).cut_after_work()
    response = await client.call_with_response(register(LLM=llm().to_wire()))
    assert response.attempts == 1
    assert len(sandbox.received(RegisterAgent)) == 1


async def test_a_registration_under_an_id_that_stands_for_something_else_already_exists(
    sandbox: Sandbox, client: Client
) -> None:
    await client.call(register(Name="Somebody else's"))
    sandbox.faults.on(RegisterAgent).times(1).cut_before_work()
    with pytest.raises(AlreadyExists, match="what stands under the id now is not what was asked for") as caught:
        await client.call(register())
    assert caught.value.action == "RegisterAgent"
    assert sandbox.app.agents["guide"].name == "Somebody else's"


async def test_a_lost_registration_that_is_refused_when_sent_again_says_the_refusal(sandbox: Sandbox, client: Client) -> None:
    sandbox.faults.on(RegisterAgent).times(1).cut_before_work()
    sandbox.faults.on(RegisterAgent).after(1).refuse(410000003)
    with pytest.raises(BadParameter):
        await client.call(register())


async def test_an_agent_counts_as_ours_when_all_that_was_sent_stands_in_it(sandbox: Sandbox, client: Client) -> None:
    asked = register(LLM=llm("sk-1").to_wire())
    assert await client.is_registered(asked) is None
    await client.call(asked)
    assert await client.is_registered(asked) is True
    assert await client.is_registered(register()) is True
    assert await client.is_registered(register(LLM=llm("sk-2").to_wire())) is False


async def test_a_field_newer_than_the_library_counts_only_where_the_service_tells_it() -> None:
    kept: dict[str, Any] = {"AgentId": "guide", "Name": "Guide"}

    async def handle(exchange: Exchange) -> None:
        await exchange.send(ok({"Agents": [kept]}))

    newer = RegisterAgent(agent_id="guide", name="Guide", extra={"Newer": {"Depth": 1}})
    async with raw_server(handle) as url, scripted_client(url) as client:
        assert await client.is_registered(newer) is True
        kept["Newer"] = {"Depth": 1, "Default": 2}
        assert await client.is_registered(newer) is True
        kept["Newer"] = {"Depth": 2}
        assert await client.is_registered(newer) is False


async def test_an_agent_whose_key_the_service_masks_counts_as_ours() -> None:
    kept = {"AgentId": "guide", "Name": "Guide", "LLM": {**llm("sk-1").to_wire(), "ApiKey": "sk-***", "TopP": 0.9}, "TTS": None}

    async def handle(exchange: Exchange) -> None:
        await exchange.send(ok({"Agents": [kept]}))

    async with raw_server(handle) as url, scripted_client(url) as client:
        assert await client.is_registered(register(LLM=llm("sk-1").to_wire())) is True


# --- agent instances, which the vendor cannot look up


@pytest.mark.parametrize("action", [voice(), talking()])
async def test_a_lost_agent_instance_is_unknown_and_is_never_made_twice(
    sandbox: Sandbox, client: Client, action: aiagent.CreateAgentInstance
) -> None:
    await client.call(register())
    sandbox.faults.on(type(action)).times(1).cut_after_work()
    with pytest.raises(OutcomeUnknown, match="may or may not have been carried out") as caught:
        await client.call(action)
    assert caught.value.action is action
    assert len(sandbox.received(type(action))) == 1
    with pytest.raises(OutcomeUnknown, match="no look-up for Create"):
        await client.look_up(action)


# --- asking by hand


async def test_look_up_finds_what_a_create_made_since_a_time_and_nothing_older(sandbox: Sandbox, client: Client) -> None:
    before = time.time()
    assert await client.look_up(stream(), not_before=before) is None
    made = await client.call(stream())
    assert await client.look_up(stream(), not_before=before) == made
    assert await client.look_up(stream()) == made
    await sandbox.clock.advance(60)
    assert await client.look_up(stream(), not_before=time.time()) is None


async def test_look_up_of_a_registration_points_to_the_question_that_can_be_answered(client: Client) -> None:
    with pytest.raises(ConfigurationError, match=r"is_registered\(\)"):
        await client.look_up(register())


# --- what to do


@pytest.mark.parametrize(
    ("action", "advice"),
    [
        (voice("7"), "AgentInstanceCreated for room 'room-7' brings the id.* without its user for 120 s"),
        (msgspec.structs.replace(voice(), advanced_config=aiagent.AdvancedConfig(max_idle_time=30)), "for 30 s"),
        (talking(), "AgentInstanceCreated for room 'room-1'"),
        (stream(), r"client\.look_up"),
        (register(), r"client\.is_registered"),
        (aiagent.SendAgentInstanceTTS(agent_instance_id="1", text="Hello!"), "Look whether it had its effect"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Action) else "",
)
async def test_an_unknown_outcome_says_what_settles_it(action: Action[Any], advice: str) -> None:
    async def cut(exchange: Exchange) -> None:
        exchange.cut()

    async with raw_server(cut) as url, scripted_client(url) as client:
        with pytest.raises(OutcomeUnknown, match=advice) as caught:
            await client.call(action)
    assert caught.value.advice in str(caught.value)
