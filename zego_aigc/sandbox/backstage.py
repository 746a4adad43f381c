"""The sandbox's own addresses under ``/_sandbox/``: what is going on, for people and for programs, and what to change.

``GET``   ``/_sandbox/``         the page
``GET``   ``/_sandbox/state``    all that lives, and the calls
``GET``   ``/_sandbox/calls``    recorded requests and answers; ``?action=&app_id=&code=&refused=1&limit=``
``GET``   ``/_sandbox/live``     what the page shows
``POST``  ``/_sandbox/advance``  ``{"Seconds": 120}`` moves the clock
``POST``  ``/_sandbox/emit``     ``{"Event": ..., "About": ..., "Data": {...}}`` sends a callback
``POST``  ``/_sandbox/faults``   ``{"Actions": [...], "Times": 1, "Fault": "cut_after_work", "With": {...}}``
``DELETE`` ``/_sandbox/faults``  takes all faults away
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from zego_aigc._codes import RETURN_CODES
from zego_aigc.sandbox.emitting import emit
from zego_aigc.sandbox.faults import Verb
from zego_aigc.sandbox.instances import Kind
from zego_aigc.sandbox.websocket import feed

if TYPE_CHECKING:
    from zego_aigc.sandbox.app import App
    from zego_aigc.sandbox.sandbox import Sandbox

__all__ = ["Backstage", "state_of"]

FAULT_WORDS = (*(verb.value for verb in Verb), "redirect")

ORDER_ERRORS = (KeyError, TypeError, ValueError, msgspec.MsgspecError)
"""What a malformed order ends in."""

_encode = msgspec.json.Encoder().encode


class AdvanceOrder(msgspec.Struct, rename="pascal"):
    """The body of ``/_sandbox/advance``."""

    seconds: float


class EmitOrder(msgspec.Struct, rename="pascal"):
    """The body of ``/_sandbox/emit``; see :meth:`Sandbox.emit`."""

    event: str | int
    about: str | None = None
    data: dict[str, Any] = {}
    app_id: int | None = None


class FaultOrder(msgspec.Struct, rename="pascal"):
    """The body of ``/_sandbox/faults``: the words of :mod:`zego_aigc.sandbox.faults`, as JSON."""

    fault: str
    """The last word, such as ``cut_after_work``."""
    actions: list[str] = []
    """On which; none is everywhere."""
    times: int | None = None
    after: int = 0
    every: int = 1
    chance: float = 1.0
    with_: dict[str, Any] = msgspec.field(name="With", default_factory=dict[str, Any])
    """The last word's arguments, such as ``{"code": 410000001}``."""


class Backstage:
    """Answers requests for all paths but ``/``."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        sandbox, query = self._sandbox, request.rel_url.query
        match request.method, request.rel_url.raw_path:
            case "GET", "/ws/drive":
                return await feed(request, sandbox.apps)
            case "GET", "/_sandbox":
                return web.Response(status=308, headers={"Location": "/_sandbox/"})
            case "GET", "/_sandbox/":
                page = files("zego_aigc.sandbox").joinpath("page.html").read_bytes()
                return web.Response(body=page, headers={"Content-Type": "text/html; charset=utf-8"})
            case "GET", "/_sandbox/state":
                return _json(state_of(sandbox))
            case "GET", "/_sandbox/live":
                return _json(_live(sandbox))
            case "GET", "/_sandbox/calls":
                return _order(lambda: _calls(sandbox, query))
            case "POST", "/_sandbox/advance":
                try:
                    order = msgspec.json.decode(await request.read(), type=AdvanceOrder)
                    await sandbox.clock.advance(order.seconds)
                except ORDER_ERRORS as error:
                    return _refused(error)
                return _json({"Now": sandbox.clock.now()})
            case "POST", "/_sandbox/emit":
                content = await request.read()
                return _order(lambda: _emit(sandbox, msgspec.json.decode(content, type=EmitOrder)))
            case "POST", "/_sandbox/faults":
                content = await request.read()
                return _order(lambda: _fault(sandbox, msgspec.json.decode(content, type=FaultOrder)))
            case "DELETE", "/_sandbox/faults":
                sandbox.faults.clear()
                return _json({"Faults": 0})
            case _:
                return web.Response(status=404, text="The services answer at / and the sandbox at /_sandbox/\n")


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
        "faults": [
            {"On": str(fault.situation), "Fault": fault.effect.verb.value, "Hits": fault.hits} for fault in sandbox.faults
        ],
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
    return {"calls": [call.to_full_json() for call in found][-int(query.get("limit", "1000")) :]}


def _emit(sandbox: Sandbox, order: EmitOrder) -> dict[str, Any]:
    app = sandbox.app if order.app_id is None else sandbox.apps[order.app_id]
    return emit(app, order.event, order.about, order.data).to_json()


def _fault(sandbox: Sandbox, order: FaultOrder) -> dict[str, Any]:
    situation = sandbox.faults.on(*order.actions) if order.actions else sandbox.faults.everywhere()
    situation.after(order.after).every(order.every).chance(order.chance)
    if order.times is not None:
        situation.times(order.times)
    if order.fault not in FAULT_WORDS:
        raise ValueError(f"Fault must be one of {', '.join(FAULT_WORDS)}")
    arguments = {key: value.encode() if key == "body" else value for key, value in order.with_.items()}
    getattr(situation, order.fault)(**arguments)
    return {"Faults": len(sandbox.faults)}


def _order(carry_out: Callable[[], dict[str, Any]]) -> web.Response:
    try:
        return _json(carry_out())
    except ORDER_ERRORS as error:
        return _refused(error)


def _refused(error: Exception) -> web.Response:
    return _json({"Error": f"{type(error).__name__}: {error}"}, status=400)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=_encode(value), status=status, headers={"Content-Type": "application/json; charset=utf-8"})
