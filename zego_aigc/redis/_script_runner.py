"""Runs scripts on the Redis server, each with a bounded wait, and knows whether Redis is there.

Nothing else in the library handles an exception of redis-py.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (redis-py types its answers loosely)
from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from hashlib import sha1
from typing import Any

from zego_aigc.errors import ConfigurationError

__all__ = ["RedisUnavailable", "ScriptRunner", "logger"]

logger = logging.getLogger("zego_aigc")

_INITIAL_PAUSE = 0.05
_MAX_PAUSE = 1.0


class RedisUnavailable(Exception):
    """Redis does not answer, or not as one that can be written to. Inside this package only."""


class ScriptRunner:
    """Runs scripts on one Redis.

    Args:
        redis: a ``redis.asyncio.Redis``, which stays the caller's, or a URL, for a connection of our own.
        timeout: seconds that one script may take.
    """

    def __init__(self, redis: Any, timeout: float) -> None:
        try:
            from redis import asyncio as aioredis
        except ImportError as error:
            raise ConfigurationError("this needs the extra 'redis': pip install 'zego_aigc[redis]'") from error
        self._owned = isinstance(redis, str)
        self._redis: Any = aioredis.Redis.from_url(redis) if isinstance(redis, str) else redis
        self._timeout = timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._commands: set[asyncio.Task[Any]] = set()
        self.is_down = False
        """Whether the last script found no Redis."""
        self.heard_at = float("-inf")
        """When Redis last answered, by the loop's clock."""
        self.retry_at = float("-inf")
        """While it is down: when to try next, by the loop's clock."""
        self._pause = _INITIAL_PAUSE

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
            async with asyncio.timeout(self._timeout):
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
            raise RedisUnavailable(str(error)) from error
        except exceptions.RedisError as error:
            raise ConfigurationError(f"Redis refuses: {error}") from error
        self._found(loop.time())
        return answer

    def _lost(self, now: float, error: Exception) -> None:
        if not self.is_down:
            self.is_down = True
            self._pause = _INITIAL_PAUSE
            logger.warning("Redis does not answer (%s): %s", type(error).__name__, error)
        self.retry_at = now + self._pause
        self._pause = min(2 * self._pause, _MAX_PAUSE)

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
