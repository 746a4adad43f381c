"""Handlers that run before the vendor is answered: what they did not take comes again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any

import pytest
from aiohttp import web
from callback_requests import SECRET, Recorder, body_of, over_aiohttp, over_asgi, until

from zego_aigc.callbacks import ASRResult, CallbackRouter, Event, LLMResult
from zego_aigc.errors import ConfigurationError
from zego_aigc.sandbox import Sandbox

pytestmark = pytest.mark.anyio


class Panic(BaseException):
    pass


@pytest.mark.parametrize("served", [over_aiohttp, over_asgi])
async def test_the_answer_waits_for_it_and_the_other_handlers_for_the_answer(served: Any) -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0)
    seen: list[str] = []

    @router.on(LLMResult)
    async def after(event: LLMResult) -> None:
        seen.append("after")

    @router.on(Event, before_answer=True)
    async def before(event: Event) -> None:
        await asyncio.sleep(0.01)
        seen.append("before")

    async with served(router) as post:
        assert (await post(body_of()))[0] == 200
        assert seen[0] == "before"
        await until(lambda: len(seen) == 2)
    assert seen == ["before", "after"]


@pytest.mark.parametrize(
    "error", [ValueError("full"), Panic("broken"), asyncio.CancelledError(), TimeoutError("its own")], ids=repr
)
async def test_where_it_fails_the_callback_comes_again_and_is_as_good_as_new(error: BaseException, caplog: Any) -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0)
    recorder = Recorder(router)
    attempts: list[str] = []

    @router.on(LLMResult, before_answer=True)
    async def enqueue(event: LLMResult) -> None:
        attempts.append(event.data.text)
        if len(attempts) < 3:
            raise error

    body = body_of("important")
    async with router:
        assert [(await router.areceive(body)).status for _ in range(5)] == [503, 503, 200, 200, 200]
        assert await recorder.texts(1) == ["important"]
    assert len(attempts) == 3
    assert len(recorder.events) == 1
    assert "enqueue" in caplog.text
    assert "important" not in caplog.text
    stats = router.stats()
    assert (stats.taken, stats.copies, stats.refused["not_handled"], stats.in_hand) == (1, 2, 2, 0)


async def test_it_has_a_bound_that_all_of_an_events_share(caplog: pytest.LogCaptureFixture) -> None:
    router = CallbackRouter(secret=SECRET, answer_timeout=0.05)
    second: list[Event] = []

    @router.on(LLMResult, before_answer=True)
    async def hangs(event: LLMResult) -> None:
        await asyncio.Event().wait()

    @router.on(LLMResult, before_answer=True)
    async def never(event: LLMResult) -> None:
        second.append(event)

    async with router:
        assert (await router.areceive(body_of())).status == 503
    assert second == []
    assert "answer_timeout=" in caplog.text


async def test_a_copy_that_comes_meanwhile_is_asked_to_come_again_and_a_forgery_refused() -> None:
    """Were the copy answered with 200 and the first attempt failed, the event would be lost."""
    router = CallbackRouter(secret=SECRET)
    go = asyncio.Event()
    handled: list[str] = []

    @router.on(LLMResult, before_answer=True)
    async def slow(event: LLMResult) -> None:
        handled.append(event.data.text)
        await go.wait()

    body = body_of("true")
    forged = json.dumps(json.loads(body) | {"Data": {"Text": "forged"}}).encode()
    async with router:
        first = asyncio.create_task(router.areceive(body))
        await until(lambda: handled)
        assert (await router.areceive(body)).status == 503
        assert (await router.areceive(forged)).status == 403
        go.set()
        assert (await first).status == 200
        assert (await router.areceive(body)).status == 200
    assert handled == ["true"]


async def test_after_a_failed_attempt_the_signature_is_still_good_for_that_body_only() -> None:
    router = CallbackRouter(secret=SECRET)
    fail = True

    @router.on(LLMResult, before_answer=True)
    async def enqueue(event: LLMResult) -> None:
        if fail:
            raise ValueError("no")

    body = body_of("true")
    forged = json.dumps(json.loads(body) | {"Data": {"Text": "forged"}}).encode()
    async with router:
        assert (await router.areceive(body)).status == 503
        assert (await router.areceive(forged)).status == 403
        fail = False
        assert (await router.areceive(body)).status == 200


async def test_a_sender_that_hangs_up_in_the_middle_leaves_nothing_in_hand_and_may_come_again() -> None:
    router = CallbackRouter(secret=SECRET)
    begun = asyncio.Event()
    handled: list[str] = []

    @router.on(LLMResult, before_answer=True)
    async def enqueue(event: LLMResult) -> None:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        handled.append(event.data.text)

    body = body_of("again")
    async with router:
        request = asyncio.create_task(router.areceive(body))
        await begun.wait()
        request.cancel()
        await asyncio.wait([request])
        assert request.cancelled()
        assert router.stats().in_hand == 0
        assert (await router.areceive(body)).status == 200
    assert handled == ["again"]


async def test_what_waits_for_it_counts_as_in_hand() -> None:
    router = CallbackRouter(secret=SECRET, capacity=2)
    go = asyncio.Event()

    @router.on(LLMResult, before_answer=True)
    async def slow(event: LLMResult) -> None:
        await go.wait()

    async with router:
        waiting = [asyncio.create_task(router.areceive(body_of(instance=f"i{number}"))) for number in range(2)]
        await until(lambda: router.stats().in_hand == 2)
        assert (await router.areceive(body_of(instance="i3"))).status == 503
        assert not router.ready
        go.set()
        assert [(await answer).status for answer in waiting] == [200, 200]
        assert router.stats().in_hand == 0


async def test_a_router_that_waits_before_it_answers_says_so_to_code_that_cannot() -> None:
    router = CallbackRouter(secret=SECRET)

    @router.on(ASRResult, before_answer=True)
    async def enqueue(event: ASRResult) -> None: ...

    async with router:
        with pytest.raises(ConfigurationError, match="areceive"):
            router.receive(body_of())


async def test_a_router_that_closes_meanwhile_lets_the_callback_come_again() -> None:
    router = CallbackRouter(secret=SECRET, close_timeout=0)
    begun, go = asyncio.Event(), asyncio.Event()
    Recorder(router)

    @router.on(LLMResult, before_answer=True)
    async def slow(event: LLMResult) -> None:
        begun.set()
        await go.wait()

    async with router:
        request = asyncio.create_task(router.areceive(body_of()))
        await begun.wait()
        await router.aclose()
        go.set()
        assert (await request).status == 503


async def test_the_services_own_repeats_bring_back_what_was_not_taken() -> None:
    """Over the sandbox: it repeats after 2, 4, 8, 16 and 32 seconds, as the vendor does."""
    router = CallbackRouter(secret=SECRET, reorder_wait=0)
    attempts = 0
    recorder = Recorder(router, LLMResult)

    @router.on(LLMResult, before_answer=True)
    async def enqueue(event: LLMResult) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 4:
            raise ConnectionError("the queue is gone")

    async with over_aiohttp_url(router) as url, Sandbox(callback_secret=SECRET) as sandbox:
        sandbox.app.callback_url = url
        delivery = sandbox.emit("LLMResult", "i1", Round=1, Text="kept")
        await sandbox.settled()
        for _ in range(5):
            await sandbox.clock.advance(32)
        assert delivery.state == "delivered"
        assert await recorder.texts(1) == ["kept"]
    assert attempts == 4


def over_aiohttp_url(router: CallbackRouter) -> Any:
    @contextlib.asynccontextmanager
    async def served() -> Any:
        app = web.Application()
        app.router.add_post("/callbacks", router.aiohttp_handler)
        app.cleanup_ctx.append(router.aiohttp_context)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield "http://{}:{}/callbacks".format(*runner.addresses[0][:2])
        await runner.cleanup()

    return served()


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "zego_aigc")
