"""What the sandbox remembers of the calls it received."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zego_aigc.actions import Action

__all__ = ["Call", "Recording"]


class Call(msgspec.Struct, kw_only=True):
    """One call and its answer."""

    time: float
    """When it arrived: Unix seconds on the sandbox's clock."""
    action: str
    app_id: int | None = None
    code: int = 0
    """The ``Code`` answered; 0 also while the answer is on its way."""
    message: str = ""
    request_id: str = ""
    request: Action[Any] | None = None
    """The decoded request, if it got as far as that."""

    def to_json(self) -> dict[str, Any]:
        """For ``/_sandbox/state``, without the request."""
        return {
            "Time": self.time,
            "Action": self.action,
            "AppId": self.app_id,
            "Code": self.code,
            "Message": self.message,
            "RequestId": self.request_id,
        }


class Recording:
    """The last `most` calls, oldest first."""

    def __init__(self, most: int) -> None:
        self.calls: deque[Call] = deque(maxlen=most)

    def add(self, call: Call) -> None:
        """Remember a call."""
        self.calls.append(call)

    def refused(self) -> Iterator[Call]:
        """The calls that were answered with a code other than 0."""
        return (call for call in self.calls if call.code)
