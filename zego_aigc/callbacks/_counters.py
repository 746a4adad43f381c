"""What a router has done, in numbers; and one line a second about what it refuses."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping

import msgspec

__all__ = ["Counters", "RefusalLog", "RouterStats"]

logger: logging.Logger = logging.getLogger("zego_aigc")

LOG_INTERVAL = 1.0
"""Seconds in which one line is written, however many callbacks are refused."""


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


class RefusalLog:
    """Logs refusals: the first at once, those of the second that follows in one line, with their number.

    Who sends a thousand forged callbacks a second is not to fill the disk.
    """

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._held: Counter[str] = Counter()
        self._last = ""

    def add(self, reason: str, text: str, sender: str) -> None:
        """One refusal.

        Args:
            reason: one of few words.
            text: what is wrong and what to do about it.
            sender: the sender's address, if it is known.
        """
        line = f"callback refused{f' from {sender}' if sender else ''}: {text}"
        if self._timer is not None:
            self._held[reason] += 1
            self._last = line
            return
        logger.warning("%s", line)
        self._timer = asyncio.get_running_loop().call_later(LOG_INTERVAL, self._interval_over)

    def close(self) -> None:
        """Log what is held."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flush()

    def _interval_over(self) -> None:
        self._timer = None
        if self._flush():
            self._timer = asyncio.get_running_loop().call_later(LOG_INTERVAL, self._interval_over)

    def _flush(self) -> bool:
        held, self._held = self._held, Counter()
        if not held:
            return False
        counts = ", ".join(f"{count} {reason}" for reason, count in held.most_common())
        logger.warning(
            "%d more callbacks refused within %g s (%s); the last: %s", held.total(), LOG_INTERVAL, counts, self._last
        )
        return True
