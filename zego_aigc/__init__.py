"""Asyncio client for ZEGOCLOUD's AI Agent and Digital Human server APIs.

Requests, results, errors and signing need nothing but msgspec and are imported at once. What needs aiohttp is loaded
when it is first named, so a process that only verifies callbacks or builds requests never pays for it.
"""

from __future__ import annotations

import re
from importlib import import_module
from sys import modules
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
    }.items()
    for name in names.split()
}
"""Names that are imported when they are first used, and where they come from. The imports for type checkers above name the
same, which a test sees to."""

_ELSEWHERE = ["aiagent", "callbacks", "digitalhuman", "handles", "llm", "otel", "provisioning", "redis", "sandbox", "tokens"]
"""Modules whose names are not handed on here."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = globals()[name] = getattr(import_module(_LAZY[name]), name)
        return value
    if not name.startswith("_") and (homes := [module for module in _ELSEWHERE if name in _exports(module)]):
        # Not an AttributeError: "from zego_aigc import ..." would leave its message out.
        raise ImportError(f"{name} is not in zego_aigc itself: from zego_aigc.{homes[0]} import {name}", name=__name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=modules[__name__])


def _exports(module: str) -> list[str]:
    """What a module of ours hands on, read from its text: importing it might take what is not installed."""
    from importlib.util import find_spec

    spec = find_spec(f"{__name__}.{module}")
    try:
        with open(spec.origin if spec is not None and spec.origin else "", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is slow to import
            source = file.read()
    except OSError:  # in an archive, say
        return []
    listed = re.search(r"^__all__ = \[(.*?)\]", source, re.DOTALL | re.MULTILINE)
    return re.findall(r'"(\w+)"', listed[1]) if listed else []


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
