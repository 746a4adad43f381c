"""The router as an aiohttp handler: only moving bytes is left to do."""

from __future__ import annotations

from aiohttp import web

from zego_aigc.callbacks._answer import NOT_POST, TOO_LARGE, Answer, Receiver

__all__ = ["handle"]


async def handle(receiver: Receiver, request: web.Request) -> web.Response:
    """Answer one request."""
    answer = await _answer(receiver, request)
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers, content_type="text/plain")


async def _answer(receiver: Receiver, request: web.Request) -> Answer:
    if request.method != "POST":
        return NOT_POST
    body = bytearray()
    # Read here and not with request.read(), whose limit is the whole app's.
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > receiver.max_body:
            return TOO_LARGE
    return receiver.receive(bytes(body))
