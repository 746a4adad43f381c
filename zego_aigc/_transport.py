"""The one seam to the network: a signed POST out, an answer back, aiohttp's exceptions turned into ours.

Nothing outside this module and :mod:`zego_aigc.pool` knows aiohttp.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
from aiohttp.payload import BytesPayload

from zego_aigc.errors import BadResponse, ConnectFailed, TransportError

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter
    from yarl import URL

    from zego_aigc.limiter import Permit

__all__ = ["MAX_ANSWER", "Answer", "Outgoing", "post"]

MAX_ANSWER = 8 * 2**20
"""Bytes that an answer may have."""


class Answer(NamedTuple):
    """What came back, whatever it is."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Outgoing(BytesPayload):
    """A request body that knows when it leaves for the wire.

    aiohttp asks a payload to write itself after the connection (TLS included) stands, so this is the one place where
    the limiter's second can begin. Headers go out together with the body.
    """

    def __init__(self, body: bytes, permit: Permit) -> None:
        super().__init__(body, content_type="application/json")
        self._permit = permit
        self.begun = False
        """Whether any byte of the request may have left."""

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body, and count the request as departed."""
        self.begun = True
        try:
            await super().write_with_length(writer, content_length)
        except aiohttp.ClientConnectionResetError:
            # The transport was closing already, and headers and body are refused as one: nothing was sent.
            self.begun = False
            raise
        finally:
            if self.begun:
                self._permit.departed()


async def post(session: aiohttp.ClientSession, url: URL, outgoing: Outgoing, options: Mapping[str, Any]) -> Answer:
    """Send a request and read its whole answer.

    Raises:
        ConnectFailed: no byte of the request was sent.
        BadResponse: the answer is too large or broke off.
        TransportError: the connection broke before an answer came; the request may have arrived.
    """
    try:
        response = await session.post(url, data=outgoing, allow_redirects=False, **options)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _translated(error, url, outgoing) from error
    try:
        if response.content_length is not None and "Content-Encoding" not in response.headers:
            too_large = response.content_length > MAX_ANSWER
            body = b"" if too_large else await response.read()
        else:
            body, too_large = await _read_bounded(response)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise BadResponse(f"the answer of {url.host} broke off: {_reason(error)}", status=response.status) from error
    finally:
        # A connection whose answer was read to the end has gone back to the pool by now; any other is not used again.
        response.close()
    if too_large:
        raise BadResponse(f"the answer of {url.host} is larger than {MAX_ANSWER} bytes", status=response.status)
    return Answer(response.status, response.headers, body)


async def _read_bounded(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER:
            return b"", True
        chunks.append(chunk)
    return b"".join(chunks), False


def _translated(error: Exception, url: URL, outgoing: Outgoing) -> TransportError:
    where = f"{url.host}:{url.port}" if url.port not in (80, 443) else str(url.host)
    if not outgoing.begun:
        return ConnectFailed(f"cannot reach {where}: {_reason(error)}. Nothing was sent; check the address and the network")
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError | ValueError):
        return BadResponse(f"{where} answered with something that is not HTTP: {_reason(error)}")
    return TransportError(f"the connection to {where} broke before the answer came: {_reason(error)}")


def _reason(error: Exception) -> str:
    """What happened, without the URL: it carries the signature."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is not accepted ({error.certificate_error})"
        case aiohttp.ClientConnectorDNSError():
            return f"its name cannot be resolved ({error.os_error.strerror or error.os_error})"
        case aiohttp.ClientConnectorError():
            return error.strerror or error.os_error.strerror or "no connection"
        case aiohttp.ServerDisconnectedError():
            return "the server closed it"
        case aiohttp.ClientConnectionResetError():
            return "it was closing"
        case aiohttp.ClientResponseError():
            return error.message or type(error).__name__
        case aiohttp.ClientPayloadError():
            return "the body is incomplete"
        case OSError() if error.strerror and "http" not in error.strerror:
            return error.strerror
        case _:
            return type(error).__name__


async def touch(session: aiohttp.ClientSession, url: URL, options: Mapping[str, Any]) -> None:
    """Open a connection and leave it in the pool. Whatever the server answers will do.

    Raises:
        ConnectFailed: the host cannot be reached.
    """
    try:
        async with session.head(url, allow_redirects=False, **options) as response:
            await response.read()
    except (aiohttp.ClientConnectionError, OSError) as error:
        raise ConnectFailed(f"cannot reach {url.host}: {_reason(error)}. Check the address and the network") from error
    except aiohttp.ClientError:
        pass  # it answered, however badly: there is a connection
