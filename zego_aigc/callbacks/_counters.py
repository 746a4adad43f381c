"""What a router has done, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

__all__ = ["Counters", "RouterStats"]


class RouterStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a router holds now, and what it has done since it was made."""

    in_hand: int
    """Events that wait for their handlers or are being handled."""
    in_hand_bytes: int
    """The sum of their bodies' sizes."""
    oldest: float
    """Seconds for which the oldest of them has been in hand; 0 with none."""
    subjects: int
    """Agent instances and stream tasks that something is in hand for."""
    subscribers: int
    """Subscriptions that are open."""
    taken: int
    """Callbacks that were answered with 200 and were new."""
    copies: int
    """Callbacks that were answered with 200 and had been taken before."""
    refused: Mapping[str, int]
    """Callbacks that were refused, by reason.

    For good: ``malformed``, ``too_large``, ``bad_signature``, ``stale``, ``replayed``. To come again: ``full``, ``closed``,
    ``not_handled`` (by a handler that runs before the answer), ``under_way`` (the same callback is being taken) and ``memory``
    (the shared memory could not be reached).
    """
    handled: int
    """Runs of handlers that came to their end."""
    failed: int
    """Runs of handlers that did not."""
    timed_out: int
    """Those of them that took too long."""
    handler_seconds: float
    """Seconds that handlers ran, all together."""


class Counters:
    """What grows as a router works."""

    __slots__ = ("copies", "failed", "handled", "handler_seconds", "refused", "taken", "timed_out")

    def __init__(self) -> None:
        self.taken: int = 0
        self.copies: int = 0
        self.refused: Counter[str] = Counter()
        self.handled: int = 0
        self.failed: int = 0
        self.timed_out: int = 0
        self.handler_seconds: float = 0.0
