"""Asyncio client for ZEGOCLOUD's AI Agent and Digital Human server APIs.

Requests, results and errors need nothing but msgspec and are imported at once. Everything else is loaded when it is first
named, so a process that only verifies callbacks or builds requests never pays for aiohttp.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zego_aigc import aiagent, digitalhuman, errors
from zego_aigc._version import __version__
from zego_aigc.errors import (
    AccessDenied,
    AlreadyExists,
    ApiError,
    AuthenticationError,
    BadParameter,
    BadResponse,
    ConfigurationError,
    Conflict,
    ConnectFailed,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    Problem,
    QuotaExceeded,
    RateLimited,
    RegistryError,
    ServiceUnavailable,
    TimedOut,
    TooManyLive,
    TransportError,
    VendorAdvice,
    ZegoError,
)
from zego_aigc.schema.actions import ACTIONS, Action, Repeat, Service

if TYPE_CHECKING:
    from zego_aigc.calls.orphans import Orphan
    from zego_aigc.calls.retry import RetryPolicy
    from zego_aigc.client import Client
    from zego_aigc.limits.limiter import FullLimiter, FullPermit, Limiter, LimiterStats, Permit
    from zego_aigc.limits.local_limiter import LocalLimiter
    from zego_aigc.limits.local_quota import LocalQuota, LocalReservation
    from zego_aigc.limits.quota import Quota, Reservation, Usage
    from zego_aigc.provisioning import Entry, maintain, provision, teardown
    from zego_aigc.storage.registry import LiveRecord, Registry
    from zego_aigc.storage.sqlite_registry import SQLiteRegistry
    from zego_aigc.transport.pool import SessionPool
    from zego_aigc.transport.signing import Signer

__all__ = [
    "ACTIONS",
    "AccessDenied",
    "Action",
    "AlreadyExists",
    "ApiError",
    "AuthenticationError",
    "BadParameter",
    "BadResponse",
    "Client",
    "ConfigurationError",
    "Conflict",
    "ConnectFailed",
    "Entry",
    "FullLimiter",
    "FullPermit",
    "InvalidRequest",
    "Limiter",
    "LimiterStats",
    "LiveRecord",
    "LocalLimiter",
    "LocalQuota",
    "LocalReservation",
    "NotFound",
    "Orphan",
    "OutcomeUnknown",
    "Permit",
    "Problem",
    "Quota",
    "QuotaExceeded",
    "RateLimited",
    "Registry",
    "RegistryError",
    "Repeat",
    "Reservation",
    "RetryPolicy",
    "SQLiteRegistry",
    "Service",
    "ServiceUnavailable",
    "SessionPool",
    "Signer",
    "TimedOut",
    "TooManyLive",
    "TransportError",
    "Usage",
    "VendorAdvice",
    "ZegoError",
    "__version__",
    "aiagent",
    "digitalhuman",
    "errors",
    "maintain",
    "provision",
    "teardown",
]

_LAZY = {
    name: module
    for module, names in {
        "zego_aigc.calls.orphans": "Orphan",
        "zego_aigc.calls.retry": "RetryPolicy",
        "zego_aigc.client": "Client",
        "zego_aigc.limits.limiter": "FullLimiter FullPermit Limiter LimiterStats Permit",
        "zego_aigc.limits.local_limiter": "LocalLimiter",
        "zego_aigc.limits.local_quota": "LocalQuota LocalReservation",
        "zego_aigc.limits.quota": "Quota Reservation Usage",
        "zego_aigc.provisioning": "Entry maintain provision teardown",
        "zego_aigc.storage.registry": "LiveRecord Registry",
        "zego_aigc.storage.sqlite_registry": "SQLiteRegistry",
        "zego_aigc.transport.pool": "SessionPool",
        "zego_aigc.transport.signing": "Signer",
    }.items()
    for name in names.split()
}
"""Names that are imported when they are first used, and where they come from. The imports for type checkers above name the
same, which a test sees to."""

if not TYPE_CHECKING:  # to a type checker, a name that is not there stays the mistake that it is

    def __getattr__(name: str) -> Any:
        if name in _LAZY:
            value = globals()[name] = getattr(import_module(_LAZY[name]), name)
            return value
        from zego_aigc.schema.missing_names import missing_export

        raise missing_export(__name__, name)

    def _helpful(module: str) -> Any:
        def __getattr__(name: str) -> Any:  # noqa: N807 - it becomes a module's
            from zego_aigc.schema.missing_names import missing_export

            raise missing_export(module, name)

        return __getattr__

    for _module in (aiagent, digitalhuman, errors):  # the others, which are loaded late, do so themselves
        _module.__getattr__ = _helpful(_module.__name__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
