"""The limit and the budget of an AppId shared by processes and hosts, through a Redis server (extra ``redis``).

:class:`RedisLimiter` keeps the promise of :class:`~zego_aigc.LocalLimiter` for all who use the same Redis, and
:class:`RedisQuota` that of :class:`~zego_aigc.LocalQuota`. :class:`RedisRegistry` notes what is live for all of them,
and :class:`RedisSeen` which callbacks were seen by any of them.
"""

from __future__ import annotations

from zego_aigc.redis.limiter import RedisLimiter
from zego_aigc.redis.quota import RedisQuota, RedisReservation
from zego_aigc.redis.registry import RedisRegistry
from zego_aigc.redis.seen import RedisSeen

__all__ = ["RedisLimiter", "RedisQuota", "RedisRegistry", "RedisReservation", "RedisSeen"]
