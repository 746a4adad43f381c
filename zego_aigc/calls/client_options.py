"""The options of a client, for functions that pass them on: they are then known to type checkers and editors."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from zego_aigc.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from zego_aigc.calls.hooks import AttemptEvent, CallEvent
    from zego_aigc.calls.orphans import Orphan
    from zego_aigc.calls.retry import RetryPolicy
    from zego_aigc.limits.limiter import Limiter
    from zego_aigc.limits.quota import Quota
    from zego_aigc.storage.registry import Registry
    from zego_aigc.transport.audio import DriveSSL
    from zego_aigc.transport.pool import SessionPool

__all__ = ["ClientOptions", "check_options"]


class ClientOptions(TypedDict, total=False):
    """What :class:`zego_aigc.Client` takes by name, beside the account; it says what each means."""

    callback_secret: str | None
    region: str | None
    aiagent_url: str | None
    digitalhuman_url: str | None
    limiter: Limiter | None
    quota: Quota | None
    timeout: float
    proxy: str | None
    session: aiohttp.ClientSession | None
    pool: SessionPool | None
    on_orphan: Callable[[Orphan], object] | None
    on_attempt: Callable[[AttemptEvent], object] | None
    on_result: Callable[[CallEvent], object] | None
    retry: RetryPolicy | None
    registry: Registry | None
    live_per_owner: int | None
    drive_ssl: DriveSSL


_EXPECTED = {
    "pool": ("bind", "a SessionPool"),
    "quota": ("acquire", "a Quota, such as LocalQuota(agents=10)"),
    "registry": ("member", "a Registry, such as SQLiteRegistry('live.db')"),
    "retry": ("max_attempts", "a RetryPolicy, such as RetryPolicy(max_attempts=3)"),
}
"""What some options take: an attribute that shows it, and how to write one."""


def check_options(**options: object) -> None:
    """See that options which are objects are of the right kind, before the first call stumbles over them.

    Raises:
        ConfigurationError: one is not, and what it takes.
    """
    for name, value in options.items():
        attribute, example = _EXPECTED[name]
        if value is not None and (isinstance(value, type) or not hasattr(value, attribute)):
            raise ConfigurationError(f"{name} must be {example}, not {value!r}")
