"""What a client asks before each request: the protocols of a limiter, and the adapter for one that knows no more than it must.

:class:`Limiter` is what anybody may write: ``acquire()`` and a permit. :class:`FullLimiter` is what the library works with;
:class:`~zego_aigc.LocalLimiter` and :class:`~zego_aigc.redis.RedisLimiter` are of this kind. :func:`full_limiter` makes the
second of the first, once, where a pool is built; nothing behind it asks what a limiter can do.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["FullLimiter", "FullPermit", "Limiter", "Permit", "full_limiter"]

VENDOR_LIMIT = 10
"""Calls that the service takes in any :data:`VENDOR_WINDOW`, for each AppId and Action."""
VENDOR_WINDOW = 1.0
"""Seconds."""
DEFAULT_GUARD = 0.05
"""Seconds by which the delay on the way to the service may vary, unless a limiter is told otherwise."""


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


class Limiter(Protocol):
    """Decides when a call may be sent."""

    async def acquire(self, app_id: int, action: str) -> Permit:
        """Wait for the right to send one request of the Action. Cancelling the wait gives up the place and spends nothing."""
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

    async def acquire(self, app_id: int, action: str) -> FullPermit:
        """Wait for the right to send one request of the Action. Cancelling the wait gives up the place and spends nothing."""
        ...

    def take(self, app_id: int, action: str) -> FullPermit | None:
        """The right to send one request of the Action, if there is no need to wait for it."""
        ...

    def estimate(self, app_id: int, action: str) -> float:
        """Seconds that a caller who came now would wait at least; 0 where that is not known."""
        ...

    def too_fast(self, app_id: int, action: str) -> None:
        """The service refused a call of the Action as too fast."""
        ...


def full_limiter(limiter: Limiter | FullLimiter) -> FullLimiter:
    """The limiter itself if it is a full one; otherwise an adapter that asks it for every permit."""
    return limiter if isinstance(limiter, FullLimiter) else _BareLimiter(limiter)


class _BareLimiter:
    """Makes a full limiter of one that only has :meth:`Limiter.acquire`. It is taken to keep the vendor's limit."""

    limit = VENDOR_LIMIT
    window = VENDOR_WINDOW
    guard = DEFAULT_GUARD

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    async def acquire(self, app_id: int, action: str) -> FullPermit:
        return _BarePermit(await self._limiter.acquire(app_id, action))

    def take(self, app_id: int, action: str) -> FullPermit | None:  # noqa: ARG002 - the protocol's
        return None

    def estimate(self, app_id: int, action: str) -> float:  # noqa: ARG002 - the protocol's
        return 0.0

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

    def release(self) -> None:
        self._permit.release()
