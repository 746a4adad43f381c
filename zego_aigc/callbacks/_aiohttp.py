"""The router as an aiohttp handler: only moving bytes is left to do."""

from __future__ import annotations

from aiohttp import web

from zego_aigc.callbacks._answer import CHECK_METHODS, COME_AGAIN, LIVES, NOT_POST, Answer, Receiver

__all__ = ["handle"]


async def handle(receiver: Receiver, request: web.Request) -> web.Response:
    """Answer one request."""
    answer = await _answer(receiver, request)
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers, content_type="text/plain")


async def _answer(receiver: Receiver, request: web.Request) -> Answer:
    if request.method in CHECK_METHODS:
        return LIVES if receiver.ready else COME_AGAIN
    if request.method != "POST":
        return NOT_POST
    sender = request.remote or ""
    if (request.content_length or 0) > receiver.max_body:
        return receiver.refuse_unread("too_large", sender)
    body = bytearray()
    try:
        # Read here and not with request.read(), whose limit is the whole app's. aiohttp decompresses.
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > receiver.max_body:
                return receiver.refuse_unread("too_large", sender)
    except web.RequestPayloadError:  # its compression is broken
        return receiver.refuse_unread("malformed", sender)
    return await receiver.areceive(bytes(body), sender=sender)
