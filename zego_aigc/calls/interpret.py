"""What an answer means: a result, or an error and what it says about the work. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import msgspec

from zego_aigc.calls.retry import Ending, ending_of_refusal, retry_after
from zego_aigc.errors import BadResponse, ZegoError
from zego_aigc.schema.actions import Action, Repeat
from zego_aigc.schema.codes import RETURN_CODES, api_error
from zego_aigc.schema.redaction import MASK, mask_map
from zego_aigc.transport.envelope import Envelope, Unreadable, clean, excerpt, read

if TYPE_CHECKING:
    from zego_aigc.schema.lifecycle import Lifecycle, Recovery
    from zego_aigc.transport.clock import ServerClock
    from zego_aigc.transport.http import Answer

__all__ = ["RawAction", "Request", "Verdict", "judge", "request_for"]

_LONGEST_MESSAGE = 1000
"""Characters of the vendor's ``Message`` that are kept."""


class Request(msgspec.Struct, frozen=True):
    """What is asked for, but for the Action's fields."""

    name: str
    """The vendor's name of the Action."""
    repeat: Repeat
    result: Any
    """The type of Data."""
    creates: bool
    never_blindly: bool
    """Whether a request that may have been carried out must not be sent again as if nothing were."""
    recovery: Recovery | None = None
    """How to find out what it made, if it makes something."""

    @classmethod
    def of(cls, name: str, repeat: Repeat, result: Any, lifecycle: Lifecycle | None = None) -> Request:
        """A request of that name, rule, result type and lifecycle of what it makes."""
        creates = repeat is Repeat.CREATES
        recovery = None if lifecycle is None else lifecycle.recovery
        return cls(name, repeat, result, creates, creates or repeat is Repeat.ONCE, recovery)


_as_declared = Action[Any].repeatable


def request_for(action: Action[Any]) -> Request:
    """What an Action asks for."""
    kind = type(action)
    if kind.repeatable is _as_declared:
        return _request(kind)  # hashing a Repeat takes longer than all the rest of this
    return _request(kind, action.repeatable())


@functools.cache
def _request(kind: type[Action[Any]], repeat: Repeat | None = None) -> Request:
    return Request.of(kind.__name__, repeat or kind.repeat, kind.result, kind.lifecycle)


class RawAction:
    """The request of a ``call_raw``: the vendor's name of an Action, and a body in wire form."""

    __slots__ = ("body", "name")

    def __init__(self, name: str, body: dict[str, Any]) -> None:
        self.name: str = name
        self.body: dict[str, Any] = body

    def __repr__(self) -> str:
        return f"RawAction({self.name!r}, {mask_map(self.body)!r})"


class Verdict(msgspec.Struct, frozen=True):
    """An answer that is no result."""

    error: ZegoError
    ending: Ending


def judge(
    answer: Answer,
    request: Request,
    action: Any,
    host: str,
    attempts: int,
    scrub: Callable[[str, Any], str],
    clock: ServerClock,
) -> Envelope[Any] | Verdict:
    """What an answer means.

    Args:
        answer: what came back.
        request: what was asked.
        action: the struct, or the :class:`RawAction`.
        host: who answered, for messages.
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
    known = RETURN_CODES.get(envelope.code)
    error = api_error(
        envelope.code,
        message=clean(scrub(envelope.message or "", action), _LONGEST_MESSAGE),
        request_id=clean(envelope.request_id, 100) if envelope.request_id else None,
        action=request.name,
        attempts=attempts,
        status=answer.status,
        data=_harmless(envelope.data),
        retry_after=_retry_after(answer, clock),
    )
    return Verdict(error, ending_of_refusal(known.why if known else None, answer.status))


def _unreadable(
    answer: Answer,
    request: Request,
    action: Any,
    trouble: str,
    host: str,
    attempts: int,
    scrub: Callable[[str, Any], str],
    clock: ServerClock,
) -> Verdict:
    shown = excerpt(answer.body, lambda text: scrub(text, action))
    after = _retry_after(answer, clock)
    if answer.status == 429:
        error = api_error(429, message=shown, action=request.name, attempts=attempts, status=429, retry_after=after)
        return Verdict(error, Ending.NOTHING_DONE)
    if 300 <= answer.status < 400:
        # Without what may hold credentials: user and password, query and fragment.
        where = re.sub(r"[?#].*|(?<=//)[^/]*@", "", answer.headers.get("Location", "nowhere"))
        where = clean(scrub(where, action), 200)
        what = f"HTTP status {answer.status}, a redirect to {where}, which is not followed"
    else:
        what = f"HTTP status {answer.status}, and the body is not usable: {trouble}"
    return Verdict(
        BadResponse(
            f"{host} answered {request.name} with {what}: {shown!r}",
            action=request.name,
            attempts=attempts,
            status=answer.status,
            excerpt=shown,
            retry_after=after,
        ),
        Ending.LOST,
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
