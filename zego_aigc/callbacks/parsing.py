"""From a request's body to a verified, typed event. Pure: the clock is an argument.

The signature is a SHA-1 over CallbackSecret, timestamp and nonce, sorted bytewise and joined. **It does not cover the body.**
Whoever has seen one callback can send any other body under the same signature while it is fresh, so take callbacks over
HTTPS, keep the window short, and remember nonces (:class:`~zego_aigc.callbacks.CallbackRouter` does).

A body is read in two steps: :func:`verify` looks at what is signed and passes over the rest, :func:`read` decodes the rest.
What a stranger sends therefore costs a scan of its bytes and no more.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (a callback is free-form JSON until it has been read)
from __future__ import annotations

import hmac
import re
import time
from collections.abc import Sequence
from hashlib import sha1
from typing import Any, NamedTuple

import msgspec

from zego_aigc.callbacks import events
from zego_aigc.callbacks.errors import BadSignature, MalformedCallback, StaleCallback
from zego_aigc.errors import ConfigurationError
from zego_aigc.schema.decoding import decode_json, unix_seconds

__all__ = [
    "EVENTS",
    "MAX_AGE",
    "Verified",
    "checked_secrets",
    "dump_event",
    "load_event",
    "parse_callback",
    "read",
    "sign",
    "verify",
]

MAX_AGE = 300.0
"""Seconds for which a signature is taken: the vendor's sixth attempt comes a minute after the first, and waits in between."""

MAX_SIGNED = 4096
"""Bytes that Nonce, Timestamp and Signature may have each: the vendor's have 40 at most."""

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


class Verified(NamedTuple):
    """A callback whose signature is right and fresh, and whose body has not been read."""

    body: bytes
    """The JSON text."""
    nonce: str
    """As signed."""
    timestamp: int
    """As signed: Unix time in seconds or milliseconds."""
    signature: str
    """In lower case."""


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


def checked_secrets(secret: str | Sequence[str]) -> tuple[str, ...]:
    """One secret or several, as a tuple.

    Raises:
        ConfigurationError: there is none, or one is empty.
    """
    # Callers read it from the environment: None comes, too.
    secrets = (secret,) if isinstance(secret, str) else tuple(secret or ())
    if not secrets or not all(secrets):
        raise ConfigurationError("secret must be the CallbackSecret from the ZEGOCLOUD console; it is empty")
    return secrets


# --- the signature -----------------------------------------------------------------------------------------------


class _Signed(msgspec.Struct):
    """What the signature is made of. The values stay undecoded, and all else is passed over."""

    Nonce: msgspec.Raw = msgspec.Raw(b"null")
    Timestamp: msgspec.Raw = msgspec.Raw(b"null")
    Signature: msgspec.Raw = msgspec.Raw(b"null")


_signed = msgspec.json.Decoder(_Signed)


def verify(
    body: bytes | bytearray | memoryview | str, *, secrets: Sequence[str], now: float | None, max_age: float | None
) -> Verified:
    """Check signature and age, and nothing else.

    Raises:
        MalformedCallback: the body is no JSON object, or lacks Nonce, Timestamp or Signature.
        BadSignature: it was signed with none of the secrets.
        StaleCallback: it was signed too long ago, or in the future.
    """
    if not isinstance(body, bytes | bytearray | memoryview | str):  # pyright: ignore[reportUnnecessaryIsInstance] - what a framework has decoded comes, too
        raise ConfigurationError(
            f"a callback is verified as it was received: give the request's body (bytes), not a {type(body).__name__}"
        )
    text, parts = _signed_parts(body)
    nonce, timestamp, signature = (_part(parts, name) for name in ("Nonce", "Timestamp", "Signature"))
    # Every whole expected value is computed and compared in constant time.
    signature = signature.lower()
    matches = [hmac.compare_digest(sign(secret, timestamp, nonce).encode(), signature.encode()) for secret in secrets]
    if not any(matches):
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
    return Verified(text, nonce, sent, signature)


def _signed_parts(body: bytes | bytearray | memoryview | str) -> tuple[bytes, _Signed]:
    """The body as JSON text, and what is signed in it."""
    try:
        text = body.encode() if isinstance(body, str) else bytes(body)
        text = _url_decoded(text)
    except ValueError:
        raise MalformedCallback("the callback's body is not UTF-8") from None
    # Half of a surrogate pair, which a text cut in the middle of a character leaves, is not JSON to the decoder: for what is
    # signed, which is plain ASCII, it does not matter what stands in its place.
    for candidate in (text, text.replace(rb"\ud", rb"\u0").replace(rb"\uD", rb"\u0")):
        try:
            return text, _signed.decode(candidate)
        except (msgspec.DecodeError, RecursionError):
            pass
    raise MalformedCallback("the callback's body is not a JSON object")


def _url_decoded(text: bytes) -> bytes:
    """The body without URL encoding. Only what begins as an encoded object is decoded: it costs far more than a scan."""
    start = text[:64].lstrip()[:4].upper()
    if not start.startswith((b"%7B", b"{%22")):
        return text
    from urllib.parse import unquote_to_bytes

    # Encoders that write a blank as "%20" leave "+" as it is (base64 audio has many); the others write it as "+".
    return unquote_to_bytes(text if b"%20" in text else text.replace(b"+", b" "))


def _part(signed: _Signed, key: str) -> str:
    """A value as it enters the signature: strings as received, whole numbers in decimal."""
    raw = bytes(getattr(signed, key))
    try:
        value: Any = msgspec.json.decode(raw) if len(raw) <= MAX_SIGNED else ...
    except ValueError:
        value = ...
    if value is None:
        raise MalformedCallback(f"the callback has no {key}")
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a number that something on the way has rewritten
    raise MalformedCallback(f"the callback's {key} is not text")


# --- the event ---------------------------------------------------------------------------------------------------


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
