"""The sandbox's HTTP side: one origin and one path for both services, distinguished by the Action."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from zego_aigc.sandbox import (
    actions_agents,
    actions_assets,
    actions_conversation,
    actions_drives,
    actions_instances,
    actions_streams,
)
from zego_aigc.sandbox.bodies import fields_in_query, read_action, read_json
from zego_aigc.sandbox.faults import FaultEffect, FaultKind
from zego_aigc.sandbox.gate import read_claims, split_query, verify
from zego_aigc.sandbox.recording import RecordedCall
from zego_aigc.sandbox.refusal import Refusal
from zego_aigc.sandbox.registry import BEHAVIOURS
from zego_aigc.schema.actions import ACTIONS
from zego_aigc.schema.codes import RETURN_CODES

if TYPE_CHECKING:
    from aiohttp.http import RawRequestMessage

    from zego_aigc.sandbox.app import App
    from zego_aigc.sandbox.guard import Guard
    from zego_aigc.sandbox.world import World
    from zego_aigc.schema.actions import Action

__all__ = ["ServiceHandler"]

MAX_BODY = 8 << 20
"""Bytes of a body that the sandbox still reads."""

BEHAVIOUR_MODULES = (
    actions_agents,
    actions_assets,
    actions_conversation,
    actions_drives,
    actions_instances,
    actions_streams,
)
"""Importing them registers the behaviour of the Actions."""

JSON = "application/json; charset=utf-8"

_encode = msgspec.json.Encoder().encode


class _Cut(Exception):
    """The connection breaks now."""


class ServiceHandler:
    """Answers the calls of both services.

    Args:
        world: what they work on.
        guard: judges the requests' headers.
        others: answers requests for any other path than ``/``.
    """

    def __init__(self, world: World, guard: Guard, others: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        self._clock = world.clock
        self._ids = world.ids
        self._apps = world.apps
        self._recording = world.recording
        self._faults = world.faults
        self._guard = guard
        self._others = others
        self._over = asyncio.Event()
        self._date = (0, "")

    def close(self) -> None:
        """Let go of the connections that stall."""
        self._over.set()

    @staticmethod
    def request(message: RawRequestMessage, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        """The request factory of :class:`aiohttp.web.Server`, whose own stops at bodies of 1 MiB."""
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The handler of :class:`aiohttp.web.Server`."""
        if request.rel_url.raw_path != "/":
            return await self._others(request)
        if request.method == "HEAD":
            # A client that opens its connections ahead of its first call, or asks for the time.
            return web.Response(headers={"Date": self._http_date(0.0)})
        raw_query = request.rel_url.raw_query_string
        query, fields = split_query(raw_query)
        call = RecordedCall(
            time=self._clock.now(),
            method=request.method,
            query=raw_query,
            action=query.get("Action", ""),
            request_id=self._ids.uuid(),
        )
        self._recording.add(call)
        began = call.time
        try:
            response = await self._serve(request, call, query, fields)
            call.status = response.status
        except _Cut:
            if request.transport is not None:
                request.transport.abort()
            response = web.Response()
        if call.request is None:  # refused on the way in, or answered by a gateway
            call.request = _decoded(call, fields)
        call.elapsed = self._clock.now() - began
        return response

    async def _serve(
        self, request: web.BaseRequest, call: RecordedCall, query: Mapping[str, str], fields: Sequence[tuple[str, str]]
    ) -> web.StreamResponse:
        call.content = await _content(request)
        skew, ending = await self._apply_faults(call, fields)
        if ending is not None and ending.kind is FaultKind.ANSWER:
            call.answer = ending.body
            return web.Response(
                body=ending.body, status=ending.status, headers={"Date": self._http_date(skew), **ending.headers}
            )
        answer: dict[str, Any] = {"Code": 0, "Message": "success", "RequestId": call.request_id}
        status = 200
        try:
            app = self._enter(request, query, call, self._clock.now() + skew)
            data = await self._execute(app, call, fields, ending)
            if data is not None:
                answer["Data"] = data
                call.about = call.about or data.get("AgentInstanceId") or data.get("TaskId") or ""
        except Refusal as refusal:
            status = refusal.status
            call.code = answer["Code"] = refusal.code
            call.message = answer["Message"] = _words(refusal)
            self._recording.note_refusal(call)
        call.answer = _encode(answer)
        return await self._reply(request, call.answer, status, skew, ending)

    async def _apply_faults(self, call: RecordedCall, fields: Sequence[tuple[str, str]]) -> tuple[float, FaultEffect | None]:
        """Let the call be late. By how much the service's clock is off, and what ends the call, if anything does."""
        effects = self._faults.match(call.action, lambda: _decoded(call, fields))
        if not effects:
            return 0.0, None
        call.faults = tuple(effect.kind.value for effect in effects)
        skew, ending = 0.0, None
        for effect in effects:
            if effect.kind is FaultKind.LATENCY:
                await self._clock.sleep(self._faults.delay(effect))
                call.time = self._clock.now()
            elif effect.kind is FaultKind.WRONG_CLOCK:
                skew += effect.seconds
            elif ending is None:
                ending = effect
        return skew, ending

    def _enter(self, request: web.BaseRequest, query: Mapping[str, str], call: RecordedCall, now: float) -> App:
        """Let a call in as far as its body.

        Raises:
            Refusal: for what is wrong with the request as such, its signature or its rate.
        """
        if "Host" not in request.headers:
            raise Refusal(100000000, "the Host header is required")
        if problem := self._guard.host_problem(request.headers["Host"]) or self._guard.origin_problem(request.headers):
            raise Refusal(100000000, problem, status=403)
        claims = read_claims(query)
        app = self._apps.get(claims.app_id)
        if app is None:
            raise Refusal(100000010, f"AppId {claims.app_id} is not an app of this sandbox")
        call.app_id = app.app_id
        if not app.configured:
            raise Refusal(100000011, "the app's configuration cannot be found")
        verify(claims, app.server_secret, now)
        action = ACTIONS.get(claims.action)
        if action is None or request.method not in {"POST", "GET"}:
            raise Refusal(100000007, f"Action {claims.action!r} is not known")
        if action.service not in app.services:
            raise Refusal(100000017, "the service is not enabled for this AppId")
        # Counted now and not as of its first byte: a body may take its time, and a window takes calls in order.
        if not app.admits(claims.action, self._clock.now()):
            raise app.too_fast(action.service, f"more than {app.limit_of(claims.action)} calls in {app.rate_window:g} s")
        return app

    async def _execute(
        self, app: App, call: RecordedCall, fields: Sequence[tuple[str, str]], ending: FaultEffect | None
    ) -> Mapping[str, Any] | None:
        if code := app.refusals.get(call.action) or app.refusals.get("*"):
            raise Refusal(code)
        call.request = action = _read(call, fields)
        call.about = getattr(action, "agent_instance_id", "") or getattr(action, "task_id", "")
        match ending.kind if ending else None:
            case FaultKind.REFUSE | FaultKind.QUOTA_FULL:
                assert ending is not None
                raise ending.refusal(call.action)
            case FaultKind.TOO_FAST:
                raise app.too_fast(action.service, "too many calls")
            case FaultKind.CUT_BEFORE_WORK:
                raise _Cut
            case FaultKind.STALL:
                await self._stall()
            case _:
                pass
        return BEHAVIOURS[call.action](app, action)

    async def _reply(
        self, request: web.BaseRequest, content: bytes, status: int, skew: float, ending: FaultEffect | None
    ) -> web.StreamResponse:
        headers = {"Content-Type": JSON, "Date": self._http_date(skew)}
        match ending.kind if ending else None:
            case FaultKind.CUT_AFTER_WORK:
                raise _Cut
            case FaultKind.STALL_AFTER_WORK:
                await self._stall()
            case FaultKind.GARBAGE:
                assert ending is not None
                content = ending.body
            case FaultKind.TRUNCATED:
                return await _write(request, headers, [content[: len(content) // 2]], length=len(content))
            case FaultKind.OVERSIZE:
                assert ending is not None
                head, tail = content[:-1] + b',"Padding":"', b'"}'
                padding = max(0, ending.size - len(head) - len(tail))
                chunks = (b"x" * min(1 << 16, padding - done) for done in range(0, padding, 1 << 16))
                length = len(head) + padding + len(tail)
                return await _write(request, headers, itertools.chain([head], chunks, [tail]), length=length)
            case _:
                pass
        return web.Response(body=content, status=status, headers=headers)

    async def _stall(self) -> None:
        await self._over.wait()
        raise _Cut

    def _http_date(self, skew: float) -> str:
        second = int(self._clock.now() + skew)
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True))
        return self._date[1]


async def _content(request: web.BaseRequest) -> bytes | None:
    """The body; None if it cannot be read: too large, or not encoded as its headers say."""
    try:
        return await request.read()
    except (web.HTTPException, web.RequestPayloadError):
        return None


def _read(call: RecordedCall, fields: Sequence[tuple[str, str]]) -> Action[Any]:
    cls = ACTIONS[call.action]
    if call.content is None:
        raise Refusal(100000012, "the body cannot be read")
    return read_action(cls, fields_in_query(cls, fields) if call.method == "GET" else read_json(cls, call.content))


def _decoded(call: RecordedCall, fields: Sequence[tuple[str, str]]) -> Action[Any] | None:
    try:
        return _read(call, fields)
    except (KeyError, Refusal):
        return None


async def _write(
    request: web.BaseRequest, headers: dict[str, str], chunks: Iterable[bytes], *, length: int
) -> web.StreamResponse:
    """Send a body that may be shorter than it says."""
    response = web.StreamResponse(headers=headers)
    response.content_length = length
    response.force_close()
    await response.prepare(request)
    for chunk in chunks:
        await response.write(chunk)
    if request.transport is not None:
        request.transport.close()
    return response


def _words(refusal: Refusal) -> str:
    name = RETURN_CODES[refusal.code].name if refusal.code in RETURN_CODES else "refused"
    return f"{name}: {refusal.message}" if refusal.message else name
