"""The router as a plain ASGI app: only moving bytes is left to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from zego_aigc.callbacks._answer import NOT_POST, TOO_LARGE, Answer, Receiver

__all__ = ["Receive", "Scope", "Send", "serve"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


async def serve(receiver: Receiver, scope: Scope, receive: Receive, send: Send) -> None:
    """One ASGI call: a request, or a server's lifespan when the app is served by itself."""
    if scope["type"] == "lifespan":
        await _live(receiver, receive, send)
    elif scope["type"] == "http":
        answer = await _answer(receiver, scope, receive)
        if answer is not None:
            await _send(answer, send)
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})
    else:
        raise ValueError(f"callbacks come over HTTP, not {scope['type']!r}")


async def _live(receiver: Receiver, receive: Receive, send: Send) -> None:
    await receive()  # lifespan.startup
    try:
        await receiver.__aenter__()
    except Exception as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        raise
    await send({"type": "lifespan.startup.complete"})
    try:
        await receive()  # lifespan.shutdown
    finally:
        await receiver.aclose()
    await send({"type": "lifespan.shutdown.complete"})


async def _answer(receiver: Receiver, scope: Scope, receive: Receive) -> Answer | None:
    """``None`` when the sender has hung up."""
    if scope["method"] != "POST":
        return NOT_POST
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > receiver.max_body:
            return TOO_LARGE
        more = message.get("more_body", False)
    return receiver.receive(bytes(body))


async def _send(answer: Answer, send: Send) -> None:
    headers = {"Content-Type": "text/plain", "Content-Length": str(len(answer.body)), **answer.headers}
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": answer.body})
