"""A signed request, which knows when it leaves for the wire.

This is the one place that decides it, however the request is written: by aiohttp, through
:class:`zego_aigc.transport.http.SessionPost`, or by :mod:`zego_aigc.transport.fastpath`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import ref

import aiohttp

from zego_aigc._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Protocol

    from aiohttp.client_proto import ResponseHandler

    from zego_aigc.limits.limiter import FullPermit

    class Sender(Protocol):
        """The attempt that a request belongs to."""

        @property
        def cancelled(self) -> bool:
            """Whether the caller is being cancelled."""
            ...

        @property
        def cancelled_by(self) -> asyncio.CancelledError | None:
            """The cancellation that the attempt outlives, if it does: it is raised once the answer has come."""
            ...

        def resume_after_cancel(
            self, cancelled: asyncio.CancelledError, waiting: Callable[[], Coroutine[Any, Any, T]]
        ) -> Coroutine[Any, Any, T]:
            """The wait for the answer was cancelled: go on waiting for a bounded time, if the answer is worth it.

            Raises:
                CancelledError: it is not, or the time is up.
            """
            ...


__all__ = ["HEADERS", "UNSOLICITED_RESPONSE", "SignedRequest", "Unusable"]

T = TypeVar("T")

HEADERS = {
    "Content-Type": "application/json",
    "Accept-Encoding": "identity",  # answers are small, and their size can be bounded before they are read
    "User-Agent": f"zego_aigc/{__version__}",
}

UNSOLICITED_RESPONSE = "an answer to no request had come on the connection"
"""Such as a gateway's "408 Request Timeout" while it idled. It must not pass for the answer to the next request."""

_confirmed_connections: set[ref[Any]] = set()
"""Protocols of connections on which an answer has come: no proxy in between holds up what is sent on them."""


class Unusable(aiohttp.ClientConnectionResetError):
    """The connection that was found turned out not to carry a request."""


class SignedRequest:
    """A request that knows when it leaves for the wire.

    It is written between :meth:`begin` and :meth:`depart`. The connection (TLS included) stands by then, so this is where the
    limiter's window begins. The head goes out together with the body.
    """

    def __init__(self, body: bytes, query: str, permit: FullPermit, sender: Sender | None = None) -> None:
        self.body: bytes = body
        """The JSON that is sent."""
        self.query: str = query
        """The signed query. Where possible it goes past aiohttp, whose errors may show the URL."""
        self.sender: Sender | None = sender
        """The attempt, while it is under way."""
        self.begun: bool = False
        """Whether any byte of the request may have left."""
        self.suppressed: bool = False
        """Set to let nothing leave any more."""
        self.limiter_error: RuntimeError | None = None
        """Raised by :meth:`depart`. aiohttp takes it for a broken connection where it writes the body."""
        self._permit = permit
        self._unconfirmed: Any = None  # the connection's protocol, if no answer has come on it before

    def begin(self, protocol: ResponseHandler | None) -> asyncio.Transport:
        """The last look at a connection before the request is written to it. From now on any byte may have left.

        Raises:
            Unusable: nothing may leave, or not on this connection. Nothing has left.
        """
        transport = None if protocol is None else protocol.transport
        if self.suppressed or protocol is None or transport is None or transport.is_closing():
            raise Unusable("it was closing")
        if protocol.should_close:
            raise Unusable(UNSOLICITED_RESPONSE)
        self.begun = True
        return transport

    def depart(self, protocol: ResponseHandler, transport: asyncio.Transport) -> None:
        """The request is written: the limiter's window begins."""
        # Not the transport, since uvloop's for TLS cannot be referred to weakly.
        if ref(protocol) not in _confirmed_connections:
            self._unconfirmed = protocol
        try:
            # TLS proves by its handshake that the far end is there.
            if self._unconfirmed is None or transport.get_extra_info("sslcontext") is not None:
                self._permit.departed()
            else:
                self._permit.departed(unproven=True)
        except Exception as error:
            self.limiter_error = RuntimeError("the limiter's permit failed in departed()")
            raise self.limiter_error from error

    def answered(self) -> None:
        """An answer has begun to come."""
        self._permit.answered()
        if self._unconfirmed is not None:
            self._confirm_connection()

    def served(self, host: str) -> None:
        """An answer of that host has come, which says that the work was done."""
        self._permit.served(host, first=self._unconfirmed is not None)
        if self._unconfirmed is not None:
            self._confirm_connection()

    def _confirm_connection(self) -> None:
        _confirmed_connections.add(ref(self._unconfirmed, _confirmed_connections.discard))

    @property
    def cancelled_by(self) -> asyncio.CancelledError | None:
        """See :class:`Sender`."""
        return None if self.sender is None else self.sender.cancelled_by

    async def resume_after_cancel(self, cancelled: asyncio.CancelledError, waiting: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """See :class:`Sender`."""
        if self.sender is None:
            raise cancelled
        return await self.sender.resume_after_cancel(cancelled, waiting)
