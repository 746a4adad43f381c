"""What an adapter needs of an endpoint."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple, Protocol

import msgspec

from zego_aigc.llm.request import ChatRequest

__all__ = ["LIVES", "NOT_POST", "STREAM_HEADERS", "Endpoint", "Refusal"]

STREAM_HEADERS: Mapping[str, str] = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",  # nginx would hold the answer back
}
"""The headers of an answer."""


class Refusal(NamedTuple):
    """An answer without a stream."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {"Content-Type": "application/json"}

    @classmethod
    def of(cls, status: int, message: str) -> Refusal:
        """In the form of OpenAI's errors."""
        return cls(status, msgspec.json.encode({"error": {"message": message, "type": "invalid_request_error"}}))


NOT_POST = Refusal(405, b"chat requests are posted", {"Content-Type": "text/plain", "Allow": "GET, HEAD, POST"})
LIVES = Refusal(200, b"chat requests are posted here", {"Content-Type": "text/plain"})


class Endpoint(Protocol):
    """As the adapters see it: :class:`zego_aigc.llm.ChatEndpoint`."""

    max_body: int

    async def admit(self, authorization: str, body: bytes, sender: str) -> ChatRequest | Refusal:
        """Check who asks, and read what is asked."""
        ...

    def too_large(self, sender: str) -> Refusal:
        """Refuse a body of more than ``max_body`` bytes."""
        ...

    def stream(self, request: ChatRequest) -> AsyncGenerator[bytes, None]:
        """The answer, piece by piece. Closing it cancels the answer."""
        ...
