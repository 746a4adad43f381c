"""The time that signatures carry: the machine's, until the service says that it is wrong."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

__all__ = ["ServerClock", "http_date"]

logger: logging.Logger = logging.getLogger("zego_aigc")

SUSPICIOUS = 60.0
"""Seconds by which the machine's clock may be off before a warning is logged; the service refuses at 600."""


def http_date(value: str | None) -> float | None:
    """The Unix time in an HTTP ``Date`` header, or None for one that cannot be read."""
    try:
        return parsedate_to_datetime(value).timestamp() if value else None
    except (TypeError, ValueError, OverflowError):
        return None


class ServerClock:
    """Unix seconds as the service counts them.

    The offset is kept against the monotonic clock, so that a machine whose clock is set meanwhile stays right.

    Args:
        wall: the machine's Unix time.
        monotonic: a clock that nobody sets.
    """

    __slots__ = ("_ahead", "_monotonic", "_wall", "_warned")

    def __init__(self, *, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._ahead: float | None = None  # the service's time minus the monotonic clock, once corrected
        self._warned = False

    def timestamp(self) -> int:
        """Unix time in whole seconds."""
        return int(self._wall() if self._ahead is None else self._ahead + self._monotonic())

    def correct(self, date: str | None) -> bool:
        """Take the time from an answer's ``Date`` header. False if there was none that can be read."""
        now = http_date(date)
        if now is None:
            return False
        self._ahead = now - self._monotonic()
        off = now - self._wall()
        if abs(off) > SUSPICIOUS and not self._warned:
            self._warned = True
            logger.warning("this machine's clock is %+.0f s off the service's; signing with the service's time", -off)
        return True
