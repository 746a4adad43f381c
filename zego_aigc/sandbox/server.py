"""The sandbox's HTTP side: one origin and one path for both services, told apart by the Action."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from zego_aigc._codes import RETURN_CODES
from zego_aigc.actions import ACTIONS, Service
from zego_aigc.sandbox import agents, assets, control, driving, instances, streams
from zego_aigc.sandbox.behaviour import BEHAVIOURS
from zego_aigc.sandbox.bodies import fields_in_query, read_action, read_json
from zego_aigc.sandbox.gate import COMMON, read_claims, verify
from zego_aigc.sandbox.recording import Call, Recording
from zego_aigc.sandbox.refusal import Refusal

if TYPE_CHECKING:
    from zego_aigc.sandbox.app import App
    from zego_aigc.sandbox.clock import Clock

__all__ = ["LARGEST_BODY", "Front"]

LARGEST_BODY = 8 << 20
"""Bytes of a body that the sandbox still reads."""

BEHAVIOUR_MODULES = (agents, assets, control, driving, instances, streams)
"""Importing them registers what carries out the Actions."""

_encode = msgspec.json.Encoder().encode


class Front:
    """Answers every HTTP request that reaches the sandbox."""

    def __init__(self, clock: Clock, apps: Mapping[int, App], recording: Recording) -> None:
        self._clock = clock
        self._apps = apps
        self._recording = recording

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The handler of :class:`aiohttp.web.Server`."""
        path = request.rel_url.raw_path
        if path == "/":
            return await self._call(request)
        if path == "/_sandbox/state":
            return self._json(self.state())
        return web.Response(status=404, text="The services answer at / and the sandbox at /_sandbox/state\n")

    def state(self) -> dict[str, Any]:
        """What lives in all apps, and the calls that came."""
        apps = self._apps.values()
        return {
            "agents": [{"AppId": app.app_id, **agent.to_json()} for app in apps for agent in app.agents.values()],
            "instances": [{"AppId": app.app_id, **inst.to_json()} for app in apps for inst in app.instances.values()],
            "tasks": [{"AppId": app.app_id, **task.to_json()} for app in apps for task in app.tasks.values() if task.running],
            "calls": [call.to_json() for call in self._recording.calls],
            "refused": [call.to_json() for call in self._recording.refused()],
        }

    async def _call(self, request: web.BaseRequest) -> web.StreamResponse:
        pairs = parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True, errors="surrogateescape")
        query: dict[str, str] = {}
        rest = [pair for pair in pairs if pair[0] not in COMMON or query.setdefault(*pair) is not pair[1]]
        call = Call(time=self._clock.now(), action=query.get("Action", ""), request_id=str(uuid.uuid4()))
        self._recording.add(call)
        status = 200
        answer: dict[str, Any] = {"Code": 0, "Message": "success", "RequestId": call.request_id}
        try:
            app = self._enter(request, query, call)
            content = await _read(request) if request.method == "POST" else None
            data = self._carry_out(app, call, rest, content)
            if data is not None:
                answer["Data"] = data
        except Refusal as refusal:
            status = refusal.status
            call.code = answer["Code"] = refusal.code
            call.message = answer["Message"] = _words(refusal)
        return self._json(answer, status)

    def _enter(self, request: web.BaseRequest, query: Mapping[str, str], call: Call) -> App:
        """Let a call in as far as its body.

        Raises:
            Refusal: for what is wrong with the request as such, its signature or its rate.
        """
        if "Host" not in request.headers:
            raise Refusal(100000000, "the Host header is required")
        claims = read_claims(query)
        app = self._apps.get(claims.app_id)
        if app is None:
            raise Refusal(100000010, f"AppId {claims.app_id} is not an app of this sandbox")
        call.app_id = app.app_id
        verify(claims, app.server_secret, call.time)
        action = ACTIONS.get(claims.action)
        if action is None or request.method not in {"POST", "GET"}:
            raise Refusal(100000007, f"Action {claims.action!r} is not known")
        if action.service not in app.services:
            raise Refusal(100000017, "the service is not enabled for this AppId")
        if not app.admits(claims.action, call.time):
            if action.service is Service.DIGITAL_HUMAN:
                raise Refusal(400010009, f"more than {app.rate_limit} calls in {app.rate_window:g} s")
            raise Refusal(410001029, f"more than {app.rate_limit} calls in {app.rate_window:g} s", status=429)
        return app

    @staticmethod
    def _carry_out(app: App, call: Call, rest: list[tuple[str, str]], content: bytes | None) -> Mapping[str, Any] | None:
        cls = ACTIONS[call.action]
        body = fields_in_query(cls, rest) if content is None else read_json(cls, content)
        call.request = action = read_action(cls, body)
        return BEHAVIOURS[call.action](app, action)

    def _json(self, value: Any, status: int = 200) -> web.Response:
        headers = {"Content-Type": "application/json; charset=utf-8", "Date": formatdate(self._clock.now(), usegmt=True)}
        return web.Response(body=_encode(value), status=status, headers=headers)


async def _read(request: web.BaseRequest) -> bytes:
    try:
        return await request.read()
    except (web.HTTPException, ValueError) as error:
        raise Refusal(100000012, "the body cannot be read") from error


def _words(refusal: Refusal) -> str:
    name = RETURN_CODES[refusal.code].name if refusal.code in RETURN_CODES else "refused"
    return f"{name}: {refusal.message}" if refusal.message else name
