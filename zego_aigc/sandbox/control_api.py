"""The sandbox's own addresses under ``/_sandbox/``: what is going on, for people and for programs, and commands.

``GET``    ``/_sandbox/``         the page
``GET``    ``/_sandbox/state``    all that lives, and the calls
``GET``    ``/_sandbox/calls``    recorded requests and answers; ``?action=&app_id=&code=&refused=1&limit=``
``GET``    ``/_sandbox/live``     what the page shows; ``call?id=``, ``callback?number=`` and ``timeline?about=`` in full
``GET``    ``/_sandbox/certificate.pem``  the certificate, where the sandbox speaks TLS
``POST``   ``/_sandbox/<command>``  see :mod:`zego_aigc.sandbox.control_commands`
``DELETE`` ``/_sandbox/faults``   takes all faults away
``GET``    ``/ws``                the PCM socket of a drive

Requests of other sites' pages are refused, see :mod:`zego_aigc.sandbox.guard`; where the sandbox has a token, all under
``/_sandbox/`` need it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from zego_aigc.sandbox import page_data
from zego_aigc.sandbox.control_commands import COMMANDS, BadCommand, execute
from zego_aigc.sandbox.guard import HEADERS
from zego_aigc.sandbox.websocket import feed

if TYPE_CHECKING:
    from zego_aigc.sandbox.guard import Guard
    from zego_aigc.sandbox.world import World

__all__ = ["ControlApi", "state_of"]

HOME = "/_sandbox/"

PAGE_FILES = {
    "": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
}
"""The page: by the last part of the path, its file and type."""

_encode = msgspec.json.Encoder().encode


class ControlApi:
    """Answers requests for all paths but ``/``.

    Args:
        world: what it shows and changes.
        guard: judges the requests' headers.
    """

    def __init__(self, world: World, guard: Guard) -> None:
        self._world = world
        self._guard = guard

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        path = request.rel_url.raw_path
        if problem := self._guard.host_problem(request.headers.get("Host", "")):
            return _text(403, problem)
        if path == "/ws" and request.method == "GET":  # guarded by the token in its address
            return await feed(request, self._world.apps)
        if path == "/favicon.ico":  # a browser asks for it unasked
            return web.Response(status=204, headers=HEADERS)
        if path == "/_sandbox":
            return web.Response(status=308, headers={"Location": HOME, **HEADERS})
        if not path.startswith(HOME):
            return _text(404, f"The services answer at / and the sandbox at {HOME}")
        if problem := self._guard.origin_problem(request.headers):
            return _text(403, problem)
        query = request.rel_url.query
        if not self._guard.has_token(request.headers, query):
            return _text(401, "this sandbox wants the token that it printed: Authorization: Bearer TOKEN, or ?token=TOKEN once")
        name = path.removeprefix(HOME)
        match request.method:
            case "GET" if not name and "token" in query:  # the token goes from the address into a cookie
                return web.Response(status=303, headers={**HEADERS, "Location": HOME, "Set-Cookie": self._guard.cookie()})
            case "GET" if name in PAGE_FILES:
                return _file(*PAGE_FILES[name])
            case "GET":
                return self._show(name, query)
            case "POST" if name in COMMANDS:
                if request.content_type != "application/json":
                    return _text(415, "a command is JSON: send it with Content-Type: application/json")
                try:
                    return _json(await execute(self._world, name, await request.read()))
                except BadCommand as error:
                    return _json({"Error": str(error)}, status=400)
            case "DELETE" if name == "faults":
                self._world.faults.clear()
                return _json({"Faults": 0})
            case _:
                return _not_found(name)

    def _show(self, name: str, query: Mapping[str, str]) -> web.Response:
        match name:
            case "state":
                return _json(state_of(self._world))
            case "certificate.pem" if self._world.certificate:
                return web.Response(text=self._world.certificate, headers={**HEADERS, "Content-Type": "application/x-pem-file"})
            case "live":
                return _live(self._world, query.get("seen", ""))
            case "call":
                return _found(page_data.call(self._world, query.get("id", "")))
            case "callback":
                number = query.get("number", "")
                return _found(page_data.callback(self._world, int(number)) if number.isdecimal() else None)
            case "timeline":
                return _json(page_data.timeline(self._world, query.get("about", "")))
            case "calls":
                try:
                    return _json(_calls(self._world, query))
                except ValueError as error:
                    return _json({"Error": str(error)}, status=400)
            case _:
                return _not_found(name)


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


def _live(world: World, seen: str) -> web.Response:
    """What the page shows; where it is what the page has `seen`, only that, since most of the time nothing changes."""
    shown = page_data.live(world)
    now = shown.pop("now")
    digest = hashlib.sha1(_encode(shown), usedforsecurity=False).hexdigest()
    if digest == seen:
        return _json({"now": now, "seen": digest})
    return _json({"now": now, "seen": digest, **shown})


def _found(value: dict[str, Any] | None) -> web.Response:
    return _json({"Error": "it is not remembered any more"}, status=404) if value is None else _json(value)


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
    headers = {"Content-Type": "application/json; charset=utf-8", **HEADERS}
    return web.Response(body=_encode(value), status=status, headers=headers)


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers=HEADERS)


def _not_found(name: str) -> web.Response:
    return _text(404, f"there is no {HOME}{name}: GET {HOME} is the page, and docs/testing.md lists the rest")


def _file(name: str, content_type: str) -> web.Response:
    body = files("zego_aigc.sandbox").joinpath(name).read_bytes()
    return web.Response(body=body, headers={"Content-Type": f"{content_type}; charset=utf-8", **HEADERS})
