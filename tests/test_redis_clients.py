"""Every way to reach a Redis, and every way in which it may be of no use: waited for, or refused in words that help."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as blocking
from redis import exceptions
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis, RedisCluster
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import NoPermissionError, ResponseError
from redis_server import RedisServer, kinds, on_one_server
from sandbox_fixtures import eventually

from benchmarks.ports import reserved_port
from zego_aigc.errors import ConfigurationError
from zego_aigc.redis import RedisLimiter, RedisQuota
from zego_aigc.redis._errors import set_up_problem

pytestmark = pytest.mark.anyio

CERTIFICATE = Path(__file__).parent / "data" / "loopback.pem"
_apps = itertools.count(1)


@pytest.fixture(scope="module", params=kinds())
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(request.param) as running:
        yield running


@pytest.fixture
async def admin(server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url) as redis:
        yield redis
        for name, value in (("min-replicas-to-write", "0"), ("maxmemory", "0")):
            await redis.config_set(name, value)
        await redis.replicaof("NO", "ONE")


async def command(redis: Any, *words: Any) -> Any:
    """What redis-py does not type, answered as it came."""
    return await redis.execute_command(*words)


async def use(limiter: RedisLimiter, app_id: int, count: int = 3) -> None:
    async with asyncio.timeout(60):
        for _ in range(count):
            permit = await limiter.acquire(app_id, "A")
            permit.departed()
            permit.answered()
            permit.served("host")


# --- it answers, but cannot be written to

STATES = {
    "a demoted primary": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    "too few replicas": (("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0")),
    "memory is full": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
}


@pytest.mark.slow
@on_one_server
@pytest.mark.parametrize("state", STATES)
async def test_a_redis_that_cannot_be_written_to_is_waited_for_and_loses_no_update(
    server: RedisServer, admin: Redis, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "zego_aigc")
    begin, end = STATES[state]
    app_id = next(_apps)
    prefix = f"unwritable-{state}"
    async with (
        RedisLimiter(server.url, limit=1, window=0.2, guard=0.0, prefix=prefix) as limiter,
        RedisQuota(server.url, agents=2, app_id=app_id, prefix=prefix) as quota,
    ):
        await use(limiter, app_id)
        reservation = await quota.acquire("agents")
        permit = await limiter.acquire(app_id, "A")
        await command(admin, *begin)
        permit.departed()
        reservation.release()
        waiting = asyncio.create_task(use(limiter, app_id, 1))
        placed = asyncio.create_task(quota.acquire("agents"))
        await eventually(lambda: "cannot be written to" in caplog.text)
        await asyncio.sleep(0.3)
        # A full memory does not keep a script from writing that has just made room.
        assert state == "memory is full" or not (waiting.done() or placed.done())
        await command(admin, *end)
        async with asyncio.timeout(60):
            await waiting
            await placed
        usage = await quota.look("agents")
        assert (usage.making, usage.live) == (1, 0), "the place that was given back meanwhile is free"
    assert "cannot be written to" in caplog.text
    assert "Redis answers again" in caplog.text


@pytest.mark.slow
@on_one_server
async def test_with_an_outage_limit_a_process_goes_on_while_redis_cannot_be_written_to(
    server: RedisServer, admin: Redis
) -> None:
    app_id = next(_apps)
    limits = {"limit": 4, "window": 0.1, "guard": 0.0, "prefix": "alone", "outage_limit": 2}
    async with RedisLimiter(server.url, **limits) as limiter:  # type: ignore[arg-type]  # numbers and text
        await use(limiter, app_id)
        await admin.config_set("min-replicas-to-write", "1")
        await use(limiter, app_id, 6)
        await admin.config_set("min-replicas-to-write", "0")


@pytest.mark.parametrize(
    "text",
    [
        "READONLY You can't write against a read only replica.",
        "Error running script (call to f_9): @user_script:7: @user_script: 7: -READONLY You can't write against a replica.",
        "NOREPLICAS Not enough good replicas to write.",
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "LOADING Redis is loading the dataset in memory",
        "CLUSTERDOWN Hash slot not served",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "something that nobody has met yet",
    ],
)
def test_what_passes_by_itself_is_no_set_up_problem(text: str) -> None:
    assert set_up_problem(ResponseError(text), "zego_aigc") is None


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (ResponseError("NOAUTH Authentication required."), "put the right ones into the URL"),
        (ResponseError("WRONGPASS invalid username-password pair or user is disabled."), "put the right ones into the URL"),
        (NoPermissionError("this user has no permissions to run the 'evalsha' command"), "ACL SETUSER"),
        (ResponseError("ACL failure in script: User x has no permissions to run the 'zadd' command"), "ACL SETUSER"),
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), "another program uses it"),
        (
            ResponseError("Error running script (call to f_9): @user_script:7: WRONGTYPE Operation against a key"),
            "another program uses it",
        ),
        (ResponseError("MOVED 3999 127.0.0.1:6381"), "RedisCluster"),
        (ResponseError("unknown command 'EVALSHA', with args beginning with:"), "Redis 6.2 or newer"),
    ],
)
def test_what_a_person_has_to_mend_says_how(error: Exception, remedy: str) -> None:
    problem = set_up_problem(error, "zego_aigc")
    assert problem is not None
    assert remedy in problem


async def test_a_wrong_password_is_an_error_and_not_waited_for(server: RedisServer, admin: Redis) -> None:
    await admin.acl_setuser("stranger", enabled=True, passwords=["+right"], categories=["+@all"], keys=["*"])
    url = f"redis://stranger:wrong@127.0.0.1:{server.port}/0"
    async with RedisLimiter(url) as limiter:
        with pytest.raises(ConfigurationError, match="refuses the user or the password") as caught:
            await limiter.acquire(next(_apps), "A")
        assert "wrong" not in repr(limiter)
        assert "redis://stranger" not in str(caught.value)


async def test_the_rights_that_the_message_names_are_enough_and_less_is_an_error(server: RedisServer, admin: Redis) -> None:
    rights = ["+eval", "+evalsha", "+time", "+info"]
    keys = ["limited:*", "{limited:*"]
    await admin.acl_setuser("limited", enabled=True, passwords=["+p"], commands=rights, keys=keys)
    url = f"redis://limited:p@127.0.0.1:{server.port}/0"
    app_id = next(_apps)
    async with RedisLimiter(url, window=0.1, prefix="limited") as limiter:
        with pytest.raises(ConfigurationError, match="ACL SETUSER"):
            await limiter.acquire(app_id, "A")
    await admin.acl_setuser(
        "limited", enabled=True, passwords=["+p"], commands=rights, categories=["+@read", "+@write"], keys=keys
    )
    async with (
        RedisLimiter(url, window=0.1, prefix="limited") as limiter,
        RedisQuota(url, app_id=app_id, prefix="limited") as quota,
    ):
        await use(limiter, app_id)
        (await quota.acquire("agents")).release()


async def test_updates_that_are_refused_for_good_do_not_end_what_sends_them(
    server: RedisServer, admin: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app_id = next(_apps)
    async with RedisLimiter(server.url, window=0.1, prefix="spoilt") as limiter:
        permit = await limiter.acquire(app_id, "A")
        await admin.set(f"spoilt:{{{app_id}}}:A:pace", "of another kind")
        for _ in range(3):
            permit.departed()
            limiter.too_fast(app_id, "A")
            await eventually(lambda: "updates of this process are lost" in caplog.text)
            await asyncio.sleep(0.05)
        await admin.delete(f"spoilt:{{{app_id}}}:A:pace")
        await use(limiter, app_id)
    assert caplog.text.count("updates of this process are lost") == 1
    assert "another program uses it" in caplog.text


# --- clients

CLIENTS: dict[str, Any] = {
    "a URL": lambda url: url,
    "a Redis": Redis.from_url,
    "a Redis that decodes": lambda url: Redis.from_url(url, decode_responses=True),
    "RESP3": lambda url: Redis.from_url(url, protocol=3),
    "RESP3 that decodes": lambda url: Redis.from_url(url, protocol=3, decode_responses=True),
    "a pool": lambda url: Redis(connection_pool=ConnectionPool.from_url(url, max_connections=8)),
    "a small pool": lambda url: Redis(connection_pool=ConnectionPool.from_url(url, max_connections=1)),
    "a blocking pool": lambda url: Redis(connection_pool=BlockingConnectionPool.from_url(url, max_connections=8, timeout=60)),
    "a small blocking pool": lambda url: Redis(
        connection_pool=BlockingConnectionPool.from_url(url, max_connections=1, timeout=60)
    ),
}


@pytest.mark.parametrize("name", CLIENTS)
async def test_any_client_of_redis_py_for_asyncio_will_do(
    server: RedisServer, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app_id = next(_apps)
    given = CLIENTS[name](server.url)
    prefix = f"client-{name}"
    async with (
        RedisLimiter(given, window=0.1, prefix=prefix, timeout=60) as limiter,
        RedisQuota(given, app_id=app_id, prefix=prefix, timeout=60) as quota,
    ):
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for number in range(30):
                group.create_task(use(limiter, app_id + number % 5, 1))
        reservation = await quota.acquire("agents")
        reservation.live("i1")
        assert (await quota.look("agents")).live == 1
    if isinstance(given, Redis):
        await given.aclose()
        await given.connection_pool.disconnect()
    small = [record for record in caplog.records if "max_connections=1" in record.getMessage()]
    assert len(small) == (2 if "small" in name else 0), "once for the limiter, once for the quota"
    assert len(caplog.records) == len(small)


async def test_a_pool_that_others_use_up_is_logged_once_as_what_it_is(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    app_id = next(_apps)
    pool: Any = ConnectionPool.from_url(server.url, max_connections=4)
    async with Redis(connection_pool=pool) as given, RedisLimiter(given, window=0.1, prefix="used-up", timeout=60) as limiter:
        await use(limiter, app_id)
        others: list[Any] = []
        while len(others) < 4:  # the limiter may still report what has left
            try:
                others.append(await pool.get_connection())
            except exceptions.ConnectionError:
                await asyncio.sleep(0.01)
        waiting = asyncio.create_task(use(limiter, app_id, 1))
        await eventually(lambda: "every connection of its pool is in use" in caplog.text)
        await asyncio.sleep(0.1)
        for connection in others:
            await pool.release(connection)
        await waiting
    await pool.disconnect()
    assert caplog.text.count("every connection of its pool is in use") == 1
    assert "Redis is gone" not in caplog.text


def sentinel_at(port: int) -> Any:
    made: Any = Sentinel
    return made([("127.0.0.1", port)], socket_timeout=20.0)


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        (blocking.Redis.from_url, "whose calls block the event loop"),
        (lambda _: sentinel_at(1), r"pass sentinel.master_for"),
        (ConnectionPool.from_url, "pass a URL such as"),
        (lambda _: None, "pass a URL such as"),
        (lambda _: "127.0.0.1:6379", "must be a URL such as"),
    ],
    ids=["blocking", "sentinel", "pool", "none", "no URL"],
)
@pytest.mark.parametrize("kind", ["limiter", "quota"])
async def test_what_cannot_be_used_is_refused_in_words(kind: str, wrong: Any, advice: str) -> None:
    given = wrong("redis://127.0.0.1:1/0")

    async def use_it() -> None:
        if kind == "limiter":
            await RedisLimiter(given).acquire(1, "A")
        else:
            await RedisQuota(given, app_id=1).acquire("agents")

    with pytest.raises(ConfigurationError, match=advice):
        await use_it()


@pytest.fixture
def free_port() -> int:
    return reserved_port()


@pytest.mark.slow
@on_one_server
async def test_a_cluster_keeps_an_accounts_books_on_one_node(server: RedisServer, tmp_path: Path) -> None:
    with RedisServer(server.kind, options=["--cluster-enabled", "yes", "--dir", str(tmp_path)]) as node:
        async with Redis.from_url(node.url) as redis:
            await command(redis, "CLUSTER", "ADDSLOTS", *range(16384))
            async with asyncio.timeout(60):
                while b"cluster_state:ok" not in await command(redis, "CLUSTER", "INFO"):  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.05)
        async with RedisCluster.from_url(node.url) as cluster:
            app_id = next(_apps)
            async with RedisLimiter(cluster, window=0.1) as limiter, RedisQuota(cluster, app_id=app_id) as quota:
                await use(limiter, app_id)
                (await quota.acquire("agents")).live("i1")
                assert (await quota.look("agents")).live == 1


async def test_a_sentinels_primary_will_do(server: RedisServer, tmp_path: Path, free_port: int) -> None:
    config = tmp_path / "sentinel.conf"
    config.write_text(f"port {free_port}\nbind 127.0.0.1\nsentinel monitor limits 127.0.0.1 {server.port} 1\n")
    with subprocess.Popen(  # noqa: ASYNC220 - it starts at once
        [server.executable, str(config), "--sentinel"], stdout=subprocess.DEVNULL
    ) as process:
        try:
            sentinel = sentinel_at(free_port)
            async with sentinel.master_for("limits") as given, RedisLimiter(given, window=0.1, prefix="sentinel") as limiter:
                await use(limiter, next(_apps))
            for each in sentinel.sentinels:
                await each.aclose()
        finally:
            process.kill()


async def test_tls_will_do(server: RedisServer, free_port: int) -> None:
    options = ["--tls-port", str(free_port), "--tls-cert-file", str(CERTIFICATE), "--tls-key-file", str(CERTIFICATE)]
    options += ["--tls-ca-cert-file", str(CERTIFICATE), "--tls-auth-clients", "no"]
    try:
        secure = RedisServer(server.kind, options=options)
        secure.start()
    except RuntimeError:
        pytest.skip("this server was built without TLS")
    try:
        url = f"rediss://127.0.0.1:{free_port}/0?ssl_ca_certs={CERTIFICATE}"
        async with RedisLimiter(url, window=0.1) as limiter:
            await use(limiter, next(_apps))
        async with RedisLimiter(f"rediss://127.0.0.1:{free_port}/0", window=0.1, outage_limit=1) as wary:
            await use(wary, next(_apps), 1)  # a certificate that it does not know: as a Redis that is gone
    finally:
        secure.stop()


# --- forks


@pytest.mark.slow
@on_one_server
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_what_is_built_before_a_fork_keeps_its_promise_in_every_child(server: RedisServer) -> None:
    limiter = RedisLimiter(server.url, limit=4, window=0.5, guard=0.02, prefix="forked")
    quota = RedisQuota(server.url, agents=3, app_id=1, prefix="forked")
    read, write = os.pipe()

    async def child() -> None:
        held = 0
        for _ in range(3):
            try:
                (await quota.acquire("agents", wait=False)).live(f"{os.getpid()}-{held}")
                held += 1
            except Exception:  # noqa: BLE001 - none is left
                break
        os.write(write, f"held {held}\n".encode())
        for _ in range(5):
            permit = await limiter.acquire(1, "A")
            os.write(write, f"sent {time.monotonic()}\n".encode())
            permit.departed()
            permit.answered()
        await limiter.aclose()
        await quota.aclose()

    children = []
    for _ in range(3):
        if (pid := os.fork()) == 0:
            try:
                asyncio.run(child())
            finally:
                os._exit(0)
        children.append(pid)
    os.close(write)
    with os.fdopen(read) as pipe:
        lines = [line.split() for line in pipe]
    for pid in children:
        os.waitpid(pid, 0)
    times = sorted(float(value) for what, value in lines if what == "sent")
    assert len(times) == 15
    assert all(late - early > 0.5 for early, late in zip(times, times[4:], strict=False))
    assert sum(int(value) for what, value in lines if what == "held") == 3
