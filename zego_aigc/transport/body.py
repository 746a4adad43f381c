"""A request on its way out, as aiohttp handles it: its head, and a body that knows when it leaves for the wire.

The body is always an :class:`Outgoing`. Own sessions take answers of the class :class:`Answering` and, if aiohttp is of a
version with which that was tried, send requests of the class :class:`Posting`.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import ref

import aiohttp
from aiohttp.payload import Payload
from multidict import CIMultiDict

from zego_aigc._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Protocol

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.http_writer import StreamWriter

    from zego_aigc.limits.limiter import FullPermit

    class Sender(Protocol):
        """Who wants a request to be sent."""

        @property
        def alone(self) -> bool:
            """Whether nobody else sends anything, and nothing was cancelled."""
            ...

        @property
        def cancelled(self) -> bool:
            """Whether not any more: aiohttp's own requests write in a task, which may run before the one that is cancelled."""
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


__all__ = ["HEADERS", "TRIED", "UNASKED", "Answering", "Outgoing", "Posting", "Unusable"]

T = TypeVar("T")

HEADERS = {
    "Content-Type": "application/json",
    "Accept-Encoding": "identity",  # answers are small, and their size can be bounded before they are read
    "User-Agent": f"zego_aigc/{__version__}",
}

UNASKED = "an answer to no request had come on the connection"
"""Such as a gateway's "408 Request Timeout" while it idled. It must not pass for the answer to the next request."""

TRIED: bool = aiohttp.__version__.rpartition(".")[0] in {"3.12", "3.13", "3.14"}
"""Whether aiohttp is of a version with which :class:`Posting` was tried, since that knows what its parent does."""

_heard: set[ref[Any]] = set()
"""Plain connections on which an answer has come: no proxy in between holds up what is sent on them."""


class Unusable(aiohttp.ClientConnectionResetError):
    """The connection that was found turned out not to carry a request."""


class Posting(aiohttp.ClientRequest):
    """A request that leaves in its caller's task, head and body at once.

    aiohttp writes a body in a task of its own: a tenth more for the whole call and, on Python 3.11, a moment at which it is
    unclear whether the request of somebody who is cancelled will leave. What leaves is the same to the byte.
    """

    outgoing: Outgoing | None = None
    """The body, of which aiohttp knows nothing. A WebSocket's has none."""

    def update_body_from_data(self, body: Any, *args: Any, **kwargs: Any) -> None:
        """Keep the body from aiohttp, which would make a task for it."""
        if isinstance(body, Outgoing):
            self.outgoing = body
            self.headers["Content-Length"] = str(body.size)
        else:
            super().update_body_from_data(body, *args, **kwargs)

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send it: have the head written, and write it together with the body."""
        if (outgoing := self.outgoing) is None:
            return await super().send(conn)
        head = _Head(conn)
        response = await super().send(cast("Connection", head))
        assert isinstance(response, Answering)
        assert head.written
        response.outgoing = outgoing
        if outgoing.sender is None or not outgoing.sender.alone:
            # Whoever is cancelled is so before anything leaves; and what leaves together is answered together: that is cheaper.
            await asyncio.sleep(0)
        outgoing.leave(head.written, conn)
        return response


class _Head:
    """Stands in for a connection, its protocol and its transport while aiohttp writes a head, and keeps that."""

    __slots__ = ("_connection", "written")

    writing_paused = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.written: bytes = b""

    @property
    def protocol(self) -> _Head:
        return self

    @property
    def transport(self) -> _Head:
        return self

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.written += data

    def start_timeout(self) -> None:
        """Own sessions have none for reading."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


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


def _close_unless_written(protocol: ResponseHandler, transport: asyncio.Transport) -> None:
    """The answer is there: no other request should have to wait behind what may be left of this one.

    Over TLS it counts only what is not encrypted yet: the rest is out of sight.
    """
    if transport.get_write_buffer_size():
        protocol.force_close()


class Outgoing(Payload):
    """A request body that knows when it leaves for the wire.

    It is written by :meth:`leave`, or by aiohttp through :meth:`write_with_length`. Either way the connection (TLS included)
    stands by then, so this is where the limiter's second begins. The head goes out together with the body.
    """

    # Instead of Payload's __init__(), which prepares for each what only the parts of a form have.
    _headers = CIMultiDict({"Content-Type": "application/json"})
    _encoding = _filename = None

    def __init__(self, body: bytes, query: str, permit: FullPermit, sender: Sender | None = None) -> None:
        self._body = body
        self.query: str = query
        """The signed query. A :class:`Posting` takes it past aiohttp, whose errors may show the URL."""
        self._permit = permit
        self._unproven: Any = None  # the connection, if nothing was heard on it before
        self.sender: Sender | None = sender
        """Who wants it to be sent, while that matters."""
        self.begun: bool = False
        """Whether any byte of the request may have left."""
        self.withheld: bool = False
        """Set to let nothing leave any more."""

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self._body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return self._body.decode(encoding, errors)

    def leave(self, head: bytes, connection: Connection) -> None:
        """Write the request in one piece, and count it as departed. For a :class:`Posting`."""
        protocol, transport = self._way_out(connection.protocol)
        request_target, _, rest = head.partition(b" HTTP/")
        self.begun = True
        try:
            transport.write(b"%b?%b HTTP/%b%b" % (request_target, self.query.encode(), rest, self._body))
        finally:
            self._depart(transport)
        if transport.get_write_buffer_size():
            connection.add_callback(functools.partial(_close_unless_written, protocol, transport))

    async def write(self, writer: AbstractStreamWriter) -> None:
        """As :meth:`write_with_length`, which aiohttp calls."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body, and count the request as departed. Its length is the body's. For a request of aiohttp's own."""
        if self.sender is not None and self.sender.cancelled:
            self.withheld = True
        _, transport = self._way_out(cast("ResponseHandler", cast("StreamWriter", writer).protocol))
        self.begun = True
        try:
            await writer.write(self._body[:content_length])
        finally:
            self._depart(transport)

    def _way_out(self, protocol: ResponseHandler | None) -> tuple[ResponseHandler, asyncio.Transport]:
        """Nothing has left yet: now or never."""
        if self.withheld or protocol is None or protocol.transport is None or protocol.transport.is_closing():
            raise Unusable("it was closing")
        if protocol.should_close:
            raise Unusable(UNASKED)
        return protocol, protocol.transport

    def _depart(self, transport: asyncio.Transport) -> None:
        # TLS counts as heard, for its handshake. (uvloop's transports of that kind cannot be referred to weakly.)
        heard = transport.get_extra_info("sslcontext") is not None or ref(transport) in _heard
        try:
            if heard:
                self._permit.departed()
            else:
                self._unproven = transport
                self._permit.departed(unproven=True)
        except Exception as error:
            raise RuntimeError("the limiter's permit failed in departed()") from error

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
        self._permit.answered()
        if self._unproven is not None:
            _heard.add(ref(self._unproven, _heard.discard))
