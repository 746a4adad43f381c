"""The sandbox's own addresses under ``/_sandbox/``: what is going on, for people and for programs, and commands.

``GET``    ``/_sandbox/``         the page
``GET``    ``/_sandbox/state``    all that lives, and the calls
``GET``    ``/_sandbox/calls``    recorded requests and answers; ``?action=&app_id=&code=&refused=1&limit=``
``GET``    ``/_sandbox/live``     what the page shows
``POST``   ``/_sandbox/<command>``  see :mod:`zego_aigc.sandbox.control_commands`
``DELETE`` ``/_sandbox/faults``   takes all faults away
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any, get_args

import msgspec
from aiohttp import web

from zego_aigc.limits.quota import Kind
from zego_aigc.sandbox.control_commands import COMMANDS, BadCommand, execute
from zego_aigc.sandbox.websocket import feed
from zego_aigc.schema.codes import RETURN_CODES

if TYPE_CHECKING:
    from zego_aigc.sandbox.app import App
    from zego_aigc.sandbox.world import World

__all__ = ["ControlApi", "state_of"]

HOME = "/_sandbox/"

_encode = msgspec.json.Encoder().encode


class ControlApi:
    """Answers requests for all paths but ``/``."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        world, path = self._world, request.rel_url.raw_path
        if path == "/ws/drive" and request.method == "GET":
            return await feed(request, world.apps)
        if request.method == "POST" and path.startswith(HOME) and (name := path.removeprefix(HOME)) in COMMANDS:
            try:
                return _json(await execute(world, name, await request.read()))
            except BadCommand as error:
                return _json({"Error": str(error)}, status=400)
        match request.method, path:
            case "GET", "/_sandbox":
                return web.Response(status=308, headers={"Location": HOME})
            case "GET", "/_sandbox/":
                page = files("zego_aigc.sandbox").joinpath("page.html").read_bytes()
                return web.Response(body=page, headers={"Content-Type": "text/html; charset=utf-8"})
            case "GET", "/_sandbox/state":
                return _json(state_of(world))
            case "GET", "/_sandbox/live":
                return _json(_live(world))
            case "GET", "/_sandbox/calls":
                try:
                    return _json(_calls(world, request.rel_url.query))
                except ValueError as error:
                    return _json({"Error": str(error)}, status=400)
            case "DELETE", "/_sandbox/faults":
                world.faults.clear()
                return _json({"Faults": 0})
            case _:
                return web.Response(status=404, text=f"The services answer at / and the sandbox at {HOME}\n")


def state_of(world: World) -> dict[str, Any]:
    """What lives in all apps, and the calls that came."""
    apps = world.apps.values()
    return {
        "agents": [{"AppId": app.app_id, **agent.to_json()} for app in apps for agent in app.agents.values()],
        "instances": [{"AppId": app.app_id, **one.to_json()} for app in apps for one in app.instances.values()],
        "tasks": [{"AppId": app.app_id, **task.to_json()} for app in apps for task in app.tasks.values() if task.running],
        "calls": [call.to_json() for call in world.recording.calls],
        "refused": [call.to_json() for call in world.recording.select(refused=True)],
    }


def _live(world: World, limit: int = 40) -> dict[str, Any]:
    now = world.clock.now()
    rates: Counter[tuple[int | None, str]] = Counter()
    for call in reversed(world.recording.calls):
        if call.time <= now - 1:
            break
        rates[call.app_id, call.action] += 1
    recent = list(world.recording.calls)[-limit:]
    refused = world.recording.latest_refused(limit)
    return {
        "now": now,
        "apps": [_account(app, rates) for app in world.apps.values()],
        "agents": [agent.to_json() for app in world.apps.values() for agent in app.agents.values()][-200:],
        "instances": [one.to_json() for app in world.apps.values() for one in app.instances.values()][-200:],
        "tasks": [task.to_json() for app in world.apps.values() for task in app.tasks.values()][-200:],
        "totals": dict(world.recording.totals.most_common()),
        "calls": [call.to_json() for call in recent],
        "refusedTotal": world.recording.refused,
        "refused": [{**call.to_json(), "Advice": _advice(call.code)} for call in refused],
        "callbacks": [delivery.to_json() for delivery in list(world.outbox.deliveries)[-limit:]],
        "callbacksTotal": world.outbox.total,
        "faults": [fault.to_json() for fault in world.faults],
    }


def _account(app: App, rates: Mapping[tuple[int | None, str], int]) -> dict[str, Any]:
    return {
        "AppId": app.app_id,
        "Agents": len(app.agents),
        "Quotas": [
            {"Kind": kind.replace("_", " "), "Alive": app.alive[kind], "Limit": getattr(app.quotas, kind)}
            for kind in get_args(Kind)
        ],
        "Rates": {action: [count, app.limit_of(action)] for (app_id, action), count in rates.items() if app_id == app.app_id},
    }


def _advice(code: int) -> str:
    return RETURN_CODES[code].advice if code in RETURN_CODES else ""


def _calls(world: World, query: Mapping[str, str]) -> dict[str, Any]:
    found = world.recording.select(
        query.get("action"),
        app_id=int(query["app_id"]) if "app_id" in query else None,
        code=int(query["code"]) if "code" in query else None,
        refused=query["refused"] in {"1", "true"} if "refused" in query else None,
    )
    latest = deque(found, maxlen=int(query.get("limit", "1000")))
    return {"calls": [call.to_full_json() for call in latest]}


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=_encode(value), status=status, headers={"Content-Type": "application/json; charset=utf-8"})
