"""Cancelling a call at every await, in every way: what it held comes back, and what it made is not forgotten."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import aiohttp
import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loops import anyio_backend, way_of_sending  # noqa: F401 - fixtures
from raw_server import Exchange, http, ok, raw_server
from requests_made import register, stream, talking, voice
from sandbox_fixtures import eventually

from zego_aigc import (
    ACTIONS,
    Action,
    Client,
    ConfigurationError,
    LocalLimiter,
    LocalQuota,
    Orphan,
    OutcomeUnknown,
    Repeat,
    SessionPool,
    TimedOut,
    aiagent,
    digitalhuman,
)
from zego_aigc.calls.retry import RetryPolicy
from zego_aigc.sandbox import Pace, Sandbox

pytestmark = pytest.mark.anyio

When = Callable[[], Awaitable[object]]
Cancel = Callable[[Callable[[], Awaitable[Any]], When], Coroutine[Any, Any, None]]


def after(seconds: float) -> When:
    """For what waits longer than that in any case."""
    return partial(asyncio.sleep, seconds)


def at(event: asyncio.Event, *, then: Callable[[], object] = bool) -> When:
    """When that has happened and what it brings has arrived; shortly after the cancellation comes what is `then`."""

    async def wait() -> None:
        await event.wait()
        await asyncio.sleep(0.02)
        asyncio.get_running_loop().call_later(0.05, then)

    return wait


@asynccontextmanager
async def once(when: When, act: Callable[[], object]) -> AsyncIterator[None]:
    async def watch() -> None:
        await when()
        act()

    task = asyncio.ensure_future(watch())
    try:
        yield
    finally:
        task.cancel()


async def by_scope(work: Callable[[], Awaitable[Any]], when: When) -> None:
    with anyio.CancelScope() as scope:
        async with once(when, scope.cancel):
            await work()


async def by_task(work: Callable[[], Awaitable[Any]], when: When) -> None:
    task = asyncio.ensure_future(work())
    async with once(when, task.cancel):
        with suppress(asyncio.CancelledError):
            await task


async def by_timeout(work: Callable[[], Awaitable[Any]], when: When) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(None) as timeout, once(when, lambda: timeout.reschedule(0)):
            await work()


WAYS: list[Cancel] = [by_scope, by_task, by_timeout]
every_way = pytest.mark.parametrize("cancel", WAYS, ids=lambda way: way.__name__)

SAY = aiagent.SendAgentInstanceTTS(agent_instance_id="1", text="Hello!")
READ = aiagent.ListAgents()
POLICY = RetryPolicy(cancel_grace=60, initial_backoff=0.001, max_backoff=0.01)
IMPATIENT = RetryPolicy(cancel_grace=0.15)
AT_ONCE = 20
"""Seconds: for a machine that stands still, and yet below what is waited for otherwise."""


class Stage:
    """A service that stops at one point of an exchange, until told to go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.came: list[str] = []
        self.stop_before_answer = False
        self.stop_in_answer = False
        self.go_on = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        answer = ok(ANSWERS[exchange.query["Action"]])
        self.came.append(exchange.query["Action"])
        self.reached.set()
        if self.stop_before_answer:
            await self.go_on.wait()
        if self.stop_in_answer:
            await exchange.send(answer[:-10])
            await self.go_on.wait()
            await exchange.send(answer[-10:])
        else:
            await exchange.send(answer)


ANSWERS: dict[str, Any] = {
    "ListAgents": {"Total": 0, "Agents": [], "Cursor": ""},
    "SendAgentInstanceTTS": {"Round": 1},
    "CreateAgentInstance": {"AgentInstanceId": "i-1"},
}


@asynccontextmanager
async def staged(retry: RetryPolicy = POLICY) -> AsyncIterator[tuple[Stage, Client, list[Orphan]]]:
    """One token a minute, one connection: whatever a cancelled call kept would be missing afterwards."""
    stage = Stage()
    orphans: list[Orphan] = []
    async with raw_server(stage) as url, SessionPool(limiter=LocalLimiter(limit=1, window=60), max_connections=1) as pool:
        client = Client(1, "s", aiagent_url=url, pool=pool, on_orphan=orphans.append, retry=retry)
        yield stage, client, orphans


@every_way
@pytest.mark.parametrize("action", [READ, SAY, voice()], ids=["read", "once", "create"])
async def test_a_call_that_is_cancelled_in_the_limiters_queue_leaves_it_without_a_trace(
    cancel: Cancel, action: Action[Any]
) -> None:
    async with staged() as (stage, client, orphans):
        permit = await client.pool.limiter.acquire(1, type(action).__name__)
        await cancel(lambda: client.call(action, timeout=100), after(0.02))
        assert not stage.reached.is_set()
        permit.release()
        await client.call(action, timeout=30)
    assert orphans == []


@every_way
@pytest.mark.parametrize("action", [READ, SAY, voice()], ids=["read", "once", "create"])
async def test_a_call_that_is_cancelled_in_before_send_gives_its_token_back(cancel: Cancel, action: Action[Any]) -> None:
    async def forever(attempt: int) -> None:
        await anyio.sleep_forever()

    async with staged() as (stage, client, orphans):
        await cancel(lambda: client.call(action, before_send=forever), after(0.02))
        assert not stage.reached.is_set()
        await client.call(action, timeout=30)
    assert orphans == []


@every_way
@pytest.mark.parametrize("action", [READ, SAY, voice()], ids=["read", "once", "create"])
async def test_a_call_that_is_cancelled_while_connecting_gives_token_and_connection_back(
    cancel: Cancel, action: Action[Any]
) -> None:
    hellos: list[bytes] = []
    hello = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hellos.append(await reader.read(10))
        hello.set()
        await reader.read()
        writer.close()

    orphans: list[Orphan] = []
    limiter = LocalLimiter(limit=1, window=60)
    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"  # and the handshake gets no further
        async with SessionPool(limiter=limiter, max_connections=1) as pool:
            client = Client(1, "s", aiagent_url=url, pool=pool, on_orphan=orphans.append)
            for _ in range(2):
                async with asyncio.timeout(AT_ONCE):
                    await cancel(lambda: client.call(action), at(hello))
                hello.clear()
            assert len(hellos) == 2
    permit = limiter.take(1, type(action).__name__)
    assert permit is not None
    permit.release()
    assert orphans == []


@pytest.mark.parametrize("borrowed", [False, True], ids=["own session", "borrowed session"])
@pytest.mark.parametrize("action", [READ, SAY, voice()], ids=["read", "once", "create"])
async def test_a_call_of_a_task_that_is_being_cancelled_sends_nothing(action: Action[Any], borrowed: bool) -> None:
    stage, orphans = Stage(), list[Orphan]()
    limiter = LocalLimiter(limit=2, window=60)

    async def cancelled_before_its_first_wait() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await client.call(action)

    async with raw_server(stage) as url, aiohttp.ClientSession() as mine:
        session = mine if borrowed else None
        async with Client(1, "s", aiagent_url=url, limiter=limiter, session=session, on_orphan=orphans.append) as client:
            await client.call(action)  # there is a token and a connection: nothing to wait for
            stage.reached.clear()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.create_task(cancelled_before_its_first_wait())
            assert not stage.reached.is_set()
            await client.call(action, timeout=30)  # and the token came back
    assert orphans == []


@every_way
@pytest.mark.parametrize("point", ["stop_before_answer", "stop_in_answer"])
@pytest.mark.parametrize("action", [READ, SAY], ids=["read", "once"])
async def test_a_call_that_is_cancelled_once_sent_ends_at_once_and_frees_its_connection(
    cancel: Cancel, point: str, action: Action[Any]
) -> None:
    async with staged() as (stage, client, _):
        setattr(stage, point, True)
        async with asyncio.timeout(AT_ONCE):
            await cancel(lambda: client.call(action), at(stage.reached))
        setattr(stage, point, False)
        other = aiagent.QueryAgents(agent_ids=["a"]) if action is READ else voice()
        ANSWERS.setdefault("QueryAgents", {"Agents": []})
        await client.call(other, timeout=30)


@every_way
@pytest.mark.parametrize("point", ["stop_before_answer", "stop_in_answer"])
async def test_a_create_that_is_cancelled_once_sent_waits_for_its_answer_and_reports_what_it_made(
    cancel: Cancel, point: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with staged() as (stage, client, orphans):
        setattr(stage, point, True)
        await cancel(lambda: client.call(voice()), at(stage.reached, then=stage.go_on.set))
    assert orphans == [Orphan(voice(), aiagent.CreatedAgentInstance(agent_instance_id="i-1"), certain=True)]
    assert "CreateAgentInstance was cancelled, but made CreatedAgentInstance(agent_instance_id='i-1')" in caplog.text


@every_way
async def test_a_create_whose_answer_does_not_come_after_its_cancellation_is_reported_as_unknown(
    cancel: Cancel, caplog: pytest.LogCaptureFixture
) -> None:
    async with staged(IMPATIENT) as (stage, client, orphans):
        stage.stop_before_answer = True
        async with asyncio.timeout(AT_ONCE):
            await cancel(lambda: client.call(voice()), at(stage.reached))
    assert orphans == [Orphan(voice(), None, certain=False)]
    assert "CreateAgentInstance was cancelled without an answer" in caplog.text


async def test_a_create_outlasts_being_cancelled_again_and_again() -> None:
    async with staged() as (stage, client, orphans):
        stage.stop_before_answer = True
        task = asyncio.ensure_future(client.call(voice()))
        await stage.reached.wait()
        for _ in range(5):
            task.cancel()
            await asyncio.sleep(0.01)
        assert not task.done()
        stage.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [orphan.certain for orphan in orphans] == [True]


@pytest.mark.parametrize("length", [True, False], ids=["length", "no length"])
@every_way
async def test_a_create_is_held_through_every_piece_of_its_answer(cancel: Cancel, length: bool) -> None:
    go_on = asyncio.Event()
    answer = ok({"AgentInstanceId": "i-1"})
    if not length:
        _, _, body = answer.partition(b"\r\n\r\n")
        size = f"{len(body):x}".encode()
        answer = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\n" + body + b"\r\n0\r\n\r\n"

    came = asyncio.Event()

    async def piecemeal(exchange: Exchange) -> None:
        came.set()
        await go_on.wait()
        for at in range(0, len(answer), 20):
            await exchange.send(answer[at : at + 20])
            await asyncio.sleep(0.002)

    orphans: list[Orphan] = []
    async with raw_server(piecemeal) as url, Client(1, "s", aiagent_url=url, on_orphan=orphans.append) as client:

        async def create() -> None:
            task = asyncio.current_task()
            assert task is not None

            async def again() -> None:  # beside the way by which it is cancelled first
                await go_on.wait()
                for _ in range(5):
                    task.cancel()
                    await asyncio.sleep(0.003)

            others = asyncio.ensure_future(again())
            try:
                await client.call(voice())
            finally:
                others.cancel()

        with suppress(asyncio.CancelledError):
            await cancel(create, at(came, then=go_on.set))
        assert [orphan.result and orphan.result.agent_instance_id for orphan in orphans] == ["i-1"]
        orphans.clear()
        await client.call(voice(), timeout=30)
    assert orphans == []


REFUSAL = http(200, b'{"Code": 410001002, "Message": "bad", "RequestId": "r"}')


@every_way
@pytest.mark.parametrize(
    ("answer", "told"), [(None, [Orphan(voice(), None, certain=False)]), (REFUSAL, [])], ids=["unknown", "nothing was made"]
)
async def test_a_cancelled_create_whose_connection_breaks_or_that_is_refused_says_what_is_known(
    cancel: Cancel, answer: bytes | None, told: list[Orphan]
) -> None:
    came, go_on = asyncio.Event(), asyncio.Event()

    async def end(exchange: Exchange) -> None:
        came.set()
        await go_on.wait()
        if answer is None:
            exchange.cut()
        else:
            await exchange.send(answer)

    orphans: list[Orphan] = []
    async with raw_server(end) as url, Client(1, "s", aiagent_url=url, on_orphan=orphans.append) as client:
        await cancel(lambda: client.call(voice()), at(came, then=go_on.set))
    assert orphans == told


@pytest.mark.slow
async def test_a_held_create_ends_at_its_deadline_when_that_is_sooner_than_its_patience() -> None:
    stage, orphans = Stage(), list[Orphan]()
    stage.stop_before_answer = True
    async with raw_server(stage) as url, Client(1, "s", aiagent_url=url, on_orphan=orphans.append, retry=POLICY) as client:
        task = asyncio.ensure_future(client.call(voice(), timeout=1))
        await stage.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(task), AT_ONCE)
    assert [orphan.certain for orphan in orphans] == [False]


@every_way
async def test_a_held_create_whose_answer_stops_half_way_ends_with_the_patience_for_all_of_it(cancel: Cancel) -> None:
    came = asyncio.Event()

    async def half(exchange: Exchange) -> None:
        came.set()
        await asyncio.sleep(0.1)
        await exchange.send(ok({"AgentInstanceId": "i-1"})[:-10])

    orphans: list[Orphan] = []
    async with raw_server(half) as url:
        client = Client(1, "s", aiagent_url=url, on_orphan=orphans.append, retry=RetryPolicy(cancel_grace=0.3))
        async with asyncio.timeout(AT_ONCE):
            await cancel(lambda: client.call(voice(), timeout=100), at(came))
        await client.aclose()
    assert [orphan.certain for orphan in orphans] == [False]


async def test_the_time_for_an_attempt_ends_a_hold_and_what_was_made_is_looked_up() -> None:
    stage, orphans = Stage(), list[Orphan]()
    stage.stop_before_answer = True
    looked: list[str] = []

    async def handle(exchange: Exchange) -> None:
        if exchange.query["Action"] == "CreateDigitalHumanStreamTask":
            await stage(exchange)
        else:
            looked.append(exchange.query["Action"])
            await exchange.send(ok({"TaskList": []}))

    ANSWERS.setdefault("CreateDigitalHumanStreamTask", {"TaskId": "t-1"})
    policy = RetryPolicy(attempt_timeout=0.2, cancel_grace=2, lookup_delay=0.01, initial_backoff=0.001)
    async with raw_server(handle) as url:
        client = Client(1, "s", digitalhuman_url=url, on_orphan=orphans.append, retry=policy)
        task = asyncio.ensure_future(client.call(stream()))
        await stage.reached.wait()
        task.cancel()
        asyncio.get_running_loop().call_later(0.3, stage.go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(task), AT_ONCE)
        await client.aclose()
    assert looked
    assert len(orphans) == 1


async def test_calls_that_wait_for_a_connection_when_the_client_closes_say_so() -> None:
    stage = Stage()
    stage.stop_before_answer = True
    async with raw_server(stage) as url, SessionPool(max_connections=1) as pool:
        client = Client(1, "s", aiagent_url=url, pool=pool)
        calls = [asyncio.ensure_future(client.call(READ)) for _ in range(3)]
        await stage.reached.wait()
        await pool.aclose(drain=0.05)
        for call, how in zip(calls, ("while ListAgents was under way", *2 * ["before ListAgents was sent"]), strict=True):
            with pytest.raises(ConfigurationError, match=f"the client was closed {how}"):
                await asyncio.wait_for(call, AT_ONCE)


@pytest.mark.parametrize("part", [10, -10], ids=["half a head", "half a body"])
async def test_closing_the_client_ends_a_read_whose_answer_stops_half_way(part: int) -> None:
    came = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        await exchange.send(ok({"Total": 0, "Agents": [], "Cursor": ""})[:part])
        came.set()
        await asyncio.Event().wait()

    async with raw_server(handle) as url:
        client = Client(1, "s", aiagent_url=url, timeout=100.0)
        call = asyncio.ensure_future(client.call(READ))
        await came.wait()
        await asyncio.sleep(0.05)
        await client.aclose()
        with pytest.raises(ConfigurationError, match="closed while ListAgents was under way"):
            await asyncio.wait_for(call, AT_ONCE)


async def test_a_create_in_a_scope_that_is_cancelled_sends_nothing() -> None:
    stage = Stage()
    async with raw_server(stage) as url, Client(1, "s", aiagent_url=url) as client:
        await client.call(voice())  # so that there is a connection
        with anyio.CancelScope() as scope:
            scope.cancel()
            await client.call(voice())
        with anyio.move_on_after(0):
            await client.call(voice())
        await client.call(voice())
    assert stage.came == ["CreateAgentInstance", "CreateAgentInstance"]


async def test_a_call_over_a_borrowed_session_that_is_refused_as_its_turn_comes_says_why() -> None:
    stage = Stage()
    limiter = LocalLimiter(limit=1, window=60)
    async with raw_server(stage) as url, aiohttp.ClientSession() as session:
        client = Client(1, "s", aiagent_url=url, session=session, limiter=limiter)
        permit = await limiter.acquire(1, "CreateAgentInstance")
        call = asyncio.ensure_future(client.call(voice(), timeout=100))
        await asyncio.sleep(0)
        permit.release()  # the caller wakes in the next turn
        closing = asyncio.ensure_future(client.aclose(drain=0))
        with pytest.raises(ConfigurationError, match="closed before CreateAgentInstance was sent"):
            await asyncio.wait_for(call, AT_ONCE)
        await closing
        assert [*client.pool.deadlines] == []
    assert not stage.reached.is_set()


async def test_a_cancellation_that_before_send_keeps_to_itself_costs_no_attempt() -> None:
    told: list[int] = []

    async def stubborn(attempt: int) -> None:
        told.append(attempt)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1)

    async with staged() as (_, client, _):
        await asyncio.create_task(client.call(voice(), before_send=stubborn))
    assert told == [1]


@pytest.mark.parametrize("first", ["cancelled", "closing"])
async def test_closing_the_client_ends_a_create_that_is_held(first: str) -> None:
    stage, orphans = Stage(), list[Orphan]()
    stage.stop_before_answer = True
    async with raw_server(stage) as url:
        client = Client(1, "s", aiagent_url=url, on_orphan=orphans.append, retry=RetryPolicy(cancel_grace=100))
        task = asyncio.ensure_future(client.call(voice()))
        await stage.reached.wait()
        if first == "cancelled":
            task.cancel()
            await asyncio.sleep(0.01)
            assert not task.done()
        closing = asyncio.ensure_future(client.aclose(drain=0.5))
        await asyncio.sleep(0.01)
        if first == "closing":
            task.cancel()
        await asyncio.wait_for(closing, AT_ONCE)
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [orphan.certain for orphan in orphans] == [False]


@pytest.mark.parametrize("action", [READ, voice()], ids=["read", "create"])
async def test_a_deadline_leaves_the_caller_as_it_was(action: Action[Any]) -> None:
    async with staged() as (stage, client, _):
        stage.stop_before_answer = True
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises((TimedOut, OutcomeUnknown)):
            await client.call(action, timeout=0.05)
        assert task.cancelling() == 0
        await asyncio.sleep(0)


async def test_a_raw_create_that_is_cancelled_is_reported_too() -> None:
    async with staged() as (stage, client, orphans):
        stage.stop_before_answer = True
        create = partial(client.call_raw, "CreateAgentInstance", {"AgentId": "x"}, repeat=Repeat.CREATES)
        await by_task(create, at(stage.reached, then=stage.go_on.set))
    (orphan,) = orphans
    assert (orphan.action.name, orphan.action.body) == ("CreateAgentInstance", {"AgentId": "x"})
    assert orphan.result == {"AgentInstanceId": "i-1"}


async def test_closing_the_client_ends_a_create_under_way_in_an_unknown_outcome() -> None:
    stage = Stage()
    async with raw_server(stage) as url:
        client = Client(1, "s", aiagent_url=url)
        stage.stop_before_answer = True
        task = asyncio.ensure_future(client.call(voice()))
        await stage.reached.wait()
        await client.aclose(drain=0.05)
        with pytest.raises(OutcomeUnknown, match="the client was closed while CreateAgentInstance was under way"):
            await task


async def test_a_client_whose_closing_is_cancelled_again_and_again_is_closed_all_the_same() -> None:
    stage = Stage()
    async with raw_server(stage) as url:
        client = Client(1, "s", aiagent_url=url)
        stage.stop_before_answer = True
        create = asyncio.ensure_future(client.call(voice()))
        await stage.reached.wait()
        closing = asyncio.ensure_future(client.aclose(drain=0.5))
        for _ in range(3):
            await asyncio.sleep(0.01)
            closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        with pytest.raises(OutcomeUnknown):
            await create
    del client
    gc.collect()  # and no session complains that it was not closed


async def test_before_send_may_close_the_client() -> None:
    stage = Stage()
    async with raw_server(stage) as url:
        for action in (voice(), READ):
            client = Client(1, "s", aiagent_url=url)

            async def close(_: int, client: Client = client) -> None:
                await client.aclose(drain=100)

            with pytest.raises(ConfigurationError, match="closed"):
                await asyncio.wait_for(client.call(action, before_send=close), AT_ONCE)
            del client, close
        gc.collect()
        assert not stage.reached.is_set()


async def test_calls_that_are_under_way_when_the_client_closes_say_what_is_known() -> None:
    stage = Stage()
    async with raw_server(stage) as url:
        client = Client(1, "s", aiagent_url=url, retry=POLICY)
        stage.stop_before_answer = True
        once, read = asyncio.ensure_future(client.call(SAY)), asyncio.ensure_future(client.call(READ))
        await eventually(lambda: len(stage.came) == 2)
        await client.aclose(drain=0.05)
        with pytest.raises(OutcomeUnknown):
            await once
        with pytest.raises(ConfigurationError, match="closed"):
            await read


async def test_a_create_over_a_borrowed_session_whose_task_is_ended_before_its_first_step_holds_nobody_up() -> None:
    stage = Stage()
    limiter = LocalLimiter(limit=1, window=60)
    async with raw_server(stage) as url, aiohttp.ClientSession() as session:
        client = Client(1, "s", aiagent_url=url, session=session, limiter=limiter)
        others = asyncio.all_tasks()
        caller = asyncio.ensure_future(client.call(voice()))
        loop = asyncio.get_running_loop()

        def end_what_has_begun() -> None:
            for task in asyncio.all_tasks() - others - {caller}:
                task.cancel()

        loop.call_soon(end_what_has_begun)
        with pytest.raises(ConfigurationError, match="closed before CreateAgentInstance was sent"):
            await asyncio.wait_for(caller, AT_ONCE)
        assert not stage.reached.is_set()
        await client.call(voice(), timeout=30)  # the token came back
        await client.aclose()


# --- cancelled and late at the same time


@pytest.mark.slow
async def test_a_create_that_is_cancelled_as_its_time_runs_out_is_reported_as_unknown() -> None:
    async with staged() as (stage, client, orphans):
        stage.stop_before_answer = True
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(client.call(voice(), timeout=1))
        due = loop.time() + 1
        await stage.reached.wait()

        def overslept() -> None:
            time.sleep(max(0.0, due + 0.02 - loop.time()))
            loop.call_soon(task.cancel)  # after the alarm, before the task wakes

        loop.call_at(due - 0.02, overslept)
        with pytest.raises((asyncio.CancelledError, OutcomeUnknown)) as caught:
            await task
    if caught.type is asyncio.CancelledError:
        assert [orphan.certain for orphan in orphans] == [False]
    else:
        assert orphans == []


@pytest.mark.slow
@pytest.mark.parametrize("action", [READ, voice()], ids=["read", "create"])
async def test_a_timeout_inside_before_send_is_not_taken_for_a_cancellation_of_the_call(action: Action[Any]) -> None:
    async def impatient(_: int) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(10)

    async with staged() as (stage, client, _):
        stage.stop_before_answer = True
        with pytest.raises((TimedOut, OutcomeUnknown)):
            await client.call(action, timeout=1, before_send=impatient)
        assert stage.reached.is_set()


async def test_a_before_send_that_ignores_the_deadline_does_not_have_the_request_sent_after_it() -> None:
    async def stubborn(_: int) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(10)

    async with staged() as (stage, client, orphans):
        with pytest.raises(TimedOut, match="before_send"):
            await client.call(voice(), timeout=0.1, before_send=stubborn)
        assert not stage.reached.is_set()
    assert orphans == []


@pytest.mark.slow
async def test_the_deadline_of_a_call_covers_a_create_inside_its_before_send() -> None:
    async with staged() as (stage, client, orphans):
        stage.stop_before_answer = True

        async def nested(_: int) -> None:
            await client.call(voice(), timeout=100)

        with pytest.raises(TimedOut, match="before_send"):
            await asyncio.wait_for(client.call(READ, timeout=1, before_send=nested), AT_ONCE)
    assert [orphan.certain for orphan in orphans] == [False]


async def test_a_create_that_nobody_waits_for_any_more_gives_its_connection_back() -> None:
    stage = Stage()
    stage.stop_before_answer = True
    orphans: list[Orphan] = []
    async with raw_server(stage) as url, SessionPool(max_connections=1) as pool:
        client = Client(1, "s", aiagent_url=url, pool=pool, on_orphan=orphans.append, retry=RetryPolicy(cancel_grace=0))
        task = asyncio.ensure_future(client.call(voice()))
        await stage.reached.wait()
        task.cancel()
        await asyncio.wait({task})
        assert [orphan.certain for orphan in orphans] == [False]
        stage.stop_before_answer = False
        await client.call(voice())


async def test_closing_the_client_refuses_calls_in_the_limiters_line_before_they_are_told_that_they_leave() -> None:
    told: list[int] = []

    async def tell(attempt: int) -> None:
        told.append(attempt)

    async with staged() as (stage, client, orphans):
        await client.pool.limiter.acquire(1, "CreateAgentInstance")
        calls = [
            asyncio.ensure_future(client.call(voice(), timeout=100, before_send=tell)),
            asyncio.ensure_future(client.call(voice(), timeout=100, before_send=tell, deadline_from="grant")),
        ]
        await asyncio.sleep(0.01)
        await asyncio.wait_for(client.pool.aclose(drain=100), AT_ONCE)
        for call in calls:
            with pytest.raises(ConfigurationError, match="closed before CreateAgentInstance was sent"):
                await asyncio.wait_for(call, AT_ONCE)
        assert not stage.reached.is_set()
    assert told == []
    assert orphans == []


# --- any schedule


MAKES: list[Callable[[str], Action[Any]]] = [voice, talking, stream]
KINDS = ["handle", "call", "read"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(KINDS),
            st.integers(0, len(MAKES) - 1),
            st.integers(0, len(WAYS) - 1),
            st.integers(0, 60),  # cancelled after so many milliseconds
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 2**16),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_cancelled_whenever_the_books_agree_afterwards(
    schedule: list[tuple[str, int, int, int]], seed: int
) -> None:
    asyncio.run(books_agree(schedule, seed))


async def books_agree(schedule: list[tuple[str, int, int, int]], seed: int) -> None:
    orphans: list[Orphan] = []
    made: list[str] = []
    skipped = 0.0
    quota = LocalQuota(agents=3, digital_humans=3, streams=3)
    pace = Pace(join=0, stream_start=0, stream_stop=0)
    async with Sandbox(rate_limit=None, quota=None, pace=pace) as sandbox:
        limiter = LocalLimiter(limit=2, window=0.02, guard=0, clock=lambda: time.monotonic() + skipped)
        async with sandbox.client(limiter=limiter, quota=quota, on_orphan=orphans.append) as client:
            await client.call(register())
            sandbox.faults.seed(seed)
            sandbox.faults.everywhere().latency(0.002, jitter=0.015)

            async def one(kind: str, what: int, name: str) -> None:
                action = MAKES[what](name)
                if kind == "read":
                    await client.call(READ)
                elif kind == "call":
                    with suppress(Exception):
                        made.append(identity(await client.call(action)))
                else:
                    handle: Any = {voice: client.agent, talking: client.digital_human_agent, stream: client.stream_task}
                    async with handle[MAKES[what]](action):
                        await asyncio.sleep(0.01)

            async with anyio.create_task_group() as group:
                for n, (kind, what, way, milliseconds) in enumerate(schedule):
                    group.start_soon(WAYS[way], partial(one, kind, what, str(n)), after(milliseconds / 1000))
            sandbox.faults.clear()
            assert await client.aclose() == []
        known = {*made, *(identity(orphan.result) for orphan in orphans)}
        assert all(orphan.certain for orphan in orphans)
        assert {*sandbox.app.instances, *(key for key, task in sandbox.app.tasks.items() if task.running)} == known
        for kind in ("agents", "digital_humans", "streams"):
            assert quota.usage(kind).used == 0  # type: ignore[arg-type] # a Literal
    skipped = 10.0  # every token is free again once its window has passed
    for action in ACTIONS:
        assert limiter.estimate(sandbox.app_id, action) == 0
        for _ in range(2):
            permit = limiter.take(sandbox.app_id, action)
            assert permit is not None
            permit.departed()


def identity(result: Any) -> str:
    return result.task_id if isinstance(result, digitalhuman.StreamTask) else result.agent_instance_id
