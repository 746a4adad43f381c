"""The WebSocket of a drive: Start, PCM, Stop; and what misuse meets."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from sandbox_fixtures import eventually, sandbox, vendor
from vendor_client import VendorClient

from zego_aigc.sandbox import Sandbox

__all__ = ["sandbox", "vendor"]

pytestmark = pytest.mark.anyio


@pytest.fixture
async def drive(sandbox: Sandbox, vendor: VendorClient) -> dict[str, str]:
    """The answer of a DriveByWsStream call."""
    task = await vendor.task()
    await sandbox.clock.advance(1)
    data: dict[str, str] = await vendor.do("DriveByWsStream", {"TaskId": task})
    return {**data, "TaskId": task}


def statuses(sandbox: Sandbox) -> list[int]:
    return [one.body["Detail"]["Status"] for one in sandbox.outbox.deliveries if one.event == "4"]


def start(drive: dict[str, str], **payload: Any) -> dict[str, Any]:
    return {"Action": "Start", "SequenceID": "1", "Payload": {"DriveId": drive["DriveId"], "SampleRate": 24000, **payload}}


async def finished(socket: aiohttp.ClientWebSocketResponse) -> tuple[int | None, str]:
    """Read until the sandbox closes. Its code and reason."""
    async with asyncio.timeout(60):
        message = await socket.receive()
    assert message.type is aiohttp.WSMsgType.CLOSE
    return socket.close_code, message.extra or ""


async def test_sound_between_start_and_stop_drives_the_task(
    sandbox: Sandbox, vendor: VendorClient, drive: dict[str, str]
) -> None:
    assert drive["WssAddress"].startswith("ws://127.0.0.1:")
    async with vendor.session.ws_connect(drive["WssAddress"]) as socket:
        await socket.send_json(start(drive, Channel=2, VoiceChannel=1))
        assert statuses(sandbox) == [1]
        await socket.send_bytes(b"\x01\x00" * 2048)
        await socket.send_bytes(b"\x02\x00" * 100)
        await socket.send_json({"Action": "Stop", "Payload": {"DriveId": drive["DriveId"]}})
        await eventually(lambda: sandbox.drives[drive["DriveId"]].stopped)
        assert statuses(sandbox) == [1, 2]
        await sandbox.clock.advance(4296 / (2 * 2 * 24000))  # both channels, 16 bits
        assert statuses(sandbox) == [1, 2, 4]
    recorded = sandbox.drives[drive["DriveId"]]
    assert bytes(recorded.pcm) == b"\x01\x00" * 2048 + b"\x02\x00" * 100
    assert recorded.frames == 2
    assert recorded.start == {"DriveId": drive["DriveId"], "SampleRate": 24000, "Channel": 2, "VoiceChannel": 1}
    assert (recorded.close_code, recorded.over) == (None, True)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([b"\x00\x00"], "audio came before Start"),
        (["not json"], "a command is JSON"),
        ([{"Action": "Start"}], "a command is JSON"),
        ([{"Action": "Start", "Payload": {"DriveId": "another"}}], "DriveId must be"),
        ([{"Action": "Stop", "Payload": {}}], "a command is JSON"),
        (["start", "start"], "Start came twice"),
        (["stop"], "Stop came before Start"),
        ([{"Action": "Sing", "Payload": {"DriveId": "mine"}}], "Action must be"),
        ([{"Action": "Start", "Payload": {"DriveId": "mine", "SampleRate": "16k"}}], "SampleRate"),
        ([{"Action": "Start", "Payload": {"DriveId": "mine", "SampleRate": 8000}}], "SampleRate must be 16000 or 24000"),
        ([{"Action": "Start", "Payload": {"DriveId": "mine", "Channel": True}}], "Channel must be 1 or 2"),
        (["start", bytes((1 << 20) + 1)], "a frame of 1048577 bytes is too large"),
        ([{"Action": "Start", "Payload": {"DriveId": "mine", "Channel": 3}}], "Channel"),
        ([{"Action": "Start", "Payload": {"DriveId": "mine", "Channel": 2, "VoiceChannel": 3}}], "VoiceChannel"),
        ([{"Action": "Start", "Payload": {"DriveId": "mine", "VoiceChannel": 1}}], "Channel must be 2"),
    ],
)
async def test_misuse_is_closed_with_a_reason(
    sandbox: Sandbox, vendor: VendorClient, drive: dict[str, str], messages: list[Any], reason: str
) -> None:
    async with vendor.session.ws_connect(drive["WssAddress"]) as socket:
        for message in messages:
            match message:
                case bytes():
                    await socket.send_bytes(message)
                case "start":
                    await socket.send_json(start(drive))
                case "stop":
                    await socket.send_json({"Action": "Stop", "Payload": {"DriveId": drive["DriveId"]}})
                case str():
                    await socket.send_str(message)
                case _:
                    if message.get("Payload", {}).get("DriveId") == "mine":
                        message["Payload"]["DriveId"] = drive["DriveId"]
                    await socket.send_json(message)
        code, said = await finished(socket)
    assert code == 4000
    assert reason in said
    assert sandbox.drives[drive["DriveId"]].close_reason == said
    assert statuses(sandbox)[-1] == 3


async def test_a_connection_that_ends_without_stop_fails_the_drive(
    sandbox: Sandbox, vendor: VendorClient, drive: dict[str, str]
) -> None:
    socket = await vendor.session.ws_connect(drive["WssAddress"])
    await socket.send_json(start(drive))
    await socket.send_bytes(b"\x00\x00")
    await socket.close()
    recorded = sandbox.drives[drive["DriveId"]]
    await eventually(lambda: recorded.over)
    assert statuses(sandbox) == [1, 2, 3]
    assert recorded.close_reason == "the connection was closed before Stop"


async def test_a_task_idles_until_sound_comes(sandbox: Sandbox, vendor: VendorClient) -> None:
    async def begin() -> dict[str, str]:
        task = await vendor.task(MaxIdleTime=30)
        await sandbox.clock.advance(1)
        return {"TaskId": task, **await vendor.do("DriveByWsStream", {"TaskId": task})}

    drive = await begin()
    async with vendor.session.ws_connect(drive["WssAddress"]) as socket:
        await socket.send_json(start(drive))
        await socket.send_bytes(b"\x00\x00")
        await eventually(lambda: sandbox.drives[drive["DriveId"]].pcm)
        await sandbox.clock.advance(60)
        assert sandbox.app.tasks[drive["TaskId"]].running
        await vendor.do("StopDigitalHumanStreamTask", {"TaskId": drive["TaskId"]})
    await sandbox.clock.advance(1)
    unheard = await begin()
    await sandbox.clock.advance(31)
    assert not sandbox.app.tasks[unheard["TaskId"]].running


async def test_a_wrong_token_opens_nothing(vendor: VendorClient, drive: dict[str, str]) -> None:
    async with vendor.session.ws_connect(f"{drive['WssAddress']}x") as socket:
        assert (await finished(socket))[0] == 4003
    async with vendor.session.ws_connect(drive["WssAddress"].partition("?")[0]) as socket:
        assert (await finished(socket))[0] == 4003


async def test_a_drive_takes_one_connection(vendor: VendorClient, drive: dict[str, str]) -> None:
    async with vendor.session.ws_connect(drive["WssAddress"]) as first:
        await first.send_json(start(drive))
        async with vendor.session.ws_connect(drive["WssAddress"]) as second:
            assert (await finished(second))[0] == 4009


async def test_a_new_drive_hangs_up_on_the_one_before(sandbox: Sandbox, vendor: VendorClient, drive: dict[str, str]) -> None:
    async with vendor.session.ws_connect(drive["WssAddress"]) as socket:
        await socket.send_json(start(drive))
        await socket.send_bytes(b"\x00\x00")
        await eventually(lambda: sandbox.drives[drive["DriveId"]].pcm)
        other = await vendor.do("DriveByWsStream", {"TaskId": drive["TaskId"]})
        assert (await finished(socket))[0] == 4001
    assert not sandbox.drives[other["DriveId"]].over
    assert statuses(sandbox) == [1, 2, 4, 1]


async def test_a_plain_get_of_the_websockets_address_is_refused(vendor: VendorClient, drive: dict[str, str]) -> None:
    async with vendor.session.get(drive["WssAddress"].replace("ws", "http", 1)) as got:
        assert got.status == 400


async def test_a_sandbox_closes_while_sound_is_streaming() -> None:
    async with Sandbox() as sandbox, aiohttp.ClientSession() as session:
        vendor = VendorClient(sandbox.url, sandbox.app_id, sandbox.server_secret, session, sandbox.clock.now)
        task = await vendor.task()
        await sandbox.clock.advance(1)
        data = await vendor.do("DriveByWsStream", {"TaskId": task})
        socket = await session.ws_connect(data["WssAddress"])
        await socket.send_json(start(data))
        await sandbox.aclose()
        async with asyncio.timeout(60):
            await socket.receive()
        await socket.close()
