"""The endpoint as a plain ASGI application: only moving bytes is left to do."""

from __future__ import annotations

from zego_aigc.llm._wire import LIVES, NOT_POST, STREAM_HEADERS, Endpoint, Refusal
from zego_aigc.llm.request import ChatRequest
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
    send_stream,
)

__all__ = ["ChatApp"]


class ChatApp:
    """An ASGI application. It is an object and not a method, which servers and frameworks take for something else."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI call: a request, or a server's lifespan when the application is served by itself."""
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "http":
            try:
                asked = await self._admit(scope, receive)
            except ClientGone:
                return
            if isinstance(asked, Refusal):
                await send_response(send, asked.status, asked.headers, asked.body, head=scope["method"] == "HEAD")
            else:
                await send_stream(receive, send, STREAM_HEADERS, self._endpoint.stream(asked))
        else:
            await refuse_scope(scope, receive, send, "chat requests come over HTTP: mount the endpoint at an HTTP path")

    async def _admit(self, scope: Scope, receive: Receive) -> ChatRequest | Refusal:
        if scope["method"] in {"GET", "HEAD"}:
            return LIVES
        if scope["method"] != "POST":
            return NOT_POST
        sender = client_address(scope)
        try:
            body = await read_body(receive, self._endpoint.max_body)
        except BodyTooLarge:
            return self._endpoint.too_large(sender)
        headers = {name.lower(): value for name, value in scope.get("headers", ())}
        return await self._endpoint.admit(headers.get(b"authorization", b"").decode("latin-1"), body, sender)
