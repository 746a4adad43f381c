"""The calls that a fleet makes, all in one line at the limiter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from zego_aigc.calls.response import Response
    from zego_aigc.client import Client
    from zego_aigc.schema.actions import Action
    from zego_aigc.transport.pool import SessionPool

__all__ = ["RunCalls"]

T = TypeVar("T")


class RunCalls:
    """A :class:`~zego_aigc.calls.caller.Caller` for everything that a run asks or changes, look-ups and polls included.

    Nothing in this folder calls the client itself: then no call forgets to let people go first, and none is refused because
    the fleet's own queue is longer than its deadline.

    Args:
        client: of the fleet's account.
        background: whether other calls of the client may go first at the limiter.
    """

    def __init__(self, client: Client, *, background: bool) -> None:
        self._client = client
        self._background = background

    @property
    def pool(self) -> SessionPool:
        """The client's."""
        return self._client.pool

    def call(self, action: Action[T], *, timeout: float | None = None) -> Coroutine[Any, Any, T]:
        """As :meth:`zego_aigc.Client.call`; the deadline begins at the limiter's grant."""
        return self._client.call(action, timeout=timeout, deadline_from="grant", background=self._background)

    def call_with_response(
        self,
        action: Action[T],
        *,
        timeout: float | None = None,
        before_send: Callable[[int], Awaitable[None]] | None = None,
        deadline_from: Literal["call", "grant"] = "grant",
        background: bool = False,
    ) -> Coroutine[Any, Any, Response[T]]:
        """As :meth:`zego_aigc.Client.call_with_response`; the deadline begins at the limiter's grant."""
        return self._client.call_with_response(
            action,
            timeout=timeout,
            before_send=before_send,
            deadline_from=deadline_from,
            background=background or self._background,
        )
