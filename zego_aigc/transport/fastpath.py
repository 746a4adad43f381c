"""A cheaper way to send requests, which builds on the insides of aiohttp. It may be left out, or deleted, at any time.

aiohttp writes a body in a task of its own. Here the caller writes head and body at once: that takes a tenth off a whole call,
and a create whose caller is cancelled needs no task of its own to go on waiting for its answer. What leaves is the same to
the byte.

Without this module requests go the documented way (:mod:`zego_aigc.transport.body`), which is as safe: the tests of
connections and of cancellation run over both. Nothing else in the package knows the insides of aiohttp.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from typing import TYPE_CHECKING, Any

import aiohttp

from zego_aigc.transport.body import RequestBody

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection

__all__ = ["session_options"]

logger: logging.Logger = logging.getLogger("zego_aigc")

AIOHTTP_VERSION_SUPPORTED: bool = aiohttp.__version__.rpartition(".")[0] in {"3.12", "3.13", "3.14"}
"""Whether the methods that are overridden here are known to do in this version of aiohttp what they are expected to do."""

NO_FASTPATH = "ZEGO_AIGC_NO_FASTPATH"
"""The environment variable that switches it off, as ``AIOHTTP_NO_EXTENSIONS`` does with aiohttp's own."""


# super() would make an object for each request. Sessions that are made with these options have ShieldedResponse as their class.
_send: Any = aiohttp.ClientRequest.send
_start = aiohttp.ClientResponse.start


def session_options() -> dict[str, Any]:
    """Options for an :class:`aiohttp.ClientSession` that sends in this way; empty where requests go the documented way."""
    if os.environ.get(NO_FASTPATH):
        why = f"{NO_FASTPATH} is set"
    elif not AIOHTTP_VERSION_SUPPORTED:
        why = f"aiohttp {aiohttp.__version__} is not a version that it was tested with"
    else:
        return {"request_class": InlineWriteRequest, "response_class": ShieldedResponse}
    logger.info("requests are sent in aiohttp's own way, at about a tenth more CPU a call: %s", why)
    return {}


class InlineWriteRequest(aiohttp.ClientRequest):
    """A request that is written in its caller's task, head and body at once."""

    request_body: RequestBody | None = None
    """The body, which is kept from aiohttp. A WebSocket's request has none."""

    def update_body_from_data(self, body: Any, *args: Any, **kwargs: Any) -> None:
        """Keep the body from aiohttp, which would make a task for it."""
        if isinstance(body, RequestBody):
            self.request_body = body
            self.headers["Content-Length"] = str(len(body.body))
        else:
            super().update_body_from_data(body, *args, **kwargs)

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Send it: have aiohttp write the head, and write it out together with the body."""
        if (body := self.request_body) is None:
            return await super().send(conn)
        head: list[bytes] = []
        stand_in: Any = _StandIn(conn, _HeadBuffer(head.append))
        response: ShieldedResponse = await _send(self, stand_in)
        response.request_body = body
        if body.sender is None or not body.sender.is_only_call():
            # Yield once: a pending cancellation is delivered before any byte is written, and concurrent requests are written
            # in one iteration of the loop, which batches their responses.
            await asyncio.sleep(0)
        _write(b"".join(head), body, conn)
        return response


def _write(head: bytes, body: RequestBody, connection: Connection) -> None:
    """Write a request in one piece."""
    protocol: Any = connection.protocol
    transport = body.begin(protocol)
    request_target, version, rest = head.partition(b" HTTP/")
    try:
        transport.write(b"".join((request_target, b"?", body.query.encode(), version, rest, body.body)))
    finally:
        body.depart(protocol, transport)
    if transport.get_write_buffer_size():
        connection.add_callback(functools.partial(_close_unless_written, protocol, transport))


def _close_unless_written(protocol: ResponseHandler, transport: asyncio.Transport) -> None:
    """The answer has come before all of the request was written: no other request should wait behind the rest of it.

    Over TLS only what is not encrypted yet can be seen: the rest is out of sight.
    """
    if transport.get_write_buffer_size():
        protocol.force_close()


class _StandIn:
    """Stands in for a connection while aiohttp writes a head."""

    __slots__ = ("_connection", "_connector", "protocol")

    def __init__(self, connection: Connection, protocol: _HeadBuffer) -> None:
        self._connection = connection
        # Every request asks for it, and __getattr__() would be slow.
        self._connector = connection._connector  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # aiohttp's insides
        self.protocol: _HeadBuffer = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class _HeadBuffer:
    """Stands in for the connection's protocol, and for its transport: what is written is handed over."""

    __slots__ = ("write",)

    writing_paused = False

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.write: Callable[[bytes], object] = write

    @property
    def transport(self) -> _HeadBuffer:
        return self

    def is_closing(self) -> bool:
        return False

    def start_timeout(self) -> None:
        """Sessions that are made with these options have no timeout for reading."""


class ShieldedResponse(aiohttp.ClientResponse):
    """A response that may be waited for although the caller is cancelled."""

    request_body: RequestBody | None = None
    """The body of the request that it answers."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """Wait for its head."""
        try:
            return await _start(self, connection)
        except asyncio.CancelledError as cancelled:
            if self.request_body is None:
                raise
            return await self.request_body.resume_after_cancel(cancelled, functools.partial(_start, self, connection))
