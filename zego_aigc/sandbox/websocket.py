"""The WebSocket that feeds a drive: Start, PCM in binary frames, Stop. Misuse closes it with a reason."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import WSMsgType, web

if TYPE_CHECKING:
    from zego_aigc.sandbox.app import App
    from zego_aigc.sandbox.drives import SandboxDrive
    from zego_aigc.sandbox.streams import SandboxTask

__all__ = ["CLOSE_CODES", "feed"]

CLOSE_CODES = {
    1000: "Stop was received",
    4000: "a message breaks the protocol",
    4001: "the drive was interrupted",
    4003: "no such drive, or the token is not its own",
    4009: "the drive has a connection already, or had one",
}
"""How the sandbox closes the connection. The vendor documents no codes."""


FORMATS: dict[str, tuple[int, ...]] = {"SampleRate": (16000, 24000), "Channel": (1, 2), "VoiceChannel": (0, 1, 2)}
"""What Start may say about the sound, as far as the vendor's page prints it."""

MAX_FRAME = 1 << 20
"""Bytes of sound in one message: more than ten seconds."""


class _Misuse(Exception):
    """What the sender did that it must not do."""


async def feed(request: web.BaseRequest, apps: Mapping[int, App]) -> web.StreamResponse:
    """Take a connection for a drive and hold it until Stop, misuse, or the end of the drive."""
    socket = web.WebSocketResponse(
        max_msg_size=4 * MAX_FRAME
    )  # over one MAX_FRAME is refused with a reason, over this it is not even read
    await socket.prepare(request)
    query = request.rel_url.query
    found = _find(apps, query.get("Token", ""))
    if found is None:
        await socket.close(code=4003, message=CLOSE_CODES[4003].encode())
        return socket
    task, drive = found
    if drive.hang_up is not None or drive.close_code is not None:
        await socket.close(code=4009, message=CLOSE_CODES[4009].encode())
        return socket
    cut: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
    drive.hang_up = lambda code, reason: None if cut.done() else cut.set_result((code, reason))
    receiving = asyncio.ensure_future(_receive(socket, task, drive))
    try:
        await asyncio.wait([receiving, cut], return_when=asyncio.FIRST_COMPLETED)
        code, reason = receiving.result() if receiving.done() else cut.result()
    finally:
        drive.hang_up = None
        receiving.cancel()
        await asyncio.wait([receiving])
    drive.close_code, drive.close_reason = code, reason
    task.finish(drive, task.account.clock.now(), failed=code != 1000)
    await socket.close(code=code, message=reason.encode()[:123])
    return socket


def _find(apps: Mapping[int, App], token: str) -> tuple[SandboxTask, SandboxDrive] | None:
    given = token.encode("utf-8", "replace")
    for app in apps.values():
        for task in app.tasks.values():
            drive = task.current
            if drive is not None and drive.token and hmac.compare_digest(drive.token.encode(), given):
                return task, drive
    return None


async def _receive(socket: web.WebSocketResponse, task: SandboxTask, drive: SandboxDrive) -> tuple[int, str]:
    """Take in messages. The code and reason with which to close."""
    try:
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                _take_audio(task, drive, message.data)
            elif message.type is WSMsgType.TEXT and _execute(drive, message.data):
                return 1000, CLOSE_CODES[1000]
    except _Misuse as error:
        return 4000, str(error)
    return 1006, "the connection was closed before Stop"  # whatever code the sender gave: only Stop ends a drive well


def _take_audio(task: SandboxTask, drive: SandboxDrive, data: bytes) -> None:
    if drive.start is None:
        raise _Misuse("audio came before Start")
    if len(data) > MAX_FRAME:
        raise _Misuse(f"a frame of {len(data)} bytes is too large; send up to {MAX_FRAME} at once")
    drive.pcm += data
    drive.frames += 1
    if drive.frames == 1:
        task.speaks(drive, task.account.clock.now())


def _execute(drive: SandboxDrive, text: str) -> bool:
    """Carry out a command; whether it was Stop."""
    try:
        command: Any = msgspec.json.decode(text)
        action, payload = command["Action"], command["Payload"]
        drive_id = payload["DriveId"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise _Misuse("a command is JSON with Action and Payload, and its Payload has a DriveId") from error
    if drive_id != drive.drive_id:
        raise _Misuse(f"DriveId must be {drive.drive_id}")
    match action:
        case "Start" if drive.start is None:
            drive.start = _format(payload)
        case "Start":
            raise _Misuse("Start came twice")
        case "Stop" if drive.start is None:
            raise _Misuse("Stop came before Start")
        case "Stop":
            return True
        case _:
            raise _Misuse("Action must be Start or Stop")
    return False


def _format(payload: dict[str, Any]) -> dict[str, Any]:
    for name, known in FORMATS.items():
        value = payload.get(name)
        if value is not None and (type(value) is not int or value not in known):
            raise _Misuse(f"{name} must be {' or '.join(map(str, known))}")
    if payload.get("VoiceChannel") and payload.get("Channel") != 2:
        raise _Misuse("VoiceChannel chooses between two channels: Channel must be 2")
    return payload
