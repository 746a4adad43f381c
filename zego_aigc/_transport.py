"""The one seam to the network: a signed POST out, an answer back, aiohttp's exceptions turned into ours.

Nothing outside this module, :mod:`zego_aigc.pool` and :mod:`zego_aigc._audio` knows aiohttp.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

import aiohttp
from aiohttp.payload import Payload

from zego_aigc.errors import BadResponse, ConfigurationError, ConnectFailed, TransportError

if TYPE_CHECKING:
    from typing import Protocol

    from aiohttp.abc import AbstractStreamWriter
    from yarl import URL

    from zego_aigc.limiter import Permit

    class Sender(Protocol):
        """Who wants a request to be sent."""

        @property
        def cancelled(self) -> bool:
            """Whether not any more: aiohttp writes in a task of its own, which may run before the one that is cancelled."""
            ...


__all__ = ["MAX_ANSWER", "Answer", "Outgoing", "post", "reason", "touch"]

MAX_ANSWER = 8 * 2**20
"""Bytes that an answer may have."""


class Answer(NamedTuple):
    """What came back, whatever it is."""

    status: int
    headers: Mapping[str, str]
    body: bytes


_heard: WeakSet[Any] = WeakSet()
"""Plain connections on which an answer has come: no proxy in between holds up what is sent on them."""


_UNASKED = "an answer to no request had come on the connection"
"""Such as a gateway's "408 Request Timeout" while it idled. It must not pass for the answer to the next request."""


class Outgoing(Payload):
    """A request body that knows when it leaves for the wire.

    aiohttp asks a payload to write itself after the connection (TLS included) stands, so this is the one place where
    the limiter's second can begin. Headers go out together with the body.
    """

    def __init__(self, body: bytes, permit: Permit, sender: Sender | None = None) -> None:
        super().__init__(body, content_type="application/json")
        self._body = body
        self._permit = permit
        self._sender = sender
        self._unproven: Any = None  # the connection, if nothing was heard on it before
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
        unwanted = self.withheld or (self._sender is not None and self._sender.cancelled)
        if unwanted or transport is None or transport.is_closing():
            # Headers and body leave in one write, which is not made, or refused by a transport that is closing.
            raise aiohttp.ClientConnectionResetError("the connection was closing")
        if getattr(getattr(writer, "protocol", None), "should_close", False):
            raise aiohttp.ClientConnectionResetError(_UNASKED)
        self.begun = True
        try:
            await writer.write(self._body[:content_length])
        finally:
            self._depart(transport)

    def _depart(self, transport: Any) -> None:
        # A handshake of TLS has been heard, and limiters need not know of proofs at all.
        if transport in _heard or transport.get_extra_info("sslcontext") is not None or not hasattr(self._permit, "answered"):
            self._permit.departed()
        else:
            self._unproven = transport
            self._permit.departed(unproven=True)

    def answered(self) -> None:
        """An answer has begun to come."""
        if (answered := getattr(self._permit, "answered", None)) is not None:
            answered()
            if self._unproven is not None:
                _heard.add(self._unproven)


async def post(session: aiohttp.ClientSession, url: URL, outgoing: Outgoing, options: Mapping[str, Any]) -> Answer:
    """Send a request and read its whole answer.

    Raises:
        ConnectFailed: no byte of the request was sent.
        BadResponse: the answer is too large or broke off.
        TransportError: the connection broke before an answer came; the request may have arrived.
        ConfigurationError: the session is closed.
    """
    # Failures are raised outside of the handlers, so that aiohttp's own errors do not hang on to them as context:
    # their texts hold the URL, and the URL holds the signature.
    try:
        # A session of the user's may raise for the HTTP status of a refusal, before its Code is read.
        response = await session.post(url, data=outgoing, allow_redirects=False, raise_for_status=False, **options)
    except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not session.closed:
            raise
        failure = _before_answer(error, session, url, outgoing)
    else:
        if not outgoing.begun:
            # aiohttp may look for the answer before it writes the request.
            outgoing.withheld = True
            response.close()
            raise ConnectFailed(f"cannot use the connection to {url.host}: {_UNASKED}", host=url.host)
        outgoing.answered()
        try:
            body = await _read(response, session)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            text = f"the answer of {url.host} broke off: {reason(error)}"
        else:
            if body is not None:
                return Answer(response.status, response.headers, body)
            text = f"the answer of {url.host} is larger than {MAX_ANSWER} bytes"
        finally:
            if response.connection is not None:  # not read to the end, or it would have gone back to the pool by now
                response.close()
        failure = BadResponse(text, status=response.status)
    raise failure


async def _read(response: aiohttp.ClientResponse, session: aiohttp.ClientSession) -> bytes | None:
    """The body, or None if it is too large."""
    size = response.content_length
    if size is None or "Content-Encoding" in response.headers:
        return await _read_bounded(response)
    if size > MAX_ANSWER:
        return None
    if response.content.is_eof() and not session.trace_configs:
        return response.content.read_nowait()  # it came together with the headers: there is nothing to wait for
    return await response.read()


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes | None:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _before_answer(
    error: Exception, session: aiohttp.ClientSession, url: URL, outgoing: Outgoing
) -> TransportError | ConfigurationError:
    where = f"{url.host}:{url.port}" if url.port not in {80, 443} else str(url.host)
    failure: TransportError | ConfigurationError
    if outgoing.begun:
        if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError | ValueError):
            failure = BadResponse(f"{where} answered with something that is not HTTP: {reason(error)}")
        else:
            failure = TransportError(f"the connection to {where} broke before the answer came: {reason(error)}")
    elif session.closed:
        failure = ConfigurationError("the client's aiohttp session is closed: make a new client")
    else:
        what = ""
        if isinstance(error, aiohttp.ClientConnectorError) and (error.host, error.port) != (url.raw_host, url.port):
            what, where = "the proxy ", f"{error.host}:{error.port}"
        failure = ConnectFailed(
            f"cannot reach {what}{where}: {reason(error)}. Nothing was sent; check the address and the network", host=where
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        failure.__cause__ = error.os_error
    return failure


def reason(error: BaseException) -> str:
    """What happened, without the URL: it carries the signature."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is not accepted ({error.certificate_error})"
        case aiohttp.ClientConnectorDNSError():
            return f"its name cannot be resolved ({error.os_error.strerror or error.os_error})"
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            return os.strerror(number) if number else error.os_error.strerror or "no connection"
        case aiohttp.InvalidURL():
            return "its address is not a URL"
        case aiohttp.ServerDisconnectedError():
            return "the server closed it"
        case aiohttp.ClientPayloadError():
            return "the body is incomplete"
        case aiohttp.ConnectionTimeoutError():
            return "no connection in time"
        case TimeoutError():
            return "no answer in time"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy refuses with HTTP status {error.status}"
        case aiohttp.ClientResponseError():
            return (error.message or type(error).__name__).partition("\n")[0][:100]
        case OSError() if error.strerror and "://" not in error.strerror:
            return error.strerror
        case OSError():
            return "it was closing"
        case _:
            return type(error).__name__


async def touch(session: aiohttp.ClientSession, url: URL, options: Mapping[str, Any]) -> None:
    """Open a connection and leave it in the pool. Whatever the server answers will do.

    Raises:
        ConnectFailed: the host cannot be reached.
    """
    try:
        async with session.head(url, allow_redirects=False, raise_for_status=False, **options) as response:
            await response.read()
            return
    except (aiohttp.ClientConnectionError, OSError) as error:
        failure = ConnectFailed(f"cannot reach {url.host}: {reason(error)}. Check the address and the network", host=url.host)
    except aiohttp.ClientError:
        return  # it answered, however badly: there is a connection
    raise failure
