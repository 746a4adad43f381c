"""Events for a browser, as they come: a server-sent-events response over ASGI and aiohttp.

In the page::

    const events = new EventSource("/conversations/" + id + "/events")
    events.addEventListener("LLMResult", (message) => show(JSON.parse(message.data).Data.Text))
    events.addEventListener("end", () => events.close())
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from zego_aigc.callbacks.events import Event
from zego_aigc.schema.decoding import enc_hook
from zego_aigc.transport.asgi import Receive, Scope, Send, send_stream

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["ServerSentEvents", "event_json", "event_name"]

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest whole number that JavaScript holds exactly."""

_encode = msgspec.json.Encoder(enc_hook=enc_hook).encode


def event_name(event: Event) -> str:
    """What a browser listens for: the vendor's name of the event, or the class's name where the vendor has a number."""
    name = getattr(event, "event", "") or type(event).__name__
    return "".join(character for character in name if character.isprintable())


def event_json(event: Event) -> bytes:
    """An event as the vendor's envelope, for a browser.

    What a callback can be forged with (Nonce, Timestamp, Signature) is left out. Round, Sequence and whole numbers that
    JavaScript would round are text.
    """
    envelope = msgspec.to_builtins(event, enc_hook=enc_hook)
    for name in ("Nonce", "Timestamp", "Signature", "Problem", "Body"):
        envelope.pop(name, None)
    return _encode(_exact(envelope))


def _exact(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {name: _exact(inner, name) for name, inner in value.items() if inner is not None}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - free-form JSON
    if isinstance(value, list):
        return [_exact(inner) for inner in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - free-form JSON
    if type(value) is int and (key in {"Round", "Sequence"} or abs(value) > MAX_SAFE_INTEGER):
        return str(value)
    return value


class ServerSentEvents:
    """A stream of events in the form of the browsers' ``EventSource``.

    It is an ASGI application, an asynchronous iterable of bytes for a framework's streaming response, and
    :meth:`aiohttp_response` answers an aiohttp request::

        return StreamingResponse(ServerSentEvents(router.subscribe(id)), headers=ServerSentEvents.headers)   # FastAPI
        return await ServerSentEvents(router.subscribe(id)).aiohttp_response(request)                        # aiohttp

    A comment is sent while nothing happens, so that nothing on the way takes the connection for dead. A browser that reads too
    slowly loses the oldest events, and gets ``missed`` with their number. At the end comes ``end``: the page should close the
    source then, or it connects again.

    Args:
        events: a subscription, or any asynchronous iterator of events.
        heartbeat: seconds without an event after which a comment is sent.
        render: the JSON text of an event.

    Raises:
        ValueError: `heartbeat` is no positive number.
    """

    headers: Mapping[str, str] = {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",  # nginx would hold events back
    }
    """The response's headers."""

    def __init__(
        self, events: AsyncIterator[Event], *, heartbeat: float = 15.0, render: Callable[[Event], bytes] = event_json
    ) -> None:
        if not 0 < heartbeat < float("inf"):
            raise ValueError(f"heartbeat must be a positive number of seconds, not {heartbeat}")
        self._events = events
        self._heartbeat = heartbeat
        self._render = render

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """The bytes of the response."""
        yield b"retry: 2000\n\n"  # at once, so that the browser knows that it is connected
        missed = 0
        coming: asyncio.Future[Event] | None = None
        try:
            while True:
                if coming is None:
                    coming = asyncio.ensure_future(_next(self._events))
                await asyncio.wait([coming], timeout=self._heartbeat)
                if not coming.done():
                    yield b": still here\n\n"
                    continue
                try:
                    event = coming.result()
                except StopAsyncIteration:
                    break
                coming = None
                if (lost := getattr(self._events, "missed", 0)) > missed:
                    yield _frame("missed", b'{"Count":%d}' % (lost - missed))
                    missed = lost
                yield _frame(event_name(event), self._render(event))
            yield _frame("end", b"{}")
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)  # its end may have come at the same moment
            if (close := getattr(self._events, "close", None)) is not None:
                close()

    async def __call__(
        self,
        scope: Scope,  # noqa: ARG002 - ASGI passes it
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer an HTTP request over ASGI, until the events end or the browser has gone."""
        await send_stream(receive, send, self.headers, self.__aiter__())

    async def aiohttp_response(self, request: web.Request) -> web.StreamResponse:
        """Answer an aiohttp request, until the events end or the browser has gone."""
        from aiohttp import web

        response = web.StreamResponse(headers=self.headers)
        response.headers["Connection"] = "close"
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):  # the browser has gone
            async with contextlib.aclosing(self.__aiter__()) as frames:
                async for frame in frames:
                    await response.write(frame)
            await response.write_eof()
        return response


async def _next(events: AsyncIterator[Event]) -> Event:
    return await anext(events)


def _frame(name: str, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)
