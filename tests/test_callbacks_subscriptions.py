"""Following one instance: in code, and from a browser by server-sent events."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from callback_requests import SECRET, body_of, until
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from zego_aigc.callbacks import (
    AgentInstanceDeleted,
    CallbackRouter,
    Event,
    LLMResult,
    ServerSentEvents,
    StreamTaskEvent,
    UnknownEvent,
    parse_callback,
)
from zego_aigc.callbacks.sse import event_name

pytestmark = pytest.mark.anyio

ENDED: dict[str, Any] = {"Event": "AgentInstanceDeleted", "Data": {"Code": 0}}


def event_of(**fields: Any) -> Event:
    return parse_callback(body_of(**fields), secret=SECRET)


async def test_the_events_of_one_instance_come_in_order_and_end_with_it() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=5)
    async with router:
        events = router.subscribe("i1")
        router.receive(body_of("not this one", instance="i2"))
        for number in (30, 10, 20):
            router.receive(body_of(str(number), sequence=number))
        router.receive(body_of(sequence=40, **ENDED))
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
            closing = asyncio.create_task(router.aclose())  # on the way out nothing waits for earlier events
            got = [event async for event in events]
            await closing
    assert [event.data.text for event in got if isinstance(event, LLMResult)] == ["10", "20", "30"]
    assert isinstance(got[-1], AgentInstanceDeleted)
    assert events.closed


@pytest.mark.parametrize(
    ("fields", "last"),
    [
        (ENDED, True),
        ({"Event": None, "EventType": 3, "TaskId": "i1", "Detail": {"Status": 5}}, True),
        ({"Event": None, "EventType": 3, "TaskId": "i1", "Detail": {"Status": 2}}, True),
        ({"Event": None, "EventType": 3, "TaskId": "i1", "Detail": {"Status": 3}}, False),
        ({"Event": None, "EventType": 4, "TaskId": "i1", "Detail": {"Status": 4}}, False),
        ({}, False),
    ],
)
async def test_a_subscription_ends_with_what_it_follows(fields: dict[str, Any], last: bool) -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0)
    async with router:
        events = router.subscribe("i1")
        router.receive(body_of(**fields))
        await anext(events)
        assert events.closed is last


async def test_several_may_follow_one_instance_and_each_gets_all() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0)
    async with router:
        readers = [router.subscribe("i1") for _ in range(3)]
        assert router.stats().subscribers == 3
        router.receive(body_of("a"))
        assert [(await anext(reader)).subject for reader in readers] == ["i1"] * 3
        async with readers[0]:
            pass
        assert router.stats().subscribers == 2
        del readers
        gc.collect()
        assert router.stats().subscribers == 0
        router.receive(body_of("b"))
        assert router.stats().in_hand == 0, "there is nobody to hand it to"


async def test_a_slow_reader_loses_the_oldest_and_can_tell() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0)
    async with router:
        events = router.subscribe("i1", max_waiting=3)
        for number in range(10):
            router.receive(body_of(str(number)))
        await until(lambda: router.stats().in_hand == 0)
        events.close()
        assert [event.data.text async for event in events if isinstance(event, LLMResult)] == ["7", "8", "9"]
        assert events.missed == 7


async def test_a_subscription_ends_when_the_router_closes() -> None:
    router = CallbackRouter(secret=SECRET)
    async with router:
        events = router.subscribe("i1")
        reading = asyncio.create_task(anext(events, None))
        await asyncio.sleep(0)
    assert await reading is None


async def test_many_short_subscriptions_leave_nothing_behind() -> None:
    router = CallbackRouter(secret=SECRET)
    for number in range(10_000):
        router.subscribe(f"i{number}").close()
    assert len(router._subscriptions._of) < 3000


async def test_what_cannot_be_followed_is_refused() -> None:
    router = CallbackRouter(secret=SECRET)
    with pytest.raises(ValueError, match="AgentInstanceId"):
        router.subscribe("")
    with pytest.raises(ValueError, match="max_waiting"):
        router.subscribe("i", max_waiting=0)
    with pytest.raises(ValueError, match="heartbeat"):
        ServerSentEvents(router.subscribe("i"), heartbeat=0)
    assert "i" in repr(router.subscribe("i"))


# --- server-sent events ----------------------------------------------------------------------------------------------


def read(stream: bytes) -> list[tuple[str, Any]]:
    """The events of a stream, as a browser would have them."""
    got: list[tuple[str, Any]] = []
    for frame in stream.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in frame.split("\n") if not line.startswith(":") and ": " in line)
        if "data" in fields:
            got.append((fields.get("event", "message"), json.loads(fields["data"])))
    return got


async def test_a_browser_gets_the_vendors_envelope_without_what_could_be_forged_with_it() -> None:
    async def events() -> Any:
        yield event_of(text="two\nlines", sequence=1921825797275873300, Data={"Round": 2**60, "Text": "two\nlines"})
        yield event_of(Event="UserAudioData", Data={"Round": 1, "Audio": "AAAA"})
        yield event_of(Event="Newer\nevent: end", Data={"Depth": 2**60, "Deep": [{"Round": 1}]})
        yield event_of(Event=None, EventType=4, TaskId="t", Detail={"DriveId": "d", "Status": 2})

    stream = b"".join([frame async for frame in ServerSentEvents(events())])
    assert stream.startswith(b"retry: ")
    first, audio, newer, drive, end = read(stream)
    assert first[0] == "LLMResult"
    assert first[1] == {
        "AppId": 1,
        "Event": "LLMResult",
        "AgentInstanceId": "i1",
        "Sequence": "1921825797275873300",
        "Data": {"Round": str(2**60), "Text": "two\nlines"},
    }
    assert audio[1]["Data"]["Audio"] == "AAAA"
    assert newer[0] == "Newerevent: end"
    assert newer[1]["Data"] == {"Depth": str(2**60), "Deep": [{"Round": "1"}]}
    assert drive == ("DriveEvent", {"AppId": 1, "EventType": 4, "TaskId": "t", "Detail": {"DriveId": "d", "Status": 2}})
    assert end == ("end", {})
    assert b"Signature" not in stream
    assert b"Nonce" not in stream


async def test_while_nothing_happens_a_comment_is_sent() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0)
    async with router:
        stream = ServerSentEvents(router.subscribe("i1"), heartbeat=0.01).__aiter__()
        assert (await anext(stream)).startswith(b"retry")
        assert (await anext(stream)).startswith(b":")
        router.receive(body_of("a"))
        while (frame := await anext(stream)).startswith(b":"):
            pass
        assert read(frame)[0][1]["Data"]["Text"] == "a"
        await stream.aclose()
        assert router.stats().subscribers == 0


@pytest.mark.parametrize("turns", range(6))
async def test_a_browser_that_leaves_as_the_events_end_leaves_nothing_that_asyncio_complains_of(
    turns: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with CallbackRouter(secret=SECRET) as router:
        events = router.subscribe("i1")
        stream = ServerSentEvents(events).__aiter__()
        await anext(stream)
        reading = asyncio.ensure_future(_next(stream))
        await asyncio.sleep(0)
        events.close()
        for _ in range(turns):  # of the loop, after which it leaves
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        await stream.aclose()
        del reading, stream
        gc.collect()
    assert not caplog.records


async def _next(stream: AsyncIterator[bytes]) -> bytes:
    return await anext(stream)


async def test_a_browser_that_reads_too_slowly_is_told_how_much_it_missed() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0)
    async with router:
        events = router.subscribe("i1", max_waiting=2)
        for number in range(5):
            router.receive(body_of(str(number)))
        await until(lambda: router.stats().in_hand == 0)
        events.close()
        got = read(b"".join([frame async for frame in ServerSentEvents(events)]))
    assert [name for name, _ in got] == ["missed", "LLMResult", "LLMResult", "end"]
    assert got[0][1] == {"Count": 3}


async def test_over_aiohttp_a_browser_follows_and_leaves() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0)

    async def follow(request: web.Request) -> web.StreamResponse:
        return await ServerSentEvents(router.subscribe(request.match_info["id"]), heartbeat=0.05).aiohttp_response(request)

    app = web.Application()
    app.router.add_get("/events/{id}", follow)
    app.cleanup_ctx.append(router.aiohttp_context)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = "http://{}:{}".format(*runner.addresses[0][:2])
    try:
        async with aiohttp.ClientSession(base) as session:
            async with session.get("/events/i1") as response:
                assert response.headers["Content-Type"] == "text/event-stream"
                assert response.headers["X-Accel-Buffering"] == "no"
                await until(lambda: router.stats().subscribers)
                router.receive(body_of("hello"))
                router.receive(body_of(**ENDED))
                names = [name for name, _ in read(await response.read())]
            assert names == ["LLMResult", "AgentInstanceDeleted", "end"]
            async with session.get("/events/i1") as response:
                await response.content.readline()
                assert router.stats().subscribers == 1
            await until(lambda: router.stats().subscribers == 0)  # the heartbeat finds out that the browser has gone
    finally:
        await runner.cleanup()


async def asgi(app: Any, leave: asyncio.Event) -> list[Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "http", "method": "GET", "headers": []}, receive, send)
    return sent


async def test_over_asgi_a_browser_follows_and_leaves() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0)
    async with router:
        following = asyncio.create_task(asgi(ServerSentEvents(router.subscribe("i1")), asyncio.Event()))
        router.receive(body_of("hello"))
        router.receive(body_of(**ENDED))
        start, *frames = await following
        assert (b"content-type", b"text/event-stream") in start["headers"]
        names = [name for name, _ in read(b"".join(frame["body"] for frame in frames))]
        assert names == ["LLMResult", "AgentInstanceDeleted", "end"]
        assert not frames[-1].get("more_body")
        leave = asyncio.Event()
        leave.set()
        await asgi(ServerSentEvents(router.subscribe("i1")), leave)
        assert router.stats().subscribers == 0


async def test_over_asgi_an_error_of_the_source_is_raised_and_not_swallowed() -> None:
    async def broken() -> Any:
        yield event_of()
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        await asgi(ServerSentEvents(broken()), asyncio.Event())


async def test_in_fastapi_the_stream_is_a_response() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0)
    app = FastAPI(lifespan=router.lifespan)

    @app.get("/events/{id}")
    async def follow(id: str) -> StreamingResponse:  # noqa: A002 - the path's own word
        return StreamingResponse(ServerSentEvents(router.subscribe(id)), headers=dict(ServerSentEvents.headers))

    async with router:
        sent: list[Any] = []

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/events/i1", "query_string": b"", "headers": []}
        scope |= {"asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "scheme": "http"}
        following = asyncio.create_task(app(scope, receive, send))
        await until(lambda: router.stats().subscribers)
        router.receive(body_of("hello"))
        router.receive(body_of(**ENDED))
        await following
    content_types = [value for name, value in sent[0]["headers"] if name == b"content-type"]
    assert content_types == [b"text/event-stream"]
    names = [name for name, _ in read(b"".join(message.get("body", b"") for message in sent))]
    assert names == ["LLMResult", "AgentInstanceDeleted", "end"]


def test_every_kind_of_event_has_a_name_for_browsers() -> None:
    assert event_name(event_of(Event="Exception", Data={"Code": 2203})) == "Exception"
    unknown = event_of(Event="Newer")
    assert isinstance(unknown, UnknownEvent)
    assert event_name(unknown) == "Newer"
    task = event_of(Event=None, EventType=3, TaskId="t", Detail={"Status": 3})
    assert isinstance(task, StreamTaskEvent)
    assert event_name(task) == "StreamTaskEvent"
