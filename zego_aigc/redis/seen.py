"""The callbacks that were seen, in Redis, for all processes that take callbacks of one project."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from zego_aigc.errors import TransportError
from zego_aigc.redis._script_runner import RedisUnavailable, ScriptRunner

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

__all__ = ["RedisSeen"]

_SWAP = """
local held = redis.call('GET', KEYS[1])
if (held or '') == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return held
"""
"""Keys: the callback's. Arguments: what is expected (empty for nothing), the value, milliseconds."""


class RedisSeen:
    """A memory that several processes share: ``CallbackRouter(secret=..., seen=RedisSeen("redis://127.0.0.1:6379/0"))``.

    With it a signature is good for one callback in all of them together, and a callback that several of them get is handled
    once. It may be built before a fork and outside of an event loop. Each callback costs two commands, and a key of about 150
    bytes for ten minutes.

    While Redis is gone callbacks are answered with 503, and the vendor sends them again for about a minute.

    Args:
        redis: a ``redis.asyncio.Redis`` or ``RedisCluster``, which stays the caller's to close, or a URL, for our own.
        timeout: seconds that Redis may take to answer before it counts as gone.
        prefix: what the keys begin with. Routers that share it share their memory.

    Raises:
        ValueError: `timeout` is out of range.
        ConfigurationError: the extra ``redis`` is not installed.
    """

    def __init__(self, redis: Redis | RedisCluster | str, *, timeout: float = 1.0, prefix: str = "zego_aigc:seen") -> None:
        if not 0 < timeout < float("inf"):
            raise ValueError(f"timeout must be a positive number of seconds, not {timeout}")
        self._redis = redis
        self._timeout = timeout
        self._prefix = prefix
        self._runner = ScriptRunner(redis, timeout, prefix)
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None  # the process and the loop that use it

    def __repr__(self) -> str:
        return f"RedisSeen(prefix={self._prefix!r})"  # a URL may hold a password

    async def swap(self, key: str, value: str, *, expected: str | None, ttl: float) -> str | None:
        """Store `value` under `key` for `ttl` seconds if what is stored there is `expected`, and return what was there.

        Raises:
            TransportError: Redis does not answer.
            ConfigurationError: Redis refuses; the message says why.
        """
        home = (os.getpid(), asyncio.get_running_loop())
        if self._home != home:
            if self._home is not None:
                # Connections belong to a process and a loop.
                forked = self._home[0] != os.getpid()
                self._runner = ScriptRunner(self._redis, self._timeout, self._prefix, forked=forked)
            self._home = home
        try:
            held = await self._runner.run(_SWAP, [f"{self._prefix}:{key}"], [expected or "", value, max(1, int(ttl * 1000))])
        except RedisUnavailable as error:
            raise TransportError(f"Redis, which remembers the callbacks that were seen, does not answer: {error}") from error
        return None if held is None else (held.decode() if isinstance(held, bytes) else str(held))

    async def aclose(self) -> None:
        """Close the connections, if they are its own."""
        await self._runner.aclose()
