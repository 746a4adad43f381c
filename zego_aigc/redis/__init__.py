"""The limit and the budget of an AppId shared by processes and hosts, through a Redis server (extra ``redis``).

:class:`RedisLimiter` keeps the promise of :class:`~zego_aigc.LocalLimiter` for all who use the same Redis, and
:class:`RedisQuota` that of :class:`~zego_aigc.LocalQuota`. :class:`RedisRegistry` notes what is live for all of them,
and :class:`RedisSeen` which callbacks were seen by any of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zego_aigc.redis._quota_member import RedisReservation
from zego_aigc.redis.limiter import RedisLimiter
from zego_aigc.redis.quota import RedisQuota
from zego_aigc.redis.registry import RedisRegistry
from zego_aigc.redis.seen import RedisSeen
from zego_aigc.schema.missing_names import missing_export

__all__ = ["RedisLimiter", "RedisQuota", "RedisRegistry", "RedisReservation", "RedisSeen"]

if not TYPE_CHECKING:  # to a type checker, a name that is not there stays the mistake that it is

    def __getattr__(name):  # noqa: ANN001, ANN202 - as every module's
        raise missing_export(__name__, name)
