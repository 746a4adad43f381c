"""Audio to a digital human over a WebSocket: Start, PCM frames, Stop."""

from __future__ import annotations

import asyncio
import math
import ssl
import wave
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import aiohttp
import anyio
import msgspec
import yarl

from zego_aigc.errors import ConfigurationError, ConnectFailed, InvalidRequest, Problem, TimedOut, TransportError
from zego_aigc.transport.http import reason
from zego_aigc.transport.pcm import AudioFormat, Converter

if TYPE_CHECKING:
    from types import TracebackType

    from zego_aigc.digitalhuman import WsDrive
    from zego_aigc.transport.pool import SessionPool

__all__ = ["AudioBlock", "AudioStream", "DriveSSL", "open_audio"]

DriveSSL = bool | ssl.SSLContext | aiohttp.Fingerprint
"""How the certificate of an audio WebSocket is checked: True as usual, False not at all, or by a context or fingerprint."""

OPEN_TIMEOUT = 10.0
"""Seconds that the WebSocket may take to open."""

WRITE_TIMEOUT = 10.0
"""Seconds for which the service may take no audio before a write gives up."""

CLOSE_TIMEOUT = 5.0
"""Seconds that Stop and the closing handshake may take."""

MAX_FRAME = 4096
"""Bytes in a frame; the vendor's sample sends as many every 100 ms."""

LEAD = 0.5
"""Seconds that audio sent at the speed of speech may be ahead of it, so that a hiccup on the way is not heard."""


class AudioStream:
    """An open WebSocket that takes PCM.

    The service plays what it has and then waits, stuttering, for more: write at the pace of speech or faster, and leave
    the ``async with`` block (which sends Stop) as soon as the last of it is written. What the service says by closing the
    WebSocket is raised by the next write, or at the end of the block where nothing was written any more.
    """

    def __init__(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        drive_id: str,
        source: AudioFormat,
        target: AudioFormat,
        *,
        pace: bool,
        write_timeout: float,
        over: Callable[[str, float], Awaitable[object]],
    ) -> None:
        self._socket = socket
        self.drive_id: str = drive_id
        """The DriveId, which callbacks name."""
        self.format: AudioFormat = source
        """What :meth:`write` takes."""
        self._target = target
        self._converter = Converter(source, target)
        self._pace = pace
        self._write_timeout = write_timeout
        self._over = over
        self._sent = 0
        self._begun = -math.inf  # when speech would have begun to last until now without a pause, by the loop's clock
        self._writing = False
        self._stopped = False
        self._stuck = False  # the service takes nothing: neither Stop nor a closing handshake would come through
        self._closed: tuple[int | None, str] | None = None
        self._raised = False  # and a write has said so
        self._reader = asyncio.ensure_future(self._read())

    # --- what is sent

    @property
    def seconds(self) -> float:
        """How much audio was sent, in seconds of speech."""
        return self._target.seconds(self._sent)

    async def write(self, pcm: bytes | bytearray | memoryview) -> None:
        """Send PCM bytes of any length; samples cut in half by it are joined again.

        With ``pace=True`` it returns when the last of them may be half a second ahead of speech.

        Raises:
            TransportError: the service closed the WebSocket; the message holds its code and reason.
            TimedOut: the service takes no audio.
            ConfigurationError: another task is writing, or Stop was sent.
            TypeError: it is no bytes.
        """
        with self._only_writer():
            await self._send(self._converter.feed(_checked_pcm(pcm)))

    async def write_from(self, chunks: AsyncIterable[bytes | bytearray | memoryview]) -> None:
        """Send PCM as it comes from an asynchronous iterator, such as a speech synthesizer's.

        Raises:
            TransportError: as :meth:`write`.
        """
        with self._only_writer():
            async for pcm in chunks:
                await self._send(self._converter.feed(_checked_pcm(pcm)))

    async def write_wav(self, path: str | Path) -> None:
        """Send a WAV file of PCM, whatever its sample rate, width and channels are.

        Raises:
            TransportError: as :meth:`write`.
            InvalidRequest: it is no WAV file of PCM, or one of more than two channels.
            ConfigurationError: it has another format than the drive, and the extra ``audio`` is not installed.
            OSError: it cannot be read.
        """
        with self._only_writer():
            try:
                file = await anyio.to_thread.run_sync(wave.open, str(path), "rb")
            except (wave.Error, EOFError) as error:
                raise _unusable_file(path, str(error) or "it is cut short") from None
            with file:
                source = AudioFormat(file.getframerate(), file.getsampwidth(), file.getnchannels())
                if problems := list(source.problems()):
                    raise _unusable_file(path, "; ".join(problems))
                converter = Converter(source, self._target)
                while chunk := await anyio.to_thread.run_sync(file.readframes, source.sample_rate // 5 or 1):
                    await self._send(converter.feed(chunk))
                await self._send(converter.feed(b"", last=True))

    async def stop(self) -> None:
        """Send what is left, and Stop: nothing can be written after it. The end of the ``async with`` block does it too.

        Raises:
            TransportError: as :meth:`write`.
        """
        if self._stopped:
            return
        with self._only_writer():
            await self._send(self._converter.feed(b"", last=True))
            self._stopped = True
            await self._command({"Action": "Stop", "Payload": {"DriveId": self.drive_id}})

    async def finished(self, *, timeout: float | None = None) -> None:
        """Send Stop and wait until the digital human has spoken all of it, which a callback says.

        Args:
            timeout: seconds; half a minute more than the audio lasts unless given.

        Raises:
            TimedOut: no callback said so in time; they have to be handed to :meth:`zego_aigc.Client.observe`.
            ZegoError: the drive failed.
        """
        await self.stop()
        await self._over(self.drive_id, self.seconds + 30.0 if timeout is None else timeout)

    async def start(self, payload: Mapping[str, object]) -> None:
        """Say what will come; :func:`open_audio` has done it."""
        await self._command({"Action": "Start", "SequenceID": self.drive_id, "Payload": payload})

    @contextmanager
    def _only_writer(self) -> Generator[None, None, None]:
        if self._writing:
            raise ConfigurationError(
                f"two tasks write to the audio of drive {self.drive_id}, and their samples would mix: let one of them write, "
                "or give each a drive of its own"
            )
        if self._stopped:
            raise ConfigurationError(f"Stop was sent to drive {self.drive_id}: start a new drive for further audio")
        self._writing = True
        try:
            yield
        finally:
            self._writing = False

    async def _send(self, audio: bytes) -> None:
        now = asyncio.get_running_loop().time
        for start in range(0, len(audio), MAX_FRAME):
            # Where the audio itself came late, the service has played all of it by now: what follows begins anew.
            self._begun = max(self._begun, now() - self.seconds)
            frame = audio[start : start + MAX_FRAME]
            await self._bounded(partial(self._socket.send_bytes, frame))
            self._sent += len(frame)
            if self._pace and (ahead := self._begun + self.seconds - LEAD - now()) > 0:
                await asyncio.sleep(ahead)

    async def _command(self, command: dict[str, object]) -> None:
        await self._bounded(partial(self._socket.send_str, msgspec.json.encode(command).decode()))

    async def _bounded(self, send: Callable[[], Awaitable[None]]) -> None:
        if self._closed is not None or self._socket.closed:
            self._raised = True
            raise self._broken()
        try:
            async with asyncio.timeout(self._write_timeout):
                await send()
        except TimeoutError:
            self._stuck = True
            raise TimedOut(
                f"the audio WebSocket of drive {self.drive_id} took nothing for {self._write_timeout:g} s: start a new drive",
                waited_for="write",
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            await asyncio.wait([self._reader], timeout=1.0)  # why it is closed may be on its way
            self._raised = True
            raise self._broken() from error

    # --- what comes back

    async def _read(self) -> None:
        """Read until the WebSocket closes: without that, no ping is answered and no close is seen."""
        while True:
            message = await self._socket.receive()
            match message.type:
                case aiohttp.WSMsgType.CLOSE:
                    self._closed = message.data, message.extra or ""
                    return
                case aiohttp.WSMsgType.CLOSING | aiohttp.WSMsgType.CLOSED | aiohttp.WSMsgType.ERROR:
                    if self._socket.close_code is not None:  # else finish() closes it, and the service has still to answer
                        self._closed = self._socket.close_code, ""
                    return
                case _:
                    pass  # the vendor documents no message

    def _broken(self) -> TransportError:
        code, why = self._closed or (self._socket.close_code, "")
        return TransportError(
            f"the audio WebSocket of drive {self.drive_id} was closed by the service (code {code}{f': {why}' if why else ''}) "
            f"after {self.seconds:.1f} s of audio: start a new drive for further audio",
            close_code=code,
            close_reason=why,
        )

    async def finish(self, *, failed: bool) -> None:
        """Stop and close.

        Args:
            failed: whether the block raised an error, which is then the one that matters. What a write has raised is not
                raised again.

        Raises:
            TransportError: the service closed the WebSocket before Stop, or refused what it got.
        """
        known = failed or self._raised
        cut = self._closed if not self._stopped else None
        error: TransportError | None = self._broken() if cut is not None else None
        with anyio.move_on_after(0 if self._stuck else CLOSE_TIMEOUT, shield=True):
            if cut is None and not self._stuck:
                try:
                    await self.stop()
                except (TransportError, ConfigurationError) as problem:
                    error = problem if isinstance(problem, TransportError) else None
            await self._socket.close()
        self._reader.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([self._reader])
        if error is None and (code := (self._closed or (self._socket.close_code, ""))[0]) is not None and code >= 3000:
            error = self._broken()  # codes from there on are an application's own: it says that something was wrong
        if error is not None and not known:
            raise error


class AudioBlock(AbstractAsyncContextManager[AudioStream]):
    """What is entered for an :class:`AudioStream`; what is done with it instead is answered with what to write."""

    def __init__(self, inside: AbstractAsyncContextManager[AudioStream]) -> None:
        self._inside = inside

    async def __aenter__(self) -> AudioStream:
        return await self._inside.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._inside.__aexit__(kind, error, traceback)

    if not TYPE_CHECKING:  # to a type checker, these stay the mistakes that they are

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"there is no {name} before it is open: {_HOW_TO_OPEN}")

        def __await__(self) -> NoReturn:
            raise ConfigurationError(f"audio is entered and not awaited: {_HOW_TO_OPEN}")

        def __enter__(self) -> NoReturn:
            raise TypeError(f"audio is asynchronous: {_HOW_TO_OPEN}")

        def __exit__(self, *_: object) -> None: ...


_HOW_TO_OPEN = "write 'async with task.open_audio(...) as audio:', and in the block 'await audio.write(pcm)'"


@asynccontextmanager
async def open_audio(
    pool: SessionPool,
    drive: WsDrive,
    target: AudioFormat,
    *,
    source: AudioFormat,
    voice_channel: int | None,
    pace: bool,
    write_timeout: float,
    drive_ssl: DriveSSL,
    over: Callable[[str, float], Awaitable[object]],
) -> AsyncGenerator[AudioStream, None]:
    """Open the WebSocket of a drive, send Start, and Stop at the end. See :meth:`zego_aigc.handles.StreamTask.open_audio`."""
    payload = {"DriveId": drive.drive_id, "SampleRate": target.sample_rate, "Channel": target.channels}
    if voice_channel is not None:
        payload["VoiceChannel"] = voice_channel
    socket = await _connected(pool, drive, drive_ssl)
    stream = AudioStream(socket, drive.drive_id, source, target, pace=pace, write_timeout=write_timeout, over=over)
    failed = True
    try:
        await stream.start(payload)
        yield stream
        failed = False
    finally:
        await stream.finish(failed=failed)


async def _connected(pool: SessionPool, drive: WsDrive, drive_ssl: DriveSSL) -> aiohttp.ClientWebSocketResponse:
    try:
        host = yarl.URL(drive.wss_address).host
    except ValueError:
        host = None
    # Neither the error's text nor the whole address is shown: it carries a token.
    failure = f"the audio WebSocket of drive {drive.drive_id} at {host or 'no host'} cannot be opened"
    try:
        async with asyncio.timeout(OPEN_TIMEOUT):
            return await pool.websocket(drive.wss_address, ssl=drive_ssl)
    except (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch, ssl.SSLError) as error:
        text = (
            f"{failure}: its certificate is not valid for it ({reason(error)}). The service hands out IP addresses, for which "
            "no certificate is made. Client(drive_ssl=...) sets what this WebSocket alone accepts: an aiohttp.Fingerprint, an "
            "ssl.SSLContext, or False for no check, and then others on the way can hear the audio and use the drive's token"
        )
    except (aiohttp.ClientError, OSError) as error:
        text = f"{failure}: {reason(error)}"
    raise ConnectFailed(text, host=host)


def _checked_pcm(pcm: bytes | bytearray | memoryview) -> bytes | bytearray | memoryview:
    # bytes(8) would be eight zeros, and bytes([1, 2, 3]) as many samples that nobody meant.
    if not isinstance(pcm, bytes | bytearray | memoryview):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"audio is written as the bytes of PCM samples, not as {type(pcm).__name__}: see AudioFormat")
    return pcm


def _unusable_file(path: str | Path, why: str) -> InvalidRequest:
    text = f"{path} is no WAV file of PCM with 1 or 2 channels ({why}): convert it, say with ffmpeg -ac 1 -c:a pcm_s16le"
    return InvalidRequest([Problem("path", "format", text)], action="DriveByWsStream")
