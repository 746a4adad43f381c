"""Raising a callback on request, whatever the calls have caused."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from zego_aigc.callbacks.parsing import EVENTS
from zego_aigc.sandbox.actions_conversation import SILENCE
from zego_aigc.schema.naming import did_you_mean

if TYPE_CHECKING:
    from zego_aigc.sandbox.app import App
    from zego_aigc.sandbox.callbacks import Delivery

__all__ = ["JSON", "emit"]

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""What a callback may hold."""

TASK_EVENTS = {"3": 3, "4": 4, "task": 3, "drive": 4}


def emit(app: App, event: str | int, about: str | None, data: Mapping[str, JSON]) -> Delivery:
    """Send a callback now; see :meth:`zego_aigc.sandbox.Sandbox.emit`."""
    if (event_type := TASK_EVENTS.get(str(event))) is not None or isinstance(event, int):
        return _task_event(app, event_type or int(event), about, data)
    if event not in EVENTS and (meant := did_you_mean(event, (name for name in EVENTS if isinstance(name, str)))):
        warnings.warn(f"the vendor documents no event {event}{meant} It is sent all the same", stacklevel=3)
    now = app.clock.now()
    if about is not None and about not in app.instances:
        return app.send_agent_event(about, event, {**_defaults(event, "", 1, now), **data}, now, identity={})
    instance = app.pick_instance(about)
    defaults = _defaults(event, instance.user_id, max(1, instance.conversation.round), now)
    return instance.send_callback(event, {**defaults, **data}, now)


def _task_event(app: App, event_type: int, about: str | None, detail: Mapping[str, JSON]) -> Delivery:
    task = app.tasks.get(about) if about is not None else next(reversed(app.tasks.values()), None)
    if task is None and about is None:
        raise LookupError(f"there is no stream task: create one first, or say which TaskId EventType {event_type} is about")
    defaults: dict[str, Any] = {}
    if event_type == 3:
        status, room_id, stream_id = (task.status, task.room_id, task.stream_id) if task else (3, "room", "stream")
        defaults = {"Status": int(status), "RoomId": room_id, "StreamId": stream_id}
    elif event_type == 4:
        drive = task.current if task else None
        defaults = {"DriveId": drive.drive_id if drive else app.ids.uuid(), "Status": int(drive.status) if drive else 2}
    return app.send_task_event(task.task_id if task else about or "", event_type, {**defaults, **detail}, app.clock.now())


def _defaults(event: str, user_id: str, round_: int, now: float) -> dict[str, Any]:
    """A complete ``Data`` for each event that the vendor documents."""
    match event:
        case "ASRResult":
            return {"UserId": user_id, "Round": round_, "Text": "Hello"}
        case "LLMResult":
            return {"Round": round_, "Text": "Hello to you."}
        case "Exception":
            return {"Code": 1001, "Message": "emitted by the sandbox", "Round": round_}
        case "Interrupted":
            return {"Round": round_, "Reason": 1, "PlayedText": ""}
        case "UserSpeakAction":
            return {"UserId": user_id, "Action": "SPEAK_BEGIN", "Round": round_}
        case "AgentInstanceStatus":
            return {"Status": "IDLE", "Round": round_}
        case "AgentSpeakAction":
            return {"Action": "SPEAK_BEGIN"}
        case "UserAudioData":
            return {"UserId": user_id, "Round": round_, **SILENCE}
        case "AgentInstanceCreated":
            return {"CreatedTimestamp": int(now * 1000)}
        case "AgentInstanceDeleted":
            latencies = {"LLMTTFT": 200, "LLMTPS": 50.0, "TTSAudioFirstFrameTime": 200, "TotalCost": 400}
            return {"Code": 0, "DeletedTimestamp": int(now * 1000), "LatencyData": latencies}
        case "AgentInstanceMetaInfo":
            return {"Round": round_, "MetaInfo": {}}
        case _:
            return {}
