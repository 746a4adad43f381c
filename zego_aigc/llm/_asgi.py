"""The endpoint as a plain ASGI application: only moving bytes is left to do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from zego_aigc.llm._wire import LIVES, NOT_POST, STREAM_HEADERS, Endpoint, Refusal
from zego_aigc.llm.request import ChatRequest

__all__ = ["ChatApp"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


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
            answer = await self._admit(scope, receive)
            if isinstance(answer, Refusal):
                await _refuse(answer, send, head=scope["method"] == "HEAD")
            elif answer is not None:
                await self._stream(answer, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise ValueError(f"chat requests come over HTTP, not {scope['type']!r}: mount the endpoint at an HTTP path")

    async def _admit(self, scope: Scope, receive: Receive) -> ChatRequest | Refusal | None:
        """``None`` when the sender has hung up."""
        if scope["method"] in {"GET", "HEAD"}:
            return LIVES
        if scope["method"] != "POST":
            return NOT_POST
        client = scope.get("client")
        sender = str(client[0]) if client else ""
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._endpoint.max_body:
                return self._endpoint.too_large(sender)
            more = message.get("more_body", False)
        headers = {name.lower(): value for name, value in scope.get("headers", ())}
        return await self._endpoint.admit(headers.get(b"authorization", b"").decode("latin-1"), bytes(body), sender)

    async def _stream(self, request: ChatRequest, receive: Receive, send: Send) -> None:
        writing = asyncio.ensure_future(self._write(request, send))
        leaving = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait([writing, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writing, leaving):
                task.cancel()
            await asyncio.wait([writing, leaving])
        if not writing.cancelled() and (error := writing.exception()) is not None and not isinstance(error, OSError):
            raise error

    async def _write(self, request: ChatRequest, send: Send) -> None:
        headers = [(name.lower().encode(), value.encode()) for name, value in STREAM_HEADERS.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with contextlib.aclosing(self._endpoint.stream(request)) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refuse(refusal: Refusal, send: Send, *, head: bool) -> None:
    headers = {**refusal.headers, "Content-Length": str(len(refusal.body))}
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": pairs})
    await send({"type": "http.response.body", "body": b"" if head else refusal.body})
