"""A replica that lags is promoted while everything is in use: what it has not heard of is neither sent twice nor lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Self

import pytest
from redis.asyncio import Redis
from redis_server import RedisServer, kinds

from zego_aigc.errors import RegistryError, TooManyLive
from zego_aigc.redis import RedisLimiter, RedisQuota, RedisRegistry
from zego_aigc.storage.registry import LiveRecord

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LIMIT, WINDOW, GUARD = 4, 0.2, 0.02

IN_TIME = 0.5
"""Seconds for which a process may stand still and yet report to the new server in the second that is left for it."""


class Address:
    """Where clients find the primary: a port that leads to one server, and later to another."""

    def __init__(self, target: RedisServer) -> None:
        self.target = target
        self._ways: set[asyncio.Task[None]] = set()  # one for each direction of each connection
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._cut()
        if self._connections:
            await asyncio.wait(self._connections)

    def lead_to(self, target: RedisServer) -> None:
        """Cut the connections that there are; new ones lead to another server."""
        self.target = target
        self._cut()

    def _cut(self) -> None:
        for way in self._ways:
            way.cancel()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target.port)
        except OSError:  # the server is dead, and no other leads yet
            writer.close()
            self._connections.discard(task)
            return
        ways = {asyncio.create_task(_copy(reader, back)), asyncio.create_task(_copy(there, writer))}
        self._ways |= ways
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.wait(ways)
        self._ways -= ways
        for each in (writer, back):
            each.close()
            with contextlib.suppress(ConnectionError):
                await each.wait_closed()
        self._connections.discard(task)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65536):
            writer.write(chunk)


class Failover:
    """A primary, and a replica that takes over although it has not heard of the latest."""

    def __init__(self, primary: RedisServer, replica: RedisServer, address: Address) -> None:
        self.url = address.url
        self._primary = primary
        self._replica = replica
        self._address = address

    async def lag(self) -> None:
        """From now on the replica hears nothing more."""
        async with Redis.from_url(self._replica.url) as redis:
            # It may hear of the first commands a second after the link is up.
            while not await redis.dbsize():  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.02)
            await redis.replicaof("127.0.0.1", "1")

    async def promote(self) -> None:
        """The primary dies, and the replica takes over."""
        self._primary.stop()
        async with Redis.from_url(self._replica.url) as redis:
            await redis.replicaof("NO", "ONE")
        self._address.lead_to(self._replica)


@pytest.fixture(params=kinds())
def servers(request: pytest.FixtureRequest) -> Iterator[tuple[RedisServer, RedisServer]]:
    with (
        RedisServer(request.param, options=["--repl-diskless-sync-delay", "0"]) as primary,
        RedisServer(request.param, options=["--replicaof", "127.0.0.1", str(primary.port)]) as replica,
    ):
        yield primary, replica


@pytest.fixture
async def failover(servers: tuple[RedisServer, RedisServer]) -> AsyncIterator[Failover]:
    primary, replica = servers
    async with Redis.from_url(replica.url) as redis, asyncio.timeout(60):
        while (await redis.info("replication"))["master_link_status"] != "up":  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.02)
    async with Address(primary) as address:
        yield Failover(primary, replica, address)


class Stalls:
    """How long this process has stood still at most, as on a machine that has too much to do."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def measure(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(0.02)
            now = time.monotonic()
            self.longest, before = max(self.longest, now - before), now


@pytest.fixture
async def stalls() -> AsyncIterator[Stalls]:
    stalls = Stalls()
    measuring = asyncio.create_task(stalls.measure())
    yield stalls
    measuring.cancel()
    await asyncio.wait({measuring})


async def test_no_window_has_more_than_the_limit_when_a_lagging_replica_takes_over(failover: Failover, stalls: Stalls) -> None:
    departures: list[float] = []
    going = True

    async def caller(limiter: RedisLimiter) -> None:
        while going:
            permit = await limiter.acquire(1, "A")
            departures.append(time.monotonic())
            permit.departed()

    async with asyncio.timeout(60), contextlib.AsyncExitStack() as stack:
        limiters = [
            await stack.enter_async_context(RedisLimiter(failover.url, LIMIT, WINDOW, GUARD, lease=5.0, timeout=30))
            for _ in range(2)
        ]
        callers = [asyncio.create_task(caller(limiter)) for limiter in limiters for _ in range(3)]
        await _until(lambda: len(departures) >= 8)
        await failover.lag()
        before = len(departures)
        await _until(lambda: len(departures) >= before + 2)
        # Of this one the replica never hears, and it is still held when the new server gives tokens out.
        held = await limiters[0].acquire(1, "A")
        await failover.promote()
        before = len(departures)
        await _until(lambda: len(departures) >= before + 8)
        departures.append(time.monotonic())
        held.departed()
        await _until(lambda: len(departures) >= before + 16)
        going = False
        await asyncio.gather(*callers)
    departures.sort()
    spans = [later - earlier for earlier, later in zip(departures, departures[LIMIT:], strict=False)]
    assert min(spans) > WINDOW or stalls.longest > IN_TIME


async def test_no_more_than_the_budget_live_when_a_lagging_replica_takes_over_and_no_place_is_lost(
    failover: Failover, stalls: Stalls
) -> None:
    ids = itertools.count()
    live: set[int] = set()
    most = made = 0
    going = True

    async def visit(quota: RedisQuota, *, seconds: float) -> None:
        nonlocal most, made
        reservation = await quota.acquire("agents")
        number = next(ids)
        live.add(number)
        most = max(most, len(live))
        await asyncio.sleep(seconds / 2)
        reservation.live(f"i{number}")
        await asyncio.sleep(seconds / 2)
        live.discard(number)
        made += 1
        quota.ended(f"i{number}")

    async def visitor(quota: RedisQuota) -> None:
        while going:
            await visit(quota, seconds=0.1)

    async with asyncio.timeout(60), contextlib.AsyncExitStack() as stack:
        quotas = [
            await stack.enter_async_context(RedisQuota(failover.url, agents=LIMIT, app_id=1, lease=5.0, timeout=30))
            for _ in range(2)
        ]
        visitors = [asyncio.create_task(visitor(quota)) for quota in quotas for _ in range(3)]
        await _until(lambda: made >= 8)
        await failover.lag()
        before = made
        await _until(lambda: made >= before + 2)
        # Of these places the replica never hears, and one is still being made, the other lives, when it gives places out.
        making = await quotas[0].acquire("agents", background=True)
        living = await quotas[1].acquire("agents", background=True)
        living.live("long")
        live |= {-1, -2}
        await quotas[1].look("agents")
        await failover.promote()
        before = made
        await _until(lambda: made >= before + 10)
        assert most <= LIMIT or stalls.longest > IN_TIME
        going = False
        await asyncio.gather(*visitors)
        await quotas[1].look("agents")  # so that Redis has heard of it
        usage = await quotas[0].look("agents")
        assert (usage.making, usage.live, usage.unknown) == (1, 1, 0), "what was given back has not come to life again"
        making.release()
        living.release()
        await quotas[1].look("agents")
        assert (await quotas[0].look("agents")).used == 0


async def test_a_server_that_lost_all_its_data_gives_out_no_place_before_it_has_heard_which_are_taken() -> None:
    async with asyncio.timeout(60), contextlib.AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer())
        quotas = [await stack.enter_async_context(RedisQuota(server.url, agents=LIMIT, app_id=1)) for _ in range(2)]
        held = [await quotas[0].acquire("agents") for _ in range(LIMIT)]
        await quotas[1].look("agents")
        server.stop()
        server.start()
        next_one = asyncio.create_task(quotas[1].acquire("agents"))
        await _until(lambda: quotas[0].usage("agents").making == LIMIT and quotas[1].usage("agents").making == LIMIT)
        assert not next_one.done()
        held.pop().release()
        (await next_one).release()
        for each in held:
            each.release()


@pytest.mark.parametrize("how", ["a lagging replica takes over", "a replica takes over", "it comes back without its data"])
async def test_a_register_is_told_again_by_each_process_what_it_has(
    servers: tuple[RedisServer, RedisServer], failover: Failover, how: str
) -> None:
    primary, _ = servers
    first, second = (RedisRegistry(failover.url, lease=60.0, timeout=30) for _ in range(2))
    async with asyncio.timeout(60), first, second:
        await first.join("1@here")
        await second.join("1@here")
        ended, moved, unknown = (record("ended", owner="Bob"), record("moved"), record("unknown"))
        for each in (ended, moved, unknown):
            await first.add(each)
        await first.made(ended, "i-ended")
        await first.made(moved, "i-moved")
        if how == "a lagging replica takes over":
            await failover.lag()
        # Of this a new server may not have heard, nor the first process of what the second has done.
        await first.unknown("unknown")
        await second.ended("i-ended")
        await second.take("i-moved")
        await first.add(record("starting", owner="Ann"))
        await second.made(record("live", owner="Ann"), "i-live")
        if how == "it comes back without its data":
            primary.stop()
            primary.start()
        else:
            if how == "a replica takes over":
                async with Redis.from_url(primary.url) as redis:
                    await redis.set("last", 1)  # it is waited for what the same connection has written
                    assert await redis.wait(1, 30_000) == 1
            await failover.promote()
        with pytest.raises(TooManyLive):
            await _answered(lambda: first.add(record("one more", owner="Ann"), per_owner=1))
        await _answered(second.beat)
        found = {each.key: (each.state, each.member, each.instance_id) for each in await first.live()}
        assert found == {
            "unknown": ("unknown", first.member, None),
            "starting": ("starting", first.member, None),
            "moved": ("live", second.member, "i-moved"),
            "live": ("live", second.member, "i-live"),
        }
        await first.add(record("Bob's next", owner="Bob"), per_owner=1)
        with pytest.raises(TooManyLive) as caught:
            await first.add(record("one more", owner="Ann"), per_owner=2)
        assert caught.value.limit == 2
        assert await first.ended("i-live")
        await first.add(record("one more", owner="Ann"), per_owner=2)


async def test_a_server_that_takes_over_has_no_living_process_taken_for_dead(failover: Failover) -> None:
    alive, other = (RedisRegistry(failover.url, lease=3.0, timeout=30) for _ in range(2))
    async with asyncio.timeout(60), alive, other:
        await alive.join("1@here")
        await other.join("1@here")
        for _ in range(3):
            await asyncio.sleep(1)
            await other.beat()
            await alive.beat()
        await alive.add(record("its own"))
        await asyncio.sleep(1)
        await other.beat()  # so that by what the replica hears the lease of the other runs, and that of the living is over
        await failover.lag()
        for _ in range(2):
            await asyncio.sleep(1.1)
            await alive.beat()
        await failover.promote()
        await _answered(lambda: other.take_abandoned(grace=60))
        assert [each.member for each in await other.live()] == [alive.member]
        await _answered(alive.beat)


async def test_what_was_left_stays_when_its_process_goes_on_over_a_server_that_has_not_heard_of_it(failover: Failover) -> None:
    async with asyncio.timeout(60), RedisRegistry(failover.url, lease=60.0, timeout=30) as registry:
        await registry.join("1@here")
        await registry.add(record("left"))
        await registry.made(record("left"), "i-left")
        await failover.lag()
        await registry.leave()
        await failover.promote()
        await _answered(registry.beat)
        assert [each.instance_id for each in await registry.live()] == ["i-left"]


def record(key: str, owner: str | None = None) -> LiveRecord:
    return LiveRecord(key=key, action="CreateAgentInstance", owner=owner)


async def _answered(ask: Callable[[], Awaitable[object]]) -> None:
    """What is asked through a connection that was cut is answered through the next one."""
    while True:
        try:
            await ask()
        except RegistryError:
            await asyncio.sleep(0.02)
        else:
            return


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(0.005)
