"""What one instance, one handler or one stranger does to all others: nothing."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import time
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web
from callback_requests import SECRET, Recorder, body_of, over_aiohttp, until

from zego_aigc.callbacks import ASRResult, CallbackRouter, Event, LLMResult, UserAudioData

pytestmark = pytest.mark.anyio


class PanicException(BaseException):
    """As extensions written in Rust raise it."""


class Wrecked(Exception):
    pass


ABNORMAL: list[BaseException] = [
    PanicException("index out of bounds"),
    GeneratorExit(),
    asyncio.CancelledError(),
    Wrecked("broken"),
    ExceptionGroup("several", [ValueError("a")]),
    TimeoutError("a database's own"),
]


@pytest.mark.parametrize("error", ABNORMAL, ids=lambda error: type(error).__name__)
async def test_whatever_a_handler_raises_the_others_go_on(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0)
    under_way, go = asyncio.Event(), asyncio.Event()
    handled: list[str] = []

    @router.on(LLMResult)
    async def handle(event: LLMResult) -> None:
        if event.data.text == "bad":
            raise error
        if event.data.text == "slow":
            under_way.set()
            await go.wait()
        handled.append(f"{event.agent_instance_id} {event.data.text}")

    async with router:
        router.receive(body_of("slow", instance="good"))
        await under_way.wait()
        router.receive(body_of("bad", instance="bad"))
        await until(lambda: router.stats().failed)
        go.set()
        for name in ("bad", "good", "new"):
            assert router.receive(body_of("next", instance=name)).status == 200
    assert sorted(handled) == ["bad next", "good next", "good slow", "new next"]
    assert "handle" in caplog.text
    assert router.stats().failed == 1


async def test_a_handler_that_makes_something_else_of_its_cancellation_does_not_hold_up_the_exit() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0, close_timeout=0.01)
    begun: list[str] = []

    @router.on(LLMResult)
    async def stubborn(event: LLMResult) -> None:
        begun.append(event.data.text)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("not me") from None

    async with router:
        router.receive(body_of("a"))
        router.receive(body_of("b"))
        await asyncio.sleep(0.01)
    assert begun == ["a"]


async def test_a_handler_that_takes_too_long_is_cancelled_and_the_next_event_handled(caplog: pytest.LogCaptureFixture) -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0, handler_timeout=0.05)
    recorder = Recorder(router)

    @router.on(LLMResult)
    async def hangs(event: LLMResult) -> None:
        if event.data.text == "private":
            await asyncio.Event().wait()

    async with router:
        router.receive(body_of("private"))
        router.receive(body_of("next"))
        assert await recorder.texts(2) == ["private", "next"]
    assert "handler_timeout=0.05" in caplog.text
    assert "private" not in caplog.text
    stats = router.stats()
    assert (stats.timed_out, stats.failed, stats.handled) == (1, 1, 3)
    assert stats.handler_seconds >= 0.05


@pytest.mark.parametrize("bound", ["capacity", "capacity_bytes"])
async def test_instances_that_hang_leave_a_share_to_those_that_have_nothing_in_hand(bound: str) -> None:
    size = len(body_of("x", instance="hung00", sequence=10))
    most = 100 if bound == "capacity" else 100 * size
    router = CallbackRouter(secret=SECRET, reorder_wait=0, per_subject=10, close_timeout=0, **{bound: most})  # type: ignore[arg-type] # the name varies
    served: list[str] = []

    @router.on(LLMResult)
    async def handle(event: LLMResult) -> None:
        if event.agent_instance_id.startswith("hung"):
            await asyncio.Event().wait()  # a database that never answers
        served.append(event.agent_instance_id)

    async with router:
        for number in range(11):
            for instance in range(10):
                router.receive(body_of("x", instance=f"hung{instance:02}", sequence=number + 10))
        assert 85 <= router.stats().in_hand <= 91
        assert router.ready
        for healthy in range(20):
            assert router.receive(body_of("x", instance=f"well{healthy:02}")).status == 200
            await asyncio.sleep(0.001)
        await until(lambda: len(served) == 20)
        assert router.stats().refused["full"] >= 19


async def test_what_is_in_hand_is_bounded_in_bytes() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0, capacity_bytes=1 << 20, close_timeout=0)

    @router.on(Event)
    async def hangs(event: Event) -> None:
        await asyncio.Event().wait()

    async with router:
        answers = [router.receive(body_of("x" * 100_000, instance=f"i{number}")).status for number in range(50)]
        assert answers.count(200) == 10
        assert router.stats().in_hand_bytes <= 1 << 20
        assert not router.ready or router.stats().in_hand_bytes < 1 << 20


async def test_a_body_larger_than_what_may_be_in_hand_is_taken_where_nothing_else_is() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0, capacity_bytes=10)
    recorder = Recorder(router)
    async with router:
        assert router.receive(body_of("alone")).status == 200
    assert await recorder.texts(1) == ["alone"]


# --- strangers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [b"%41", b"\\u0041", b"[],", b'{"a":'])
async def test_twenty_large_unsigned_bodies_a_second_do_not_hold_up_another_route(text: bytes) -> None:
    """The time that each costs is measured, and not how long the others wait: that is the machine's business too."""
    router = CallbackRouter(secret=SECRET)
    for start in (b"", b"%7B", b'{"a":"', b'{"a":['):
        body = (start + text * (router.max_body // len(text)))[: router.max_body]
        spent = []
        async with router:
            for _ in range(5):
                began = time.thread_time()
                assert router.receive(body).status in {400, 403}
                spent.append(time.thread_time() - began)
        # 20 a second of them are at most 40 % of a slow machine; a decoder of what is not signed takes ten times as long.
        assert min(spent) < 0.02, (start, text)


async def test_a_body_of_a_mebibyte_is_refused_by_its_length_unread() -> None:
    router = CallbackRouter(secret=SECRET)
    async with over_aiohttp(router) as post:
        assert (await post(b"%41" * (1 << 18)))[0] == 413
    assert router.stats().refused == {"too_large": 1}
    asked: list[str] = []

    async def receive() -> Any:
        asked.append("body")
        return {"type": "http.request", "body": b"", "more_body": False}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", b"1048576")]
    await router.asgi({"type": "http", "method": "POST", "headers": headers, "client": ("192.0.2.7", 1)}, receive, send)
    assert sent[0]["status"] == 413
    assert not asked


async def test_the_largest_documented_callback_is_taken_url_encoded_too() -> None:
    router = CallbackRouter(secret=SECRET)
    sizes: list[int] = []

    @router.on(UserAudioData)
    async def keep(event: UserAudioData) -> None:
        sizes.append(len(event.data.audio))

    speech = bytes(range(256)) * 188  # 1.5 s at 16 kHz, 16 bits
    audio = base64.b64encode(speech[:48_000]).decode()
    async with over_aiohttp(router) as post:
        for encode in (bytes, lambda body: quote(body, safe="").encode()):
            body = body_of(Event="UserAudioData", Data={"UserId": "u", "Round": 1, "Audio": audio})
            assert (await post(encode(body)))[0] == 200
    assert sizes == [48_000, 48_000]


GZIP = {"Content-Encoding": "gzip"}


async def compressed(router: CallbackRouter, body: bytes, adapter: str) -> int:
    if adapter == "aiohttp":
        app = web.Application()
        app.router.add_post("/callbacks", router.aiohttp_handler)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        try:
            url = f"http://{host}:{port}/callbacks"
            async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=GZIP) as answer:
                return answer.status
        finally:
            await runner.cleanup()
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await router.asgi({"type": "http", "method": "POST", "headers": [(b"content-encoding", b"gzip")]}, receive, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize("adapter", ["aiohttp", "asgi"])
async def test_a_compressed_body_is_read_and_a_broken_one_is_the_senders_error(adapter: str) -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0, max_body=100_000)
    recorder = Recorder(router)
    good = gzip.compress(body_of("packed"))
    async with router:
        assert await compressed(router, good, adapter) == 200
        for broken in (b"no gzip at all", good[:40], good[:-8] + bytes(8)):
            assert await compressed(router, broken, adapter) == 400
        bomb = gzip.compress(bytes(10_000_000))
        assert len(bomb) < 100_000
        assert await compressed(router, bomb, adapter) == 413
    assert await recorder.texts(1) == ["packed"]


async def test_a_flood_of_forged_callbacks_is_one_line_a_second_with_their_number_and_the_senders_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    router = CallbackRouter(secret=SECRET)
    async with router:
        for _ in range(1000):
            router.receive(body_of(secret="guess"), sender="192.0.2.7")
        router.receive(b"junk", sender="192.0.2.8")
        assert len(caplog.records) == 1
        assert "192.0.2.7" in caplog.records[0].getMessage()
    assert len(caplog.records) == 2
    summary = caplog.records[1].getMessage()
    assert "1000 more" in summary
    assert "999 bad_signature, 1 malformed" in summary
    assert "192.0.2.8" in summary
    assert router.stats().refused == {"bad_signature": 1000, "malformed": 1}


async def test_the_senders_address_is_known_through_both_adapters(caplog: pytest.LogCaptureFixture) -> None:
    async with over_aiohttp(CallbackRouter(secret=SECRET)) as post:
        await post(body_of(secret="guess"))
    assert "from 127.0.0.1:" in caplog.text
    caplog.clear()
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    async with CallbackRouter(secret=SECRET) as router:
        await router.asgi({"type": "http", "method": "POST", "headers": [], "client": ("192.0.2.9", 4711)}, receive, send)
    assert "from 192.0.2.9:" in caplog.text


async def test_stats_tell_what_is_in_hand_and_what_was_done() -> None:
    router = CallbackRouter(secret=[SECRET, "old"], reorder_wait=0)
    begun, go = asyncio.Event(), asyncio.Event()

    @router.on(ASRResult, LLMResult)
    async def handle(event: Event) -> None:
        begun.set()
        await go.wait()

    assert not router.ready
    async with router:
        assert router.ready
        body = body_of("a")
        assert [router.receive(one).status for one in (body, body, body_of("b", secret="old"), body_of(secret="none"))] == [
            200,
            200,
            200,
            403,
        ]
        forged = json.loads(body) | {"Data": {"Text": "forged"}}
        assert router.receive(json.dumps(forged).encode()).status == 403
        await begun.wait()
        stats = router.stats()
        assert (stats.taken, stats.copies, dict(stats.refused)) == (2, 1, {"bad_signature": 1, "replayed": 1})
        assert (stats.in_hand, stats.subjects, stats.handled) == (2, 1, 0)
        assert stats.in_hand_bytes >= 2 * len(body) - 20
        assert 0 <= stats.oldest < 60
        go.set()
    assert not router.ready
    stats = router.stats()
    assert (stats.in_hand, stats.in_hand_bytes, stats.oldest, stats.handled) == (0, 0, 0, 2)
    assert router.receive(body_of()).status == 503
    assert router.stats().refused["closed"] == 1


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "zego_aigc")
