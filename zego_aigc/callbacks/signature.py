"""Who sent a callback: its signature, its age, and nothing else of it. Pure: the clock is an argument.

The signature is a SHA-1 over CallbackSecret, timestamp and nonce, sorted bytewise and joined. **It does not cover the body.**
Whoever has seen one callback can send any other body under the same signature while it is fresh, so take callbacks over
HTTPS, keep the window short, and remember nonces (:class:`~zego_aigc.callbacks.CallbackRouter` does).

What is signed is looked at first and the rest passed over, so that what a stranger sends costs a scan of its bytes and no more.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Sequence
from hashlib import sha1
from typing import Any, NamedTuple

import msgspec

from zego_aigc.callbacks.errors import BadSignature, MalformedCallback, StaleCallback
from zego_aigc.errors import ConfigurationError
from zego_aigc.schema.decoding import unix_seconds

__all__ = ["MAX_AGE", "Verified", "checked_secrets", "sign", "verify"]

MAX_AGE = 300.0
"""Seconds for which a signature is taken: the vendor's sixth attempt comes a minute after the first, and waits in between."""

MAX_SIGNED = 4096
"""Bytes that Nonce, Timestamp and Signature may have each: the vendor's have 40 at most."""


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
