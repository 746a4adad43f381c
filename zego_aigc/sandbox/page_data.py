"""What the page shows: what lives now, the latest calls and callbacks, and one of them in full. Secrets are masked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from zego_aigc.schema.codes import RETURN_CODES
from zego_aigc.schema.lifecycle import QuotaKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zego_aigc.sandbox.app import App
    from zego_aigc.sandbox.world import World

__all__ = ["call", "callback", "live", "timeline"]

MAX_LIVING = 300
"""Agents, instances and tasks that are shown, of each; the newest ones."""

MAX_LATEST = 40
"""Calls, refusals, callbacks and calls of models that are shown, of each; the newest ones."""

MAX_EVENTS = 500
"""Entries of a timeline."""

T = TypeVar("T")


def live(world: World) -> dict[str, Any]:
    """What the page shows at once, each list newest first, with how many there are in all."""
    apps = list(world.apps.values())
    agents = [agent for app in apps for agent in app.agents.values()]
    instances = [one for app in apps for one in app.instances.values()]
    tasks = [task for app in apps for task in app.tasks.values() if task.running]
    recording = world.recording
    return {
        "now": world.clock.now(),
        "apps": [_account(app, rates) for app, rates in zip(apps, _rates(world, apps), strict=True)],
        "faults": [fault.to_json() for fault in world.faults],
        "agents": _list(len(agents), [agent.to_json() for agent in _newest(agents, MAX_LIVING)]),
        "instances": _list(len(instances), [one.to_json() for one in _newest(instances, MAX_LIVING)]),
        "tasks": _list(len(tasks), [task.to_json() for task in _newest(tasks, MAX_LIVING)]),
        "calls": _list(recording.totals.total(), [one.to_json() for one in _newest(recording.calls, MAX_LATEST)]),
        "refused": _list(
            recording.refused,
            [{**one.to_json(), "Advice": _advice(one.code)} for one in reversed(recording.latest_refused(MAX_LATEST))],
        ),
        "callbacks": _list(world.outbox.total, [one.to_json() for one in _newest(world.outbox.deliveries, MAX_LATEST)]),
        "models": _list(world.models.total, [one.to_json() for one in _newest(world.models.calls, MAX_LATEST)]),
    }


def call(world: World, request_id: str) -> dict[str, Any] | None:
    """A call with its request and answer."""
    for one in reversed(world.recording.calls):
        if one.request_id == request_id:
            return {**one.to_full_json(), "Advice": _advice(one.code)}
    return None


def callback(world: World, number: int) -> dict[str, Any] | None:
    """A callback with its body."""
    for one in reversed(world.outbox.deliveries):
        if one.number == number:
            return one.to_full_json()
    return None


def timeline(world: World, about: str) -> list[dict[str, Any]]:
    """What happened to an instance or a task, oldest first: calls, callbacks, calls of its model."""
    events: list[dict[str, Any]] = [
        {"Time": one.time, "Kind": "call", "Name": one.action, "Code": one.code, "Message": one.message, "Id": one.request_id}
        for one in world.recording.calls
        if one.about == about
    ]
    for delivery in world.outbox.deliveries:
        if delivery.about == about:
            data: Mapping[str, Any] = delivery.body.get("Data") or delivery.body.get("Detail") or {}
            detail = {key: value for key, value in data.items() if key not in {"Round", "Audio"}}
            entry = {"Time": delivery.time, "Kind": "callback", "Name": delivery.event, "Data": detail}
            events.append({**entry, "Round": data.get("Round"), "State": delivery.state, "Id": delivery.number})
    for asked in world.models.calls:
        if asked.about == about:
            entry = {"Time": asked.time, "Kind": "model", "Name": asked.state, "Round": asked.round}
            events.append({**entry, "Message": asked.problem or asked.text})
    events.sort(key=lambda event: event["Time"])
    return events[-MAX_EVENTS:]


def _list(total: int, shown: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Total": total, "Shown": shown}


def _newest(items: Sequence[T], limit: int) -> Iterator[T]:
    return islice(reversed(items), limit)


def _rates(world: World, apps: Sequence[App]) -> Iterator[dict[str, int]]:
    """The calls of the last second by Action, of each app."""
    now = world.clock.now()
    rates: Counter[tuple[int | None, str]] = Counter()
    for one in reversed(world.recording.calls):
        if one.time <= now - 1:
            break
        rates[one.app_id, one.action] += 1
    for app in apps:
        yield {action: count for (app_id, action), count in rates.items() if app_id == app.app_id}


def _account(app: App, rates: Mapping[str, int]) -> dict[str, Any]:
    kinds: tuple[QuotaKind, ...] = get_args(QuotaKind)
    return {
        "AppId": app.app_id,
        "Quotas": [
            {"Kind": kind.replace("_", " "), "Alive": app.alive[kind], "Limit": getattr(app.quotas, kind)} for kind in kinds
        ],
        "Rates": {action: [count, app.limit_of(action)] for action, count in rates.items()},
    }


def _advice(code: int) -> str:
    return RETURN_CODES[code].advice if code in RETURN_CODES else ""
