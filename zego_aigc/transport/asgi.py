"""What this library's ASGI applications share: a bounded body, a whole answer, a stream that ends when its client has gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, MutableMapping
from typing import Any

__all__ = [
    "BodyTooLarge",
    "ClientGone",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "client_address",
    "read_body",
    "refuse_scope",
    "send_response",
    "send_stream",
    "until_gone",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class BodyTooLarge(Exception):
    """A body has more bytes than it may have; the rest was not read."""


class ClientGone(Exception):
    """The client has hung up before its body had come."""


def client_address(scope: Scope) -> str:
    """Where a request comes from; empty where the server does not say."""
    client = scope.get("client")
    return str(client[0]) if client else ""


async def read_body(receive: Receive, limit: int) -> bytes:
    """A request's body.

    Raises:
        BodyTooLarge: it has more than `limit` bytes.
        ClientGone: there is nobody left to answer.
    """
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLarge
        more = message.get("more_body", False)
    return bytes(body)


async def send_response(send: Send, status: int, headers: Mapping[str, str], body: bytes, *, head: bool) -> None:
    """Answer a request whole.

    Args:
        send: of the ASGI call.
        status: the HTTP status.
        headers: besides Content-Length.
        body: what a request with GET gets.
        head: whether it was a HEAD, which gets the headers alone.
    """
    await send(_start(status, {**headers, "Content-Length": str(len(body))}))
    await send({"type": "http.response.body", "body": b"" if head else body})


async def send_stream(receive: Receive, send: Send, headers: Mapping[str, str], frames: AsyncGenerator[bytes, None]) -> None:
    """Answer a request piece by piece, until the pieces end or the client has gone; then they are closed."""

    async def write() -> None:
        await send(_start(200, headers))
        async with contextlib.aclosing(frames):
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def leave() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    await until_gone(write(), leave())


async def until_gone(write: Coroutine[Any, Any, None], leave: Coroutine[Any, Any, None]) -> None:
    """Write a response until that is done or the client has left; both have ended when this returns.

    Raises:
        Exception: as writing does, save for what a broken connection raises.
    """
    writing, leaving = asyncio.ensure_future(write), asyncio.ensure_future(leave)
    try:
        await asyncio.wait([writing, leaving], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (writing, leaving):
            task.cancel()
        await asyncio.wait([writing, leaving])
    if not writing.cancelled() and (error := writing.exception()) is not None and not isinstance(error, OSError):
        raise error


async def refuse_scope(scope: Scope, receive: Receive, send: Send, what: str) -> None:
    """Refuse what is no HTTP request: a WebSocket is closed.

    Args:
        scope: of the ASGI call.
        receive: of the ASGI call.
        send: of the ASGI call.
        what: what should come over HTTP, and where to mount it, for the error's text.

    Raises:
        ValueError: it is something else.
    """
    if scope["type"] != "websocket":
        raise ValueError(f"{what} (this is {scope['type']!r})")
    await receive()
    await send({"type": "websocket.close", "code": 1000})


def _start(status: int, headers: Mapping[str, str]) -> Message:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}
