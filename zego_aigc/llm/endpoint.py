"""The endpoint: who may ask, how long an answer may take, and what ends it."""

from __future__ import annotations

import contextlib
import hmac
import inspect
import logging
import math
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from zego_aigc.callbacks.events import AgentInstanceDeleted, Event, Interrupted
from zego_aigc.errors import ConfigurationError
from zego_aigc.llm._asgi import ChatApp
from zego_aigc.llm._run import END, NOTHING, AnswerFunction, AnswerRun, Failure
from zego_aigc.llm._wire import Refusal
from zego_aigc.llm.request import BadRequest, ChatRequest, parse_request
from zego_aigc.llm.stream import AnswerWriter, writer_for
from zego_aigc.transport.refusal_log import RefusalLog

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["AnswerFunction", "ChatEndpoint"]

logger: logging.Logger = logging.getLogger("zego_aigc")

KeyCheck = Callable[[str], bool | Awaitable[bool]]

MAX_BODY = 4 << 20
"""Bytes: a history of 500 messages has its place in it."""


class ChatEndpoint:
    """The endpoint that ``LLM(url=..., api_key=...)`` points to: it answers in the protocol in which it is asked, streamed.

    With ``LLM(vendor="OpenAIChat")``, the default, that is chat completions. The answer is written by the service's rules, to
    which OpenAI-compatible models keep only in part: ``finish_reason`` of upstream chunks is left out, one final chunk says
    ``"stop"``, and ``data: [DONE]`` follows. With ``LLM(vendor="OpenAIResponses")`` it is the Responses API. While the answer
    takes its time, something without text keeps the connection alive.

    An answer ends early when the service hangs up, which it does when the user cuts in, and when :meth:`observe` is handed the
    callback that says so: its generator is cancelled. Whatever it raises is logged, and `fallback` is spoken in its place.

    Args:
        answer: asynchronous generator of text, or of chunks or events as OpenAI's clients yield them. Tool calls pass through
            in chat completions.
        api_key: what ``LLM.ApiKey`` says; or several, while it is changed; or a function, which may be asynchronous, that takes
            the key that came and says whether it is right. The service passes any text, so it can carry what your app needs.
        fallback: what is spoken where the answer fails; None for nothing.
        heartbeat: seconds without a piece after which something without text is sent.
        idle_timeout: seconds without a piece after which the answer is given up.
        max_body: bytes that a request may have.

    Raises:
        ConfigurationError: there is no key, or an empty one: anybody could use your model.
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        answer: AnswerFunction,
        *,
        api_key: str | Sequence[str] | KeyCheck,
        fallback: str | None = "Sorry, something went wrong. Could you say that again?",
        heartbeat: float = 5.0,
        idle_timeout: float = 30.0,
        max_body: int = MAX_BODY,
    ) -> None:
        self._answer = answer
        self._check = api_key if callable(api_key) else _KeyIsOneOf((api_key,) if isinstance(api_key, str) else api_key)
        for name, value in (("heartbeat", heartbeat), ("idle_timeout", idle_timeout), ("max_body", max_body)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be a positive, finite number, not {value}")
        self._fallback = fallback
        self._heartbeat = heartbeat
        self._idle_timeout = idle_timeout
        self.max_body: int = max_body
        """Bytes that a request may have."""
        self._refusals = RefusalLog("chat request")
        self._running: dict[str, set[AnswerRun]] = {}
        self.asgi: ChatApp = ChatApp(self)
        """The endpoint as an ASGI application: ``Route("/model", endpoint.asgi)``."""

    async def aiohttp_handler(self, request: web.Request) -> web.StreamResponse:
        """The endpoint as an aiohttp handler: ``app.router.add_route("*", "/model", endpoint.aiohttp_handler)``."""
        from zego_aigc.llm import _aiohttp

        return await _aiohttp.handle(self, request)

    async def observe(self, event: Event) -> None:
        """End the answers that a callback says are not needed any more.

        Register it with a router: ``router.on(Interrupted, AgentInstanceDeleted)(endpoint.observe)``. It knows them by
        ``agent_info``, which the service sends with ``LLM(add_agent_info=True)``.
        """
        if not isinstance(event, Interrupted | AgentInstanceDeleted):
            return
        rounds = event.data.round if isinstance(event, Interrupted) else None
        for run in list(self._running.get(event.agent_instance_id, ())):
            if rounds is None or run.round_id in {None, rounds}:
                run.end()

    # --- for adapters, and for frameworks that have none here

    async def admit(self, authorization: str, body: bytes, sender: str = "") -> ChatRequest | Refusal:
        """Check who asks, and read what is asked.

        Args:
            authorization: the header Authorization.
            body: the request's body.
            sender: the address that it came from, for the log.
        """
        scheme, _, key = authorization.partition(" ")
        allowed = self._check(key.strip()) if scheme.lower() == "bearer" else False
        if inspect.isawaitable(allowed):
            allowed = await allowed
        if not allowed:
            text = "the Bearer key is not the api_key of ChatEndpoint(...): give the same to LLM(api_key=...)"
            self._refusals.add("key", text, sender)
            return Refusal.of(401, "the key is wrong")
        try:
            return parse_request(body)
        except BadRequest as error:
            self._refusals.add("body", str(error), sender)
            return Refusal.of(400, str(error))

    def too_large(self, sender: str) -> Refusal:
        """Refuse a body of more than :attr:`max_body` bytes."""
        self._refusals.add("too_large", f"the body has more than max_body={self.max_body} bytes", sender)
        return Refusal.of(413, f"the body has more than {self.max_body} bytes")

    async def stream(self, request: ChatRequest) -> AsyncGenerator[bytes, None]:
        """The answer as it is written, with ``Content-Type: text/event-stream``. Closing it cancels the answer."""
        info = request.agent_info
        about = (info and info.agent_instance_id) or ""
        writer = writer_for(request, uuid.uuid4().hex, int(time.time()))
        run = AnswerRun(self._answer, request, info.round_id if info else None)
        self._running.setdefault(about, set()).add(run)
        try:
            yield writer.start()
            async with contextlib.aclosing(self._frames(run, writer, about)) as frames:
                async for frame in frames:
                    yield frame
            yield writer.end()
        finally:
            group = self._running[about]
            group.discard(run)
            if not group:
                del self._running[about]
            await run.close()

    async def _frames(self, run: AnswerRun, writer: AnswerWriter, about: str) -> AsyncGenerator[bytes, None]:
        waited = 0.0
        while True:
            pause = min(self._heartbeat, self._idle_timeout - waited)
            piece = await run.next(pause)
            if piece is END:
                return
            if piece is NOTHING:
                waited += pause
                if waited < self._idle_timeout:
                    yield writer.heartbeat()
                    continue
                problem: BaseException = TimeoutError(f"it said nothing for idle_timeout={self._idle_timeout:g} s")
            elif isinstance(piece, Failure):
                problem = piece.error
            else:
                waited = 0.0
                try:
                    frame = writer.piece(piece)
                except TypeError as error:
                    problem = error
                else:
                    if frame:
                        yield frame
                    continue
            logger.error("the answer to %s failed", about or "a chat request", exc_info=problem)
            if self._fallback:
                yield writer.piece(f" {self._fallback}" if writer.said_something else self._fallback)
            return


class _KeyIsOneOf:
    """Compares a key with those that are right, in constant time."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys or not all(keys):
            raise ConfigurationError(
                "api_key must be what LLM(api_key=...) says: without one anybody who finds the address could use your model"
            )
        self._keys = [key.encode() for key in keys]

    def __call__(self, key: str) -> bool:
        given = key.encode("utf-8", "surrogateescape")
        matches = [hmac.compare_digest(given, right) for right in self._keys]  # all of them, whichever fits
        return any(matches)
