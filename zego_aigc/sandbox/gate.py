"""What every call passes before its body is looked at: common parameters, signature, clock, rate.

Written from the vendor's page and with nothing of the client's code, so that a mistake there cannot hide here.
https://www.zegocloud.com/docs/aiagent-server/calling-the-server-api
"""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl

from zego_aigc.sandbox.refusal import Refusal

__all__ = ["MAX_SKEW", "Claims", "RateWindow", "read_claims", "split_query", "verify"]

COMMON = ("Action", "AppId", "SignatureNonce", "Timestamp", "Signature", "SignatureVersion")
"""The common parameters, in the order of the vendor's table."""

MAX_SKEW = 600
"""Seconds by which a Timestamp may be off, either way."""


class Claims(NamedTuple):
    """The common parameters of one call, well formed but not yet believed."""

    action: str
    app_id: int
    nonce: str
    timestamp: int
    signature: str
    version: str


def split_query(raw_query: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The common parameters of a query, and what else stands in it: the fields of a GET.

    A name is common where it comes first. DoAction has a field Action too, which a GET can only give after that.
    """
    common: dict[str, str] = {}
    fields: list[tuple[str, str]] = []
    for key, value in _pairs(raw_query):
        if key in COMMON and key not in common:
            common[key] = value
        else:
            fields.append((key, value))
    return common, fields


def _pairs(raw_query: str) -> Iterable[tuple[str, str]]:
    if "%" in raw_query or "+" in raw_query:
        return parse_qsl(raw_query, keep_blank_values=True, errors="surrogateescape")
    # Most queries need no unquoting, which costs a tenth of a call.
    return [(key, value) for key, _, value in (pair.partition("=") for pair in raw_query.split("&") if pair)]


def read_claims(query: Mapping[str, str]) -> Claims:
    """The common parameters of a query, each there and well formed.

    Raises:
        Refusal: for the first that is missing or malformed.
    """
    if not (action := query.get("Action")):
        raise Refusal(100000006, "Action is required in the query")
    app_id = query.get("AppId", "")
    if not (_is_decimal(app_id) and 0 < int(app_id) < 2**32):
        raise Refusal(100000001, "AppId must be a decimal number of 32 bits")
    if not (nonce := query.get("SignatureNonce")):
        raise Refusal(100000008, "SignatureNonce is required in the query")
    if not (timestamp := query.get("Timestamp")):
        raise Refusal(100000002, "Timestamp is required in the query")
    if not (_is_decimal(timestamp) and int(timestamp) < 2**63):
        raise Refusal(100000003, "Timestamp must be Unix seconds in decimal")
    if not (signature := query.get("Signature")):
        raise Refusal(100000009, "Signature is required in the query")
    if not (version := query.get("SignatureVersion")):
        raise Refusal(100000013, "SignatureVersion is required in the query")
    return Claims(action, int(app_id), nonce, int(timestamp), signature, version)


def verify(claims: Claims, server_secret: str, now: float) -> None:
    """Believe the claims: signed now, with the right secret, in a known manner.

    Raises:
        Refusal: when the signature is expired, wrong or of an unknown version.
    """
    if abs(now - claims.timestamp) > MAX_SKEW:
        raise Refusal(100000004, f"Timestamp is more than {MAX_SKEW} seconds off")
    text = f"{claims.app_id}{claims.nonce}{server_secret}{claims.timestamp}"
    expected = hashlib.md5(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
    if not hmac.compare_digest(expected.encode(), claims.signature.encode("utf-8", "surrogateescape")):
        raise Refusal(100000005, "Signature does not match AppId, SignatureNonce, ServerSecret and Timestamp")
    if claims.version != "2.0":
        raise Refusal(100000014, "SignatureVersion must be 2.0")


def _is_decimal(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20


class RateWindow:
    """At most `limit` calls in any window of `seconds`; the calls that it refuses count as well.

    Since every arrival counts, a call is within the limit exactly when the one `limit` calls before it has left the
    window: nothing else needs to be remembered.
    """

    __slots__ = ("_arrivals", "seconds")

    def __init__(self, limit: int, seconds: float = 1.0) -> None:
        self._arrivals: deque[float] = deque(maxlen=limit)
        self.seconds: float = seconds

    def admits(self, now: float) -> bool:
        """Count a call that arrives at `now` and say whether it is within the limit."""
        arrivals = self._arrivals
        within = len(arrivals) < (arrivals.maxlen or 0) or (bool(arrivals) and now - arrivals[0] >= self.seconds)
        arrivals.append(now)
        return within

    def has(self, limit: int, seconds: float) -> bool:
        """Whether it still counts by these settings."""
        return self._arrivals.maxlen == limit and self.seconds == seconds
