"""What does not change from call to call of one client and service."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import yarl

    from zego_aigc.calls.hooks import Hooks
    from zego_aigc.calls.retry import RetryPolicy
    from zego_aigc.transport.clock import ServerClock
    from zego_aigc.transport.pool import SessionPool
    from zego_aigc.transport.signing import Signer

__all__ = ["Route"]


class Route(msgspec.Struct, frozen=True):
    """How the calls of one client to one service go."""

    pool: SessionPool
    """Connections, limiter and retry budget."""
    signer: Signer
    clock: ServerClock
    """The service's time, which signatures carry."""
    url: yarl.URL
    """The service's base URL."""
    host: str
    scrub: Callable[[str, Any], str]
    """Takes the client's secrets and an Action's out of a text."""
    hooks: Hooks
    policy: RetryPolicy
