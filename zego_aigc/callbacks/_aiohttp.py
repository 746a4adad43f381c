"""The router as an aiohttp handler: only moving bytes is left to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from zego_aigc.callbacks._asgi import NOT_POST, TOO_LARGE

if TYPE_CHECKING:
    from zego_aigc.callbacks.router import Answer, CallbackRouter

__all__ = ["handle"]


async def handle(router: CallbackRouter, request: web.Request) -> web.Response:
    """Answer one request."""
    answer = await _answer(router, request)
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers, content_type="text/plain")


async def _answer(router: CallbackRouter, request: web.Request) -> Answer:
    if request.method != "POST":
        return NOT_POST
    body = bytearray()
    # Read here and not with request.read(), whose limit is the whole app's.
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > router.max_body:
            return TOO_LARGE
    return router.receive(bytes(body))
