"""Signed callbacks, a handler that records, and the router over both of its adapters."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp import web

from zego_aigc.callbacks import CallbackRouter, Event, sign

SECRET = "a1b2c3-callback-secret"
_nonces = iter(range(10**9))


def body_of(
    text: str = "hi",
    *,
    instance: str = "i1",
    sequence: int | None = None,
    nonce: str | None = None,
    secret: str = SECRET,
    **more: Any,
) -> bytes:
    nonce = nonce or f"n{next(_nonces)}"
    timestamp = int(time.time() * 1000)
    envelope: dict[str, Any] = {
        "AppId": 1,
        "Event": "LLMResult",
        "Nonce": nonce,
        "Timestamp": timestamp,
        "Signature": sign(secret, timestamp, nonce),
        "AgentInstanceId": instance,
        "Sequence": sequence,
        "Data": {"Round": 1, "Text": text},
    }
    return json.dumps(envelope | more).encode()


class Recorder:
    """A handler that says when it has seen so many events."""

    def __init__(self, router: CallbackRouter, *kinds: type[Event]) -> None:
        self.events: list[Any] = []
        self._more = asyncio.Event()
        router.on(*kinds or (Event,))(self.handle)

    async def handle(self, event: Event) -> None:
        self.events.append(event)
        self._more.set()

    async def texts(self, count: int) -> list[str]:
        async with asyncio.timeout(60):
            while len(self.events) < count:
                self._more.clear()
                await self._more.wait()
        return [event.data.text for event in self.events]


async def until(condition: Callable[[], object], within: float = 60.0) -> None:
    """Wait until something is the case; a minute is for a machine that hangs."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.001)


# --- over the wire -----------------------------------------------------------------------------------------------

Post = Callable[..., Awaitable[tuple[int, str]]]


@contextlib.asynccontextmanager
async def over_aiohttp(router: CallbackRouter) -> AsyncIterator[Post]:
    app = web.Application()
    app.router.add_route("*", "/callbacks", router.aiohttp_handler)
    app.cleanup_ctx.append(router.aiohttp_context)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    async with aiohttp.ClientSession() as session:

        async def post(body: Any, method: str = "POST") -> tuple[int, str]:
            async with session.request(method, f"http://{host}:{port}/callbacks", data=body) as answer:
                return answer.status, await answer.text()

        try:
            yield post
        finally:
            await runner.cleanup()


@contextlib.asynccontextmanager
async def over_asgi(router: CallbackRouter) -> AsyncIterator[Post]:
    """The router's ASGI app under a server of a few lines, which runs its lifespan and splits bodies into pieces."""
    to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    from_app: asyncio.Queue[Any] = asyncio.Queue()
    lifespan = asyncio.ensure_future(router.asgi({"type": "lifespan"}, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    assert await from_app.get() == {"type": "lifespan.startup.complete"}
    yield lambda body, method="POST": asgi_request(router.asgi, body, method)
    await to_app.put({"type": "lifespan.shutdown"})
    assert await from_app.get() == {"type": "lifespan.shutdown.complete"}
    await lifespan


async def asgi_request(app: Any, body: Any, method: str = "POST", path: str = "/") -> tuple[int, str]:
    if hasattr(body, "__aiter__"):
        body = b"".join([piece async for piece in body])
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)] or [b""]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages[-1]["more_body"] = False
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
    }
    scope |= {"root_path": "", "scheme": "http", "server": ("127.0.0.1", 80), "asgi": {"version": "3.0"}, "http_version": "1.1"}
    await app(scope, receive, send)
    start, *rest = sent
    headers = dict(start["headers"])
    content = b"".join(message.get("body", b"") for message in rest)
    assert int(headers[b"content-length"]) == len(content) or method == "HEAD"
    return start["status"], content.decode()
