"""The budget of live instances shared through Redis: several quotas, as several processes have them, and one real server."""

from __future__ import annotations

import asyncio
import itertools
import math
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis_server import RedisServer, kinds, on_one_server
from requests_made import register, stream, voice

from zego_aigc import LocalLimiter, provision
from zego_aigc.aiagent import DeleteAgentInstance
from zego_aigc.errors import AccessDenied, ConfigurationError, ConnectFailed, QuotaExceeded
from zego_aigc.limits.capacity import pause
from zego_aigc.limits.local_quota import LocalQuota
from zego_aigc.limits.quota import Quota, Reservation
from zego_aigc.redis import RedisQuota, RedisReservation
from zego_aigc.sandbox import Sandbox

pytestmark = pytest.mark.anyio

_apps = itertools.count(1)
Make = Callable[..., RedisQuota]


@pytest.fixture(scope="module", params=kinds())
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(request.param) as running:
        yield running


@pytest.fixture
def app_id() -> int:
    """Books of its own for each test."""
    return next(_apps)


@pytest.fixture
async def make(server: RedisServer, app_id: int) -> AsyncIterator[Make]:
    """Quotas as several processes would have them: with connections of their own."""
    made: list[RedisQuota] = []

    def one(**options: Any) -> RedisQuota:
        made.append(RedisQuota(server.url, app_id=app_id, **({"agents": 2, "timeout": 60} | options)))
        return made[-1]

    yield one
    for quota in made:
        await quota.aclose()


async def refused(quota: RedisQuota, kind: Any = "agents") -> bool:
    try:
        hold = await quota.acquire(kind, wait=False)
    except QuotaExceeded:
        return True
    hold.release()
    await quota.look(kind)  # so that Redis has heard of it
    return False


async def in_line(server: RedisServer, app_id: int, *lines: str) -> None:
    """Wait until Redis knows that a process waits in each of the lines."""
    async with Redis.from_url(server.url) as redis, asyncio.timeout(60):
        keys = [f"zego_aigc:{{{app_id}}}:quota:agents:{line}" for line in lines]
        while 0 in [await redis.zcard(key) for key in keys]:  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.01)


async def test_all_processes_together_keep_to_the_budget(make: Make) -> None:
    one, other = make(), make()
    first = await one.acquire("agents")
    second = await other.acquire("agents")
    with pytest.raises(QuotaExceeded, match="budget of 2 is used up") as caught:
        await one.acquire("agents", wait=False)
    assert caught.value.code == 410000011
    assert caught.value.action == "CreateAgentInstance"
    assert await refused(other)
    first.release()
    third = await one.acquire("agents", wait=False)  # who gives a place back and asks for one gets it
    assert await refused(other)
    second.live("i2")
    third.live("i3")
    usage = await one.look("agents")
    assert (usage.limit, usage.making, usage.live, usage.unknown, usage.full) == (2, 0, 2, 0, False)


async def test_kinds_and_apps_have_budgets_of_their_own(make: Make, server: RedisServer) -> None:
    quota = make(agents=0, digital_humans=1, streams=None)
    assert await refused(quota, "agents")
    await quota.acquire("digital_humans")
    assert await refused(quota, "digital_humans")
    for _ in range(30):
        await quota.acquire("streams")
    async with RedisQuota(server.url, app_id=next(_apps)) as other:
        await other.acquire("digital_humans")


@pytest.mark.slow
@on_one_server
async def test_a_visitor_of_any_process_gets_a_place_before_a_fleet_of_any(
    make: Make, server: RedisServer, app_id: int
) -> None:
    fleet, app = make(agents=1), make(agents=1)
    order: list[str] = []

    async def make_one(quota: RedisQuota, name: str, *, background: bool) -> None:
        reservation = await quota.acquire("agents", background=background)
        order.append(name)
        reservation.release()

    first = await fleet.acquire("agents")
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(make_one(fleet, "fleet", background=True))
        for _ in range(2):
            group.create_task(make_one(app, "visitor", background=False))
        await in_line(server, app_id, "behind", "queue")
        first.release()
    assert order[0] == "visitor"
    assert sorted(order) == ["fleet", "fleet", "visitor", "visitor"]


async def test_it_is_a_quota_wherever_one_is_asked_for(make: Make) -> None:
    quota: Quota = make()
    hold: Reservation = await quota.acquire("agents")
    assert (hold.kind, hold.state, hold.instance_id) == ("agents", "making", None)
    hold.live("i1")
    assert (hold.state, hold.instance_id) == ("live", "i1")
    assert repr(hold) == "<RedisReservation agents live i1>"
    with pytest.raises(ValueError, match="no such kind"):
        await quota.acquire("robots")  # type: ignore[arg-type] # a slip


async def test_a_waiting_caller_gets_the_place_that_another_process_gives_back(make: Make) -> None:
    one, other = make(agents=1), make(agents=1)
    hold = await one.acquire("agents")
    hold.live("i1")
    waiting = asyncio.create_task(other.acquire("agents"))
    await asyncio.sleep(0.05)
    assert other.waiting("agents") == 1
    assert not waiting.done()
    assert one.ended("i1")
    assert hold.state == "gone"
    async with asyncio.timeout(60):
        (await waiting).release()


async def test_another_process_may_tell_that_an_instance_has_ended(make: Make) -> None:
    one, other = make(agents=1), make(agents=1)
    hold = await one.acquire("agents")
    hold.live("i1")
    await one.look("agents")
    assert not other.ended("i1")
    assert not other.ended("i1")
    assert not await refused(other)
    hold.release()  # harmless: told already
    assert (await one.look("agents")).used == 0


async def test_an_end_that_is_heard_of_before_the_creation_counts(make: Make) -> None:
    one, other = make(agents=1), make(agents=1)
    hold = await one.acquire("agents")
    other.ended("i1")
    await other.look("agents")
    hold.live("i1")
    assert (await one.look("agents")).used == 0


async def test_an_instance_that_two_processes_know_counts_once(make: Make) -> None:
    one, other = make(), make()
    (await one.acquire("agents")).live("i1")
    await one.look("agents")
    other.adopt("agents", "i1")
    assert (await other.look("agents")).live == 1


async def test_adopting_may_overdraw_the_budget(make: Make) -> None:
    quota = make(agents=1)
    for number in range(3):
        quota.adopt("agents", f"i{number}")
    assert (await quota.look("agents")).live == 3
    assert await refused(quota)
    for number in range(3):
        quota.ended(f"i{number}")
    assert not await refused(quota)


@pytest.mark.slow
async def test_unknown_outcomes_hold_their_place_until_they_lapse(make: Make) -> None:
    one, other = make(agents=1), make(agents=1)
    hold = await one.acquire("agents")
    hold.unknown(expires_in=2.0)
    assert (await one.look("agents")).unknown == 1
    assert await refused(other)
    async with asyncio.timeout(60):
        (await other.acquire("agents")).release()
    assert hold.state == "gone"


async def test_an_unknown_instance_may_turn_out_to_live(make: Make) -> None:
    quota = make(agents=1)
    hold = await quota.acquire("agents")
    hold.unknown(expires_in=0.05)
    await asyncio.sleep(0.1)
    assert (await quota.look("agents")).used == 0
    hold.live("i1")
    usage = await quota.look("agents")
    assert (usage.live, usage.unknown) == (1, 0)


@pytest.mark.slow
async def test_an_instance_with_a_known_end_gives_its_place_back_by_itself(make: Make) -> None:
    quota = make(agents=1)
    hold = await quota.acquire("agents")
    hold.live("i1", expires_in=2.0)
    assert await refused(quota)
    async with asyncio.timeout(60):
        await quota.acquire("agents")
    assert hold.state == "gone"


@pytest.mark.slow
@on_one_server
async def test_while_the_service_says_full_one_creation_at_a_time_is_tried_by_whichever_process(make: Make) -> None:
    one, other = make(agents=10), make(agents=10)
    hold = await one.acquire("agents")
    began = time.monotonic()
    hold.full()
    assert hold.state == "gone"
    assert (await one.look("agents")).full
    with pytest.raises(QuotaExceeded, match="probed with growing pauses"):
        await other.acquire("agents", wait=False)
    async with asyncio.timeout(60):
        trying = await other.acquire("agents")
    assert time.monotonic() - began > 0.9
    assert await refused(one)
    trying.live("i1")
    await other.look("agents")
    two = [await one.acquire("agents", wait=False) for _ in range(2)]
    assert await refused(one)
    for number, each in enumerate(two):
        each.live(f"j{number}")
    for number in range(4):
        (await one.acquire("agents", wait=False)).live(f"k{number}")
    usage = await one.look("agents")
    assert (usage.live, usage.full) == (7, False)


@pytest.mark.slow
@on_one_server
async def test_refusals_in_a_row_make_the_pauses_longer_and_an_end_of_ours_cuts_them_short(make: Make) -> None:
    quota = make(agents=10)
    (await quota.acquire("agents")).live("i1")
    quota.full("agents")
    async with asyncio.timeout(60):
        (await quota.acquire("agents")).full()
    assert await refused(quota)
    quota.ended("i1")
    assert not await refused(quota)


# --- order, cancelling, deaths -----------------------------------------------------------------------------------


async def test_callers_of_a_process_are_served_in_the_order_of_their_coming(make: Make) -> None:
    quota = make(agents=1)
    order: list[int] = []

    async def call(number: int) -> None:
        hold = await quota.acquire("agents")
        order.append(number)
        hold.release()

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for number in range(8):
            tasks.create_task(call(number))
    assert order == list(range(8))


@pytest.mark.slow
@on_one_server
async def test_a_process_with_many_callers_does_not_starve_one_with_a_single_caller(make: Make) -> None:
    busy, single = make(agents=1), make(agents=1)
    order: list[str] = []

    async def call(quota: RedisQuota, name: str) -> None:
        hold = await quota.acquire("agents")
        order.append(name)
        await asyncio.sleep(0.05)
        hold.release()

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for _ in range(6):
            tasks.create_task(call(busy, "busy"))
        await asyncio.sleep(0.02)
        came = len(order)
        tasks.create_task(call(single, "single"))
    assert "single" in order[: came + 3]


async def test_who_does_not_wait_does_not_overtake_those_who_do(make: Make, server: RedisServer, app_id: int) -> None:
    one, other = make(agents=1), make(agents=1)
    hold = await one.acquire("agents")
    waiting = asyncio.create_task(one.acquire("agents"))
    await in_line(server, app_id, "queue")
    assert await refused(one)
    hold.release()
    await one.look("agents")
    assert await refused(other)
    async with asyncio.timeout(60):
        (await waiting).release()


async def test_of_many_who_do_not_wait_as_many_get_a_place_as_there_are(make: Make) -> None:
    """Whatever they ask at once, in one process or in several, and whoever else asks."""
    quotas = make(agents=4), make(agents=4)
    asked = [quotas[number % 2].acquire("agents", wait=False, background=number % 3 == 0) for number in range(40)]
    got = await asyncio.gather(*asked, return_exceptions=True)
    places = [each for each in got if isinstance(each, RedisReservation)]
    assert len(places) == 4
    assert all(isinstance(each, RedisReservation | QuotaExceeded) for each in got)
    assert (await quotas[0].look("agents")).making == 4


async def test_a_fleet_that_fails_where_there_is_no_place_makes_as_many_as_there_are(make: Make, tmp_path: Path) -> None:
    quota = make(streams=4)
    async with Sandbox(rate_limit=None) as sandbox, sandbox.client(limiter=LocalLimiter(10_000)) as client:
        entries = [stream(f"s{number}") for number in range(6)]
        async with provision(client, entries, journal=tmp_path / "journal", quota=quota, on_quota="fail") as run:
            statuses = [outcome.status async for outcome in run]
        assert statuses.count("done") == 4
        assert len(sandbox.app.tasks) == 4


async def test_cancelled_callers_take_nothing_and_leave_no_place_behind(make: Make, server: RedisServer, app_id: int) -> None:
    quota = make(agents=2)
    holds = [await quota.acquire("agents") for _ in range(2)]
    waiting = [asyncio.create_task(quota.acquire("agents")) for _ in range(10)]
    for index, task in enumerate(waiting):
        await asyncio.sleep(0.003 * (index % 3))
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for hold in holds:
        hold.release()
    await quota.aclose()
    async with Redis.from_url(server.url) as redis:
        assert await redis.hlen(f"zego_aigc:{{{app_id}}}:quota:agents:places") == 0
        assert await redis.zcard(f"zego_aigc:{{{app_id}}}:quota:agents:queue") == 0


PROCESS = """
    import asyncio, sys
    from zego_aigc.redis import RedisQuota

    async def main(url, app_id):
        quota = RedisQuota(url, agents=2, app_id=app_id, lease=3, orphan=3, forget_after=4.5)
        making = await quota.acquire("agents")
        live = await quota.acquire("agents")
        live.live("i1")
        await quota.look("agents")
        print("holding", flush=True)
        await asyncio.sleep(60)

    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@on_one_server
@pytest.mark.slow
async def test_places_of_a_living_process_are_kept_and_those_of_a_dead_one_come_back(
    make: Make, server: RedisServer, app_id: int
) -> None:
    command = [sys.executable, "-c", textwrap.dedent(PROCESS), server.url, str(app_id)]
    quota = make(orphan=3.0, lease=3.0)
    holder = await asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout
        assert await asyncio.to_thread(holder.stdout.readline) == "holding\n"
        await asyncio.sleep(5.0)
        usage = await quota.look("agents")
        assert (usage.making, usage.live) == (1, 1)
    finally:
        holder.kill()
        holder.communicate()
    seen: set[tuple[int, int, int]] = set()
    async with asyncio.timeout(60):
        while (usage := await quota.look("agents")).used:
            seen.add((usage.making, usage.live, usage.unknown))
            await asyncio.sleep(0.05)
    assert {(1, 1, 0), (0, 1, 1), (0, 0, 1)} & seen
    assert any(unknown for _, _, unknown in seen)


async def test_what_could_not_be_deleted_holds_its_place_until_it_must_have_ended_by_itself(
    make: Make, server: RedisServer, app_id: int
) -> None:
    quota, callbacks = make(agents=1), make(agents=1)
    async with Sandbox(rate_limit=None) as sandbox, sandbox.client(quota=quota) as client:
        await client.call(register())
        deletes = sandbox.faults.on(DeleteAgentInstance).refuse(410000006)
        with pytest.raises(AccessDenied):
            async with client.agent(voice("1")) as first:
                pass
        usage = await quota.look("agents")
        assert (usage.live, usage.unknown) == (0, 1)
        with pytest.raises(QuotaExceeded, match=rf"0 live, 0 being made, 1 unknown, .*this client holds {first.id}\)"):
            await client.start(voice("2"), timeout=0.3)
        async with Redis.from_url(server.url) as redis:  # as if MaxIdleTime had passed, which is 120 s unless given
            lapses = f"zego_aigc:{{{app_id}}}:quota:agents:lapses"
            places: Any = await redis.zrange(lapses, 0, -1)
            for place in places:
                await redis.zincrby(lapses, -121e6, place)
        assert (await quota.look("agents")).used == 0
        # Of another one the end is heard of before that, in another process.
        with pytest.raises(AccessDenied):
            async with client.agent(voice("3")) as third:
                pass
        assert (await quota.look("agents")).unknown == 1
        callbacks.ended(third.id)
        assert (await callbacks.look("agents")).used == 0
        deletes.remove()


# --- Redis gone --------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_while_redis_is_gone_callers_wait_or_fail_at_once_and_what_is_said_arrives_later(app_id: int) -> None:
    with RedisServer() as own:
        async with RedisQuota(own.url, agents=1, app_id=app_id) as quota:
            hold = await quota.acquire("agents")
            own.stop()
            hold.live("i1")
            with pytest.raises(QuotaExceeded, match="Redis does not answer"):
                await quota.acquire("agents", wait=False)
            with pytest.raises(ConnectFailed):
                await quota.look("agents")
            waiting = asyncio.create_task(quota.acquire("agents"))
            await asyncio.sleep(0.2)
            own.start()
            async with asyncio.timeout(60):
                # The new Redis has lost the books but for what it is told now.
                while quota.usage("agents").live == 0:  # noqa: ASYNC110 - it asks by itself, in the background
                    await asyncio.sleep(0.02)
                assert not waiting.done()
                quota.ended("i1")
                (await waiting).release()


async def test_a_redis_that_refuses_is_an_error_and_not_waited_for(make: Make, server: RedisServer, app_id: int) -> None:
    async with Redis.from_url(server.url) as redis:
        await redis.set(f"zego_aigc:{{{app_id}}}:quota:agents:lapses", "not a sorted set")
    with pytest.raises(ConfigurationError, match="WRONGTYPE"):
        await make().acquire("agents")


@pytest.mark.parametrize("wrong", [{"agents": -1}, {"lease": 0.5}, {"orphan": 0}, {"forget_after": 0}, {"timeout": 0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="budget" if "agents" in wrong else next(iter(wrong))):
        RedisQuota("redis://127.0.0.1", app_id=1, **wrong)


def test_the_address_and_its_password_are_not_shown() -> None:
    assert repr(RedisQuota("redis://:hidden@127.0.0.1", app_id=1)) == "RedisQuota(agents=10, digital_humans=10, streams=10)"


# --- the same books as in memory ---------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(st.sampled_from(["acquire", "live", "release", "unknown", "full", "ended", "adopt"]), st.integers(0, 5)),
    max_size=40,
)


@given(limit=st.sampled_from([0, 1, 2, 3, None]), steps=STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_books_in_redis_agree_with_those_in_memory(
    limit: int | None, steps: list[tuple[str, int]], server: RedisServer
) -> None:
    async def run() -> None:
        async with RedisQuota(server.url, agents=limit, app_id=next(_apps), timeout=60) as shared:
            memory = LocalQuota(agents=limit)
            holds: list[tuple[Reservation, Reservation]] = []
            # A pause after "full" later each lets somebody try, by a clock of its own: from then on they may differ.
            comparable_until = math.inf
            for step, number in steps:
                pair = holds[number % len(holds)] if holds else None
                if step == "acquire":
                    got: list[Reservation | None] = []
                    for quota in (memory, shared):
                        try:
                            got.append(await quota.acquire("agents", wait=False))
                        except QuotaExceeded:
                            got.append(None)
                    if time.monotonic() >= comparable_until:
                        return
                    assert [hold is None for hold in got] in ([True, True], [False, False])
                    if got[0] is not None and got[1] is not None:
                        holds.append((got[0], got[1]))
                elif step == "adopt":
                    holds.append((memory.adopt("agents", f"i{number}"), shared.adopt("agents", f"i{number}")))
                elif step == "ended":
                    for quota in (memory, shared):
                        quota.ended(f"i{number}")
                elif pair is not None and pair[0].state != "gone":
                    if step == "full":
                        comparable_until = min(comparable_until, time.monotonic() + pause(1))
                    for hold in pair:
                        match step:
                            case "live" if hold.instance_id is None:
                                hold.live(f"i{number}")
                            case "unknown":
                                hold.unknown(expires_in=3600)
                            case "full" if hold.instance_id is None:
                                hold.full()
                            case "release" if hold.instance_id is None:
                                hold.release()
                            case _:
                                pass
                usage = await shared.look("agents")
                if time.monotonic() >= comparable_until:
                    return
                assert usage == memory.usage("agents")

    asyncio.run(run())
