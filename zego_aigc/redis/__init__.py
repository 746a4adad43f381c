"""The limit and the budget of an AppId shared by processes and hosts, through a Redis server (extra ``redis``).

:class:`RedisLimiter` keeps the promise of :class:`~zego_aigc.LocalLimiter` for all who use the same Redis.
"""

from __future__ import annotations

from zego_aigc.redis.limiter import RedisLimiter

__all__ = ["RedisLimiter"]
