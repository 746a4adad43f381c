"""What a response means: a result, or an error and what that says about the work. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import msgspec

from zego_aigc.calls.retry import AttemptOutcome, outcome_of_refusal, retry_after
from zego_aigc.errors import BadResponse, ConnectFailed, ZegoError
from zego_aigc.schema.actions import Repeat
from zego_aigc.schema.codes import api_error, meaning_of
from zego_aigc.schema.redaction import MASK, mask_map
from zego_aigc.transport.envelope import Envelope, Unreadable, clean, excerpt, read

if TYPE_CHECKING:
    from zego_aigc.calls.request import Request
    from zego_aigc.transport.clock import ServerClock
    from zego_aigc.transport.http import Answer

__all__ = ["Failure", "interpret_response"]

_SAID_BY_THE_ACTION = frozenset(
    {"SendLLMFailed", "SendTTSFailed", "ResetContextFailed", "InterruptFailed", "StartListeningFailed", "StopListeningFailed"}
)
"""Codes by which an Action that must not be repeated says that it did not do its own work: a clear refusal, although the vendor
lists them with failures that pass."""

MAX_MESSAGE_LENGTH = 1000
"""Characters of the vendor's ``Message`` that are kept."""


class Failure(msgspec.Struct, frozen=True):
    """Why an attempt did not succeed."""

    error: ZegoError
    outcome: AttemptOutcome


def interpret_response(
    answer: Answer,
    request: Request,
    action: Any,
    host: str,
    attempts: int,
    scrub: Callable[[str, Any], str],
    clock: ServerClock,
) -> Envelope[Any] | Failure:
    """What a response means: its envelope if it is a result, otherwise the failure.

    Args:
        answer: the HTTP response.
        request: what was asked.
        action: the struct, or the :class:`~zego_aigc.calls.request.RawAction`.
        host: where it comes from, for messages.
        attempts: how many times the request was tried, this time included.
        scrub: takes the secrets of an Action out of a text.
        clock: the service's time, to count a ``Retry-After`` from.
    """
    try:
        envelope = read(answer.body, request.result)
    except Unreadable as trouble:
        return _unreadable(answer, request, action, str(trouble), host, attempts, scrub, clock)
    if envelope.code == 0:
        if answer.status < 300:
            return envelope
        return _unreadable(answer, request, action, "it says success all the same", host, attempts, scrub, clock)
    known = meaning_of(envelope.code, request.name)
    error = api_error(
        envelope.code,
        message=clean(scrub(envelope.message or "", action), MAX_MESSAGE_LENGTH),
        request_id=clean(envelope.request_id, 100) if envelope.request_id else None,
        action=request.name,
        attempts=attempts,
        status=answer.status,
        data=_harmless(envelope.data),
        retry_after=_retry_after(answer, clock),
    )
    outcome = outcome_of_refusal(known.why if known else None, answer.status)
    if request.repeat is Repeat.ONCE and known is not None and known.name in _SAID_BY_THE_ACTION:
        outcome = AttemptOutcome.REJECTED
    return Failure(error, outcome)


def _unreadable(
    answer: Answer,
    request: Request,
    action: Any,
    trouble: str,
    host: str,
    attempts: int,
    scrub: Callable[[str, Any], str],
    clock: ServerClock,
) -> Failure:
    shown = excerpt(answer.body, lambda text: scrub(text, action))
    after = _retry_after(answer, clock)
    if answer.status == 429:
        error = api_error(429, message=shown, action=request.name, attempts=attempts, status=429, retry_after=after)
        return Failure(error, AttemptOutcome.NOT_PROCESSED)
    if answer.status == 407:
        refused = ConnectFailed(
            f"the proxy refuses to pass {request.name} on to {host} (HTTP status 407): give proxy= the user and password "
            "that it wants, as in http://user:password@host:port. Nothing reached the service",
            host=host,
        )
        return Failure(refused, AttemptOutcome.REJECTED)
    if 300 <= answer.status < 400:
        # Without what may hold credentials: user and password, query and fragment.
        where = re.sub(r"[?#].*|(?<=//)[^/]*@", "", answer.headers.get("Location", "nowhere"))
        where = clean(scrub(where, action), 200)
        what = f"HTTP status {answer.status}, a redirect to {where}, which is not followed"
    else:
        what = f"HTTP status {answer.status}, and the body is not usable: {trouble}"
    return Failure(
        BadResponse(
            f"{host} answered {request.name} with {what}: {shown!r}",
            action=request.name,
            attempts=attempts,
            status=answer.status,
            excerpt=shown,
            retry_after=after,
        ),
        AttemptOutcome.AMBIGUOUS,
    )


def _harmless(data: Any) -> dict[str, Any] | None:
    """A refusal's Data without what may be secret in it."""
    if not isinstance(data, dict):
        return None
    try:
        return cast("dict[str, Any]", _without_tokens(mask_map(data)))
    except RecursionError:
        return None  # nothing that anybody would want to read


def _without_tokens(value: Any) -> Any:
    """Without the queries of URLs, which are where tokens stand."""
    match value:
        case str():
            return re.sub(r"(\w://[^\s?]*\?)\S+", rf"\1{MASK}", value)
        case dict():
            fields = cast("dict[str, Any]", value)
            return {key: _without_tokens(inner) for key, inner in fields.items()}
        case list():
            return [_without_tokens(inner) for inner in cast("list[object]", value)]
        case _:
            return value


def _retry_after(answer: Answer, clock: ServerClock) -> float | None:
    value = answer.headers.get("Retry-After")
    return None if value is None else retry_after(value, now=clock.timestamp())
