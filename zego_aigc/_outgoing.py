"""A request on its way out, as aiohttp handles it: its head, and a body that knows when it leaves for the wire."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import ref

import aiohttp
from aiohttp.payload import Payload
from multidict import CIMultiDict

from zego_aigc._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Protocol

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.connector import Connection

    from zego_aigc.limiter import Permit

    class Sender(Protocol):
        """Who wants a request to be sent."""

        @property
        def cancelled(self) -> bool:
            """Whether not any more: aiohttp writes in a task of its own, which may run before the one that is cancelled."""
            ...

        @property
        def cancelled_by(self) -> asyncio.CancelledError | None:
            """What is to be raised once the answer has come."""
            ...

        def outlast(
            self, cancelled: asyncio.CancelledError, waiting: Callable[[], Coroutine[Any, Any, T]]
        ) -> Coroutine[Any, Any, T]:
            """The wait for the answer was cancelled: wait all the same, if it is worth it.

            Raises:
                CancelledError: it is not, or has taken too long.
            """
            ...


__all__ = ["HEADERS", "UNASKED", "Answering", "Outgoing", "Posting"]

T = TypeVar("T")

HEADERS = {
    "Content-Type": "application/json",
    "Accept-Encoding": "identity",  # answers are small, and their size can be bounded before they are read
    "User-Agent": f"zego_aigc/{__version__}",
}

UNASKED = "an answer to no request had come on the connection"
"""Such as a gateway's "408 Request Timeout" while it idled. It must not pass for the answer to the next request."""

_KEPT_AS_BODY = "_body" in vars(aiohttp.ClientRequest)
"""Whether aiohttp keeps a request's body where it does since 3.12. Otherwise it is left to find out by itself."""

_OWN_HEADERS = CIMultiDict(HEADERS)

_heard: set[ref[Any]] = set()
"""Plain connections on which an answer has come: no proxy in between holds up what is sent on them."""


@functools.lru_cache(maxsize=64)
def _headers_to(host: str) -> CIMultiDict[str]:
    return CIMultiDict({"Host": host, **HEADERS, "Accept": "*/*"})


class Posting(aiohttp.ClientRequest):
    """A request of a session that sends :data:`HEADERS` and an :class:`Outgoing` to few hosts, and nothing else to speak of.

    aiohttp works its headers out anew for every request, and asks whether it is compressed, chunked or waits to be invited.
    What leaves is the same to the byte, at a twentieth less for the whole call.
    """

    def update_headers(self, headers: Any) -> None:
        """Those that are the same for all requests to a host, all at once."""
        host = self.url.host_port_subcomponent
        if host is not None and headers == _OWN_HEADERS:
            self.headers = _headers_to(host).copy()
        else:  # a WebSocket's
            super().update_headers(headers)

    def update_body_from_data(self, body: Any, *args: Any, **kwargs: Any) -> None:
        """The body is a payload already, and knows its size."""
        if _KEPT_AS_BODY and isinstance(body, Outgoing):
            self._body = body
            self.headers["Content-Length"] = str(body.size)
        else:
            super().update_body_from_data(body, *args, **kwargs)

    def update_content_encoding(self, data: object) -> None:
        """It is not compressed."""

    def update_transfer_encoding(self) -> None:
        """Its length is known."""

    def update_expect_continue(self, expect: bool = False) -> None:
        """It does not wait for a "100 Continue"."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send it, and tell the answer whose it is."""
        response = await super().send(conn)
        body = self.body
        if isinstance(body, Outgoing) and isinstance(response, Answering):
            response.outgoing = body
        return response


class Answering(aiohttp.ClientResponse):
    """An answer that may be waited for although whoever asked is cancelled."""

    outgoing: Outgoing | None = None
    """The request's body."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Wait for its head."""
        try:
            return await super().start(connection)
        except asyncio.CancelledError as cancelled:
            if self.outgoing is None:
                raise
            return await self.outgoing.outlast(cancelled, functools.partial(super().start, connection))


class Outgoing(Payload):
    """A request body that knows when it leaves for the wire.

    aiohttp asks a payload to write itself after the connection (TLS included) stands, so this is the one place where
    the limiter's second can begin. Headers go out together with the body.
    """

    # Instead of Payload's __init__(), which prepares for each what only the parts of a form have.
    _headers = CIMultiDict({"Content-Type": "application/json"})
    _encoding = _filename = None

    def __init__(self, body: bytes, permit: Permit, sender: Sender | None = None) -> None:
        self._body = body
        self._permit = permit
        self._unproven: Any = None  # the connection, if nothing was heard on it before
        self.sender: Sender | None = sender
        """Who wants it to be sent, while that matters."""
        self.begun: bool = False
        """Whether any byte of the request may have left."""
        self.withheld = False
        """Set to let nothing leave any more."""

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self._body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return self._body.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """As :meth:`write_with_length`, which aiohttp calls."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body, and count the request as departed. Its length is the body's."""
        transport = writer.transport
        unwanted = self.withheld or (self.sender is not None and self.sender.cancelled)
        if unwanted or transport is None or transport.is_closing():
            # Headers and body leave in one write, which is not made, or refused by a transport that is closing.
            raise aiohttp.ClientConnectionResetError("the connection was closing")
        if getattr(getattr(writer, "protocol", None), "should_close", False):
            raise aiohttp.ClientConnectionResetError(UNASKED)
        self.begun = True
        try:
            await writer.write(self._body[:content_length])
        finally:
            self._depart(transport)

    def _depart(self, transport: Any) -> None:
        heard = ref(transport) in _heard or transport.get_extra_info("sslcontext") is not None  # its handshake
        if heard or not hasattr(self._permit, "answered"):  # limiters need not know of proofs at all
            self._permit.departed()
        else:
            self._unproven = transport
            self._permit.departed(unproven=True)

    @property
    def cancelled_by(self) -> asyncio.CancelledError | None:
        """See :class:`Sender`."""
        return None if self.sender is None else self.sender.cancelled_by

    async def outlast(self, cancelled: asyncio.CancelledError, waiting: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """See :class:`Sender`."""
        if self.sender is None:
            raise cancelled
        return await self.sender.outlast(cancelled, waiting)

    def answered(self) -> None:
        """An answer has begun to come."""
        if (answered := getattr(self._permit, "answered", None)) is not None:
            answered()
            if self._unproven is not None:
                _heard.add(ref(self._unproven, _heard.discard))
