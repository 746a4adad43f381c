"""Runs scripts on the Redis server, each with a bounded wait, and knows whether Redis is there.

Nothing else in the library handles an exception of redis-py, and none leaves this module but as a cause.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (redis-py types its answers loosely)
from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from hashlib import sha1
from typing import Any

from zego_aigc.errors import ConfigurationError
from zego_aigc.redis._errors import set_up_problem

__all__ = ["RedisUnavailable", "ScriptRunner", "checked_client", "logger"]

logger: logging.Logger = logging.getLogger("zego_aigc")

_INITIAL_PAUSE = 0.05
_MAX_PAUSE = 1.0
_POOL_PAUSE = 0.02
"""Seconds until the next try where a pool of the caller's had no connection left."""
_LOG_EVERY = 10.0
"""Seconds between two log lines about a Redis that is gone."""
_FEW_CONNECTIONS = 4
"""With fewer in a pool, scripts of different Actions wait for each other noticeably."""


class RedisUnavailable(Exception):
    """Redis does not answer, or not as one that can be written to. Inside this package only."""


def checked_client(redis: object) -> None:
    """See that this is something that scripts can be run on.

    Raises:
        ConfigurationError: it is not, or the extra ``redis`` is not installed.
    """
    try:
        from redis import Redis as BlockingRedis
        from redis import RedisCluster as BlockingCluster
        from redis import asyncio as aioredis
        from redis.asyncio.sentinel import Sentinel
    except ImportError as error:
        raise ConfigurationError("this needs the extra 'redis': pip install 'zego_aigc[redis]'") from error
    match redis:
        case str() | aioredis.Redis() | aioredis.RedisCluster():
            return
        case BlockingRedis() | BlockingCluster():
            what = f"a redis.{type(redis).__name__}, whose calls block the event loop"
        case Sentinel():
            what = "a Sentinel, which only knows where Redis is: pass sentinel.master_for('the service's name')"
        case _:
            what = f"a {type(redis).__module__}.{type(redis).__name__}"
    raise ConfigurationError(
        f"redis is {what}; pass a URL such as redis://host:6379/0, a redis.asyncio.Redis or a redis.asyncio.RedisCluster"
    )


class ScriptRunner:
    """Runs scripts on one Redis, for one event loop of one process.

    Args:
        redis: a ``redis.asyncio.Redis`` or ``RedisCluster``, which stays the caller's, or a URL, for a connection of our own.
        timeout: seconds that one script may take.
        prefix: what the keys begin with, for messages.
        forked: whether a client that was given may have connections of the process that this one was forked from.

    Raises:
        ConfigurationError: see :func:`checked_client`; or the URL is malformed.
    """

    def __init__(self, redis: Any, timeout: float, prefix: str = "zego_aigc", *, forked: bool = False) -> None:
        checked_client(redis)
        from redis import asyncio as aioredis

        self._owned = isinstance(redis, str)
        try:
            self._redis: Any = aioredis.Redis.from_url(redis) if isinstance(redis, str) else redis
        except ValueError as error:
            # The URL is not repeated: it may hold a password.
            raise ConfigurationError("redis must be a URL such as redis://host:6379/0, rediss:// for TLS") from error
        if forked and isinstance(redis, aioredis.Redis):
            redis.connection_pool.reset()  # type: ignore[no-untyped-call]  # the sockets are the parent's, too: two readers would mix up the answers
        self._timeout = timeout
        self._prefix = prefix
        self._loop: asyncio.AbstractEventLoop | None = None
        self._commands: set[asyncio.Task[Any]] = set()
        self._connections = asyncio.Semaphore(_connections(self._redis))
        self.is_down: bool = False
        """Whether the last script found no Redis."""
        self.heard_at: float = float("-inf")
        """When Redis last answered, by ``time.monotonic``."""
        self.retry_at: float = float("-inf")
        """While it is down: when to try next, by ``time.monotonic``."""
        self._next_pause = _INITIAL_PAUSE
        self._logged_pool = False
        self._logged_loss_at = float("-inf")
        self._log_return = False

    @property
    def pause(self) -> float:
        """Seconds until it is worth asking again; 0 unless Redis is gone."""
        return max(0.0, self.retry_at - time.monotonic()) if self.is_down else 0.0

    async def run(
        self, script: str, keys: Iterable[str], args: Iterable[Any], *, abandoned: Callable[[], None] | None = None
    ) -> Any:
        """Run a script.

        It runs to its end even when the caller is cancelled: redis-py would close the connection in the middle, and has been
        seen to swallow the cancellation.

        Args:
            script: its text.
            keys: its keys.
            args: its arguments.
            abandoned: called after the end of a script whose caller was cancelled.

        Raises:
            RedisUnavailable: Redis did not answer; whether the script ran is not known.
            ConfigurationError: Redis is set up wrongly, or the loop is another one than before.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None:
                raise ConfigurationError("connections to Redis belong to one event loop: make one limiter or quota for each")
            self._loop = loop
        command = loop.create_task(self._command(script, list(keys), list(args)))
        self._commands.add(command)
        command.add_done_callback(self._ended)
        try:
            return await asyncio.shield(command)
        except asyncio.CancelledError:
            if abandoned is not None:
                command.add_done_callback(lambda ended: None if ended.cancelled() else abandoned())
            raise

    def _ended(self, command: asyncio.Task[Any]) -> None:
        self._commands.discard(command)
        if not command.cancelled():
            command.exception()  # seen, if the caller has gone

    async def _command(self, script: str, keys: list[str], args: list[Any]) -> Any:
        async with self._connections:
            try:
                async with asyncio.timeout(self._timeout):
                    answer = await self._evaluate(script, keys, args)
            except Exception as error:
                if (problem := set_up_problem(error, self._prefix)) is not None:
                    raise ConfigurationError(problem) from error
                self._lost(error)
                raise RedisUnavailable(str(error) or type(error).__name__) from error
        self._found()
        return answer

    async def _evaluate(self, script: str, keys: list[str], args: list[Any]) -> Any:
        from redis import exceptions

        while True:
            try:
                try:
                    return await self._redis.evalsha(_digest(script), len(keys), *keys, *args)
                except exceptions.NoScriptError:
                    return await self._redis.eval(script, len(keys), *keys, *args)
            except exceptions.ConnectionError as error:
                if str(error) not in {"Too many connections", "No connection available."}:
                    raise
                self._log_pool("every connection of its pool is in use: raise max_connections, or pass a URL")
                await asyncio.sleep(_POOL_PAUSE)

    def _log_pool(self, what: str) -> None:
        if not self._logged_pool:
            self._logged_pool = True
            logger.warning("the Redis client that was given slows the limit down: %s", what)

    def _lost(self, error: Exception) -> None:
        if not self.is_down:
            self.is_down = True
            self._next_pause = _INITIAL_PAUSE
            # Some scripts may go through while others do not, as where the memory is full: that is one outage.
            if time.monotonic() - self._logged_loss_at >= _LOG_EVERY:
                self._logged_loss_at = time.monotonic()
                self._log_return = True
                logger.warning("Redis is gone, or cannot be written to (%s): %s", type(error).__name__, error)
        self.retry_at = time.monotonic() + self._next_pause
        self._next_pause = min(2 * self._next_pause, _MAX_PAUSE)

    def _found(self) -> None:
        self.heard_at = time.monotonic()
        if self.is_down:
            self.is_down = False
            if self._log_return:
                self._log_return = False
                logger.info("Redis answers again")

    def check_pool(self) -> None:
        """Log that the pool of the client that was given is small, if it is. It works all the same."""
        if not self._owned and (most := _connections(self._redis)) < _FEW_CONNECTIONS:
            self._log_pool(f"its pool has max_connections={most}, and scripts wait for each other: give it {_FEW_CONNECTIONS}")

    async def idle(self) -> None:
        """Wait for the end of the scripts that run now."""
        while self._commands:
            await asyncio.wait(self._commands)

    async def aclose(self) -> None:
        """Close the connection if it is our own, once the scripts that still run have ended: they would open another."""
        await self.idle()
        if self._owned:
            await self._redis.aclose()


def _connections(redis: Any) -> int:
    """How many scripts may run at a time: no more than the client has connections."""
    from redis import asyncio as aioredis

    if isinstance(redis, aioredis.Redis):
        return max(1, min(int(redis.connection_pool.max_connections), 1_000_000))
    return 1_000_000  # a cluster's client has a pool for each node


def _digest(script: str) -> str:
    return sha1(script.encode(), usedforsecurity=False).hexdigest()
