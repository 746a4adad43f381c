"""What the sandbox remembers of the calls it received. Secrets are masked in whatever shows it."""

from __future__ import annotations

from collections import Counter, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import msgspec

from zego_aigc.sandbox.bodies import fields_in_query
from zego_aigc.sandbox.gate import split_query
from zego_aigc.schema.actions import ACTIONS
from zego_aigc.schema.redaction import MASK, masked_wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zego_aigc.schema.actions import Action

__all__ = ["CallFilters", "RecordedCall", "Recording"]

MAX_REFUSALS = 200
"""Refused calls that are kept beside the latest calls."""


class RecordedCall(msgspec.Struct, kw_only=True):
    """One call and its answer."""

    time: float
    """When it arrived: Unix seconds on the sandbox's clock."""
    method: str
    """The HTTP method."""
    query: str
    """The raw query; the signature is in it."""
    action: str
    """The vendor's name of the Action, as it was sent."""
    app_id: int | None = None
    """The AppId of the query; None if it is none."""
    request_id: str = ""
    """The RequestId that was answered."""
    content: bytes | None = b""
    """The raw body; secrets may be in it. None if it could not be read."""
    request: Action[Any] | None = None
    """The decoded request, if it is well formed."""
    answer: bytes = b""
    """The raw answer, as it was meant to leave; secrets may be in it."""
    status: int | None = None
    """The HTTP status; None if no answer left."""
    code: int = 0
    """The ``Code`` answered; 0 also while the answer is on its way."""
    message: str = ""
    """The ``Message`` that was answered."""
    about: str = ""
    """The AgentInstanceId or TaskId that it names or has made."""
    elapsed: float = 0.0
    """Seconds on the sandbox's clock until the answer, faults included."""
    faults: tuple[str, ...] = ()
    """What went wrong on purpose."""

    def to_json(self) -> dict[str, Any]:
        """In a line."""
        return {
            "Time": self.time,
            "Action": self.action,
            "AppId": self.app_id,
            "Code": self.code,
            "Message": self.message,
            "RequestId": self.request_id,
            "About": self.about,
            "Status": self.status,
            "Faults": self.faults,
        }

    def to_full_json(self) -> dict[str, Any]:
        """With the request and the answer, secrets masked."""
        cls = ACTIONS.get(self.action)
        result = None if cls is None else cls.result
        common, fields = split_query(self.query)
        return {
            **self.to_json(),
            "Elapsed": self.elapsed,
            "Method": self.method,
            "Query": {key: MASK if key == "Signature" else value for key, value in common.items()},
            "Fields": {key: MASK for key, _ in fields} if cls is None else masked_wire(cls, fields_in_query(cls, fields)),
            "Body": _masked(cls, self.content),
            "Answer": _masked_answer(result, self.answer),
        }

    def __repr__(self) -> str:
        return f"<RecordedCall {self.action} of app {self.app_id}: {self.code} {self.message}>"


def _masked(cls: Any, content: bytes | None) -> Any:
    if not content:
        return None
    try:
        return masked_wire(cls, msgspec.json.decode(content))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return f"{len(content)} bytes that are not JSON"


def _masked_answer(result: Any, content: bytes) -> Any:
    answer = _masked(None, content)
    if isinstance(answer, dict) and result is not None:
        data: Any = msgspec.json.decode(content).get("Data")
        answer["Data"] = masked_wire(result, data)
    return answer  # pyright: ignore[reportUnknownVariableType] - free-form JSON


class CallFilters(TypedDict, total=False):
    """What :meth:`Recording.select` takes; it says what each means."""

    action: type[Action[Any]] | str | None
    """Calls of this Action, as a class or by name."""
    app_id: int | None
    """Calls of this app."""
    code: int | None
    """Calls that were answered with this code."""
    refused: bool | None
    """Whether their code is another than 0."""
    since: float | None
    """Calls from this time on, in Unix seconds on the sandbox's clock."""
    where: Callable[[RecordedCall], bool] | None
    """Calls for which the function returns True."""


class Recording:
    """The last `limit` calls, oldest first, and how many there were in all."""

    def __init__(self, limit: int) -> None:
        self.calls: deque[RecordedCall] = deque(maxlen=limit)
        self.totals: Counter[str] = Counter()
        """Calls by Action name, the forgotten ones included; under an empty name, those of unknown Actions."""

        self.refused: int = 0
        """Calls that were answered with a code other than 0, the forgotten ones included."""
        self._refusals: deque[RecordedCall] = deque(maxlen=MAX_REFUSALS)

    def add(self, call: RecordedCall) -> None:
        """Remember a call."""
        self.calls.append(call)
        self.totals[call.action if call.action in ACTIONS else ""] += 1

    def note_refusal(self, call: RecordedCall) -> None:
        """Remember that a call was refused."""
        self.refused += 1
        self._refusals.append(call)

    def latest_refused(self, limit: int) -> list[RecordedCall]:
        """The last refused calls, oldest first; at most 200."""
        return list(self._refusals)[-limit:]

    def select(
        self,
        action: type[Action[Any]] | str | None = None,
        *,
        app_id: int | None = None,
        code: int | None = None,
        refused: bool | None = None,
        since: float | None = None,
        where: Callable[[RecordedCall], bool] | None = None,
    ) -> Iterator[RecordedCall]:
        """The calls to which all that is given applies, oldest first."""
        name = action if action is None or isinstance(action, str) else action.__name__
        for call in tuple(self.calls):
            if (
                (name is None or call.action == name)
                and (app_id is None or call.app_id == app_id)
                and (code is None or call.code == code)
                and (refused is None or (call.code != 0) is refused)
                and (since is None or call.time >= since)
                and (where is None or where(call))
            ):
                yield call

    def save(self, path: str | Path, **filters: Unpack[CallFilters]) -> int:
        """Write calls as JSON Lines, secrets masked; `filters` as for :meth:`select`. How many were written."""
        lines = [msgspec.json.encode(call.to_full_json()) + b"\n" for call in self.select(**filters)]
        Path(path).write_bytes(b"".join(lines))
        return len(lines)
