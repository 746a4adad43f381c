"""What ``client.call_with_response`` returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from zego_aigc.schema.decoding import decode_json

if TYPE_CHECKING:
    from zego_aigc.transport.http import Answer

__all__ = ["Response"]

T = TypeVar("T")


class Response(Generic[T]):
    """A result with what came along."""

    __slots__ = ("_body", "attempts", "elapsed", "headers", "request_id", "result", "status")

    def __init__(self, result: T, request_id: str | None, answer: Answer | None, attempts: int, elapsed: float) -> None:
        self.result: T = result
        """What ``client.call`` returns."""
        self.request_id: str | None = request_id
        """The vendor's ``RequestId``; None when the work was found done by a look-up."""
        self.status: int = answer.status if answer else 200
        """The HTTP status."""
        self.headers: Mapping[str, str] = answer.headers if answer else {}
        """The answer's HTTP headers."""
        self.attempts: int = attempts
        """How many times the request was sent or tried."""
        self.elapsed: float = elapsed
        """Seconds from the call to its result, waiting included."""
        self._body = answer.body if answer else b"{}"

    @property
    def data(self) -> Any:
        """The answer's ``Data`` as it came, with fields that this library does not know. It may hold secrets."""
        return decode_json(self._body).get("Data")

    def __repr__(self) -> str:
        return f"Response(request_id={self.request_id!r}, attempts={self.attempts}, elapsed={self.elapsed:.3f})"
