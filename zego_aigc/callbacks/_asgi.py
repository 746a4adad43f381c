"""The router as a plain ASGI application: only moving bytes is left to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from zego_aigc.callbacks._answer import CHECK_METHODS, COME_AGAIN, LIVES, NOT_POST, Answer, Receiver
from zego_aigc.callbacks._inflate import BadEncoding, inflate

__all__ = ["CallbackApp", "Receive", "Scope", "Send"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class CallbackApp:
    """An ASGI application.

    It is an object and not a method: servers and frameworks take a function for an endpoint that gets a request, and what has
    ``__call__`` for an application.
    """

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def __repr__(self) -> str:
        return f"<the ASGI application of {self._receiver!r}>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI call: a request, or a server's lifespan when the application is served by itself."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            answer = await self._answer(scope, receive)
            if answer is not None:
                await _send(answer, send, head=scope["method"] == "HEAD")
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise ValueError(f"callbacks come over HTTP, not {scope['type']!r}: mount the router at an HTTP path")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        try:
            await self._receiver.__aenter__()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.startup.complete"})
        try:
            await receive()  # lifespan.shutdown
        finally:
            await self._receiver.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer | None:
        """``None`` when the sender has hung up."""
        receiver = self._receiver
        if scope["method"] in CHECK_METHODS:
            return LIVES if receiver.ready else COME_AGAIN
        if scope["method"] != "POST":
            return NOT_POST
        headers = {name.lower(): value for name, value in scope.get("headers", ())}
        sender = _sender(scope)
        if (length := headers.get(b"content-length", b"")).isdigit() and int(length[:20]) > receiver.max_body:
            return receiver.refuse_unread("too_large", sender)
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > receiver.max_body:
                return receiver.refuse_unread("too_large", sender)
            more = message.get("more_body", False)
        try:
            plain = inflate(bytes(body), headers.get(b"content-encoding", b"").decode("latin-1"), receiver.max_body)
        except BadEncoding:
            return receiver.refuse_unread("malformed", sender)
        if plain is None:
            return receiver.refuse_unread("too_large", sender)
        return await receiver.areceive(plain, sender=sender)


def _sender(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


async def _send(answer: Answer, send: Send, *, head: bool) -> None:
    headers = {"Content-Type": "text/plain", "Content-Length": str(len(answer.body)), **answer.headers}
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": b"" if head else answer.body})
