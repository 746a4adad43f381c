"""The sandbox's own addresses under ``/_sandbox/``: what is going on, for people and for programs, and orders.

``GET``    ``/_sandbox/``         the page
``GET``    ``/_sandbox/state``    all that lives, and the calls
``GET``    ``/_sandbox/calls``    recorded requests and answers; ``?action=&app_id=&code=&refused=1&limit=``
``GET``    ``/_sandbox/live``     what the page shows
``POST``   ``/_sandbox/<order>``  see :mod:`zego_aigc.sandbox.control_commands`
``DELETE`` ``/_sandbox/faults``   takes all faults away
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from zego_aigc.sandbox.control_commands import ORDERS, BadOrder, carry_out
from zego_aigc.sandbox.instances import Kind
from zego_aigc.sandbox.websocket import feed
from zego_aigc.schema.codes import RETURN_CODES

if TYPE_CHECKING:
    from zego_aigc.sandbox.app import App
    from zego_aigc.sandbox.sandbox import Sandbox

__all__ = ["Backstage", "state_of"]

HOME = "/_sandbox/"

_encode = msgspec.json.Encoder().encode


class Backstage:
    """Answers requests for all paths but ``/``."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        sandbox, path = self._sandbox, request.rel_url.raw_path
        if path == "/ws/drive" and request.method == "GET":
            return await feed(request, sandbox.apps)
        if request.method == "POST" and path.startswith(HOME) and (name := path.removeprefix(HOME)) in ORDERS:
            try:
                return _json(await carry_out(sandbox, name, await request.read()))
            except BadOrder as error:
                return _json({"Error": str(error)}, status=400)
        match request.method, path:
            case "GET", "/_sandbox":
                return web.Response(status=308, headers={"Location": HOME})
            case "GET", "/_sandbox/":
                page = files("zego_aigc.sandbox").joinpath("page.html").read_bytes()
                return web.Response(body=page, headers={"Content-Type": "text/html; charset=utf-8"})
            case "GET", "/_sandbox/state":
                return _json(state_of(sandbox))
            case "GET", "/_sandbox/live":
                return _json(_live(sandbox))
            case "GET", "/_sandbox/calls":
                try:
                    return _json(_calls(sandbox, request.rel_url.query))
                except ValueError as error:
                    return _json({"Error": str(error)}, status=400)
            case "DELETE", "/_sandbox/faults":
                sandbox.faults.clear()
                return _json({"Faults": 0})
            case _:
                return web.Response(status=404, text=f"The services answer at / and the sandbox at {HOME}\n")


def state_of(sandbox: Sandbox) -> dict[str, Any]:
    """What lives in all apps, and the calls that came."""
    apps = sandbox.apps.values()
    return {
        "agents": [{"AppId": app.app_id, **agent.to_json()} for app in apps for agent in app.agents.values()],
        "instances": [{"AppId": app.app_id, **one.to_json()} for app in apps for one in app.instances.values()],
        "tasks": [{"AppId": app.app_id, **task.to_json()} for app in apps for task in app.tasks.values() if task.running],
        "calls": [call.to_json() for call in sandbox.recording.calls],
        "refused": [call.to_json() for call in sandbox.recording.select(refused=True)],
    }


def _live(sandbox: Sandbox, most: int = 40) -> dict[str, Any]:
    now = sandbox.clock.now()
    rates: Counter[tuple[int | None, str]] = Counter()
    for call in reversed(sandbox.recording.calls):
        if call.time <= now - 1:
            break
        rates[call.app_id, call.action] += 1
    recent = list(sandbox.recording.calls)[-most:]
    refused = sandbox.recording.latest_refused(most)
    return {
        "now": now,
        "apps": [_account(app, rates) for app in sandbox.apps.values()],
        "agents": [agent.to_json() for app in sandbox.apps.values() for agent in app.agents.values()][-200:],
        "instances": [one.to_json() for app in sandbox.apps.values() for one in app.instances.values()][-200:],
        "tasks": [task.to_json() for app in sandbox.apps.values() for task in app.tasks.values()][-200:],
        "totals": dict(sandbox.recording.totals.most_common()),
        "calls": [call.to_json() for call in recent],
        "refusedTotal": sandbox.recording.refused,
        "refused": [{**call.to_json(), "Advice": _advice(call.code)} for call in refused],
        "callbacks": [delivery.to_json() for delivery in list(sandbox.outbox.deliveries)[-most:]],
        "callbacksTotal": sandbox.outbox.total,
        "faults": [fault.to_json() for fault in sandbox.faults],
    }


def _account(app: App, rates: Mapping[tuple[int | None, str], int]) -> dict[str, Any]:
    faces = app.alive[Kind.DIGITAL_HUMAN] + app.alive[Kind.LIVE]
    return {
        "AppId": app.app_id,
        "Agents": len(app.agents),
        "Quotas": [
            {"Kind": "voice agents", "Alive": app.alive[Kind.VOICE], "Most": app.quotas.agents},
            {"Kind": "digital humans", "Alive": faces, "Most": app.quotas.digital_humans},
            {"Kind": "streams", "Alive": app.alive_streams, "Most": app.quotas.streams},
        ],
        "Rates": {action: [count, app.limit_of(action)] for (app_id, action), count in rates.items() if app_id == app.app_id},
    }


def _advice(code: int) -> str:
    return RETURN_CODES[code].advice if code in RETURN_CODES else ""


def _calls(sandbox: Sandbox, query: Mapping[str, str]) -> dict[str, Any]:
    found = sandbox.recording.select(
        query.get("action"),
        app_id=int(query["app_id"]) if "app_id" in query else None,
        code=int(query["code"]) if "code" in query else None,
        refused=query["refused"] in {"1", "true"} if "refused" in query else None,
    )
    latest = deque(found, maxlen=int(query.get("limit", "1000")))
    return {"calls": [call.to_full_json() for call in latest]}


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=_encode(value), status=status, headers={"Content-Type": "application/json; charset=utf-8"})
