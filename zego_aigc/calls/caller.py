"""What is needed to make calls: the protocol that helpers take, rather than a whole client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from zego_aigc.calls.response import Response
    from zego_aigc.schema.actions import Action
    from zego_aigc.transport.pool import SessionPool

__all__ = ["Caller"]

T = TypeVar("T")


class Caller(Protocol):
    """A :class:`~zego_aigc.Client`, or the :class:`~zego_aigc.calls.endpoint.Endpoint` of one of its services."""

    @property
    def pool(self) -> SessionPool:
        """Connections, limiter and retry budget."""
        ...

    def call(self, action: Action[T], *, timeout: float | None = None) -> Coroutine[Any, Any, T]:
        """Send an Action and return its typed result."""
        ...

    def call_with_response(
        self,
        action: Action[T],
        *,
        timeout: float | None = None,
        before_send: Callable[[int], Awaitable[None]] | None = None,
        deadline_from: Literal["call", "grant"] = "call",
        background: bool = False,
    ) -> Coroutine[Any, Any, Response[T]]:
        """As :meth:`call`, with what came along."""
        ...
