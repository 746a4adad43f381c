"""The limit shared through Redis: several limiters and processes against one real server."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import random
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis_server import RedisServer, kinds, on_one_server

from zego_aigc import Client
from zego_aigc.aiagent import ListAgents
from zego_aigc.errors import ConfigurationError
from zego_aigc.limits.pacing import WITHHELD_WINDOWS
from zego_aigc.redis import RedisLimiter
from zego_aigc.sandbox import Sandbox

pytestmark = pytest.mark.anyio

WINDOW, GUARD = 0.2, 0.02
_apps = itertools.count(1)


@pytest.fixture(scope="module", params=kinds())
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(request.param) as running:
        yield running


@pytest.fixture
def app_id() -> int:
    """Books of its own for each test."""
    return next(_apps)


@pytest.fixture
async def make(server: RedisServer) -> AsyncIterator[Callable[..., RedisLimiter]]:
    """Limiters as several processes would have them: with connections of their own."""
    made: list[RedisLimiter] = []

    def one(**options: Any) -> RedisLimiter:
        made.append(RedisLimiter(server.url, **{"limit": 4, "window": WINDOW, "guard": GUARD, "timeout": 60} | options))
        return made[-1]

    yield one
    for limiter in made:
        await limiter.aclose()


async def spend(limiter: RedisLimiter, app_id: int, times: list[float], *, delay: float = 0.0) -> None:
    permit = await limiter.acquire(app_id, "A")
    if delay:
        await asyncio.sleep(delay)
    times.append(time.monotonic())
    permit.departed()


async def keep_books_since_long_ago(server: RedisServer, app_id: int) -> None:
    """As a server does that need not wait for a window before it gives anything out."""
    async with Redis.from_url(server.url) as redis:
        run_id = (await redis.info("server"))["run_id"]
        await redis.set(f"zego_aigc:{{{app_id}}}:epoch", f"1 {run_id}")


def keeps_the_promise(times: list[float], limit: int = 4, span: float = WINDOW + GUARD) -> bool:
    times = sorted(times)
    return all(late - early > span for early, late in zip(times, times[limit:], strict=False))


@pytest.mark.slow
@on_one_server
async def test_all_limiters_together_keep_the_limit_in_any_window(make: Callable[..., RedisLimiter], app_id: int) -> None:
    times: list[float] = []
    limiters = [make() for _ in range(3)]
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for number in range(24):
            tasks.create_task(spend(limiters[number % 3], app_id, times, delay=random.random() * 0.05))
    assert len(times) == 24
    assert keeps_the_promise(times)


@pytest.mark.slow
@on_one_server
async def test_the_pace_comes_close_to_the_limit(make: Callable[..., RedisLimiter], app_id: int) -> None:
    times: list[float] = []
    limiters = [make() for _ in range(2)]
    await spend(limiters[0], app_id, [])
    await asyncio.sleep(WINDOW + GUARD)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for number in range(24):
            tasks.create_task(spend(limiters[number % 2], app_id, times))
    assert keeps_the_promise(times)
    assert max(times) - min(times) < 3 * 5 * (WINDOW + GUARD), "one token at a time takes 23 of them"


PROCESS = """
    import asyncio, json, sys, time
    from zego_aigc.redis import RedisLimiter

    async def main(url, app_id, count, ending):
        limiter = RedisLimiter(url, limit=4, window=0.2, guard=0.02, lease=2)
        times = []
        for _ in range(count):
            permit = await limiter.acquire(app_id, "A")
            times.append(time.monotonic())
            if ending == "holds":
                times.append(permit)
            else:
                permit.departed()
        if ending == "holds":
            print("holding", flush=True)
            await asyncio.sleep(60)
        await limiter.aclose()
        print(json.dumps(times))

    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
"""


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(server: RedisServer, app_id: int) -> Iterator[Start]:
    """Starts processes, and ends them with the test."""
    with contextlib.ExitStack() as stack:

        def process(count: int, ending: str = "departs") -> subprocess.Popen[str]:
            arguments = [sys.executable, "-c", textwrap.dedent(PROCESS), server.url, str(app_id), str(count), ending]
            one = stack.enter_context(subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True))
            stack.callback(one.kill)
            return one

        yield process


@on_one_server
@pytest.mark.slow
def test_processes_of_one_host_keep_the_limit_together(start: Start) -> None:
    processes = [start(8) for _ in range(3)]
    times = [json.loads(one.communicate(timeout=60)[0]) for one in processes]
    assert keeps_the_promise([moment for each in times for moment in each])


async def test_actions_and_apps_do_not_wait_for_each_other(make: Callable[..., RedisLimiter], app_id: int) -> None:
    limiter = make(limit=1, window=30.0, guard=0.0)
    other = make(limit=1, window=0.01, guard=0.0, prefix="other")
    async with asyncio.timeout(60):
        (await other.acquire(app_id, "A")).departed()
        (await other.acquire(app_id, "B")).departed()
        (await other.acquire(next(_apps), "A")).departed()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await limiter.acquire(app_id, "A")


# --- order -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@on_one_server
async def test_callers_of_a_process_are_served_in_the_order_of_their_coming(
    make: Callable[..., RedisLimiter], app_id: int
) -> None:
    limiter = make()
    order: list[int] = []

    async def call(number: int) -> None:
        permit = await limiter.acquire(app_id, "A")
        order.append(number)
        permit.departed()

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for number in range(10):
            tasks.create_task(call(number))
    assert order == list(range(10))


@pytest.mark.slow
@on_one_server
async def test_a_process_with_many_callers_does_not_starve_one_with_a_single_caller(
    make: Callable[..., RedisLimiter], app_id: int
) -> None:
    busy, single = make(limit=1), make(limit=1)
    order: list[str] = []

    async def call(limiter: RedisLimiter, name: str) -> None:
        permit = await limiter.acquire(app_id, "A")
        order.append(name)
        permit.departed()

    await call(busy, "first")
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for _ in range(6):
            tasks.create_task(call(busy, "busy"))
        await asyncio.sleep(0.05)
        came = len(order)
        tasks.create_task(call(single, "single"))
    assert "single" in order[: came + 3]


@pytest.mark.slow
@on_one_server
async def test_the_foreground_of_any_process_goes_before_the_background_of_any(
    make: Callable[..., RedisLimiter], app_id: int
) -> None:
    fleet, visitor = make(limit=1), make(limit=1)
    order: list[str] = []

    async def call(limiter: RedisLimiter, name: str, *, background: bool) -> None:
        permit = await limiter.acquire(app_id, "A", background=background)
        order.append(name)
        permit.departed()

    await call(fleet, "first", background=True)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(call(fleet, "fleet", background=True))
        await asyncio.sleep(0.05)
        came = len(order)
        for _ in range(2):
            tasks.create_task(call(visitor, "visitor", background=False))
    # The fleet may have been next already as the visitors came.
    assert order[came:].index("visitor") <= 1
    assert order.index("visitor") + 1 == len(order) - 1 - order[::-1].index("visitor")


@pytest.mark.slow
@on_one_server
async def test_a_crowd_of_people_does_not_starve_the_fleet_of_another_process(
    make: Callable[..., RedisLimiter], app_id: int
) -> None:
    fleet, people = make(limit=10, window=0.1), make(limit=10, window=0.1)
    order: list[str] = []

    async def call(limiter: RedisLimiter, name: str, *, background: bool) -> None:
        permit = await limiter.acquire(app_id, "A", background=background)
        order.append(name)
        permit.departed()
        permit.answered()

    tasks = [asyncio.create_task(call(people, "person", background=False)) for _ in range(150)]
    await asyncio.sleep(0.05)
    tasks += [asyncio.create_task(call(fleet, "fleet", background=True)) for _ in range(50)]
    async with asyncio.timeout(60):
        while order.count("person") < 140:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.01)
    assert order.count("fleet") >= 5
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.slow
@on_one_server
async def test_a_fleet_spaces_its_calls_where_people_of_another_process_were_seen(
    make: Callable[..., RedisLimiter], server: RedisServer, app_id: int
) -> None:
    await keep_books_since_long_ago(server, app_id)
    fleet, person = make(limit=4, window=4.0), make(limit=4, window=4.0)
    await spend(person, app_id, [])
    times: list[float] = []
    async with asyncio.timeout(60):
        for _ in range(3):
            permit = await fleet.acquire(app_id, "A", background=True)
            times.append(time.monotonic())
            permit.departed()
    # A quarter of a window, less what an answer may be late; without, they would have come at once.
    assert all(later - earlier > 0.3 for earlier, later in itertools.pairwise(times))


# --- giving back -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@on_one_server
async def test_a_released_permit_is_free_at_once_and_what_is_said_of_it_later_does_nothing(
    make: Callable[..., RedisLimiter], server: RedisServer, app_id: int
) -> None:
    await spend(make(limit=1), app_id, [])
    limiter = make(limit=1, window=3600.0, guard=0.0, prefix="zego_aigc")
    await keep_books_since_long_ago(server, app_id)
    async with asyncio.timeout(60):
        for _ in range(3):
            permit = await limiter.acquire(app_id, "A")
            permit.release()
            permit.release()
            permit.departed()
            permit.answered()


@pytest.mark.slow
@on_one_server
async def test_cancelled_callers_spend_nothing_and_leave_no_place_behind(
    make: Callable[..., RedisLimiter], app_id: int, server: RedisServer
) -> None:
    limiter = make()
    times: list[float] = []
    randomness = random.Random(7)
    waiting = [asyncio.create_task(spend(limiter, app_id, times)) for _ in range(40)]
    for _ in range(40):
        await asyncio.sleep(randomness.random() * 0.02)
        if randomness.random() < 0.7:
            randomness.choice(waiting).cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert keeps_the_promise(times)
    await limiter.aclose()
    async with Redis.from_url(server.url) as redis:
        base = f"zego_aigc:{{{app_id}}}:A"
        assert await redis.zcard(f"{base}:queue") == await redis.zcard(f"{base}:present") == 0
        assert await redis.zcard(f"{base}:tokens") <= 4
        await asyncio.sleep(WINDOW + GUARD + 0.01)
        now_s, now_us = await redis.time()
        assert await redis.zcount(f"{base}:tokens", now_s * 1_000_000 + now_us, "+inf") == 0, "all are free again"
        fresh = make()
        async with asyncio.timeout(60):
            for _ in range(4):
                (await fresh.acquire(app_id, "A")).departed()


async def test_an_answer_brings_a_token_back_sooner_than_the_guard(
    make: Callable[..., RedisLimiter], server: RedisServer, app_id: int
) -> None:
    limiter = make(limit=1, window=0.1, guard=100.0)
    await keep_books_since_long_ago(server, app_id)
    times: list[float] = []
    async with asyncio.timeout(60):
        for _ in range(3):
            permit = await limiter.acquire(app_id, "A")
            times.append(time.monotonic())
            permit.departed(unproven=True)
            permit.answered()
    assert keeps_the_promise(times, limit=1, span=0.1)


@pytest.mark.slow
@on_one_server
async def test_a_learned_round_trip_brings_a_token_back_sooner_than_its_answer(
    make: Callable[..., RedisLimiter], server: RedisServer, app_id: int
) -> None:
    limiter = make(limit=1, window=0.4, guard=1.0)
    await keep_books_since_long_ago(server, app_id)
    times: list[float] = []
    async with asyncio.timeout(60):
        for _ in range(16):
            permit = await limiter.acquire(app_id, "A")
            times.append(time.monotonic())
            permit.departed()
            await asyncio.sleep(0.2)
            permit.answered()
            permit.served("host")
    spans = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert min(spans) > 0.4
    assert min(spans[6:]) < 0.55, "without, it would be 0.6 and more"
    stats = limiter.stats(app_id, "A")
    assert stats.round_trip is not None
    assert 0.199 <= stats.round_trip < 0.4
    assert (stats.sent, stats.guard, stats.complaints) == (16, 1.0, 0)


async def test_scripts_that_redis_has_forgotten_are_sent_again(
    make: Callable[..., RedisLimiter], server: RedisServer, app_id: int
) -> None:
    limiter = make()
    times: list[float] = []
    async with Redis.from_url(server.url) as redis, asyncio.timeout(60):
        for _ in range(8):
            await spend(limiter, app_id, times)
            await redis.script_flush()
    assert keeps_the_promise(times)


@pytest.mark.slow
@on_one_server
async def test_a_complaint_of_the_service_slows_all_processes_down_for_a_while(
    make: Callable[..., RedisLimiter], app_id: int
) -> None:
    one, other = make(limit=4), make(limit=4)
    await spend(one, app_id, [])
    complained = time.monotonic()
    one.too_fast(app_id, "A")
    one.too_fast(app_id, "A")  # the same crowd
    times: list[float] = []
    withheld = 0
    for limiter in (one, other) * 4:
        await spend(limiter, app_id, times)
        withheld = max(withheld, one.stats(app_id, "A").withheld)
    # Nothing was answered that the guard had let go, so others use the account: two of four tokens are left to them.
    assert keeps_the_promise([moment for moment in times if moment < complained + WITHHELD_WINDOWS * WINDOW], limit=2)
    assert withheld == 2
    async with asyncio.timeout(60):
        while one.stats(app_id, "A").withheld:
            await spend(one, app_id, times)


# --- deaths ------------------------------------------------------------------------------------------------------


@on_one_server
@pytest.mark.slow
async def test_tokens_of_a_living_process_are_kept_beyond_the_lease_and_those_of_a_dead_one_come_back(
    make: Callable[..., RedisLimiter], start: Start, app_id: int
) -> None:
    holder = start(4, "holds")
    assert holder.stdout
    assert await asyncio.to_thread(holder.stdout.readline) == "holding\n"
    limiter = make(lease=2.0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(4.0):  # two leases
            await limiter.acquire(app_id, "A")
    died = time.monotonic()
    holder.kill()
    holder.communicate()
    async with asyncio.timeout(60):
        await spend(limiter, app_id, [])
    assert time.monotonic() - died > 0.5


@pytest.mark.slow
@on_one_server
async def test_a_dead_process_in_the_queue_holds_up_the_others_for_a_second(
    make: Callable[..., RedisLimiter], server: RedisServer, app_id: int
) -> None:
    limiter = make(limit=1)
    await spend(limiter, app_id, [])
    began = time.monotonic()
    async with Redis.from_url(server.url) as redis:
        now_s, now_us = await redis.time()
        now = now_s * 1_000_000 + now_us
        await redis.zadd(f"zego_aigc:{{{app_id}}}:A:queue", {"dead": now})
        await redis.zadd(f"zego_aigc:{{{app_id}}}:A:present", {"dead": now + 1_000_000})
    async with asyncio.timeout(60):
        await spend(limiter, app_id, [])
    assert 0.9 < time.monotonic() - began < 30.0


@pytest.mark.slow
@on_one_server
async def test_a_server_clock_that_was_set_back_stalls_nobody_for_long(
    make: Callable[..., RedisLimiter], server: RedisServer, app_id: int
) -> None:
    limiter = make(limit=1, lease=1.0)
    await spend(limiter, app_id, [])
    async with Redis.from_url(server.url) as redis:
        now_s, _ = await redis.time()
        later = (now_s + 3600) * 1_000_000
        await redis.zadd(f"zego_aigc:{{{app_id}}}:A:tokens", {"later": later})
        await redis.zadd(f"zego_aigc:{{{app_id}}}:A:queue", {"later": 1})
        await redis.zadd(f"zego_aigc:{{{app_id}}}:A:present", {"later": later})
        await redis.set(f"zego_aigc:{{{app_id}}}:epoch", later)
    async with asyncio.timeout(60):
        await spend(limiter, app_id, [])


# --- Redis gone --------------------------------------------------------------------------------------------------


async def test_a_redis_without_books_gives_nothing_out_for_a_window_and_a_guard(
    make: Callable[..., RedisLimiter], app_id: int
) -> None:
    times = [time.monotonic()]
    await spend(make(), app_id, times)
    assert times[1] - times[0] > WINDOW + GUARD


@pytest.mark.slow
async def test_while_redis_is_gone_callers_wait_and_then_go_on(caplog: pytest.LogCaptureFixture, app_id: int) -> None:
    caplog.set_level(logging.INFO, "zego_aigc")
    times: list[float] = []
    with RedisServer() as own:
        async with RedisLimiter(own.url, limit=4, window=WINDOW, guard=GUARD) as limiter:
            for _ in range(4):
                await spend(limiter, app_id, times)
            last = await limiter.acquire(app_id, "A")
            own.stop()
            times.append(time.monotonic())
            last.departed()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await limiter.acquire(app_id, "A")
            waiting = asyncio.create_task(spend(limiter, app_id, times))
            await asyncio.sleep(0.1)
            own.start()
            async with asyncio.timeout(60):
                await waiting
                for _ in range(8):
                    await spend(limiter, app_id, times)
    assert keeps_the_promise(times)
    assert "Redis is gone" in caplog.text
    assert "Redis answers again" in caplog.text


@pytest.mark.slow
async def test_with_an_outage_limit_a_process_goes_on_by_itself_and_reports_to_redis_later(
    caplog: pytest.LogCaptureFixture, app_id: int
) -> None:
    caplog.set_level(logging.INFO, "zego_aigc")
    times: list[float] = []
    with RedisServer() as own:
        async with RedisLimiter(own.url, limit=4, window=WINDOW, guard=GUARD, outage_limit=2) as limiter:
            for _ in range(4):
                await spend(limiter, app_id, times)
            own.stop()
            async with asyncio.timeout(60):
                for _ in range(6):
                    await spend(limiter, app_id, times)
            assert keeps_the_promise(times)
            assert keeps_the_promise(times[4:], limit=2)
            own.start()
            async with asyncio.timeout(60):
                while "Redis answers again" not in caplog.text:
                    await spend(limiter, app_id, times)
                for _ in range(8):
                    await spend(limiter, app_id, times)
    assert keeps_the_promise(times)


async def test_a_redis_that_hangs_counts_as_gone_after_a_while(app_id: int) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    hanging = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = hanging.sockets[0].getsockname()[1]
    async with RedisLimiter(f"redis://127.0.0.1:{port}", outage_limit=1, window=0.05, timeout=0.1) as limiter:
        async with asyncio.timeout(60):
            (await limiter.acquire(app_id, "A")).departed()
    hanging.close()


async def test_a_redis_that_refuses_is_an_error_and_not_waited_for(
    make: Callable[..., RedisLimiter], server: RedisServer, app_id: int
) -> None:
    async with Redis.from_url(server.url) as redis:
        await redis.set(f"zego_aigc:{{{app_id}}}:A:queue", "not a sorted set")
    with pytest.raises(ConfigurationError, match="WRONGTYPE"):
        await make().acquire(app_id, "A")


# --- use ---------------------------------------------------------------------------------------------------------


async def test_a_connection_that_is_given_stays_open(server: RedisServer, app_id: int) -> None:
    async with Redis.from_url(server.url, decode_responses=True) as redis:
        async with RedisLimiter(redis, window=0.05) as limiter:
            (await limiter.acquire(app_id, "A")).departed()
        assert await redis.ping()


async def test_closing_tells_redis_what_became_of_the_last_requests(server: RedisServer, app_id: int) -> None:
    async with RedisLimiter(server.url, window=0.05, guard=0.0, prefix="closing") as limiter:
        (await limiter.acquire(app_id, "A")).departed()
        (await limiter.acquire(app_id, "A")).release()
    async with Redis.from_url(server.url) as redis:
        tokens: Any = await redis.zrange(f"closing:{{{app_id}}}:A:tokens", 0, -1, withscores=True)
        ((_, score),) = tokens
        now_s, now_us = await redis.time()
        assert score < now_s * 1e6 + now_us + 1e5


async def test_every_key_but_one_of_an_app_lapses_by_itself(server: RedisServer, app_id: int) -> None:
    async with RedisLimiter(server.url, limit=1, window=0.05, prefix="lapses") as limiter:
        await spend(limiter, app_id, [])
        limiter.too_fast(app_id, "A")
        await spend(limiter, app_id, [])
    async with Redis.from_url(server.url) as redis:
        keys = sorted([key.decode() async for key in redis.scan_iter(f"lapses:{{{app_id}}}*")])
        lasting = [key for key in keys if await redis.pttl(key) == -1]  # -2: it has lapsed
    assert lasting == [f"lapses:{{{app_id}}}:epoch"]


async def test_the_wait_is_estimated_by_those_who_go_first_in_this_process(
    make: Callable[..., RedisLimiter], app_id: int
) -> None:
    limiter = make(limit=2, window=60.0)
    limiter.too_fast(app_id, "A")  # an Action of which nothing is known yet
    assert limiter.estimate(app_id, "A") == limiter.stats(app_id, "A").sent == 0
    fleet = [asyncio.create_task(limiter.acquire(app_id, "A", background=True)) for _ in range(6)]
    async with asyncio.timeout(60):
        while limiter.stats(app_id, "A").waiting_background < len(fleet):  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.01)
    assert limiter.estimate(app_id, "A", background=True) == 3 * 60.0
    assert limiter.estimate(app_id, "A") == 0
    for each in fleet:
        each.cancel()
    await asyncio.wait(fleet)


async def test_another_event_loop_is_told_that_the_limiter_is_not_its(make: Callable[..., RedisLimiter], app_id: int) -> None:
    limiter = make()
    await spend(limiter, app_id, [])

    def elsewhere() -> None:
        asyncio.run(spend(limiter, app_id, []))

    with pytest.raises(ConfigurationError, match="one event loop"):
        await asyncio.to_thread(elsewhere)


@pytest.mark.parametrize(
    "wrong", [{"limit": 0}, {"window": 0}, {"guard": -1}, {"lease": 0.5}, {"timeout": 0}, {"outage_limit": 0}]
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong)).replace("outage_", "")):
        RedisLimiter("redis://127.0.0.1", **wrong)


def test_the_address_and_its_password_are_not_shown() -> None:
    assert "hidden" not in repr(RedisLimiter("redis://:hidden@127.0.0.1"))


@pytest.mark.slow
@on_one_server
async def test_the_pages_example_works(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parent.parent / "docs" / "redis.md").read_text()
    found = re.search(r"<!-- test: use -->\n```python\n(.*?)```", page, re.DOTALL)
    assert found
    async with Sandbox() as sandbox:
        monkeypatch.setenv("ZEGO_APP_ID", str(sandbox.app_id))
        monkeypatch.setenv("ZEGO_SERVER_SECRET", sandbox.server_secret)
        monkeypatch.setenv("REDIS_URL", server.url)
        served: list[Client] = []

        async def serve(client: Client) -> None:
            served.append(client)
            async with Client(
                sandbox.app_id, sandbox.server_secret, aiagent_url=sandbox.url, limiter=client.pool.limiter, quota=client.quota
            ) as other:
                assert (await other.call(ListAgents())).total == 0

        names: dict[str, Any] = {"__name__": "example", "serve": serve}
        exec(compile(found[1], "redis.md:use", "exec", dont_inherit=True), names)
        await names["main"]()
    assert len(served) == 1
