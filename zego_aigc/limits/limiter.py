"""What a client asks before each request: the protocols of a limiter, and the adapter for one that knows no more than it must.

:class:`Limiter` is what anybody may write: ``acquire()`` and a permit. :class:`FullLimiter` is what the library works with;
:class:`~zego_aigc.LocalLimiter` and :class:`~zego_aigc.redis.RedisLimiter` are of this kind. :func:`full_limiter` makes the
second of the first, once, where a pool is built; nothing behind it asks what a limiter can do.
"""

from __future__ import annotations

import inspect
import logging
from typing import Any, Protocol, runtime_checkable

import msgspec

from zego_aigc.errors import ConfigurationError

__all__ = ["FullLimiter", "FullPermit", "Limiter", "LimiterStats", "Permit", "full_limiter"]

logger: logging.Logger = logging.getLogger("zego_aigc")

VENDOR_LIMIT = 10
"""Calls that the service takes in any :data:`VENDOR_WINDOW`, for each AppId and Action."""
VENDOR_WINDOW = 1.0
"""Seconds."""
DEFAULT_GUARD = 0.05
"""Seconds by which the delay on the way to the service may vary, unless a limiter is given another."""


class LimiterStats(msgspec.Struct, frozen=True, kw_only=True):
    """How an Action uses its limit."""

    sent: int = 0
    """Requests that have left since the Action was first used, or last forgotten for being idle."""
    waiting: int = 0
    """Callers in the foreground's line."""
    waiting_background: int = 0
    """Callers in the background's line."""
    round_trip: float | None = None
    """The smallest round trip seen of late, in seconds; None where none is known."""
    guard: float = DEFAULT_GUARD
    """Seconds by which the delay of requests without an answer may vary: as given, and what complaints have added."""
    withheld: int = 0
    """Tokens that are not used for a while, after complaints that no other cause explains: others use the account."""
    complaints: int = 0
    """Requests that the service refused as too fast."""
    share: float = 0.0
    """Which share of the limit was used over the last ten to twenty windows; 1 is the ceiling."""


class Permit(Protocol):
    """The right to send one request. Of :meth:`departed` and :meth:`release` the first counts; later calls do nothing.

    A permit that is neither departed nor released keeps its token for good.
    """

    def departed(self) -> None:
        """The request has been handed to the wire."""
        ...

    def release(self) -> None:
        """Nothing was sent and nothing will be: the token is free at once."""
        ...


class FullPermit(Permit, Protocol):
    """A permit that also takes note of answers."""

    def departed(self, *, unproven: bool = False) -> None:
        """The request has been handed to the wire: its token is released a window and a guard from now.

        Args:
            unproven: nothing was heard yet from the far end of the connection, not even a TLS handshake, so that a proxy in
                between may hold the request up.
        """
        ...

    def answered(self) -> None:
        """The service has answered, whatever it said: the request has arrived, and its token may be released sooner."""
        ...

    def served(self, host: str, *, first: bool = False) -> None:
        """The service has answered that the work was done: the round trip is one to learn from. It need not be told twice.

        Args:
            host: where the request went.
            first: whether it was the first on its connection.
        """
        ...


class Limiter(Protocol):
    """Decides when a call may be sent."""

    async def acquire(self, app_id: int, action: str) -> Permit:
        """Wait for the right to send one request of the Action. Cancelling the wait gives up the place and spends nothing.

        It may also take a keyword `background`, which says that others may go first. Without, all callers wait in one line.
        """
        ...


@runtime_checkable
class FullLimiter(Protocol):
    """A limiter that can also be asked without waiting, and knows what it keeps to."""

    @property
    def limit(self) -> int:
        """Calls that the service takes in any window, for each AppId and Action."""
        ...

    @property
    def window(self) -> float:
        """Length of the service's window in seconds."""
        ...

    @property
    def guard(self) -> float:
        """Seconds by which the delay on the way to the service may vary."""
        ...

    async def acquire(self, app_id: int, action: str, *, background: bool = False) -> FullPermit:
        """Wait for the right to send one request of the Action. Cancelling the wait gives up the place and spends nothing.

        Args:
            app_id: whose limit counts.
            action: the vendor's name of the Action.
            background: whether others may go first.
        """
        ...

    def take(self, app_id: int, action: str, *, background: bool = False) -> FullPermit | None:
        """The right to send one request of the Action, if there is no need to wait for it."""
        ...

    def estimate(self, app_id: int, action: str, *, background: bool = False) -> float:
        """Seconds that a caller who came now would wait at least; 0 where that is not known."""
        ...

    def too_fast(self, app_id: int, action: str) -> None:
        """The service refused a call of the Action as too fast."""
        ...

    def stats(self, app_id: int, action: str) -> LimiterStats:
        """How the Action uses its limit at the moment, as far as this process knows."""
        ...


def full_limiter(limiter: Limiter | FullLimiter) -> FullLimiter:
    """The limiter itself if it is a full one; otherwise an adapter that asks it for every permit."""
    # One that was written before there was a background may have every member, and still not take the keyword.
    if isinstance(limiter, type) or not callable(getattr(limiter, "acquire", None)):
        raise ConfigurationError(f"limiter must be a Limiter, such as LocalLimiter(limit=10), not {limiter!r}")
    return limiter if isinstance(limiter, FullLimiter) and _takes_background(limiter) else _BareLimiter(limiter)


class _BareLimiter:
    """Makes a full limiter of one that only has :meth:`Limiter.acquire`. It is taken to keep the vendor's limit."""

    limit = VENDOR_LIMIT
    window = VENDOR_WINDOW
    guard = DEFAULT_GUARD

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._acquire: Any = limiter.acquire  # with or without `background`
        self._has_lines = _takes_background(limiter)
        self._was_logged = False

    async def acquire(self, app_id: int, action: str, *, background: bool = False) -> FullPermit:
        if not background:
            return _BarePermit(await self._limiter.acquire(app_id, action))
        if self._has_lines:
            return _BarePermit(await self._acquire(app_id, action, background=True))
        if not self._was_logged:
            self._was_logged = True
            logger.warning(
                "%s.acquire() does not take the keyword 'background': calls in the background and in the foreground wait in "
                "one line, in the order of their coming",
                type(self._limiter).__name__,
            )
        return _BarePermit(await self._limiter.acquire(app_id, action))

    def take(self, app_id: int, action: str, *, background: bool = False) -> FullPermit | None:  # noqa: ARG002 - the protocol's
        return None

    def estimate(self, app_id: int, action: str, *, background: bool = False) -> float:  # noqa: ARG002 - the protocol's
        return 0.0

    def stats(self, app_id: int, action: str) -> LimiterStats:  # noqa: ARG002 - the protocol's
        return LimiterStats(guard=self.guard)

    def too_fast(self, app_id: int, action: str) -> None:
        pass

    def __repr__(self) -> str:
        return repr(self._limiter)


class _BarePermit:
    """Makes a full permit of one that has nothing but :meth:`Permit.departed` and :meth:`Permit.release`."""

    __slots__ = ("_permit",)

    def __init__(self, permit: Permit) -> None:
        self._permit = permit

    def departed(self, *, unproven: bool = False) -> None:  # noqa: ARG002 - the protocol's
        self._permit.departed()

    def answered(self) -> None:
        pass

    def served(self, host: str, *, first: bool = False) -> None:
        pass

    def release(self) -> None:
        self._permit.release()


def _takes_background(limiter: Limiter | FullLimiter) -> bool:
    try:
        parameters = inspect.signature(limiter.acquire).parameters
    except (TypeError, ValueError):  # what acquire() takes is not known
        return False
    return "background" in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())
