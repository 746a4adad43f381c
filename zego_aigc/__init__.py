"""Asyncio client for ZEGOCLOUD's AI Agent and Digital Human server APIs.

Requests, results, errors and signing need nothing but msgspec and are imported at once. What needs aiohttp is loaded
when it is first named, so a process that only verifies callbacks or builds requests never pays for it.
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
from zego_aigc.transport.signing import Signer

if TYPE_CHECKING:
    from zego_aigc.calls.create_guard import Orphan
    from zego_aigc.calls.retry import RetryPolicy
    from zego_aigc.client import Client
    from zego_aigc.limits.limiter import FullLimiter, FullPermit, Limiter, LimiterStats, Permit
    from zego_aigc.limits.local_limiter import LocalLimiter
    from zego_aigc.limits.local_quota import LocalQuota, LocalReservation
    from zego_aigc.limits.quota import Quota, Reservation, Usage
    from zego_aigc.provisioning import Entry, provision, teardown
    from zego_aigc.storage.registry import LiveRecord, Registry
    from zego_aigc.storage.sqlite_registry import SQLiteRegistry
    from zego_aigc.transport.pool import SessionPool

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
    "provision",
    "teardown",
]

_LATE = {
    "Client": "zego_aigc.client",
    "Entry": "zego_aigc.provisioning",
    "FullLimiter": "zego_aigc.limits.limiter",
    "FullPermit": "zego_aigc.limits.limiter",
    "Limiter": "zego_aigc.limits.limiter",
    "LimiterStats": "zego_aigc.limits.limiter",
    "LiveRecord": "zego_aigc.storage.registry",
    "LocalLimiter": "zego_aigc.limits.local_limiter",
    "LocalQuota": "zego_aigc.limits.local_quota",
    "LocalReservation": "zego_aigc.limits.local_quota",
    "Orphan": "zego_aigc.calls.create_guard",
    "RetryPolicy": "zego_aigc.calls.retry",
    "Permit": "zego_aigc.limits.limiter",
    "Quota": "zego_aigc.limits.quota",
    "Registry": "zego_aigc.storage.registry",
    "Reservation": "zego_aigc.limits.quota",
    "SQLiteRegistry": "zego_aigc.storage.sqlite_registry",
    "SessionPool": "zego_aigc.transport.pool",
    "Usage": "zego_aigc.limits.quota",
    "provision": "zego_aigc.provisioning",
    "teardown": "zego_aigc.provisioning",
}
"""Names that are imported when they are first used, and where they come from."""


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATE[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
