"""What the vendor is answered, and what an adapter needs of a receiver of callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

__all__ = [
    "CHECK_METHODS",
    "COME_AGAIN",
    "FORBIDDEN",
    "LIVES",
    "MALFORMED",
    "NOT_POST",
    "TAKEN",
    "TOO_LARGE",
    "Answer",
    "Receiver",
]


class Answer(NamedTuple):
    """What to answer the vendor: any 2xx says that the callback was taken; all else brings it again, five times at most."""

    status: int
    """The HTTP status: 200 taken (or had before), 400 not a callback, 403 not trusted, 413 too large, 503 not now."""
    body: bytes = b""
    """The body, ``text/plain``."""
    headers: Mapping[str, str] = {}
    """Further headers."""


TAKEN = Answer(200, b"ok")
LIVES = Answer(200, b"callbacks are posted here")
MALFORMED = Answer(400, b"not a callback")
FORBIDDEN = Answer(403, b"not trusted")
NOT_POST = Answer(405, b"callbacks are posted", {"Allow": "GET, HEAD, POST"})
TOO_LARGE = Answer(413, b"too large", {"Connection": "close"})
COME_AGAIN = Answer(503, b"come again", {"Retry-After": "1"})

CHECK_METHODS = frozenset({"GET", "HEAD"})
"""What people and load balancers send to see whether the address lives."""


class Receiver(Protocol):
    """What takes callbacks, as the adapters see it: :class:`zego_aigc.callbacks.CallbackRouter`."""

    max_body: int
    """Bytes that a callback may have."""

    @property
    def ready(self) -> bool:
        """Whether callbacks are taken now."""
        ...

    async def areceive(self, body: bytes, *, sender: str = "") -> Answer:
        """Take one callback's body and say what to answer."""
        ...

    def refuse_unread(self, reason: str, sender: str) -> Answer:
        """Refuse a body that was not read to its end: ``too_large`` or ``malformed``."""
        ...

    async def __aenter__(self) -> object:
        """Start."""
        ...

    async def aclose(self) -> None:
        """Stop."""
        ...
