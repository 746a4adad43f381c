"""From a verified body to a typed event, and from a request's body to both. Pure: the clock is an argument."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (a callback is free-form JSON until it has been read)
from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from zego_aigc.callbacks import events
from zego_aigc.callbacks.errors import MalformedCallback
from zego_aigc.callbacks.signature import MAX_AGE, Verified, checked_secrets, verify
from zego_aigc.schema.decoding import decode_json

__all__ = ["EVENTS", "dump_event", "load_event", "parse_callback", "read"]

MAX_ODD_FIELDS = 32
"""Fields that are passed over in one event before it is given up as unknown."""

EVENTS: dict[str | int, type[events.Event]] = {
    "ASRResult": events.ASRResult,
    "LLMResult": events.LLMResult,
    "Exception": events.ExceptionEvent,
    "Interrupted": events.Interrupted,
    "UserSpeakAction": events.UserSpeakAction,
    "AgentInstanceStatus": events.AgentInstanceStatus,
    "AgentSpeakAction": events.AgentSpeakAction,
    "UserAudioData": events.UserAudioData,
    "AgentInstanceCreated": events.AgentInstanceCreated,
    "AgentInstanceDeleted": events.AgentInstanceDeleted,
    "AgentInstanceMetaInfo": events.AgentInstanceMetaInfo,
    3: events.StreamTaskEvent,
    4: events.DriveEvent,
}
"""The class of each event: by the AI Agent service's ``Event`` and the Digital Human service's ``EventType``."""


def parse_callback(
    body: bytes | bytearray | memoryview | str,
    *,
    secret: str | Sequence[str],
    now: float | None = None,
    max_age: float | None = MAX_AGE,
) -> events.Event:
    """Verify a callback and read it.

    ``null`` counts as absent, fields that the library does not know are passed over, fields of another type than documented
    count as absent too (``event.problem`` names them), and an event that the library does not know arrives as an
    :class:`~zego_aigc.callbacks.UnknownEvent`.

    Args:
        body: the request's body as received: JSON, or URL-encoded JSON.
        secret: the project's CallbackSecret, which is not its ServerSecret; or several, while one is rotated.
        now: Unix time in seconds; this machine's clock unless given.
        max_age: by how many seconds the callback's timestamp may differ from `now`, either way. ``None`` takes any.

    Raises:
        MalformedCallback: the body is no JSON object, or lacks Nonce, Timestamp or Signature.
        BadSignature: it was not signed with this secret.
        StaleCallback: it was signed too long ago, or in the future.
        ConfigurationError: the secret is empty.
    """
    return read(verify(body, secrets=checked_secrets(secret), now=now, max_age=max_age))


def read(callback: Verified) -> events.Event:
    """The event of a verified callback.

    Raises:
        MalformedCallback: the body is no JSON object.
    """
    return _event(_decoded(callback.body) | {"Nonce": callback.nonce, "Timestamp": callback.timestamp})


def dump_event(event: events.Event) -> str:
    """An event as the vendor's JSON, without its signature: for a queue or a log of your own."""
    envelope: dict[str, Any] = msgspec.to_builtins(event)
    if isinstance(event, events.UnknownEvent):
        envelope = dict(event.body)
    envelope.pop("Signature", None)
    envelope.pop("Problem", None)
    return msgspec.json.encode({key: value for key, value in envelope.items() if value is not None}).decode()


def load_event(text: bytes | str) -> events.Event:
    """The event that :func:`dump_event` wrote. Nothing is verified: never give it what came over the network.

    Raises:
        MalformedCallback: the text is no JSON object.
    """
    unsigned: dict[str, Any] = {"Nonce": "", "Timestamp": 0}
    return _event(unsigned | _decoded(text.encode() if isinstance(text, str) else text))


def _event(received: dict[str, Any]) -> events.Event:
    """The event of an envelope with Nonce and Timestamp."""
    envelope: dict[str, Any] = {"Signature": ""} | {key: value for key, value in received.items() if value is not None}
    is_agent = "Event" in envelope or "EventType" not in envelope
    name = envelope.get("Event" if is_agent else "EventType")
    key = "Data" if is_agent else "Detail"
    inside = envelope.get(key)
    problems: list[str] = []
    data: dict[str, Any] = {}
    if isinstance(inside, dict):
        data = {key: value for key, value in inside.items() if value is not None}
    elif inside is not None:
        problems.append(f"{key} is not an object")
    if not is_agent and isinstance(name, str) and name.isdecimal():
        name = int(name)
    name = _as_meant(name, data)
    kind = EVENTS.get(name) if isinstance(name, str | int) else None
    if kind is not None:
        known = envelope | {"Event" if is_agent else "EventType": name, key: data}
        known.pop("Problem", None)
        event = _converted(known, kind, problems)
        if event is not None:
            return event
    sequence = envelope.get("Sequence")
    return events.UnknownEvent(
        app_id=app_id if isinstance(app_id := envelope.get("AppId"), int) else 0,
        nonce=envelope["Nonce"],
        timestamp=envelope["Timestamp"],
        signature=_string(envelope.get("Signature")) or "",
        event="" if name is None else str(name),
        agent_instance_id=_string(envelope.get("AgentInstanceId")),
        task_id=_string(envelope.get("TaskId")),
        sequence=sequence if isinstance(sequence, int) else None,
        data=data,
        body={key: value for key, value in envelope.items() if key != "Signature"},
        problem="; ".join(problems),
    )


def _decoded(text: bytes) -> dict[str, Any]:
    try:
        value = decode_json(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise MalformedCallback("the callback's body is not a JSON object")
    return value


_STATUSES = {"IDLE", "LISTENING", "THINKING", "SPEAKING"}


def _as_meant(name: Any, data: dict[str, Any]) -> Any:
    """The vendor's own examples show a status under the older event's name, and statuses in lower case."""
    status = data.get("Status")
    if name == "AgentSpeakAction" and "Action" not in data and isinstance(status, str):
        name = "AgentInstanceStatus"
    if name == "AgentInstanceStatus" and isinstance(status, str) and status.upper() in _STATUSES:
        data["Status"] = status.upper()
    return name


def _converted(envelope: dict[str, Any], kind: type[events.Event], problems: list[str]) -> events.Event | None:
    """The typed event, without the fields that are odd; None if it lacks what every event of its kind has."""
    for _ in range(MAX_ODD_FIELDS):
        try:
            event = _convert(envelope, kind)
        except (msgspec.ValidationError, ValueError, OverflowError) as error:
            problems.append(str(error))
            if not _drop(envelope, str(error)):
                return None
        else:
            return msgspec.structs.replace(event, problem="; ".join(problems)) if problems else event
    return None


def _convert(envelope: dict[str, Any], kind: type[events.Event]) -> events.Event:
    try:
        return msgspec.convert(envelope, kind)
    except msgspec.ValidationError:
        return msgspec.convert(envelope, kind, strict=False)  # numbers written as strings


_PATH = re.compile(r" - at `\$\.([^`]+)`")


def _drop(envelope: dict[str, Any], message: str) -> bool:
    """Remove the field that an error names; False if it names none."""
    if (found := _PATH.search(message)) is None:
        return False
    *parents, name = found[1].partition("[")[0].split(".")
    holder: Any = envelope
    for parent in parents:
        holder = holder.get(parent) if isinstance(holder, dict) else None
    return isinstance(holder, dict) and holder.pop(name, None) is not None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None
