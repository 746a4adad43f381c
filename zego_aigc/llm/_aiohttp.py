"""The endpoint as an aiohttp handler: only moving bytes is left to do."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import web

from zego_aigc.llm._wire import LIVES, NOT_POST, STREAM_HEADERS, Endpoint, Refusal
from zego_aigc.llm.request import ChatRequest
from zego_aigc.transport.asgi import until_gone

__all__ = ["handle"]

LOOK_INTERVAL = 0.1
"""Seconds between two looks whether the sender has hung up, which aiohttp does not say by itself."""


async def handle(endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
    """Answer one request."""
    asked = await _admit(endpoint, request)
    if isinstance(asked, Refusal):
        return web.Response(status=asked.status, body=asked.body, headers=asked.headers)
    response = web.StreamResponse(headers=STREAM_HEADERS)
    await response.prepare(request)
    await until_gone(_write(endpoint, asked, response), _gone(request))
    return response


async def _admit(endpoint: Endpoint, request: web.Request) -> ChatRequest | Refusal:
    if request.method in {"GET", "HEAD"}:
        return LIVES
    if request.method != "POST":
        return NOT_POST
    body = bytearray()
    try:
        # Read here and not with request.read(), whose limit is the whole app's.
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > endpoint.max_body:
                return endpoint.too_large(request.remote or "")
    except web.RequestPayloadError:
        return Refusal.of(400, "the body is not encoded as its Content-Encoding says")
    return await endpoint.admit(request.headers.get("Authorization", ""), bytes(body), request.remote or "")


async def _write(endpoint: Endpoint, asked: ChatRequest, response: web.StreamResponse) -> None:
    async with contextlib.aclosing(endpoint.stream(asked)) as frames:
        async for frame in frames:
            await response.write(frame)
    await response.write_eof()


async def _gone(request: web.Request) -> None:
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(LOOK_INTERVAL)
