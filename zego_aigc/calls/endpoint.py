"""What a call needs from its client: where it goes, and who takes care of what it may leave behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    import yarl

    from zego_aigc.calls.call import Call
    from zego_aigc.calls.hooks import Hooks
    from zego_aigc.calls.retry import Ending, RetryPolicy
    from zego_aigc.errors import ZegoError
    from zego_aigc.limits.limiter import FullPermit
    from zego_aigc.schema.lifecycle import Recovery
    from zego_aigc.transport.clock import ServerClock
    from zego_aigc.transport.pool import SessionPool
    from zego_aigc.transport.signing import Signer

__all__ = ["Keeper", "LookUp", "Route"]

U = TypeVar("U")


class Route(msgspec.Struct, frozen=True):
    """What does not change from call to call of one client and service."""

    pool: SessionPool
    signer: Signer
    clock: ServerClock
    url: yarl.URL
    host: str
    scrub: Callable[[str, Any], str]
    """Takes the client's secrets and an Action's out of a text."""
    hooks: Hooks
    policy: RetryPolicy
    look_ups: Mapping[Recovery, LookUp]
    """What finds out whether a lost create did its work, by what its lifecycle declares."""
    on_orphan: Callable[[Any], object]
    """Told what a cancelled create has made, unless its caller takes care of that."""


class Keeper(Protocol):
    """Goes on with a call whose caller is cancelled: what it makes must not be forgotten."""

    def whole(self, call: Call[Any], permit: FullPermit) -> Awaitable[None]:
        """Carry out all that follows the first permit, away from the caller."""
        ...

    def hold(self, call: Call[Any], waiting: Coroutine[Any, Any, U]) -> Awaitable[U]:
        """Wait for a part of the answer although the caller is cancelled, which is raised in the end.

        Raises:
            CancelledError: it has taken too long.
        """
        ...

    def broken_off(self, call: Call[Any], error: BaseException) -> None:
        """The first attempt ended in an error."""
        ...

    def rest(self, call: Call[Any], *, over: bool) -> Awaitable[None]:
        """Carry out what follows the first attempt."""
        ...


LookUp = Callable[["Call[Any]", "ZegoError", "Ending"], Awaitable[bool]]
"""Finds out, after an attempt that failed and ended so, whether the work is done, and notes what was :meth:`Call.found`."""
