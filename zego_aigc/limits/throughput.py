"""Which share of a limit is used. Nothing here reads a clock: time is an argument, in seconds."""

from __future__ import annotations

import math

__all__ = ["Throughput"]

_SPAN = 10
"""Windows after which the present count becomes the one before."""


class Throughput:
    """Counts what leaves, over the last ten to twenty windows.

    Args:
        limit: how many may leave in a window.
        window: its length in seconds.
    """

    __slots__ = ("_before", "_from", "_limit", "_since", "_window", "total")

    def __init__(self, limit: int, window: float) -> None:
        self._limit = limit
        self._window = window
        self.total: int = 0
        """How many have left since the beginning."""
        self._since = -math.inf  # when the present span began,
        self._from = 0  # the total by then,
        self._before = 0  # and how many of it fell into the span before

    @property
    def span_ends(self) -> float:
        """When :meth:`turn` has something to do."""
        return self._since + _SPAN * self._window

    def turn(self, now: float) -> None:
        """Begin a new span, if the present one is over."""
        span = _SPAN * self._window
        age = now - self._since
        if age < span:
            return
        follows = age < 2 * span
        self._before = self.total - self._from if follows else 0
        self._from = self.total
        self._since = self._since + span if follows else now

    def share(self, now: float) -> float:
        """The share of the limit that was used; 1 is all of it."""
        span = _SPAN * self._window
        age = now - self._since
        if age >= 2 * span:
            return 0.0
        left, seconds = self.total - self._from, age
        if age < span and self._before:
            left += self._before
            seconds += span
        return left * self._window / (self._limit * max(seconds, self._window))
