"""Audio over a WebSocket: what the service says by closing it, who may write, and how fast."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl
import time
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from requests_made import stream

from zego_aigc import Client, ConfigurationError, ConnectFailed, InvalidRequest, TimedOut, TransportError, ZegoError
from zego_aigc.callbacks import CallbackRouter, DriveStatus, Event
from zego_aigc.digitalhuman import DriveByWsStream
from zego_aigc.handles import StreamTaskHandle
from zego_aigc.sandbox import Sandbox
from zego_aigc.transport.audio import AudioStream
from zego_aigc.transport.pcm import AudioFormat, Converter

pytestmark = pytest.mark.anyio

Socket = Callable[[web.WebSocketResponse], Awaitable[None]]


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running


@pytest.fixture
async def task(sandbox: Sandbox) -> AsyncIterator[StreamTaskHandle]:
    async with sandbox.client() as client, client.stream_task(stream()) as task:
        yield task


@contextlib.asynccontextmanager
async def service(
    socket: Socket, *, autoping: bool = True, tls: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[StreamTaskHandle]:
    """A service whose audio WebSocket does as it is asked to: the sandbox keeps to the vendor's page."""
    done: list[asyncio.Event] = []

    async def api(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            address = f"{'wss' if tls else 'ws'}://127.0.0.1:{port}/?Token=hunter2"
            return web.json_response({"Code": 0, "Data": {"TaskId": "t", "DriveId": "d", "WssAddress": address}})
        response = web.WebSocketResponse(autoping=autoping)
        await response.prepare(request)
        over = asyncio.Event()
        done.append(over)
        try:
            await socket(response)
        finally:
            over.set()
        return response

    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", api)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    plain = web.TCPSite(runner, "127.0.0.1", 0)
    await plain.start()
    api_port = runner.addresses[0][1]
    port = api_port
    if tls is not None:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        port = runner.addresses[1][1]
    try:
        async with (
            Client(1, "s" * 32, digitalhuman_url=f"http://127.0.0.1:{api_port}", **options) as client,
            client.stream_task(stream()) as task,
        ):
            yield task
    finally:
        await runner.cleanup()


async def take_all(socket: web.WebSocketResponse) -> None:
    async for _ in socket:
        pass


async def start_comes(socket: web.WebSocketResponse) -> None:
    assert (await socket.receive_json())["Action"] == "Start"


# --- what the service says -------------------------------------------------------------------------------------------


async def test_a_stream_that_nothing_is_written_to_lives_on_since_pings_are_answered() -> None:
    answered = asyncio.Event()

    async def ping(socket: web.WebSocketResponse) -> None:
        await start_comes(socket)
        for _ in range(3):
            await socket.ping()
            assert (await socket.receive()).type is aiohttp.WSMsgType.PONG
        answered.set()
        await take_all(socket)

    async with service(ping, autoping=False) as task, task.open_audio() as audio, asyncio.timeout(60):
        await answered.wait()
        await audio.write(bytes(3200))


async def closed_with(socket: web.WebSocketResponse) -> None:
    await start_comes(socket)
    await socket.receive_bytes()
    await socket.close(code=4001, message=b"the drive was interrupted")


async def speak(
    task: StreamTaskHandle, *, after: Callable[[AudioStream], Awaitable[object]] | None = None, more: bool = False
) -> None:
    """Write some audio, wait until the service has closed the WebSocket, and then do as asked."""
    async with task.open_audio() as audio:
        await audio.write(bytes(3200))
        if after is not None:
            await after(audio)
        await asyncio.wait([audio._reader])
        if more:
            await audio.write(bytes(3200))


async def test_a_close_by_the_service_is_raised_by_the_next_write_with_its_code_and_reason() -> None:
    async with service(closed_with) as task:
        with pytest.raises(TransportError, match=r"code 4001: the drive was interrupted\) after 0\.1 s of audio") as caught:
            await speak(task, more=True)
    assert (caught.value.close_code, caught.value.close_reason) == (4001, "the drive was interrupted")
    assert any(frame.name == "write" for frame in caught.traceback)


async def test_a_close_by_the_service_is_raised_at_the_end_of_the_block() -> None:
    async with service(closed_with) as task:
        with pytest.raises(TransportError, match="code 4001") as caught:
            await speak(task)
    assert caught.value.close_code == 4001


async def test_what_a_write_has_raised_is_not_raised_at_the_end_of_the_block_again() -> None:
    async with service(closed_with) as task, task.open_audio() as audio:
        await audio.write(bytes(3200))
        await asyncio.wait([audio._reader])
        with pytest.raises(TransportError, match="code 4001"):
            await audio.write(bytes(3200))


@pytest.mark.parametrize("pcm", [8, [1, 2, 3], "pcm"])
async def test_what_is_no_bytes_is_no_audio(pcm: Any) -> None:
    async with service(take_all) as task, task.open_audio() as audio:
        with pytest.raises(TypeError, match="audio is written as the bytes of PCM samples, not as"):
            await audio.write(pcm)
        assert audio.seconds == 0


async def test_audio_that_is_not_entered_says_how_to(task: StreamTaskHandle) -> None:
    audio: Any = task.open_audio()
    how = r"write 'async with task\.open_audio\(\.\.\.\) as audio:'"
    with pytest.raises(AttributeError, match=f"no write before it is open: {how}"):
        await audio.write(b"")
    with pytest.raises(ConfigurationError, match=how):
        await audio
    with pytest.raises(TypeError, match=how), audio:
        pass


async def test_a_connection_that_is_cut_is_raised_too() -> None:
    async def cut(socket: web.WebSocketResponse) -> None:
        await start_comes(socket)
        await socket.receive_bytes()
        assert socket._req is not None
        assert socket._req.transport is not None
        socket._req.transport.abort()

    async with service(cut) as task:
        with pytest.raises(TransportError, match="closed by the service") as caught:
            await speak(task)
    assert caught.value.close_code in {1006, None}


async def test_the_blocks_own_error_is_the_one_that_matters() -> None:
    async def fail(audio: AudioStream) -> None:
        await asyncio.wait([audio._reader])
        raise RuntimeError("mine")

    async with service(closed_with) as task:
        with pytest.raises(RuntimeError, match="mine"):
            await speak(task, after=fail)


async def test_misuse_that_the_service_answers_only_after_stop_is_raised_too() -> None:
    async def strict(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT and "Stop" in message.data:
                await socket.close(code=4000, message=b"no audio came")

    async with service(strict) as task:
        with pytest.raises(TransportError, match="4000"):
            await speak(task, after=lambda audio: audio.stop())
        with pytest.raises(TransportError, match="4000"):  # in answer to the Stop of the block's end
            async with task.open_audio() as audio:
                await audio.write(bytes(3200))


async def test_a_drive_that_is_interrupted_says_so(sandbox: Sandbox, task: StreamTaskHandle) -> None:
    await sandbox.clock.advance(1)
    with pytest.raises(TransportError, match="the drive was interrupted"):
        await speak(task, after=lambda _: task.interrupt(), more=True)


async def test_a_cancelled_block_stops_the_drive(sandbox: Sandbox, task: StreamTaskHandle) -> None:
    await sandbox.clock.advance(1)
    opened = asyncio.Event()

    async def speak() -> None:
        async with task.open_audio() as audio:
            await audio.write(bytes(3200))
            opened.set()
            await asyncio.Event().wait()

    speaking = asyncio.create_task(speak())
    await opened.wait()
    speaking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await speaking
    (drive,) = sandbox.drives.values()
    await sandbox.clock.advance(1)
    assert drive.status is DriveStatus.ENDED  # and not FAILED, as a drive does whose WebSocket closes without a Stop
    assert len(asyncio.all_tasks()) < 20


# --- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_service_that_takes_nothing_ends_the_write() -> None:
    over = asyncio.Event()

    async def deaf(socket: web.WebSocketResponse) -> None:
        await over.wait()

    async with service(deaf) as task:
        with pytest.raises(TimedOut, match=r"took nothing for 0\.2 s") as caught:
            async with task.open_audio(write_timeout=0.2) as audio:
                await audio.write(bytes(64 << 20))
        over.set()
    assert caught.value.waited_for == "write"


async def test_two_writers_are_told_apart(sandbox: Sandbox, task: StreamTaskHandle) -> None:
    await sandbox.clock.advance(1)
    go = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(320)
        await go.wait()
        yield bytes(320)

    async with task.open_audio() as audio:
        first = asyncio.create_task(audio.write_from(slow()))
        await asyncio.sleep(0.01)
        for second in (audio.write(bytes(320)), audio.write_wav("any.wav"), audio.stop()):
            with pytest.raises(ConfigurationError, match="two tasks write"):
                await second
        go.set()
        await first
        await audio.stop()
        with pytest.raises(ConfigurationError, match="Stop was sent"):
            await audio.write(bytes(320))
        await audio.stop()
    (drive,) = sandbox.drives.values()
    assert len(drive.pcm) == 640


@pytest.mark.parametrize(
    ("options", "problems"),
    [
        ({"sample_rate": 8000}, ["SampleRate"]),
        ({"channels": 3, "sample_rate": 44100}, ["SampleRate", "Channel"]),
        ({"voice_channel": 3}, ["VoiceChannel"]),
        ({"voice_channel": 1}, ["VoiceChannel"]),
        ({"source": AudioFormat(0, 5, 9)}, ["source", "source", "source"]),
    ],
)
async def test_what_the_service_does_not_take_is_refused_before_a_drive_is_started(
    sandbox: Sandbox, task: StreamTaskHandle, options: dict[str, Any], problems: list[str]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        async with task.open_audio(**options):
            pass
    assert [problem.path for problem in caught.value.problems] == problems
    assert sandbox.received(DriveByWsStream) == []


@pytest.mark.slow
async def test_with_pace_audio_is_sent_at_the_speed_of_speech(sandbox: Sandbox, task: StreamTaskHandle) -> None:
    await sandbox.clock.advance(1)
    async with task.open_audio(pace=True) as audio:
        began = time.monotonic()
        await audio.write(bytes(16_000 * 2))
        assert time.monotonic() - began >= 0.4  # a second of speech, less half a second that may be ahead
        began = time.monotonic()
        await asyncio.sleep(1.2)  # all of it was played, and more
        await audio.write(bytes(12_800))
        assert audio.seconds == pytest.approx(1.4)
        assert audio._begun >= began - 1.0  # the pause is not caught up on


# --- formats ---------------------------------------------------------------------------------------------------------


def tone(rate: int, width: int, channels: int, seconds: float = 1.0, hertz: float = 440.0) -> bytes:
    wave_ = np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate) * 0.5
    both = np.repeat(wave_[:, None], channels, axis=1).reshape(-1)
    if width == 1:
        return (both * 127 + 128).astype(np.uint8).tobytes()
    values = (both * (2 ** (8 * width - 1) - 1)).astype("<i4")
    return (
        b"".join(int(value).to_bytes(4, "little", signed=True)[:width] for value in values)
        if width == 3
        else values.astype(f"<i{width}").tobytes()
    )


def pitch(pcm: bytes, rate: int) -> tuple[float, float]:
    samples = np.frombuffer(pcm, "<i2").astype(float)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * rate / len(samples), float(np.max(np.abs(samples)) / 32768)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("target", [AudioFormat(16000), AudioFormat(24000, 2, 2)], ids=["16000", "24000 stereo"])
def test_any_rate_and_width_comes_out_as_the_same_sound(width: int, rate: int, channels: int, target: AudioFormat) -> None:
    converter = Converter(AudioFormat(rate, width, channels), target)
    pcm = tone(rate, width, channels)
    out = b"".join(converter.feed(pcm[at : at + 1001]) for at in range(0, len(pcm), 1001)) + converter.feed(b"", last=True)
    assert target.seconds(len(out)) == pytest.approx(1.0, abs=0.01)
    left = np.frombuffer(out, "<i2").reshape(-1, target.channels)[:, 0].tobytes()
    found, loudness = pitch(left, target.sample_rate)
    assert found == pytest.approx(440, abs=3)
    assert loudness == pytest.approx(0.5, abs=0.02)


@given(st.binary(max_size=400), st.lists(st.integers(1, 50)), st.sampled_from([1, 2]))
def test_between_equal_formats_the_bytes_are_the_same_however_they_are_cut(pcm: bytes, cuts: list[int], channels: int) -> None:
    same = AudioFormat(16000, 2, channels)
    converter = Converter(same, same)
    out, at = b"", 0
    for cut in cuts:
        piece = converter.feed(pcm[at : at + cut])
        assert len(piece) % same.frame == 0
        out, at = out + piece, at + cut
    out += converter.feed(pcm[at:], last=True)
    assert out == pcm[: len(pcm) - len(pcm) % same.frame]


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=50))
def test_loud_samples_are_cut_and_do_not_wrap_around(values: list[int]) -> None:
    converter = Converter(AudioFormat(16000, 4), AudioFormat(16000))
    out = np.frombuffer(converter.feed(np.array(values, "<i4").tobytes()), "<i2").astype(int)
    for sample, value in zip(out, values, strict=True):
        assert abs(int(sample) - min(value / 65536, 32767)) <= 1


def test_two_channels_become_their_mean_and_one_becomes_two() -> None:
    mono, stereo = AudioFormat(16000), AudioFormat(16000, 2, 2)
    mixed = Converter(stereo, mono).feed(np.array([100, 300, -50, -50], "<i2").tobytes())
    assert np.frombuffer(mixed, "<i2").tolist() == [200, -50]
    doubled = Converter(mono, stereo).feed(np.array([7, -7], "<i2").tobytes())
    assert np.frombuffer(doubled, "<i2").tolist() == [7, 7, -7, -7]


async def test_a_wav_file_and_an_iterator_are_sent_whatever_their_format_is(
    sandbox: Sandbox, task: StreamTaskHandle, tmp_path: Path
) -> None:
    path = tmp_path / "speech.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(3)
        file.setframerate(48000)
        file.writeframes(tone(48000, 3, 2))

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, 22050 * 4, 999):
            yield tone(22050, 4, 1)[at : at + 999]

    await sandbox.clock.advance(1)
    async with task.open_audio(sample_rate=24000, source=AudioFormat(22050, 4)) as audio:
        await audio.write_wav(path)
        assert audio.seconds == pytest.approx(1.0, abs=0.01)
        await audio.write_from(chunks())
    (drive,) = sandbox.drives.values()
    assert drive.start is not None
    assert drive.start["SampleRate"] == 24000
    assert len(drive.pcm) / 48000 == pytest.approx(2.0, abs=0.02)
    assert pitch(bytes(drive.pcm[:48000]), 24000)[0] == pytest.approx(440, abs=3)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"ID3 an mp3", b"RIFF\x24\x00\x00\x00WAVEfmt "])
async def test_a_file_that_is_no_wav_is_refused_and_says_what_to_do(
    sandbox: Sandbox, task: StreamTaskHandle, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "speech.wav").write_bytes(content)
    await sandbox.clock.advance(1)
    async with task.open_audio() as audio:
        with pytest.raises(InvalidRequest, match="ffmpeg"):
            await audio.write_wav(tmp_path / "speech.wav")
        with pytest.raises(FileNotFoundError):
            await audio.write_wav(tmp_path / "none.wav")
        await audio.write(bytes(320))


# --- the end ---------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def with_callbacks(sandbox: Sandbox, client: Client) -> AsyncIterator[CallbackRouter]:
    router = CallbackRouter(secret=sandbox.app.callback_secret, reorder_wait=0)
    router.on(Event)(client.observe)
    app = web.Application()
    app.router.add_post("/callbacks", router.aiohttp_handler)
    app.cleanup_ctx.append(router.aiohttp_context)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sandbox.app.callback_url = "http://{}:{}/callbacks".format(*runner.addresses[0][:2])
    try:
        yield router
    finally:
        sandbox.app.callback_url = None
        await runner.cleanup()


async def test_finished_waits_until_it_was_spoken(sandbox: Sandbox) -> None:
    async with sandbox.client() as client, with_callbacks(sandbox, client), client.stream_task(stream()) as task:
        await sandbox.clock.advance(1)
        async with task.open_audio() as audio:
            await audio.write(bytes(3200))
            await audio.finished()
        await audio.finished()  # it is remembered
        await task.drive_finished(audio.drive_id, timeout=60)


async def test_a_drive_that_fails_is_not_finished(sandbox: Sandbox) -> None:
    async with sandbox.client() as client, with_callbacks(sandbox, client), client.stream_task(stream()) as task:
        await sandbox.clock.advance(1)
        sandbox.emit("drive", task.id, DriveId="d", Status=3)
        with pytest.raises(ZegoError, match="failed"):
            await task.drive_finished("d", timeout=60)


async def test_without_callbacks_finished_says_how_they_come(sandbox: Sandbox, task: StreamTaskHandle) -> None:
    await sandbox.clock.advance(1)
    async with task.open_audio() as audio:
        with pytest.raises(TimedOut, match=r"router\.on\(DriveEvent\)\(client\.observe\)") as caught:
            await audio.finished(timeout=0.01)
    assert caught.value.waited_for == "callback"


# --- its certificate -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A certificate as the service's IP addresses have it: nobody's. The file, and its DER form."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "audio")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "audio.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path, made.public_bytes(serialization.Encoding.DER)


@pytest.fixture
def tls(certificate: tuple[Path, bytes]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[0])
    return context


async def test_a_certificate_that_nobody_vouches_for_is_refused_and_the_error_names_the_setting(tls: ssl.SSLContext) -> None:
    async with service(take_all, tls=tls) as task:
        with pytest.raises(ConnectFailed, match=r"Client\(drive_ssl=") as caught:
            async with task.open_audio():
                pass
    assert "hunter2" not in f"{caught.value!r} {caught.value} {caught.value.__context__!r}"
    assert caught.value.host == "127.0.0.1"


@pytest.mark.parametrize("way", ["unchecked", "fingerprint", "context"])
async def test_what_the_audio_alone_accepts_can_be_set(way: str, tls: ssl.SSLContext, certificate: tuple[Path, bytes]) -> None:
    path, der = certificate
    ways: dict[str, Any] = {
        "unchecked": False,
        "fingerprint": aiohttp.Fingerprint(sha256(der).digest()),
        "context": ssl.create_default_context(cafile=path),
    }
    async with service(take_all, tls=tls, drive_ssl=ways[way]) as task, task.open_audio() as audio:
        await audio.write(bytes(3200))
        assert isinstance(audio, AudioStream)


async def test_another_certificate_than_the_one_that_is_pinned_is_refused(tls: ssl.SSLContext) -> None:
    async with service(take_all, tls=tls, drive_ssl=aiohttp.Fingerprint(bytes(32))) as task:
        with pytest.raises(ConnectFailed, match="drive_ssl"):
            async with task.open_audio():
                pass


async def test_a_sound_file_of_more_than_two_channels_is_refused(
    sandbox: Sandbox, task: StreamTaskHandle, tmp_path: Path
) -> None:
    with wave.open(str(tmp_path / "six.wav"), "wb") as file:
        file.setnchannels(6)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes(b"\0" * 1200)
    await sandbox.clock.advance(1)
    async with task.open_audio(sample_rate=24000) as audio:
        with pytest.raises(InvalidRequest, match="channel"):
            await audio.write_wav(tmp_path / "six.wav")
