"""The one seam to the network: a signed POST out, a response back, aiohttp's exceptions translated to the library's.

Above it, :mod:`zego_aigc.calls` knows nothing of aiohttp.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

import aiohttp
import msgspec

from zego_aigc.errors import BadResponse, ConfigurationError, ConnectFailed, TransportError
from zego_aigc.transport.signed_request import HEADERS, UNSOLICITED_RESPONSE, SignedRequest, Unusable

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.http_writer import StreamWriter
    from yarl import URL

__all__ = ["MAX_ANSWER", "Answer", "OpenResponse", "Poster", "SessionPost", "post", "reason", "touch"]

MAX_ANSWER = 8 * 2**20
"""Bytes that an answer may have."""


class Answer(msgspec.Struct, frozen=True):
    """An HTTP response that was read to its end, whatever it is."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class OpenResponse(msgspec.Struct):
    """An HTTP response whose head has come."""

    status: int
    headers: Mapping[str, str]
    content: aiohttp.StreamReader
    close: Callable[[], object]
    """Closes the connection, unless the body was received."""
    read_traced: Callable[[], Awaitable[bytes]] | None = None
    """Reads the body, where the traces of a user's session are to hear of it."""

    @property
    def came_whole(self) -> bool:
        """Whether the body came together with the head, and as it is."""
        return self.content.is_eof() and "Content-Encoding" not in self.headers and self.read_traced is None


class Poster(Protocol):
    """Sends requests to one URL."""

    @property
    def session(self) -> aiohttp.ClientSession:
        """Whose connections it uses."""
        ...

    @property
    def url(self) -> URL:
        """Where to, without a query: the request has that."""
        ...

    def send(self, request: SignedRequest) -> Coroutine[Any, Any, OpenResponse]:
        """Send one, and wait for the head of its answer; aiohttp's exceptions are raised."""
        ...


class SessionPost:
    """Posts to one URL through aiohttp's session, in the documented way.

    Args:
        session: what sends it.
        url: without a query, which the request has.
        proxy: the URL of an HTTP proxy.
        headers: beside those of the session.
    """

    def __init__(self, session: aiohttp.ClientSession, url: URL, proxy: URL | None, headers: Mapping[str, str] | None) -> None:
        self.session: aiohttp.ClientSession = session
        self.url: URL = url
        self._proxy = proxy
        self._headers = headers

    async def send(self, request: SignedRequest) -> OpenResponse:
        """See :class:`Poster`."""
        # Yield once: a pending cancellation is delivered here, and not after aiohttp's own task has sent the request.
        await asyncio.sleep(0)
        response = await self.session.post(
            self.url.with_query(request.query),
            data=_Payload(request),
            allow_redirects=False,
            raise_for_status=False,  # a user's session may raise for the HTTP status of a refusal, before its Code is read
            proxy=self._proxy,
            headers=self._headers,
        )
        if not request.begun:
            # aiohttp may look for the answer before it writes.
            request.suppressed = True
            response.close()
            raise Unusable(UNSOLICITED_RESPONSE)
        if response.status == 101:
            response.close()  # aiohttp leaves an upgraded connection to its user
        read = response.read if self.session.trace_configs else None
        return OpenResponse(response.status, response.headers, response.content, response.close, read)


class _Payload(aiohttp.Payload):
    """A request's body, for aiohttp to write. Then the request has departed."""

    def __init__(self, request: SignedRequest) -> None:
        super().__init__(request.body, content_type=HEADERS["Content-Type"])
        self._request = request

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return len(self._request.body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return self._request.body.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """As :meth:`write_with_length`, which aiohttp calls."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body. Its length is the request's."""
        request = self._request
        # aiohttp writes in a task of its own, which may run before the cancelled task does.
        if request.sender is not None and request.sender.cancelled:
            request.suppressed = True
        protocol = cast("ResponseHandler", cast("StreamWriter", writer).protocol)
        transport = request.begin(protocol)
        try:
            await writer.write(request.body[:content_length])
        finally:
            request.depart(protocol, transport)


async def post(poster: Poster, request: SignedRequest) -> Answer:
    """Send a request and read its whole answer.

    Args:
        poster: what sends it.
        request: what to send.

    Raises:
        ConnectFailed: no byte of the request was sent.
        BadResponse: the answer is too large or broke off.
        TransportError: the connection broke before an answer came; the request may have arrived.
        ConfigurationError: the session is closed.
    """
    # Failures are raised outside of the handlers, so that aiohttp's own errors do not hang on to them as context:
    # their texts hold the URL, and the URL holds the signature.
    try:
        response = await poster.send(request)
    except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not poster.session.closed:
            raise  # the limiter's, or a mistake
        failure = request.limiter_error or _before_answer(error, poster, request)
    else:
        host = poster.url.host
        body: bytes | None
        try:
            if response.came_whole:  # there is nothing to wait for, and the caller tells the limiter what it says
                body = response.content.read_nowait()
            else:
                request.answered()  # now, since the rest may take its time
                body = await _read(response, request)
        except BaseException as error:
            response.close()
            # aiohttp says RuntimeError where the connection is closed between head and body.
            if not isinstance(error, aiohttp.ClientError | OSError | ValueError | RuntimeError):
                raise
            text = f"the answer of {host} broke off: {reason(error)}"
        else:
            if body is not None:
                return Answer(response.status, response.headers, body)
            response.close()
            text = f"the answer of {host} is larger than {MAX_ANSWER} bytes"
        failure = BadResponse(text, status=response.status)
    raise failure


async def _read(response: OpenResponse, request: SignedRequest) -> bytes | None:
    """The body, or None if it is too large."""
    if "Content-Encoding" not in response.headers:
        size = response.headers.get("Content-Length")
        if size is not None and int(size) > MAX_ANSWER:
            return None
        if size is not None and response.read_traced is not None:
            return await response.read_traced()
    chunks: list[bytes] = []
    reading = functools.partial(_collect, chunks, response.content)
    if (cancelled := request.cancelled_by) is None:
        try:
            complete = await reading()
        except asyncio.CancelledError as error:
            cancelled = error
        else:
            return b"".join(chunks) if complete else None
    complete = await request.resume_after_cancel(cancelled, reading)
    return b"".join(chunks) if complete else None


async def _collect(chunks: list[bytes], content: aiohttp.StreamReader) -> bool:
    """The rest of the body; whether it is not too large."""
    size = sum(map(len, chunks))
    async for chunk in content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER:
            return False
        chunks.append(chunk)
    return True


def _before_answer(error: Exception, poster: Poster, request: SignedRequest) -> TransportError | ConfigurationError:
    url = poster.url
    where = f"{url.host}:{url.port}" if url.port not in {80, 443} else str(url.host)
    failure: TransportError | ConfigurationError
    if request.begun:
        if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError | ValueError):
            failure = BadResponse(f"{where} answered with something that is not HTTP: {reason(error)}")
        else:
            failure = TransportError(f"the connection to {where} broke before the answer came: {reason(error)}")
    elif poster.session.closed:
        failure = ConfigurationError("the client's aiohttp session is closed: make a new client")
    elif isinstance(error, Unusable):
        failure = ConnectFailed(f"cannot use the connection to {url.host}: {error}. Nothing was sent", host=url.host)
    else:
        what = ""
        if isinstance(error, aiohttp.ClientConnectorError) and (error.host, error.port) != (url.raw_host, url.port):
            what, where = "the proxy ", f"{error.host}:{error.port}"
        todo = "check the address and the network"
        if url.host in {"127.0.0.1", "localhost", "::1"} and not what:
            todo = "check that it runs and listens there (a sandbox is started with 'zego-aigc sandbox')"
        failure = ConnectFailed(f"cannot reach {what}{where}: {reason(error)}. Nothing was sent; {todo}", host=where)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        failure.__cause__ = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
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


async def touch(session: aiohttp.ClientSession, url: URL, *, proxy: URL | None = None) -> str | None:
    """Open a connection and leave it in the pool. Whatever the server answers will do.

    Returns:
        the answer's ``Date``.

    Raises:
        ConnectFailed: the host cannot be reached.
    """
    try:
        async with session.head(url, allow_redirects=False, raise_for_status=False, proxy=proxy) as response:
            await response.read()
            return response.headers.get("Date")
    except (aiohttp.ClientConnectionError, OSError) as error:
        failure = ConnectFailed(f"cannot reach {url.host}: {reason(error)}. Check the address and the network", host=url.host)
    except aiohttp.ClientError:
        return None  # it answered, however badly: there is a connection
    raise failure
