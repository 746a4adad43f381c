"""The WebSocket that feeds drives: Start, PCM in binary frames, Stop; then another Start, or the end of the connection.

Misuse closes it with a reason. After Stop the connection stays open for the next drive of its task, until the sender closes.
"""

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
    4000: "a message breaks the protocol",
    4001: "the drive was interrupted",
    4003: "no such drive, or the token is not its own",
    4009: "the drive has a connection already, or had one",
}
"""How the sandbox closes the connection. The vendor documents no codes."""

FORMATS: dict[str, tuple[int, ...]] = {"SampleRate": (16000, 24000), "Channel": (1, 2), "VoiceChannel": (0, 1, 2)}
"""What Start may say about the audio, as far as the vendor's page prints it."""

MAX_FRAME = 1 << 20
"""Bytes of audio in one message: more than ten seconds."""


class _Misuse(Exception):
    """What the sender did that it must not do."""


async def feed(request: web.BaseRequest, apps: Mapping[int, App]) -> web.StreamResponse:
    """Take a connection for drives and hold it until the sender closes, misuse, or an interruption."""
    # Over one MAX_FRAME is refused with a reason, over this it is not even read.
    socket = web.WebSocketResponse(max_msg_size=4 * MAX_FRAME)
    await socket.prepare(request)
    found = _find(apps, request.rel_url.query.get("Token", ""))
    if found is None:
        await socket.close(code=4003, message=CLOSE_CODES[4003].encode())
        return socket
    task, drive = found
    if drive.hang_up is not None or drive.connected:
        await socket.close(code=4009, message=CLOSE_CODES[4009].encode())
        return socket
    connection = _Connection(socket, task, drive)
    await connection.run()
    return socket


def _find(apps: Mapping[int, App], token: str) -> tuple[SandboxTask, SandboxDrive] | None:
    given = token.encode("utf-8", "replace")
    for app in apps.values():
        for task in app.tasks.values():
            drive = task.current
            if drive is not None and drive.token and hmac.compare_digest(drive.token.encode(), given):
                return task, drive
    return None


class _Connection:
    """One WebSocket: feeds one drive of a task after the other."""

    def __init__(self, socket: web.WebSocketResponse, task: SandboxTask, drive: SandboxDrive) -> None:
        self._socket = socket
        self._task = task
        self._interrupted: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._drive: SandboxDrive | None = None
        """The drive that is being fed; None between Stop and the next Start."""
        self._attach(drive)

    async def run(self) -> None:
        """Hold the connection until it ends."""
        receiving = asyncio.ensure_future(self._receive())
        try:
            await asyncio.wait([receiving, self._interrupted], return_when=asyncio.FIRST_COMPLETED)
            code, reason = receiving.result() if receiving.done() else self._interrupted.result()
        finally:
            drive = self._detach()
            receiving.cancel()
            await asyncio.wait([receiving])
        if drive is not None:  # whatever code the sender gave: only Stop ends a drive well
            drive.close_code, drive.close_reason = code, reason
            self._task.finish(drive, self._now(), failed=True)
        await self._socket.close(code=code, message=reason.encode()[:123])

    def _attach(self, drive: SandboxDrive) -> None:
        self._drive = drive
        drive.connected = True
        drive.hang_up = self._hang_up

    def _detach(self) -> SandboxDrive | None:
        drive, self._drive = self._drive, None
        if drive is not None:
            drive.hang_up = None
        return drive

    def _hang_up(self, code: int, reason: str) -> None:
        if not self._interrupted.done():
            self._interrupted.set_result((code, reason))

    def _now(self) -> float:
        return self._task.account.clock.now()

    async def _receive(self) -> tuple[int, str]:
        """Take in messages. The code and reason with which to close."""
        try:
            async for message in self._socket:
                if message.type is WSMsgType.BINARY:
                    self._take_audio(message.data)
                elif message.type is WSMsgType.TEXT:
                    self._execute(message.data)
        except _Misuse as error:
            return 4000, str(error)
        return (1000, "") if self._drive is None else (1006, "the connection was closed before Stop")

    def _take_audio(self, data: bytes) -> None:
        drive = self._drive
        if drive is None or drive.start is None:
            raise _Misuse("audio came before Start")
        if len(data) > MAX_FRAME:
            raise _Misuse(f"a frame of {len(data)} bytes is too large; send up to {MAX_FRAME} at once")
        drive.add_audio(data, self._now())
        if drive.frames == 1:
            self._task.speaks(drive, self._now())

    def _execute(self, text: str) -> None:
        try:
            command: Any = msgspec.json.decode(text)
            action, payload = command["Action"], command["Payload"]
            drive_id = payload["DriveId"]
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise _Misuse("a command is JSON with Action and Payload, and its Payload has a DriveId") from error
        match action:
            case "Start":
                self._start(drive_id, payload)
            case "Stop":
                self._stop(drive_id)
            case _:
                raise _Misuse("Action must be Start or Stop")

    def _start(self, drive_id: str, payload: dict[str, Any]) -> None:
        if self._drive is None:
            current = self._task.current
            if current is None or not current.token or current.drive_id != drive_id:
                raise _Misuse("DriveId must be that of the task's new drive: call DriveByWsStream before each Start")
            if current.connected:
                raise _Misuse("the drive has had its Start and Stop: call DriveByWsStream for another")
            self._attach(current)
        assert self._drive is not None
        if drive_id != self._drive.drive_id:
            raise _Misuse(f"DriveId must be {self._drive.drive_id}")
        if self._drive.start is not None:
            raise _Misuse("Start came twice")
        self._drive.start = _format(payload)

    def _stop(self, drive_id: str) -> None:
        if self._drive is None or self._drive.start is None:
            raise _Misuse("Stop came before Start")
        if drive_id != self._drive.drive_id:
            raise _Misuse(f"DriveId must be {self._drive.drive_id}")
        drive = self._detach()
        assert drive is not None
        drive.stopped = True
        self._task.all_sent(drive, self._now())


def _format(payload: dict[str, Any]) -> dict[str, Any]:
    for name, known in FORMATS.items():
        value = payload.get(name)
        if value is not None and (type(value) is not int or value not in known):
            raise _Misuse(f"{name} must be {' or '.join(map(str, known))}")
    if payload.get("VoiceChannel") and payload.get("Channel") != 2:
        raise _Misuse("VoiceChannel chooses between two channels: Channel must be 2")
    return payload
