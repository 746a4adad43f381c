"""The callback router: what the vendor is answered, and what handlers get, over both adapters."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from callback_requests import SECRET, Post, Recorder, body_of, over_aiohttp, over_asgi

from zego_aigc.callbacks import (
    AgentEvent,
    AgentInstanceCreated,
    ASRResult,
    CallbackRouter,
    DigitalHumanEvent,
    DriveEvent,
    Event,
    LLMResult,
    UnknownEvent,
    sign,
)
from zego_aigc.errors import ConfigurationError

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[over_aiohttp, over_asgi], ids=["aiohttp", "asgi"])
def served(request: pytest.FixtureRequest) -> Callable[[CallbackRouter], contextlib.AbstractAsyncContextManager[Post]]:
    adapter: Callable[[CallbackRouter], contextlib.AbstractAsyncContextManager[Post]] = request.param
    return adapter


async def test_a_callback_is_answered_with_200_and_its_event_handed_to_a_handler(served: Any) -> None:
    router = CallbackRouter(secret=SECRET)
    recorder = Recorder(router, LLMResult)
    async with served(router) as post:
        assert (await post(body_of("hello")))[0] == 200
        assert await recorder.texts(1) == ["hello"]
    assert isinstance(recorder.events[0], LLMResult)


async def test_the_answer_does_not_wait_for_the_handler(served: Any) -> None:
    router = CallbackRouter(secret=SECRET, close_timeout=0, reorder_wait=0)
    begun = asyncio.Event()

    @router.on(LLMResult)
    async def never_ends(event: LLMResult) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with served(router) as post:
        assert (await post(body_of()))[0] == 200
        async with asyncio.timeout(60):
            await begun.wait()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"hello", 400),
        (b"{}", 400),
        (body_of(secret="another secret"), 403),
        (body_of(Timestamp=1), 403),
        (b"x" * 20_001, 413),
    ],
    ids=["empty", "not json", "unsigned", "another secret", "another time", "too large"],
)
async def test_what_is_not_a_callback_is_refused_without_showing_the_secret(
    served: Any, body: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    router = CallbackRouter(secret=SECRET, max_body=20_000)
    recorder = Recorder(router)
    async with served(router) as post:
        answer = await post(body)
    assert answer[0] == status
    assert SECRET not in answer[1] + caplog.text
    assert recorder.events == []


async def test_a_stale_callback_is_refused(served: Any) -> None:
    router = CallbackRouter(secret=SECRET, clock=lambda: time.time() + 1000)
    async with served(router) as post:
        assert (await post(body_of()))[0] == 403


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_get_and_head_say_that_the_address_lives(served: Any, method: str) -> None:
    async with served(CallbackRouter(secret=SECRET)) as post:
        assert await post(b"", method) == (200, "callbacks are posted here" if method == "GET" else "")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_other_methods_are_refused(served: Any, method: str) -> None:
    async with served(CallbackRouter(secret=SECRET)) as post:
        assert (await post(b"", method))[0] == 405


async def test_a_body_of_unknown_length_is_bounded_while_it_is_read(served: Any) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 10_000

    async with served(CallbackRouter(secret=SECRET, max_body=100_000)) as post:
        assert (await post(endless()))[0] == 413


async def test_the_same_callback_again_is_taken_but_not_handled_twice(served: Any) -> None:
    router = CallbackRouter(secret=SECRET)
    recorder = Recorder(router)
    body = body_of("once")
    async with served(router) as post:
        assert [(await post(body))[0] for _ in range(3)] == [200, 200, 200]
        await post(body_of("last"))
        assert await recorder.texts(2) == ["once", "last"]


async def test_a_signature_used_again_with_another_body_is_refused(served: Any) -> None:
    router = CallbackRouter(secret=SECRET)
    recorder = Recorder(router)
    async with served(router) as post:
        body = json.loads(body_of("true", nonce="n-1"))
        assert (await post(json.dumps(body).encode()))[0] == 200
        body["Data"]["Text"] = "forged"
        assert (await post(json.dumps(body).encode()))[0] == 403
        assert await recorder.texts(1) == ["true"]
    assert len(recorder.events) == 1


async def test_a_digit_moved_from_the_timestamp_to_the_nonce_does_not_make_a_signature_new() -> None:
    now = 1_767_225_600.5
    router = CallbackRouter(secret="~secret", clock=lambda: now, reorder_wait=0)
    recorder = Recorder(router)

    def body(timestamp: str, nonce: str, text: str) -> bytes:
        signed = sign("~secret", timestamp, nonce)
        return json.dumps(
            {
                "Event": "LLMResult",
                "Nonce": nonce,
                "Timestamp": timestamp,
                "Signature": signed,
                "AgentInstanceId": "i",
                "Data": {"Round": 1, "Text": text},
            }
        ).encode()

    first, second = body("1767225600500", "9", "true"), body("1767225600", "5009", "forged")
    assert json.loads(first)["Signature"] == json.loads(second)["Signature"]
    async with router:
        assert router.receive(first).status == 200
        assert router.receive(second).status == 403
    assert [event.data.text for event in recorder.events] == ["true"]


@pytest.mark.parametrize("age", [-300, -150, 0, 150, 300])
async def test_a_signature_is_remembered_for_as_long_as_it_is_fresh(age: float) -> None:
    """A callback that was signed by a clock that runs ahead stays fresh for longer than `max_age` after it was taken."""
    now = [time.time()]
    router = CallbackRouter(secret=SECRET, max_age=300, clock=lambda: now[0])
    recorder = Recorder(router)
    true = json.loads(body_of("true"))
    signed_at = true["Timestamp"] / 1000
    forged = true | {"Data": {"Round": 1, "Text": "forged"}}
    now[0] = signed_at + age
    async with router:
        assert router.receive(json.dumps(true).encode()).status == 200
        for later in (signed_at + age, signed_at, signed_at + 299, signed_at + 300):
            now[0] = max(now[0], later)
            assert router.receive(json.dumps(forged).encode()).status == 403
    assert [event.data.text for event in recorder.events] == ["true"]


async def test_replay_memory_can_be_turned_off() -> None:
    router = CallbackRouter(secret=SECRET, replay_memory=0)
    recorder = Recorder(router)
    body = body_of()
    async with router:
        router.receive(body)
        router.receive(body)
    assert len(recorder.events) == 2


# --- order -------------------------------------------------------------------------------------------------------


async def test_events_of_an_instance_are_handled_in_the_order_of_their_sequence(served: Any) -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=3600)
    recorder = Recorder(router)
    numbers = [50, 20, 40, 10, 30]
    async with served(router) as post:
        for number in numbers:
            await post(body_of(str(number), sequence=1921825797275873300 + number))
        assert router.stats().in_hand == 5
    # On the way out nothing waits for earlier events.
    assert [event.data.text for event in recorder.events] == ["10", "20", "30", "40", "50"]


async def test_an_event_waits_for_earlier_ones_no_longer_than_it_is_told_to() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0.05)
    recorder = Recorder(router)
    async with router:
        began = time.monotonic()
        router.receive(body_of("2", sequence=20))
        router.receive(body_of("1", sequence=10))
        assert await recorder.texts(2) == ["1", "2"]
        assert time.monotonic() - began >= 0.05


async def test_events_that_come_while_a_handler_is_busy_are_ordered_without_a_wait() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0.05)
    recorder = Recorder(router)
    go = asyncio.Event()

    @router.on(LLMResult)
    async def slow(event: LLMResult) -> None:
        await go.wait()

    async with router:
        router.receive(body_of("1", sequence=1))
        await recorder.texts(1)
        for number in (9, 7, 8):
            router.receive(body_of(str(number), sequence=number))
        go.set()
        assert await recorder.texts(4) == ["1", "7", "8", "9"]


async def test_an_instance_whose_handler_hangs_does_not_hold_up_others() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0, close_timeout=0)
    hung = asyncio.Event()

    @router.on(LLMResult)
    async def handle(event: LLMResult) -> None:
        if event.agent_instance_id == "hangs":
            hung.set()
            await asyncio.Event().wait()

    recorder = Recorder(router)
    async with router:
        router.receive(body_of(instance="hangs"))
        await hung.wait()
        router.receive(body_of("through", instance="other"))
        assert await recorder.texts(1) == ["through"]


async def test_several_handlers_run_one_after_another_in_the_order_of_registration() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0)
    seen: list[str] = []

    @router.on(AgentEvent)
    async def first(event: AgentEvent) -> None:
        await asyncio.sleep(0)
        seen.append("first")

    @router.on(LLMResult, Event)
    async def second(event: Event) -> None:
        seen.append("second")

    @router.on(ASRResult, DigitalHumanEvent)
    async def not_for_this(event: Event) -> None:
        seen.append("never")

    async with router:
        router.receive(body_of())
    assert seen == ["first", "second"]


async def test_events_without_a_handler_are_taken_and_need_no_task() -> None:
    router = CallbackRouter(secret=SECRET)
    Recorder(router, AgentInstanceCreated)
    async with router:
        before = len(asyncio.all_tasks())
        assert router.receive(body_of()).status == 200
        assert len(asyncio.all_tasks()) == before


async def test_events_of_all_kinds_reach_the_handlers_of_their_bases() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0)
    everything, agents, humans, unknown = (
        Recorder(router, kind) for kind in (Event, AgentEvent, DigitalHumanEvent, UnknownEvent)
    )
    async with router:
        router.receive(body_of())
        router.receive(body_of(Event=None, EventType=4, TaskId="t", Detail={"DriveId": "d", "Status": 2}))
        router.receive(body_of(Event="Newer"))
    assert len(everything.events) == 3
    assert [type(event) for event in agents.events] == [LLMResult]
    assert [type(event) for event in humans.events] == [DriveEvent]
    assert [type(event) for event in unknown.events] == [UnknownEvent]


# --- trouble -----------------------------------------------------------------------------------------------------


async def test_a_handlers_error_is_logged_without_what_people_said_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0)

    @router.on(LLMResult)
    async def fails(event: LLMResult) -> None:
        raise ValueError("deliberate")

    recorder = Recorder(router)
    async with router:
        router.receive(body_of("private words", sequence=1))
        router.receive(body_of("more private words", sequence=2))
    assert len(recorder.events) == 2
    assert caplog.text.count("ValueError: deliberate") == 2
    assert "fails" in caplog.text
    assert "LLMResult of i1 (Sequence 2)" in caplog.text
    assert "private words" not in caplog.text


async def test_a_handler_that_is_cancelled_from_within_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0)

    @router.on(LLMResult)
    async def cancelled(event: LLMResult) -> None:
        raise asyncio.CancelledError

    recorder = Recorder(router)
    async with router:
        router.receive(body_of(sequence=1))
        router.receive(body_of(sequence=2))
    assert len(recorder.events) == 2
    assert "cancelled from within" in caplog.text


@pytest.mark.parametrize("bound", ["capacity", "per_subject"])
async def test_beyond_the_bound_the_vendor_is_told_to_come_again_and_then_taken(
    bound: str, caplog: pytest.LogCaptureFixture
) -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0, **{bound: 2})  # type: ignore[arg-type] # the name varies
    go = asyncio.Event()

    @router.on(LLMResult)
    async def slow(event: LLMResult) -> None:
        await go.wait()

    recorder = Recorder(router)
    async with router:
        bodies = [body_of(str(number)) for number in range(4)]
        answers = [router.receive(body) for body in bodies[:3]]
        assert [answer.status for answer in answers] == [200, 200, 503]
        assert answers[2].headers["Retry-After"] == "1"
        go.set()
        await recorder.texts(2)
        assert router.receive(bodies[2]).status == 200
        assert await recorder.texts(3) == ["0", "1", "2"]
    assert "capacity=" in caplog.text
    assert "per_subject=" in caplog.text


# --- life --------------------------------------------------------------------------------------------------------


async def test_a_test_waits_until_what_came_has_been_handled() -> None:
    router, handled = CallbackRouter(secret=SECRET), list[str]()

    @router.on(LLMResult)
    async def handle(event: LLMResult) -> None:
        await asyncio.sleep(0.01)
        handled.append(event.data.text)

    await router.settled()
    for _ in range(2):  # it may be entered again
        async with router:
            await router.settled()
            for number in range(3):
                router.receive(body_of(str(number), Sequence=2 * number))
            await router.settled()
            assert router.stats().in_hand == 0
    assert handled == ["0", "1", "2"] * 2


async def test_on_exit_what_is_in_hand_is_handled_and_nothing_more_is_taken() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=3600)
    recorder = Recorder(router)
    async with asyncio.timeout(60), router:
        for number in (3, 1, 2):
            assert router.receive(body_of(str(number), sequence=number * 10)).status == 200
    assert await recorder.texts(3) == ["1", "2", "3"]
    assert router.receive(body_of()).status == 503


async def test_handlers_that_take_too_long_are_cancelled_on_exit_and_what_is_left_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0, close_timeout=0.01)
    cancelled: list[str] = []

    @router.on(LLMResult)
    async def hangs(event: LLMResult) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(event.data.text)
            raise

    before = asyncio.all_tasks()
    async with router:
        router.receive(body_of("a"))
        router.receive(body_of("b"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert cancelled == ["a"]
    assert "2 events not handled" in caplog.text
    assert "close_timeout=0.01" in caplog.text
    assert asyncio.all_tasks() == before


async def test_a_router_that_was_not_entered_says_how_to_enter_it() -> None:
    router = CallbackRouter(secret=SECRET)
    with pytest.raises(ConfigurationError, match=r"lifespan=router\.lifespan"):
        router.receive(body_of())


async def test_a_router_can_be_entered_once_at_a_time_and_again_later() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0)
    recorder = Recorder(router)
    async with router:
        with pytest.raises(ConfigurationError, match="already"):
            await router.__aenter__()
    async with router:
        assert router.receive(body_of()).status == 200
    assert len(recorder.events) == 1
    await router.aclose()


async def test_a_router_may_be_entered_in_one_task_and_left_in_another() -> None:
    router = CallbackRouter(secret=SECRET, reorder_wait=0)
    recorder = Recorder(router)
    await asyncio.create_task(router.__aenter__())
    router.receive(body_of())
    await asyncio.create_task(router.aclose())
    assert len(recorder.events) == 1


async def test_handlers_see_the_context_of_who_entered_the_router_and_not_of_a_request() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    router = CallbackRouter(secret=SECRET, reorder_wait=0)
    seen: list[str] = []

    @router.on(Event)
    async def look(event: Event) -> None:
        seen.append(variable.get())

    variable.set("app")
    async with router:
        variable.set("request")
        router.receive(body_of())
    assert seen == ["app"]


async def test_an_asgi_server_is_told_when_the_router_cannot_start() -> None:
    router = CallbackRouter(secret=SECRET)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    async with router:
        with pytest.raises(ConfigurationError):
            await router.asgi({"type": "lifespan"}, receive, send)
    assert sent[0]["type"] == "lifespan.startup.failed"


async def test_an_asgi_websocket_is_closed_and_a_sender_that_hangs_up_is_not_answered() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def connect() -> Any:
        return {"type": "websocket.connect"}

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    async with CallbackRouter(secret=SECRET) as router:
        await router.asgi({"type": "http", "method": "POST"}, gone, send)
        assert sent == []
        await router.asgi({"type": "websocket"}, connect, send)
        assert sent[0]["type"] == "websocket.close"
        with pytest.raises(ValueError, match="HTTP"):
            await router.asgi({"type": "mqtt"}, connect, send)


def test_what_cannot_work_is_refused_when_it_is_built() -> None:
    with pytest.raises(ConfigurationError, match="CallbackSecret"):
        CallbackRouter(secret="")
    for wrong in ({"max_age": 0}, {"reorder_wait": -1}, {"capacity": 0}, {"max_body": 0}, {"close_timeout": float("inf")}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CallbackRouter(secret=SECRET, **wrong)
    router: Any = CallbackRouter(secret=SECRET)
    assert SECRET not in repr(router)

    async def handler(event: Event) -> None: ...

    with pytest.raises(TypeError, match="name the events"):
        router.on(handler)
    with pytest.raises(TypeError, match="name the events"):
        router.on()
    with pytest.raises(TypeError, match="async def"):
        router.on(Event)(lambda event: None)


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "zego_aigc")
