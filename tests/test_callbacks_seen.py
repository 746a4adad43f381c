"""What was seen before: in one process, and in several that share a Redis."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from callback_requests import SECRET, Recorder, body_of, until
from hypothesis import given, settings
from hypothesis import strategies as st
from redis_server import RedisServer

from zego_aigc.callbacks import CallbackRouter, Event, LocalSeen, Seen
from zego_aigc.callbacks._replays import Replays, Standing
from zego_aigc.errors import ConfigurationError, TransportError
from zego_aigc.redis import RedisSeen

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture(params=["local", "redis"])
async def memory(request: pytest.FixtureRequest) -> AsyncIterator[Seen]:
    if request.param == "local":
        yield LocalSeen()
        return
    shared = RedisSeen(request.getfixturevalue("server").url, prefix=f"seen:{time.monotonic_ns()}", timeout=60)
    yield shared
    await shared.aclose()


# --- the memory ----------------------------------------------------------------------------------------------------


async def test_a_value_is_stored_only_over_what_was_expected(memory: Seen) -> None:
    assert await memory.swap("k", "a", expected=None, ttl=60) is None
    assert await memory.swap("k", "b", expected=None, ttl=60) == "a"
    assert await memory.swap("k", "b", expected="c", ttl=60) == "a"
    assert await memory.swap("k", "b", expected="a", ttl=60) == "a"
    assert await memory.swap("k", "c", expected="a", ttl=60) == "b"
    assert await memory.swap("other", "d", expected=None, ttl=60) is None


async def test_a_value_is_forgotten_after_its_time(memory: Seen) -> None:
    assert await memory.swap("k", "a", expected=None, ttl=0.02) is None
    await asyncio.sleep(0.05)
    assert await memory.swap("k", "b", expected=None, ttl=60) is None


async def test_of_many_at_once_one_gets_it(memory: Seen) -> None:
    held = await asyncio.gather(*(memory.swap("k", str(number), expected=None, ttl=60) for number in range(20)))
    assert held.count(None) == 1


async def test_the_local_memory_is_bounded_and_forgets_the_oldest_first() -> None:
    memory = LocalSeen(3)
    for key in "abcd":
        await memory.swap(key, "x", expected=None, ttl=60)
    assert len(memory) == 3
    assert await memory.swap("b", "y", expected=None, ttl=60) == "x"
    assert await memory.swap("a", "y", expected=None, ttl=60) is None


STEPS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.sampled_from([None, "x", "y"]), st.integers(0, 3)))


@given(STEPS)
@settings(max_examples=50)
def test_the_local_memory_and_a_dict_with_times_agree(steps: list[tuple[str, str, str | None, int]]) -> None:
    now = 0.0
    memory = LocalSeen(clock=lambda: now)
    model: dict[str, tuple[str, float]] = {}

    async def run() -> None:
        nonlocal now
        for key, value, expected, pause in steps:
            now += pause
            held = model[key][0] if key in model and model[key][1] >= now else None
            assert await memory.swap(key, value, expected=expected, ttl=2) == held
            if held == expected:
                model[key] = value, now + 2

    asyncio.run(run())


async def test_a_claim_that_is_not_made_good_expires(memory: Seen) -> None:
    """Its process may have been killed in the middle: the vendor's next attempt is as good as the first."""
    killed, replays = Replays(memory, keep=600, lease=0.05), Replays(memory, keep=600, lease=600)
    assert (await killed.claim("sig", b"body"))[0] is Standing.NEW
    await asyncio.sleep(0.1)
    standing, claim = await replays.claim("sig", b"body")
    assert standing is Standing.NEW
    assert (await replays.claim("sig", b"body"))[0] is Standing.UNDER_WAY
    assert (await replays.claim("sig", b"other"))[0] is Standing.REPLAY
    await replays.take(claim)
    assert (await replays.claim("sig", b"body"))[0] is Standing.COPY
    assert (await replays.claim("sig", b"other"))[0] is Standing.REPLAY


async def test_what_was_taken_is_remembered_for_longer_than_a_claim_holds(memory: Seen) -> None:
    replays = Replays(memory, keep=600, lease=60)
    _, claim = await replays.claim("sig", b"body")
    await Replays(memory, keep=600, lease=0.05).take(claim)
    await asyncio.sleep(0.1)
    assert (await replays.claim("sig", b"body"))[0] is Standing.COPY


async def test_a_claim_that_expired_cannot_be_made_good_over_another(memory: Seen) -> None:
    replays = Replays(memory, keep=600, lease=600)
    _, late = await Replays(memory, keep=600, lease=0.05).claim("sig", b"body")
    await asyncio.sleep(0.1)
    standing, _ = await replays.claim("sig", b"body")
    assert standing is Standing.NEW
    await replays.release(late)
    assert (await replays.claim("sig", b"body"))[0] is Standing.UNDER_WAY


Workers = list[tuple[CallbackRouter, Recorder]]


# --- several processes ---------------------------------------------------------------------------------------------


@pytest.fixture
async def workers(server: RedisServer) -> AsyncIterator[Workers]:
    """Routers as four workers behind one address would have them."""
    prefix = f"workers:{time.monotonic_ns()}"
    shared = [RedisSeen(server.url, prefix=prefix, timeout=60) for _ in range(4)]
    routers = [CallbackRouter(secret=SECRET, reorder_wait=0, seen=seen, answer_timeout=60) for seen in shared]
    made = [(router, Recorder(router, Event)) for router in routers]
    for router in routers:
        await router.__aenter__()
    yield made
    for router in routers:
        await router.aclose()
    for seen in shared:
        await seen.aclose()


async def test_one_signature_is_good_for_one_callback_in_all_workers_together(
    workers: list[tuple[CallbackRouter, Recorder]],
) -> None:
    body = body_of("true")
    forged = [json.dumps(json.loads(body) | {"Data": {"Text": f"forged {n}"}}).encode() for n in range(3)]
    assert [(await router.areceive(body)).status for router, _ in workers] == [200] * 4
    assert [(await router.areceive(forged[0])).status for router, _ in workers] == [403] * 4
    another = body_of("another")
    bodies = [another, *(json.dumps(json.loads(another) | {"Data": {"Text": f"forged {n}"}}).encode() for n in range(3))]
    answers = await asyncio.gather(*(router.areceive(body) for (router, _), body in zip(workers, bodies, strict=True)))
    assert sorted(answer.status for answer in answers) == [200, 403, 403, 403]
    for router, _ in workers:
        await router.settled()
    handled = [event.data.text for _, recorder in workers for event in recorder.events]
    assert len(handled) == 2
    assert handled[0] == "true" or handled[1] == "true"


async def test_one_callback_is_handled_once_in_all_workers_together(workers: Workers) -> None:
    bodies = [body_of(str(number)) for number in range(25)]
    for body in bodies:
        answers = await asyncio.gather(*(router.areceive(body) for router, _ in workers))
        assert {answer.status for answer in answers} <= {200, 503}
        assert 200 in {answer.status for answer in answers}
        assert {(await router.areceive(body)).status for router, _ in workers} == {200}
    for router, _ in workers:
        await router.aclose()
    assert sorted(int(event.data.text) for _, recorder in workers for event in recorder.events) == list(range(25))


async def test_while_redis_is_gone_callbacks_are_put_off_and_then_taken(caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer() as own:
        seen = RedisSeen(own.url, timeout=60)
        router = CallbackRouter(secret=SECRET, reorder_wait=0, seen=seen, answer_timeout=60)
        recorder = Recorder(router)
        body = body_of("patient")
        async with router:
            assert (await router.areceive(body_of("first"))).status == 200
            own.stop()
            for _ in range(3):
                answer = await router.areceive(body)
                assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert router.stats().refused == {"memory": 3}
            own.start()
            assert (await router.areceive(body)).status == 200
            assert await recorder.texts(2) == ["first", "patient"]
        await seen.aclose()
    assert caplog.text.count("the memory of seen callbacks failed") <= 3
    assert "503" in caplog.text


async def test_a_memory_that_hangs_is_given_up_after_the_answers_time() -> None:
    class Hangs:
        async def swap(self, key: str, value: str, *, expected: str | None, ttl: float) -> str | None:
            await asyncio.Event().wait()
            return None

    async with CallbackRouter(secret=SECRET, seen=Hangs(), answer_timeout=0.05) as router:
        assert (await router.areceive(body_of())).status == 503


async def test_a_memory_that_fails_after_the_sender_has_hung_up_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    claimed, go = asyncio.Event(), asyncio.Event()

    class Fails:
        async def swap(self, key: str, value: str, *, expected: str | None, ttl: float) -> str | None:
            if expected is not None:  # the claim is to be made good
                claimed.set()
                await go.wait()
                raise ConnectionError("gone")
            return None

    async with CallbackRouter(secret=SECRET, seen=Fails(), answer_timeout=60) as router:
        request = asyncio.create_task(router.areceive(body_of()))
        await claimed.wait()
        request.cancel()
        await asyncio.wait([request])
        assert request.cancelled()
        go.set()
        await until(lambda: "a copy may be handled twice" in caplog.text)


async def test_redis_that_does_not_answer_is_an_error_of_the_library_and_no_password_is_shown() -> None:
    seen = RedisSeen("redis://:hush@127.0.0.1:1/0", timeout=0.2)
    with pytest.raises(TransportError, match="does not answer") as caught:
        await seen.swap("k", "v", expected=None, ttl=1)
    assert "hush" not in f"{caught.value} {seen!r}"
    with pytest.raises(ValueError, match="timeout"):
        RedisSeen("redis://127.0.0.1", timeout=0)


async def test_a_router_with_a_shared_memory_says_how_to_use_it() -> None:
    async with CallbackRouter(secret=SECRET, seen=LocalSeen()) as router:
        with pytest.raises(ConfigurationError, match="areceive"):
            router.receive(body_of())


def test_the_memory_in_redis_may_be_built_before_there_is_a_loop_and_used_in_several(server: RedisServer) -> None:
    seen: Any = RedisSeen(server.url, prefix=f"loops:{time.monotonic_ns()}")

    async def use(expected: str | None) -> None:
        assert await seen.swap("k", "v", expected=None, ttl=60) == expected
        await seen.aclose()

    asyncio.run(use(None))
    asyncio.run(use("v"))
