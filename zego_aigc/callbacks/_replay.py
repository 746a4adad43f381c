"""Remembering which callbacks were taken. Pure: time is an argument, in Unix seconds."""

from __future__ import annotations

import enum
from collections import OrderedDict
from hashlib import blake2b

__all__ = ["ReplayMemory", "Seen"]


class Seen(enum.Enum):
    """What is known of a callback."""

    NEW = "new"
    """Its signature did not come before."""
    COPY = "copy"
    """It came before, byte for byte: the vendor missed our answer, or somebody sent it again."""
    REPLAY = "replay"
    """Its signature came before with another body: a forgery."""


class ReplayMemory:
    """The signatures of what was taken, each with its body, while they are fresh.

    The signature itself is the key and not nonce and timestamp, since it is made over both without a separator: a digit moved
    from one to the other gives a second pair that it fits.

    Args:
        max_size: how many are remembered; with more, the oldest are forgotten before their time.
        keep: seconds for which each is remembered.
    """

    __slots__ = ("_keep", "_max_size", "_taken")

    def __init__(self, max_size: int, keep: float) -> None:
        self._max_size = max_size
        self._keep = keep
        self._taken: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._taken)

    def look(self, signature: str, body: bytes, now: float) -> Seen:
        """What is known of a callback."""
        self._forget(now)
        taken = self._taken.get(_digest(signature.lower().encode()))
        if taken is None:
            return Seen.NEW
        return Seen.COPY if taken[0] == _digest(body) else Seen.REPLAY

    def take(self, signature: str, body: bytes, now: float) -> None:
        """Remember a callback."""
        self._taken[_digest(signature.lower().encode())] = _digest(body), now + self._keep
        while len(self._taken) > self._max_size:
            self._taken.popitem(last=False)

    def _forget(self, now: float) -> None:
        while self._taken and next(iter(self._taken.values()))[1] < now:
            self._taken.popitem(last=False)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()
