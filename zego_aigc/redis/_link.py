"""The way to the Redis server: scripts with a bounded wait, and news that is sent in the background until it has arrived.

Whether Redis is there is known here. Nothing else in the library handles an exception of redis-py.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (redis-py types its answers loosely)
from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from hashlib import sha1
from typing import Any, Generic, TypeVar

from zego_aigc.errors import ConfigurationError

__all__ = ["Gone", "Link", "Outbox"]

logger = logging.getLogger("zego_aigc")

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
_MOST_NEWS = 100_000
"""How much news is kept while Redis is gone; what is older is settled by leases."""


class Gone(Exception):
    """Redis does not answer, or not as one that can be written to. Inside this package only."""


class Link:
    """Runs scripts on one Redis.

    Args:
        redis: a ``redis.asyncio.Redis``, which stays the caller's, or a URL, for a connection of our own.
        patience: seconds that one script may take.
    """

    def __init__(self, redis: Any, patience: float) -> None:
        try:
            from redis import asyncio as aioredis
        except ImportError as error:
            raise ConfigurationError("this needs the extra 'redis': pip install 'zego_aigc[redis]'") from error
        self._owned = isinstance(redis, str)
        self._redis: Any = aioredis.Redis.from_url(redis) if isinstance(redis, str) else redis
        self._patience = patience
        self._loop: asyncio.AbstractEventLoop | None = None
        self._commands: set[asyncio.Task[Any]] = set()
        self.is_down = False
        """Whether the last script found no Redis."""
        self.heard_at = float("-inf")
        """When Redis last answered, by the loop's clock."""
        self.retry_at = float("-inf")
        """While it is down: when to try next, by the loop's clock."""
        self._pause = _FIRST_PAUSE

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
            Gone: Redis did not answer; whether the script ran is not known.
            ConfigurationError: Redis answered that it may not be used like this, or the loop is another one than before.
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
        from redis import exceptions

        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._patience):
                try:
                    answer = await self._redis.evalsha(_digest(script), len(keys), *keys, *args)
                except exceptions.NoScriptError:
                    answer = await self._redis.eval(script, len(keys), *keys, *args)
        except (exceptions.AuthenticationError, exceptions.AuthorizationError) as error:
            raise ConfigurationError(f"Redis refuses: {error}") from error
        except (
            exceptions.ConnectionError,
            exceptions.TimeoutError,
            exceptions.ReadOnlyError,  # a replica that was the primary
            exceptions.ClusterDownError,
            exceptions.TryAgainError,
            OSError,
            TimeoutError,
        ) as error:
            self._lost(loop.time(), error)
            raise Gone(str(error)) from error
        except exceptions.RedisError as error:
            raise ConfigurationError(f"Redis refuses: {error}") from error
        self._found(loop.time())
        return answer

    def _lost(self, now: float, error: Exception) -> None:
        if not self.is_down:
            self.is_down = True
            self._pause = _FIRST_PAUSE
            logger.warning("Redis does not answer (%s): %s", type(error).__name__, error)
        self.retry_at = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _found(self, now: float) -> None:
        self.heard_at = now
        if self.is_down:
            self.is_down = False
            logger.info("Redis answers again")

    async def idle(self) -> None:
        """Wait for the end of the scripts that run now."""
        while self._commands:
            await asyncio.wait(self._commands)

    async def aclose(self) -> None:
        """Close the connection if it is our own."""
        if self._owned:
            await self._redis.aclose()


def _digest(script: str) -> str:
    return sha1(script.encode(), usedforsecurity=False).hexdigest()


LaneT = TypeVar("LaneT")
NewsT = TypeVar("NewsT")


class Outbox(Generic[LaneT, NewsT]):
    """News for Redis from code that cannot wait. It is sent in the background, in batches and in order, until Redis has it.

    Args:
        link: the way to Redis.
        send: sends one lane's news, oldest first; raises what :meth:`Link.run` does.
    """

    def __init__(self, link: Link, send: Callable[[LaneT, list[NewsT]], Awaitable[None]]) -> None:
        self._link = link
        self._send = send
        self._news: dict[LaneT, list[NewsT]] = {}
        self._count = 0
        self._task: asyncio.Task[None] | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def put(self, lane: LaneT, news: NewsT) -> None:
        """Send something soon. Called on the event loop."""
        if self._count >= _MOST_NEWS:
            oldest = next(iter(self._news))
            self._count -= len(self._news.pop(oldest))
        self._news.setdefault(lane, []).append(news)
        self._count += 1
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._deliver(), name="zego_aigc redis outbox")

    async def flush(self) -> None:
        """Wait until Redis has all that was put before.

        Raises:
            Gone: Redis did not answer; the news is kept.
            ConfigurationError: Redis refused some of it, which is lost.
        """
        if self._task is not None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    async def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._news:
                lane = next(iter(self._news))
                news = self._news.pop(lane)
                self._count -= len(news)
                try:
                    await self._send(lane, news)
                except Gone as error:
                    self._news[lane] = news + self._news.get(lane, [])
                    self._count += len(news)
                    self._wake(error)
                    await asyncio.sleep(max(0.0, self._link.retry_at - loop.time()))
                except ConfigurationError as error:
                    logger.warning("Redis refuses what this process tells it, which is lost: %s", error)
                    self._wake(error)
        finally:
            self._task = None
            self._wake(None)

    def _wake(self, error: Exception | None) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    async def aclose(self, patience: float) -> None:
        """Send what there is, but for no longer than so many seconds."""
        if (task := self._task) is not None:
            await asyncio.wait({task}, timeout=patience)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
