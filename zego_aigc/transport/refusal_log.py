"""One line a second about what is refused."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

__all__ = ["RefusalLog"]

logger: logging.Logger = logging.getLogger("zego_aigc")

LOG_INTERVAL = 1.0
"""Seconds in which one line is written, however many requests are refused."""


class RefusalLog:
    """Logs refusals: the first at once, those of the second that follows in one line, with their number.

    A sender of a thousand forged requests a second is not to fill the disk.

    Args:
        what: is refused, such as "callback".
    """

    def __init__(self, what: str) -> None:
        self._what = what
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
        line = f"{self._what} refused{f' from {sender}' if sender else ''}: {text}"
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
