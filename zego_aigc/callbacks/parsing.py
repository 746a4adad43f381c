"""From a request's body to a verified, typed event. Pure: the clock is an argument.

The signature is a SHA-1 over CallbackSecret, timestamp and nonce, sorted bytewise and joined. **It does not cover the body.**
Whoever has seen one callback can send any other body under the same signature while it is fresh, so take callbacks over
HTTPS, keep the window short, and remember nonces (:class:`~zego_aigc.callbacks.CallbackRouter` does).
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (a callback is free-form JSON until it has been read)
from __future__ import annotations

import hmac
import time
from hashlib import sha1
from typing import Any

import msgspec

from zego_aigc.callbacks import events
from zego_aigc.callbacks.errors import BadSignature, MalformedCallback, StaleCallback
from zego_aigc.errors import ConfigurationError
from zego_aigc.schema.decoding import unix_seconds

__all__ = ["EVENTS", "MAX_AGE", "parse_callback", "sign"]

MAX_AGE = 300.0
"""Seconds for which a signature is taken: the vendor's sixth attempt comes a minute after the first, and waits in between."""

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


def sign(secret: str, timestamp: str | int, nonce: str) -> str:
    """The signature of a callback: 40 lower-case hex digits.

    Args:
        secret: the project's CallbackSecret, which is not its ServerSecret.
        timestamp: as it stands in the callback.
        nonce: as it stands in the callback.
    """
    parts = sorted(part.encode() for part in (secret, str(timestamp), nonce))
    return sha1(b"".join(parts), usedforsecurity=False).hexdigest()


def parse_callback(
    body: bytes | bytearray | memoryview | str, *, secret: str, now: float | None = None, max_age: float | None = MAX_AGE
) -> events.Event:
    """Verify a callback and read it.

    ``null`` counts as absent, fields that the library does not know are passed over, and an event that it does not know, or
    whose shape has changed, arrives as an :class:`~zego_aigc.callbacks.UnknownEvent`.

    Args:
        body: the request's body as received: JSON, or URL-encoded JSON.
        secret: the project's CallbackSecret, which is not its ServerSecret.
        now: Unix time in seconds; this machine's clock unless given.
        max_age: by how many seconds the callback's timestamp may differ from `now`, either way. ``None`` takes any.

    Raises:
        MalformedCallback: the body is no JSON object, or lacks Nonce, Timestamp or Signature.
        BadSignature: it was not signed with this secret.
        StaleCallback: it was signed too long ago, or in the future.
        ConfigurationError: the secret is empty.
    """
    if not secret:
        raise ConfigurationError("secret must be the CallbackSecret from the ZEGOCLOUD console; it is empty")
    envelope = {key: value for key, value in _decode(body).items() if value is not None}
    nonce, timestamp, signature = (_text(envelope, key) for key in ("Nonce", "Timestamp", "Signature"))
    # The whole expected value is always computed and compared in constant time.
    if not hmac.compare_digest(sign(secret, timestamp, nonce).encode(), signature.lower().encode()):
        raise BadSignature(
            "the callback's signature does not fit: the secret is not the console's CallbackSecret (nor is ServerSecret), "
            "or the vendor did not send it"
        )
    # Digits only: what else int() takes (blanks, signs, underscores) would give an attacker more ways to write a time.
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) < 20):
        raise MalformedCallback("the callback's Timestamp is not a Unix time")
    sent = int(timestamp)
    if max_age is not None:
        age = (time.time() if now is None else now) - unix_seconds(sent)
        if not abs(age) <= max_age:
            raise StaleCallback(
                f"the callback was signed {abs(age):.0f} s {'ago' if age >= 0 else 'in the future'}; {max_age:.0f} s are "
                "allowed (is this machine's clock right?)",
                age=age,
            )
    return _read(envelope | {"Nonce": nonce, "Timestamp": sent})


def _decode(body: bytes | bytearray | memoryview | str) -> dict[str, Any]:
    value = _json(body)
    if value is None:
        value = _json(_url_decoded(body))
    if not isinstance(value, dict):
        raise MalformedCallback("the callback's body is not a JSON object")
    return value


def _json(body: bytes | bytearray | memoryview | str) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _url_decoded(body: bytes | bytearray | memoryview | str) -> str:
    from urllib.parse import unquote, unquote_plus

    try:
        text = body if isinstance(body, str) else bytes(body).decode()
        # Encoders that write a blank as "%20" leave "+" as it is (base64 audio has many); the others write it as "+".
        return (unquote if "%20" in text else unquote_plus)(text, errors="strict")
    except ValueError:
        return ""


def _text(envelope: dict[str, Any], key: str) -> str:
    """A value as it enters the signature: strings as received, whole numbers in decimal."""
    value = envelope.get(key)
    if isinstance(value, str) and value:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise MalformedCallback(f"the callback's {key} is not text") from None
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a number that something on the way has rewritten
    raise MalformedCallback(f"the callback has no {key}" if key not in envelope else f"the callback's {key} is not text")


def _read(envelope: dict[str, Any]) -> events.Event:
    is_agent = "Event" in envelope or "EventType" not in envelope
    name = envelope.get("Event" if is_agent else "EventType")
    key = "Data" if is_agent else "Detail"
    inside = envelope.get(key)
    data: dict[str, Any] = {}
    if isinstance(inside, dict):
        data = {key: value for key, value in inside.items() if value is not None}
    if not is_agent and isinstance(name, str) and name.isdecimal():
        name = int(name)
    name = _as_meant(name, data)
    kind = EVENTS.get(name) if isinstance(name, str | int) else None
    problem = ""
    if kind is not None:
        known = envelope | {"Event" if is_agent else "EventType": name, key: data}
        try:
            return _convert(known, kind)
        except (msgspec.ValidationError, ValueError, OverflowError) as error:
            problem = str(error)
    sequence = envelope.get("Sequence")
    return events.UnknownEvent(
        app_id=app_id if isinstance(app_id := envelope.get("AppId"), int) else 0,
        nonce=envelope["Nonce"],
        timestamp=envelope["Timestamp"],
        signature=envelope["Signature"],
        event="" if name is None else str(name),
        agent_instance_id=_string(envelope.get("AgentInstanceId")),
        task_id=_string(envelope.get("TaskId")),
        sequence=sequence if isinstance(sequence, int) else None,
        data=data,
        body={key: value for key, value in envelope.items() if key != "Signature"},
        problem=problem,
    )


_STATUSES = {"IDLE", "LISTENING", "THINKING", "SPEAKING"}


def _as_meant(name: Any, data: dict[str, Any]) -> Any:
    """The vendor's own examples show a status under the older event's name, and statuses in lower case."""
    status = data.get("Status")
    if name == "AgentSpeakAction" and "Action" not in data and isinstance(status, str):
        name = "AgentInstanceStatus"
    if name == "AgentInstanceStatus" and isinstance(status, str) and status.upper() in _STATUSES:
        data["Status"] = status.upper()
    return name


def _convert(envelope: dict[str, Any], kind: type[events.Event]) -> events.Event:
    try:
        return msgspec.convert(envelope, kind)
    except msgspec.ValidationError:
        return msgspec.convert(envelope, kind, strict=False)  # numbers written as strings


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None
