"""The router as a plain ASGI application: only moving bytes is left to do."""

from __future__ import annotations

from zego_aigc.callbacks._answer import CHECK_METHODS, COME_AGAIN, LIVES, NOT_POST, Answer, Receiver
from zego_aigc.callbacks._inflate import BadEncoding, inflate
from zego_aigc.transport.asgi import (
    BodyTooLarge,
    ClientGone,
    Receive,
    Scope,
    Send,
    client_address,
    read_body,
    refuse_scope,
    send_response,
)

__all__ = ["CallbackApp"]


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
            try:
                answer = await self._answer(scope, receive)
            except ClientGone:
                return
            headers = {"Content-Type": "text/plain", **answer.headers}
            await send_response(send, answer.status, headers, answer.body, head=scope["method"] == "HEAD")
        else:
            await refuse_scope(scope, receive, send, "callbacks come over HTTP: mount the router at an HTTP path")

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

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        receiver = self._receiver
        if scope["method"] in CHECK_METHODS:
            return LIVES if receiver.ready else COME_AGAIN
        if scope["method"] != "POST":
            return NOT_POST
        headers = {name.lower(): value for name, value in scope.get("headers", ())}
        sender = client_address(scope)
        if (length := headers.get(b"content-length", b"")).isdigit() and int(length[:20]) > receiver.max_body:
            return receiver.refuse_unread("too_large", sender)
        try:
            body = await read_body(receive, receiver.max_body)
            plain = inflate(body, headers.get(b"content-encoding", b"").decode("latin-1"), receiver.max_body)
        except BodyTooLarge:
            return receiver.refuse_unread("too_large", sender)
        except BadEncoding:
            return receiver.refuse_unread("malformed", sender)
        if plain is None:
            return receiver.refuse_unread("too_large", sender)
        return await receiver.areceive(plain, sender=sender)
