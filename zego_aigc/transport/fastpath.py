"""A cheaper way to send requests, which goes past aiohttp's session. It may be left out, or deleted, at any time.

A session builds each request anew, has a task of its own write the body, and is ready for redirects, cookies and middlewares.
None of that is of use here, and it is half of what a call through it costs. So what all requests to one URL have in common is
prepared once; the caller's task writes head and body at once; and a create needs a task of its own only if its caller is
cancelled while it waits for the answer. Connections, TLS and the parser of answers are aiohttp's, asked for as its session asks
for them, and what leaves is the same to the byte.

Without this module, with a version of aiohttp that it was not tried with, through a proxy, and with a session that is given,
requests go through the session (:class:`zego_aigc.transport.http.SessionPost`). That is as safe: the tests of connections and
of cancellation run over both. Nothing else in the package relies on how aiohttp's session works inside.
"""

from __future__ import annotations

import asyncio
import functools
import os
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from zego_aigc.transport.http import OpenResponse

if TYPE_CHECKING:
    import yarl
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.http_parser import RawResponseMessage

    from zego_aigc.transport.signed_request import SignedRequest

__all__ = ["DirectPost", "why_not"]

AIOHTTP_VERSION_SUPPORTED: bool = aiohttp.__version__.rpartition(".")[0] in {"3.12", "3.13", "3.14"}
"""Whether what is used here is known to do in this version of aiohttp what it is expected to do."""

NO_FASTPATH = "ZEGO_AIGC_NO_FASTPATH"
"""The environment variable that switches it off, as ``AIOHTTP_NO_EXTENSIONS`` switches off aiohttp's C extensions."""


def why_not() -> str | None:
    """Why requests must not go this way, or None if they may."""
    if os.environ.get(NO_FASTPATH):
        return f"{NO_FASTPATH} is set"
    if not AIOHTTP_VERSION_SUPPORTED:
        return f"aiohttp {aiohttp.__version__} is not a version that it was tested with"
    return None


class DirectPost:
    """Posts to one URL over the connections of a session, which has neither a proxy nor cookies nor traces.

    Args:
        session: whose connector, headers and timeouts count.
        url: without a query.
    """

    __slots__ = ("_after_length", "_before_length", "_connector", "_request", "_target", "_timeout", "session", "url")

    def __init__(self, session: aiohttp.ClientSession, url: yarl.URL) -> None:
        assert session.connector is not None  # only a session that was closed has none
        self.session: aiohttp.ClientSession = session
        self.url: yarl.URL = url
        self._connector: aiohttp.BaseConnector = session.connector
        self._timeout: aiohttp.ClientTimeout = session.timeout
        # With an empty body: its head is the pattern of ours, and it is what a connector is asked for a connection for.
        self._request = aiohttp.ClientRequest(
            "POST", url, headers=session.headers, data=b"", loop=asyncio.get_running_loop(), session=session
        )
        # "POST /?" and the query; " HTTP/1.1 ... Content-Length: " and the length; "..." and the body.
        lines = "".join(f"{name}: {value}\r\n" for name, value in self._request.headers.items())
        self._target: str = f"POST {url.raw_path}?"
        before, length, after = f" HTTP/1.1\r\n{lines}\r\n".partition("Content-Length: 0")
        assert length, "aiohttp announces the length of every body"
        self._before_length: str = before + length.removesuffix("0")
        self._after_length: str = after

    async def send(self, request: SignedRequest) -> OpenResponse:
        """See :class:`zego_aigc.transport.http.Poster`. This is what ``ClientSession._request()`` does for such a request."""
        try:
            connection = await self._connector.connect(self._request, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"connecting to {self.url.host} took too long") from error
        try:
            protocol = connection.protocol
            assert protocol is not None  # it is ours until it is released
            protocol.set_response_params(read_until_eof=True)
            # Yield once: a pending cancellation is delivered before any byte is written, and so is the news that the server has
            # closed the connection; and concurrent requests are written in one iteration, which batches their responses.
            await asyncio.sleep(0)
            self._write(request, connection, protocol)
            try:
                head, content = await _read_head(protocol)
            except asyncio.CancelledError as cancelled:
                head, content = await request.resume_after_cancel(cancelled, functools.partial(_read_head, protocol))
        except HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientResponseError(
                self._request.request_info, (), status=error.code, message=error.message, headers=error.headers
            ) from error
        except BaseException:
            connection.close()
            raise
        content.on_eof(connection.release)
        return OpenResponse(head.code, head.headers, content, connection.close)

    def _write(self, request: SignedRequest, connection: Connection, protocol: ResponseHandler) -> None:
        """Write a request in one piece."""
        transport = request.begin(protocol)
        head = f"{self._target}{request.query}{self._before_length}{len(request.body)}{self._after_length}"
        try:
            transport.write(head.encode() + request.body)
        finally:
            request.depart(protocol, transport)
        if transport.get_write_buffer_size():
            connection.add_callback(functools.partial(_close_unless_written, protocol, transport))


def _close_unless_written(protocol: ResponseHandler, transport: asyncio.Transport) -> None:
    """The answer has come before all of the request was written: no other request should wait behind the rest of it.

    Over TLS only what is not encrypted yet can be seen: the rest is out of sight.
    """
    if transport.get_write_buffer_size():
        protocol.force_close()


async def _read_head(protocol: ResponseHandler) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
    """The head of an answer that is not only provisional, and where its body comes from."""
    while True:
        head, content = await protocol.read()
        if not 100 <= head.code < 200 or head.code == 101:
            return head, content
