"""The services of one client: where its calls go, and how."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from zego_aigc.calls.call import Call
from zego_aigc.calls.request import RawAction, Request, not_an_action, request_for
from zego_aigc.errors import ConfigurationError
from zego_aigc.schema import validation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zego_aigc.calls.create_guard import Creates
    from zego_aigc.calls.lookup import BoundLookUp
    from zego_aigc.calls.response import Response
    from zego_aigc.calls.route import Route
    from zego_aigc.schema.actions import Action, Repeat, Service
    from zego_aigc.schema.lifecycle import Recovery
    from zego_aigc.transport.pool import SessionPool

__all__ = ["Endpoint", "Endpoints", "checked_timeout"]

T = TypeVar("T")


class Endpoint:
    """Makes the calls of one client to one service.

    Args:
        route: how they go.
        timeout: deadline of a whole call in seconds, unless it says otherwise.
        look_ups: what finds out whether a lost create did its work.
        creates: what takes care of creates, unless their callers do.
    """

    def __init__(self, route: Route, timeout: float, look_ups: Mapping[Recovery, BoundLookUp], creates: Creates) -> None:
        self.route = route
        self.timeout: float = checked_timeout(timeout)
        self._look_ups = look_ups
        self._creates = creates

    @property
    def pool(self) -> SessionPool:
        """Connections, limiter and retry budget."""
        return self.route.pool

    async def call(self, action: Action[T], *, timeout: float | None = None) -> T:
        """See :meth:`zego_aigc.Client.call`."""
        return await self.prepare(action, timeout=timeout).run()

    async def call_with_response(
        self,
        action: Action[T],
        *,
        timeout: float | None = None,
        before_send: Callable[[int], Awaitable[None]] | None = None,
        deadline_from: Literal["call", "grant"] = "call",
        background: bool = False,
    ) -> Response[T]:
        """See :meth:`zego_aigc.Client.call_with_response`."""
        call = self.prepare(
            action, timeout=timeout, before_send=before_send, deadline_from=deadline_from, background=background
        )
        await call.run()
        return call.response()

    def prepare(
        self,
        action: Action[T],
        *,
        timeout: float | None = None,
        before_send: Callable[[int], Awaitable[None]] | None = None,
        deadline_from: Literal["call", "grant"] = "call",
        background: bool = False,
        may_have_run: bool = False,
        creates: Creates | None = None,
    ) -> Call[T]:
        """Check a request and make a call of it that is ready to run.

        The arguments are those of :meth:`zego_aigc.Client.call`, and of :class:`~zego_aigc.calls.call.Call`.

        Raises:
            InvalidRequest: the request breaks documented rules.
            ConfigurationError: the client is closed, or belongs to another event loop.
        """
        route = self.route
        route.pool.bind()
        request = request_for(action)
        return Call(
            route,
            request,
            action,
            validation.encode(action),
            self.timeout if timeout is None else checked_timeout(timeout),
            before_send=before_send,
            from_grant=deadline_from == "grant",
            background=background,
            look_up=None if request.look_up is None else functools.partial(self._look_ups[request.look_up], self),
            may_have_run=may_have_run,
            creates=(creates or self._creates) if request.creates else None,
        )

    def prepare_raw(
        self, name: str, body: Mapping[str, Any], encoded: bytes, repeat: Repeat, timeout: float | None
    ) -> Call[Any]:
        """As :meth:`prepare`, for a body in wire form that the library does not know."""
        self.route.pool.bind()
        request = Request.of(name, repeat, Any)
        return Call(
            self.route,
            request,
            RawAction(name, dict(body)),
            encoded,
            self.timeout if timeout is None else checked_timeout(timeout),
            creates=self._creates if request.creates else None,
        )


class Endpoints(dict["Service", Endpoint]):
    """The endpoints of one client by their service. It makes calls to whichever service answers them."""

    @property
    def app_id(self) -> int:
        """The project's AppId."""
        return next(iter(self.values())).route.signer.app_id

    @property
    def pool(self) -> SessionPool:
        """Connections, limiter and retry budget."""
        return next(iter(self.values())).pool

    def of(self, action: Action[Any]) -> Endpoint:
        """The endpoint of the service that answers an Action.

        Raises:
            ConfigurationError: it is no Action.
        """
        try:
            return self[action.service]
        except AttributeError:
            raise not_an_action(action) from None

    async def call(self, action: Action[T], *, timeout: float | None = None) -> T:
        """See :meth:`zego_aigc.Client.call`."""
        return await self.of(action).call(action, timeout=timeout)

    async def call_with_response(
        self,
        action: Action[T],
        *,
        timeout: float | None = None,
        before_send: Callable[[int], Awaitable[None]] | None = None,
        deadline_from: Literal["call", "grant"] = "call",
        background: bool = False,
    ) -> Response[T]:
        """See :meth:`zego_aigc.Client.call_with_response`."""
        return await self.of(action).call_with_response(
            action, timeout=timeout, before_send=before_send, deadline_from=deadline_from, background=background
        )

    async def end(self, action: Action[None], *, timeout: float) -> None:
        """Delete or stop something; what is gone already counts as ended. The deadline starts when the limiter grants it.

        Raises:
            ZegoError: it could not be ended.
        """
        endpoint = self[action.service]
        await endpoint.prepare(action, timeout=timeout, deadline_from="grant", may_have_run=True).run()


def checked_timeout(timeout: float) -> float:
    """A deadline in seconds, if it is one.

    Raises:
        ConfigurationError: it is not.
    """
    # Callers may have read it from a file: None and text are refused as well.
    if not isinstance(timeout, int | float) or not 0 < timeout < float("inf"):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigurationError(f"timeout must be a positive number of seconds, not {timeout!r}: every wait has a bound")
    return timeout
