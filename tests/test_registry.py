"""The register of what is live: records survive their process, and exactly one other process takes them over."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from redis import asyncio as aioredis
from redis_server import RedisServer

from zego_aigc.errors import RegistryError, TooManyLive
from zego_aigc.redis.registry import RedisRegistry
from zego_aigc.storage.heartbeats import Heartbeats
from zego_aigc.storage.registry import LiveRecord
from zego_aigc.storage.sqlite_registry import SQLiteRegistry

pytestmark = pytest.mark.anyio

ACCOUNT = "1@http://127.0.0.1"
LEASE = 90.0
"""Seconds: Redis counts those as well in which a slow machine gets nothing done."""


class Time:
    """The clock of a register, and how it is moved on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def passes(self, seconds: float) -> None:
        self.now += seconds


class RedisTime(Time):
    """Redis reads its own clock, so what it has noted is moved back instead."""

    def __init__(self, redis: Any) -> None:
        super().__init__()
        self.redis = redis

    async def passes(self, seconds: float) -> None:
        for key in await self.redis.keys("*"):
            match await self.redis.type(key):
                case b"zset":
                    for member, score in await self.redis.zrange(key, 0, -1, withscores=True):
                        await self.redis.zadd(key, {member: score - seconds * 1e6})
                case b"hash" if key.endswith(b":joined"):
                    for member, since in (await self.redis.hgetall(key)).items():
                        await self.redis.hset(key, member, int(float(since) - seconds * 1e6))
                case _:
                    pass


class Processes:
    """Makes registers as so many processes would have them, on one store."""

    def __init__(self, make: Callable[[], SQLiteRegistry | RedisRegistry], time: Time) -> None:
        self.make = make
        self.time = time
        self.made: list[SQLiteRegistry | RedisRegistry] = []

    async def start(self, count: int, account: str = ACCOUNT) -> list[SQLiteRegistry | RedisRegistry]:
        started = [self.make() for _ in range(count)]
        self.made += started
        for each in started:
            await each.join(account)
        return started

    async def let_pass(self, seconds: float, *alive: SQLiteRegistry | RedisRegistry) -> None:
        """Let time pass for all, while those that are alive show it as they should."""
        while seconds > 0:
            await self.time.passes(min(seconds, LEASE / 3))
            seconds -= LEASE / 3
            for each in alive:
                await each.beat()


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
async def processes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Processes]:
    if request.param == "sqlite":
        time = Time()
        started = Processes(lambda: SQLiteRegistry(tmp_path / "live.db", lease=LEASE, clock=time), time)
        yield started
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        redis = aioredis.Redis.from_url(server.url)
        await redis.flushall()
        started = Processes(lambda: RedisRegistry(server.url, lease=LEASE), RedisTime(redis))
        yield started
        await redis.aclose()
    for each in started.made:
        await each.aclose()


def record(key: str, *, owner: str | None = None) -> LiveRecord:
    return LiveRecord(key=key, action="CreateAgentInstance", owner=owner, room_id="room", lives_unseen=120)


async def test_a_record_is_there_before_the_create_and_has_its_id_after(processes: Processes) -> None:
    one, other = await processes.start(2)
    await one.add(record("a"))
    assert [(each.key, each.state) for each in await other.live()] == [("a", "starting")]
    await one.made(record("a"), "instance")
    assert [(each.state, each.instance_id, each.room_id) for each in await other.live()] == [("live", "instance", "room")]
    assert await other.ended("instance")
    assert not await other.ended("instance")
    assert await one.live() == []


async def test_what_a_dead_process_had_goes_to_one_other_after_a_lease(processes: Processes) -> None:
    one, other = await processes.start(2)
    await one.add(record("a"))
    await one.made(record("a"), "instance")
    await one.add(record("b"))
    assert await other.take_abandoned(grace=0) == []  # it sees a heartbeat for the first time
    await processes.let_pass(LEASE - 30, other)
    assert await other.take_abandoned(grace=0) == []
    await processes.let_pass(30, other)
    taken = await other.take_abandoned(grace=0)
    assert [(each.key, each.state, each.instance_id) for each in taken] == [("a", "live", "instance"), ("b", "starting", None)]
    assert await other.take_abandoned(grace=0) == []
    assert len({each.member for each in await other.live()}) == 1


async def test_a_process_that_shows_that_it_is_alive_keeps_what_it_has(processes: Processes) -> None:
    one, other = await processes.start(2)
    await one.add(record("a"))
    for _ in range(5):
        assert await one.beat()
        assert await other.take_abandoned(grace=0) == []
        await processes.time.passes(LEASE * 0.9)


async def test_a_process_that_was_taken_for_dead_hears_of_it_and_what_it_makes_is_its_own(processes: Processes) -> None:
    one, other = await processes.start(2)
    await one.add(record("a"))
    await other.take_abandoned(grace=0)
    await processes.let_pass(LEASE, other)
    assert [each.key for each in await other.take_abandoned(grace=0)] == ["a"]
    await other.remove("a")
    assert not await one.beat()
    await one.made(record("a"), "late")  # its answer came after all
    (back,) = await other.live()
    assert (back.instance_id, back.state) == ("late", "live")
    assert await one.beat()


async def test_of_two_processes_that_see_a_third_die_one_takes_what_it_had(processes: Processes) -> None:
    registers = await processes.start(3)
    dead, *others = registers
    for n in range(20):
        await dead.add(record(str(n)))
    for each in others:
        await each.take_abandoned(grace=0)
    await processes.let_pass(LEASE, *others)
    taken = await asyncio.gather(*(each.take_abandoned(grace=0) for each in others))
    assert sorted(len(each) for each in taken) == [0, 20]


async def test_an_outage_of_the_store_makes_nobody_dead(processes: Processes) -> None:
    one, other = await processes.start(2)
    if isinstance(one, SQLiteRegistry):
        return  # a file is never gone for all processes at once
    await one.add(record("a"))
    await other.take_abandoned(grace=0)
    await processes.let_pass(2 * LEASE)  # in which nobody could show that it lives
    assert await other.take_abandoned(grace=0) == []
    await one.beat()
    await processes.let_pass(LEASE, one, other)
    assert await other.take_abandoned(grace=0) == []


async def test_what_was_left_is_taken_after_the_grace_unless_somebody_attached_to_it(processes: Processes) -> None:
    one, other = await processes.start(2)
    for key in ("a", "b"):
        await one.add(record(key))
        await one.made(record(key), f"instance-{key}")
    assert [each.state for each in await one.leave()] == ["left", "left"]
    assert await other.take_abandoned(grace=LEASE) == []
    attached = await other.take("instance-a")
    assert attached is not None
    assert attached.state == "live"
    await processes.let_pass(LEASE, other)
    assert [each.key for each in await other.take_abandoned(grace=LEASE)] == ["b"]
    assert await other.take("unheard of") is None


async def test_an_id_that_a_callback_gives_is_noted_and_the_record_stays_whose_it_was(processes: Processes) -> None:
    one, other = await processes.start(2)
    await one.add(record("a"))
    await other.identify("a", "instance")
    await other.identify("a", "another")
    await other.identify("unheard of", "instance")
    (found,) = await one.live()
    assert (found.state, found.instance_id, found.member) == ("starting", "instance", one.member)
    await one.made(record("a"), "answered")
    assert not await other.ended("instance")
    assert await other.ended("answered")


async def test_an_owner_has_a_bounded_number(processes: Processes) -> None:
    one, other = await processes.start(2)
    await one.add(record("a", owner="ann"), per_owner=2)
    await other.add(record("b", owner="ann"), per_owner=2)
    with pytest.raises(TooManyLive, match=r"'ann' has as many live instances as it may have \(2\): end one before") as refused:
        await one.add(record("c", owner="ann"), per_owner=2)
    assert (refused.value.owner, refused.value.limit) == ("ann", 2)
    await one.add(record("c", owner="ben"), per_owner=2)
    await other.remove("a")
    await one.add(record("d", owner="ann"), per_owner=2)


async def test_what_is_not_known_to_live_does_not_lock_its_owner_out(processes: Processes) -> None:
    one, other = await processes.start(2)
    await one.add(record("a", owner="ann"), per_owner=1)
    await one.unknown("a")
    await other.add(record("b", owner="ann"), per_owner=1)
    with pytest.raises(TooManyLive):
        await one.add(record("c", owner="ann"), per_owner=1)
    await other.leave()  # with the create under way
    await one.add(record("c", owner="ann"), per_owner=1)
    for key in ("a", "b"):
        await one.remove(key)
    with pytest.raises(TooManyLive):
        await one.add(record("d", owner="ann"), per_owner=1)


async def test_what_was_unknown_counts_for_its_owner_once_somebody_has_it(processes: Processes) -> None:
    one, other = await processes.start(2)
    for key, proves in (("a", one.made(record("a", owner="ann"), "instance-a")), ("b", other.take("instance-b"))):
        await one.add(record(key, owner="ann"), per_owner=1)
        await one.unknown(key)
        await one.identify(key, f"instance-{key}")
        await proves
        with pytest.raises(TooManyLive, match="as it may have"):
            await one.add(record("c", owner="ann"), per_owner=1)
        await one.remove(key)


async def test_many_that_come_at_once_do_not_exceed_an_owners_bound(processes: Processes) -> None:
    two = await processes.start(2)

    async def add(register: SQLiteRegistry | RedisRegistry, key: str) -> bool:
        try:
            await register.add(record(key, owner="ann"), per_owner=3)
        except TooManyLive:
            return False
        return True

    added = await asyncio.gather(*(add(register, f"{n}-{key}") for n, register in enumerate(two) for key in range(10)))
    assert sum(added) == 3
    assert len(await two[0].live()) == 3


async def test_accounts_that_share_a_store_do_not_see_each_other(processes: Processes) -> None:
    (one,), (two,) = await processes.start(1, "1@a"), await processes.start(1, "2@a")
    await one.add(record("a"))
    await one.made(record("a"), "instance")
    assert await two.live() == []
    assert not await two.ended("instance")
    with pytest.raises(RegistryError, match="another account"):
        await one.join("2@a")


def child(path: Path) -> None:
    async def run() -> None:
        async with SQLiteRegistry(path) as register:
            await register.join(ACCOUNT)
            await register.add(record("a"))
            await register.made(record("a"), "instance")
        # no leave(): it is killed

    asyncio.run(run())


async def test_records_outlive_their_process(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=child, args=(tmp_path / "live.db",))
    process.start()
    await asyncio.to_thread(process.join, 60)
    async with SQLiteRegistry(tmp_path / "live.db") as register:
        await register.join(ACCOUNT)
        assert [each.instance_id for each in await register.live()] == ["instance"]


def test_one_object_serves_one_event_loop_after_another(tmp_path: Path) -> None:
    register = SQLiteRegistry(tmp_path / "live.db")

    async def use(key: str) -> int:
        await register.join(ACCOUNT)
        await register.add(record(key))
        return len(await register.live())

    assert [asyncio.run(use("a")), asyncio.run(use("b"))] == [1, 2]


async def test_a_file_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "live.db").write_bytes(b"this is no database, but a text that is long enough to be taken for one" * 20)
    register = SQLiteRegistry(tmp_path / "live.db")
    with pytest.raises(RegistryError, match="cannot be used: file is not a database"):
        await register.join(ACCOUNT)
    with pytest.raises(RegistryError, match=r"Client\(registry="):
        await SQLiteRegistry(tmp_path / "other.db").live()
    with pytest.raises(ValueError, match="at least 1 second"):
        SQLiteRegistry(tmp_path / "live.db", lease=0.5)


async def test_a_database_that_another_process_writes_for_long_is_waited_for(tmp_path: Path) -> None:
    async with SQLiteRegistry(tmp_path / "live.db") as register:
        await register.join(ACCOUNT)
        other = sqlite3.connect(tmp_path / "live.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        adding = asyncio.ensure_future(register.add(record("a")))
        await asyncio.sleep(0.2)
        assert not adding.done()
        other.execute("COMMIT")
        other.close()
        await adding


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=40))
def test_nobody_is_taken_for_dead_within_a_lease_of_a_heartbeat(steps: list[tuple[float, bool]]) -> None:
    heartbeats, now, beats, changed = Heartbeats(10), 0.0, 0, 0.0
    heartbeats.dead({"it": beats}, now)
    for passed, beat in steps:
        now += passed
        if beat:
            beats, changed = beats + 1, now
        dead = heartbeats.dead({"it": beats}, now)
        if now - changed < 10:
            assert dead == []
        if not beat and now - changed >= 10 + 5:
            assert dead == ["it"]


def test_one_object_serves_one_event_loop_after_another_in_redis(redis_server: RedisServer) -> None:
    account = f"{ACCOUNT}/loops"

    async def use(register: RedisRegistry, key: str) -> int:
        async with register:
            await register.join(account)
            await register.add(record(key))
            return len(await register.live())

    register = RedisRegistry(redis_server.url)
    assert [asyncio.run(use(register, "a")), asyncio.run(use(register, "b"))] == [1, 2]


async def test_a_redis_that_cannot_be_used_says_what_that_means() -> None:
    with pytest.raises(ValueError, match="at least 1 second"):
        RedisRegistry("redis://127.0.0.1:9", lease=0.5)
    async with RedisRegistry("redis://:secret@127.0.0.1:9", lease=20) as register:
        assert repr(register) == "RedisRegistry(lease=20)"
        with pytest.raises(RegistryError, match=r"Client\(registry="):
            await register.live()
        with pytest.raises(RegistryError, match=r"does not answer.*older than this") as caught:
            await register.join(ACCOUNT)
        with pytest.raises(RegistryError, match="Nothing was sent"):
            await register.add(record("a"))
        assert "secret" not in str(caught.value)


async def test_a_register_of_many_is_written_to_at_the_cost_of_one(tmp_path: Path) -> None:
    async with SQLiteRegistry(tmp_path / "live.db") as register:
        await register.join(ACCOUNT)
        await asyncio.gather(*(register.add(LiveRecord(key=str(n), action="CreateAgentInstance")) for n in range(500)))
    with closing(sqlite3.connect(tmp_path / "live.db")) as db:
        steps = 0

        def count() -> None:
            nonlocal steps
            steps += 1

        db.set_progress_handler(count, 1)  # called at each step of SQLite's virtual machine
        db.execute("SELECT max(seq) FROM records").fetchone()
    assert steps < 200, "all records would take a thousand"
