"""Audio to a digital human over a WebSocket: Start, PCM frames, Stop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import anyio
import msgspec
import yarl

from zego_aigc.errors import ConnectFailed, InvalidRequest, Problem, TransportError
from zego_aigc.transport.http import reason

if TYPE_CHECKING:
    from zego_aigc.digitalhuman import WsDrive
    from zego_aigc.transport.pool import SessionPool

__all__ = ["AudioStream", "open_audio"]

OPENING = 10.0
"""Seconds that the WebSocket may take to open."""

CLOSING = 5.0
"""Seconds that Stop and the closing handshake may take."""

CHUNK = 4096
"""Bytes in a frame; the vendor's sample sends as many every 100 ms."""


class AudioStream:
    """An open WebSocket that takes 16-bit little-endian PCM.

    The service plays what it has and then waits, stuttering, for more: write at the pace of speech or faster, and leave
    the ``async with`` block (which sends Stop) as soon as the last of it is written.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, drive_id: str, frame: int) -> None:
        self._socket = socket
        self._frame = frame
        self._rest = b""
        self.drive_id = drive_id
        """The DriveId, which callbacks name."""

    async def write(self, pcm: bytes | bytearray | memoryview) -> None:
        """Send PCM bytes of any length; samples cut in half by it are joined again.

        Raises:
            TransportError: the service closed the WebSocket; the message holds its reason.
        """
        audio = self._rest + bytes(pcm)
        whole = len(audio) - len(audio) % self._frame
        self._rest = audio[whole:]
        for start in range(0, whole, CHUNK):
            await self._send(audio[start : min(start + CHUNK, whole)])

    async def start(self, payload: Mapping[str, object]) -> None:
        """Tell the service what will come; :func:`open_audio` has done it.

        Raises:
            TransportError: the service closed the WebSocket.
        """
        try:
            with anyio.fail_after(OPENING):
                await self._socket.send_str(_text({"Action": "Start", "SequenceID": self.drive_id, "Payload": payload}))
        except (aiohttp.ClientError, OSError) as error:
            raise self._broken() from error

    async def _send(self, frame: bytes) -> None:
        if self._socket.closed:
            raise self._broken()
        try:
            await self._socket.send_bytes(frame)
        except (aiohttp.ClientError, OSError) as error:
            raise self._broken() from error

    def _broken(self) -> TransportError:
        return TransportError(
            f"the audio WebSocket of drive {self.drive_id} was closed (code {self._socket.close_code}): "
            "start a new drive for further audio"
        )


@asynccontextmanager
async def open_audio(
    pool: SessionPool, drive: WsDrive, *, sample_rate: int, channels: int, voice_channel: int | None
) -> AsyncGenerator[AudioStream, None]:
    """Open the WebSocket of a drive, send Start, and Stop at the end.

    See :meth:`zego_aigc.handles.StreamTaskHandle.open_audio`.
    """
    if channels not in {1, 2}:
        raise InvalidRequest([Problem("Channel", "choice", f"must be 1 or 2 (got {channels})")], action="DriveByWsStream")
    payload = {"DriveId": drive.drive_id, "SampleRate": sample_rate, "Channel": channels}
    if voice_channel is not None:
        payload["VoiceChannel"] = voice_channel
    try:
        host = yarl.URL(drive.wss_address).host
    except ValueError:
        host = None
    try:
        with anyio.fail_after(OPENING):
            socket = await pool.websocket(drive.wss_address)
    except (aiohttp.ClientError, OSError) as error:
        # Neither the error's text nor the whole address: it carries a token.
        raise ConnectFailed(
            f"the audio WebSocket of drive {drive.drive_id} at {host or 'no host'} cannot be opened: {reason(error)}", host=host
        ) from None
    stream = AudioStream(socket, drive.drive_id, 2 * channels)
    try:
        await stream.start(payload)
        yield stream
    finally:
        with anyio.move_on_after(CLOSING, shield=True):
            try:
                if not socket.closed:
                    await socket.send_str(_text({"Action": "Stop", "Payload": {"DriveId": drive.drive_id}}))
            except (aiohttp.ClientError, OSError):
                pass
            await socket.close()


def _text(command: dict[str, object]) -> str:
    return msgspec.json.encode(command).decode()
