"""Callbacks of the sandbox: signed as the vendor signs, retried on its ladder, raised on request."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from requests_made import stream
from sandbox_fixtures import in_real_time, sandbox, vendor
from vendor_client import VendorClient

from zego_aigc.callbacks import ASRResult, Event
from zego_aigc.digitalhuman import TTSConfig
from zego_aigc.sandbox import Sandbox
from zego_aigc.sandbox.callbacks import sign

__all__ = ["sandbox", "vendor"]

pytestmark = pytest.mark.anyio

EVENTS = (
    "ASRResult",
    "LLMResult",
    "Exception",
    "Interrupted",
    "UserSpeakAction",
    "AgentInstanceStatus",
    "AgentSpeakAction",
    "UserAudioData",
    "AgentInstanceCreated",
    "AgentInstanceDeleted",
    "AgentInstanceMetaInfo",
)


class Receiver:
    """A server that notes the callbacks and answers as it is set to."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.statuses: list[int] = []
        self.url = ""
        self.arrivals: asyncio.Queue[None] = asyncio.Queue()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.bodies.append(json.loads(await request.read()))
        self.arrivals.put_nowait(None)
        self.paths.append(request.rel_url.path)
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200, headers={"Location": "/elsewhere"})


@pytest.fixture
async def receiver(sandbox: Sandbox) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    receiver.url = f"http://{host}:{port}"
    sandbox.app.callback_url = f"{receiver.url}/callbacks"
    yield receiver
    await runner.cleanup()


def test_the_printed_signature_comes_out() -> None:
    assert sign("secret", "1470820198", "123412") == "5bd59fd62953a8059fb7eaba95720f66d19e4517"


async def test_a_creation_is_reported_once_the_instance_is_in_its_room(
    sandbox: Sandbox, vendor: VendorClient, receiver: Receiver
) -> None:
    await vendor.agent()
    identity = await vendor.voice()
    assert receiver.bodies == []
    await sandbox.clock.advance(1)
    (body,) = receiver.bodies
    assert body["Event"] == "AgentInstanceCreated"
    assert body["AppId"] == sandbox.app_id
    assert body["AgentInstanceId"] == identity
    assert (body["AgentUserId"], body["AgentId"], body["Name"], body["RoomId"]) == ("agent-1", "agent", "Guide", "room-1")
    assert abs(body["Data"]["CreatedTimestamp"] / 1000 - sandbox.clock.now()) < 60
    assert isinstance(body["Timestamp"], int)
    assert body["Sequence"] > 2**53
    words = sorted([sandbox.app.callback_secret, str(body["Timestamp"]), body["Nonce"]])
    assert body["Signature"] == hashlib.sha1("".join(words).encode()).hexdigest()


async def test_a_tasks_callbacks_have_the_other_envelope(sandbox: Sandbox, vendor: VendorClient, receiver: Receiver) -> None:
    task = await vendor.task()
    await sandbox.clock.advance(1)
    first, second = receiver.bodies
    assert (first["EventType"], first["Detail"]) == (3, {"Status": 1, "RoomId": "r", "StreamId": "s"})
    assert second["Detail"]["Status"] == 3
    assert second["TaskId"] == task
    assert isinstance(second["Timestamp"], str)
    assert isinstance(second["EventTime"], int)
    words = sorted([sandbox.app.callback_secret, second["Timestamp"], second["Nonce"]])
    assert second["Signature"] == hashlib.sha1("".join(words).encode()).hexdigest()


async def test_the_callbacks_of_an_instance_come_in_the_order_of_their_sequence(
    sandbox: Sandbox, vendor: VendorClient, receiver: Receiver
) -> None:
    await vendor.agent()
    identity = await vendor.voice()
    for number in range(20):
        sandbox.emit("ASRResult", identity, Text=str(number))
    await sandbox.settled()
    assert [body["Data"]["Text"] for body in receiver.bodies] == [str(number) for number in range(20)]
    sequences = [body["Sequence"] for body in receiver.bodies]
    assert sequences == sorted(set(sequences))


async def test_an_event_that_is_not_accepted_comes_again_after_2_4_8_16_and_32_seconds(
    sandbox: Sandbox, vendor: VendorClient, receiver: Receiver
) -> None:
    receiver.statuses = [500, 404, 302, 199 + 200, 503, 500, 200]
    delivery = sandbox.emit("ASRResult", "77")
    await sandbox.clock.advance(120)
    times = [attempt.time for attempt in delivery.attempts]
    assert [round(later - earlier, 6) for earlier, later in itertools.pairwise(times)] == [2, 4, 8, 16, 32]
    assert [attempt.status for attempt in delivery.attempts] == [500, 404, 302, 399, 503, 500]
    assert delivery.state == "lost"
    assert len({str(body) for body in receiver.bodies}) == 1
    assert set(receiver.paths) == {"/callbacks"}


async def test_an_event_is_delivered_with_the_first_2xx(sandbox: Sandbox, receiver: Receiver) -> None:
    receiver.statuses = [500, 204]
    delivery = sandbox.emit("ASRResult", "77")
    await sandbox.settled()
    assert delivery.state == "pending"
    await sandbox.clock.advance(1.9)
    assert len(delivery.attempts) == 1
    await sandbox.clock.advance(0.2)
    assert (delivery.state, len(delivery.attempts)) == ("delivered", 2)
    await sandbox.clock.advance(100)
    assert len(receiver.bodies) == 2


async def test_a_receiver_that_is_not_there_is_tried_again(sandbox: Sandbox) -> None:
    sandbox.app.callback_url = "http://127.0.0.1:9/"
    delivery = sandbox.emit("ASRResult", "77")
    await sandbox.clock.advance(120)
    assert delivery.state == "lost"
    assert all(attempt.status is None and attempt.error for attempt in delivery.attempts)


@in_real_time
async def test_retries_come_by_themselves_as_real_time_passes(receiver: Receiver, sandbox: Sandbox) -> None:
    receiver.statuses = [500]
    delivery = sandbox.emit("ASRResult", "77")
    await sandbox.settled()
    await sandbox.clock.advance(1.95)
    async with asyncio.timeout(60):
        await receiver.arrivals.get()
        await receiver.arrivals.get()
        await sandbox.settled()
    assert delivery.state == "delivered"


@pytest.mark.parametrize("event", EVENTS)
async def test_every_event_can_be_raised_on_request(
    sandbox: Sandbox, vendor: VendorClient, receiver: Receiver, event: str
) -> None:
    await vendor.agent()
    identity = await vendor.voice()
    sandbox.emit(event)
    await sandbox.settled()
    (body,) = receiver.bodies
    assert (body["Event"], body["AgentInstanceId"]) == (event, identity)


async def test_data_of_ones_own_and_events_of_the_future_can_be_raised(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.emit("ASRResult", "77", Text="hi", Round=2**62)
    sandbox.emit("Telepathy", "77", Mood="glad")
    sandbox.emit(9, "task-1", Status=1)
    await sandbox.settled()
    bodies = sorted(receiver.bodies, key=lambda body: str(body.get("Event")))
    assert bodies[0]["Data"] == {"UserId": "", "Round": 2**62, "Text": "hi"}
    assert bodies[1]["EventType"] == 9
    assert bodies[2]["Data"] == {"Mood": "glad"}
    assert sandbox.emit("task", "task-1").body["Detail"] == {"Status": 3, "RoomId": "room", "StreamId": "stream"}
    with pytest.raises(LookupError, match="create one first"):
        sandbox.emit("ASRResult")
    with pytest.raises(LookupError, match="no stream task: create one first"):
        sandbox.emit("drive")


async def test_both_task_events_can_be_raised_on_request(sandbox: Sandbox, vendor: VendorClient, receiver: Receiver) -> None:
    await vendor.task()
    await sandbox.clock.advance(1)
    receiver.bodies.clear()
    sandbox.emit("task", Status=2, FailReason="no model")
    sandbox.emit("drive", Status=4)
    await sandbox.settled()
    assert receiver.bodies[0]["Detail"] == {"Status": 2, "RoomId": "r", "StreamId": "s", "FailReason": "no model"}
    assert receiver.bodies[1]["Detail"]["Status"] == 4


async def test_a_host_tag_chooses_the_address(sandbox: Sandbox, vendor: VendorClient, receiver: Receiver) -> None:
    sandbox.app.callback_urls["staging"] = f"{receiver.url}/staging"
    await vendor.agent()
    await vendor.voice(CallbackConfig={"HostTag": "staging"})
    await sandbox.clock.advance(1)
    assert receiver.paths == ["/staging"]


async def test_latencies_are_reported_at_the_end_of_an_instance_that_was_asked(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    identity = await vendor.voice()
    await sandbox.clock.advance(1)
    await vendor.do("SendAgentInstanceLLM", {"AgentInstanceId": identity, "Text": "?"})
    await sandbox.clock.advance(10)
    await vendor.do("DeleteAgentInstance", {"AgentInstanceId": identity})
    data = sandbox.outbox.deliveries[-1].body["Data"]
    assert set(data["LatencyData"]) == {"LLMTTFT", "LLMTPS", "TTSAudioFirstFrameTime", "TotalCost"}


async def test_without_an_address_callbacks_are_only_recorded(sandbox: Sandbox) -> None:
    assert sandbox.emit("ASRResult", "77").state == "unaddressed"


async def test_a_client_hears_of_drives_without_a_server(sandbox: Sandbox) -> None:
    async with sandbox.client() as client:
        sandbox.on_event(client.observe)
        async with client.stream_task(stream()) as task:
            await sandbox.clock.advance(1)
            drive = await task.drive_text("Hello!", TTSConfig(timbre_id="timbre"))
            await sandbox.clock.advance(60)
            await task.drive_finished(drive, timeout=60)


async def test_events_are_heard_in_order_by_those_of_their_app_and_are_waited_for(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []
    other: list[Event] = []

    async def hear(event: Event) -> None:
        assert isinstance(event, ASRResult)
        if event.data.text == "2":
            raise RuntimeError("a mistake")
        await asyncio.sleep(0.01 if event.data.text == "1" else 0)
        heard.append(event.data.text or "")

    async def hear_other(event: Event) -> None:
        other.append(event)

    sandbox.on_event(hear)
    sandbox.on_event(hear_other, app=sandbox.add_app(2, "secret"))
    for text in ("1", "2", "3"):
        sandbox.emit("ASRResult", "77", Text=text)
    await sandbox.settled()
    assert (heard, other) == (["1", "3"], [])
    assert "failed with ASRResult" in caplog.text


async def test_what_hears_an_event_may_wait_for_the_clock_and_give_up(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    async def hear(event: Event) -> None:
        assert isinstance(event, ASRResult)
        match event.data.text:
            case "advance":
                await sandbox.clock.advance(1)
                await sandbox.settled()
            case "sleep":
                await sandbox.clock.sleep(5)
            case _:
                raise asyncio.CancelledError
        heard.append(event.data.text)

    sandbox.on_event(hear)
    for text in ("advance", "give up", "sleep"):
        sandbox.emit("ASRResult", "77", Text=text)
    async with asyncio.timeout(30):
        while len(heard) < 2:
            await sandbox.clock.advance(1)
            await asyncio.sleep(0)
        await sandbox.settled()
    assert heard == ["advance", "sleep"]
    assert "was cancelled with ASRResult" in caplog.text


async def test_what_comes_before_a_sandbox_runs_is_not_heard_and_holds_nothing_up() -> None:
    heard: list[Event] = []

    async def hear(event: Event) -> None:
        heard.append(event)

    sandbox = Sandbox(time=0.0)
    sandbox.on_event(hear)
    sandbox.emit("ASRResult", "77")
    async with sandbox, asyncio.timeout(30):
        await sandbox.settled()
        assert heard == []
        sandbox.emit("ASRResult", "77")
        await sandbox.settled()
    assert len(heard) == 1


async def test_a_sandbox_closes_while_callbacks_are_on_their_way() -> None:
    async def never(_: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    runner = web.ServerRunner(web.Server(never), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    async with Sandbox(callback_url=f"http://{host}:{port}") as sandbox:
        sandbox.emit("ASRResult", "77")
        await asyncio.sleep(0.05)
    await runner.cleanup()
