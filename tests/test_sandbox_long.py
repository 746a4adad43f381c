"""Long sessions and whole days: memory stays flat, time is the test's, and a seed makes everything repeatable."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections import Counter
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from sandbox_fixtures import eventually
from vendor_client import VendorClient

from zego_aigc.sandbox import Pace, Sandbox
from zego_aigc.sandbox.account import MAX_AUDIO
from zego_aigc.sandbox.clock import Clock
from zego_aigc.sandbox.registry import BEHAVIOURS
from zego_aigc.schema.actions import ACTIONS

pytestmark = pytest.mark.anyio


def do(sandbox: Sandbox, action: str, body: dict[str, Any]) -> Any:
    """What a call does, without the HTTP around it."""
    return BEHAVIOURS[action](sandbox.app, ACTIONS[action].from_wire(body))


def voice(number: int) -> dict[str, Any]:
    rtc = {"RoomId": f"r{number}", "AgentStreamId": f"s{number}", "AgentUserId": f"a{number}", "UserStreamId": f"u{number}"}
    return {"AgentId": "agent", "UserId": f"user{number}", "RTC": rtc}


# --- memory ----------------------------------------------------------------------------------------------------------


async def test_memory_stays_flat_however_many_instances_come_and_go() -> None:
    async with Sandbox(quota=None, history=100) as sandbox:
        do(sandbox, "RegisterAgent", {"AgentId": "agent"})

        def session(begin: int) -> int:
            for number in range(begin, begin + 500):
                made = do(sandbox, "CreateAgentInstance", voice(number))
                do(sandbox, "DeleteAgentInstance", made)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            after_some, after_more = session(0), session(500)
        finally:
            tracemalloc.stop()
    assert after_more - after_some < 200_000  # what is remembered has a bound, and was full before


async def test_requests_of_unknown_actions_are_counted_together() -> None:
    async with Sandbox(rate_limit=None) as sandbox, aiohttp.ClientSession() as session:
        vendor = VendorClient(sandbox.url, sandbox.app_id, sandbox.server_secret, session, sandbox.clock.now)
        for number in range(5):
            await vendor.call(f"NoSuchAction{number}")
        assert sandbox.recording.totals == {"": 5}


def test_timers_that_were_cancelled_leave_long_before_they_would_have_been_due() -> None:
    clock = Clock(start=0.0)
    kept = clock_timers = 0

    async def run() -> None:
        nonlocal kept, clock_timers
        timers = [clock.call_at(86400.0 + number, lambda _: None) for number in range(10_000)]
        for timer in timers[10:]:
            timer.cancel()
            timer.cancel()
        clock_timers = len(clock._heap)
        fired: list[float] = []
        clock.call_at(90_000.0, fired.append)
        await clock.advance(100_000)
        kept = len(fired)

    asyncio.run(run())
    assert clock_timers < 2100
    assert kept == 1


async def test_ended_drives_give_their_audio_back() -> None:
    async with Sandbox(rate_limit=None) as sandbox, aiohttp.ClientSession() as session:
        vendor = VendorClient(sandbox.url, sandbox.app_id, sandbox.server_secret, session, sandbox.clock.now)
        task = await vendor.task()
        await sandbox.clock.advance(1)
        pieces, drives = MAX_AUDIO // 5 * 2 // (1 << 20), []
        for _ in range(4):
            drive = await vendor.do("DriveByWsStream", {"TaskId": task})
            drives.append(sandbox.drives[drive["DriveId"]])
            async with session.ws_connect(drive["WssAddress"]) as socket:
                await socket.send_json({"Action": "Start", "Payload": {"DriveId": drive["DriveId"]}})
                for _ in range(pieces):
                    await socket.send_bytes(bytes(1 << 20))
                await socket.send_json({"Action": "Stop", "Payload": {"DriveId": drive["DriveId"]}})
                await eventually(lambda: drives[-1].stopped)
            await vendor.do("InterruptDriveTask", {"TaskId": task})
        assert [bool(drive.pcm) for drive in drives] == [False, False, True, True]
        assert sum(len(drive.pcm) for drive in drives) <= MAX_AUDIO


async def test_what_was_delivered_keeps_no_second_copy_of_itself() -> None:
    async with Sandbox() as sandbox:
        delivery = sandbox.emit("UserAudioData", "7")
        assert delivery.content == b""
        assert len(delivery.body["Data"]["Audio"]) > 40_000


# --- time ------------------------------------------------------------------------------------------------------------


async def test_a_clock_that_stands_moves_by_the_test_alone() -> None:
    async with Sandbox(time=1_800_000_000.0, seed=1) as sandbox:
        assert sandbox.clock.now() == 1_800_000_000.0
        await sandbox.clock.advance(0.5)
        assert sandbox.clock.now() == 1_800_000_000.5
        assert sandbox.emit("AgentInstanceStatus", "7").body["Timestamp"] == 1_800_000_000_500


class Receiver:
    """Takes callbacks on loopback."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []

    async def handle(self, request: web.BaseRequest) -> web.Response:
        self.bodies.append(await request.json())
        return web.Response()


async def day(instances: int, seed: int | None) -> list[dict[str, Any]]:
    """The callbacks of a day on which so many visitors come, one after the other."""
    receiver = Receiver()
    runner = web.ServerRunner(web.Server(receiver.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    start = 1_800_000_000.0
    settings: dict[str, Any] = {"quota": None, "rate_limit": None, "pace": Pace(), "callback_url": url}
    try:
        async with Sandbox(time=start, seed=seed, **settings) as sandbox:
            do(sandbox, "RegisterAgent", {"AgentId": "agent"})
            for number in range(instances):
                do(sandbox, "CreateAgentInstance", voice(number))
                await sandbox.clock.advance(86_400 / instances)
            await sandbox.clock.advance(200)
            assert sandbox.clock.now() == pytest.approx(start + 86_600)
            assert not sandbox.app.instances
    finally:
        await runner.cleanup()
    return receiver.bodies


@pytest.mark.slow
async def test_a_whole_day_of_two_thousand_instances_runs_in_seconds() -> None:
    bodies = await day(2000, seed=7)
    assert Counter(body["Event"] for body in bodies) == {"AgentInstanceCreated": 2000, "AgentInstanceDeleted": 2000}
    assert {body["Data"]["Code"] for body in bodies if body["Event"] == "AgentInstanceDeleted"} == {1202}
    created, deleted = ([body for body in bodies if body["Event"] == f"AgentInstance{end}"] for end in ("Created", "Deleted"))
    for first, last in zip(created, deleted, strict=True):
        assert last["Timestamp"] - first["Timestamp"] == pytest.approx(119_800, abs=2)  # MaxIdleTime, less the joining


async def test_a_seed_makes_a_day_repeatable_to_the_letter() -> None:
    first, again, other = await day(40, seed=3), await day(40, seed=3), await day(40, seed=4)
    assert first == again
    assert [body["Nonce"] for body in first] != [body["Nonce"] for body in other]
    assert (await day(2, seed=None))[0]["Nonce"] != (await day(2, seed=None))[0]["Nonce"]


async def test_request_ids_and_tokens_follow_the_seed_too() -> None:
    async def ids(seed: int) -> list[str]:
        async with Sandbox(time=1_800_000_000.0, seed=seed, rate_limit=None) as sandbox, aiohttp.ClientSession() as session:
            vendor = VendorClient(sandbox.url, sandbox.app_id, sandbox.server_secret, session, sandbox.clock.now)
            task = await vendor.task()
            await sandbox.clock.advance(1)
            drive = await vendor.do("DriveByWsStream", {"TaskId": task})
            answer = await vendor.call("ListAgents")
            return [task, drive["DriveId"], drive["WssAddress"].partition("Token=")[2], answer["RequestId"]]

    assert await ids(1) == await ids(1)
    assert not set(await ids(1)) & set(await ids(2))
