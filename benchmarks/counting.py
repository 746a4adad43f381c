"""How the service counts requests: a strict sliding window. It is shared by what measures in real time and what simulates."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

__all__ = ["LIMIT", "WINDOW", "SlidingCount", "share", "worst"]

LIMIT, WINDOW = 10, 1.0
"""Requests that the service takes in any so many seconds."""


class SlidingCount:
    """Counts what arrives. The eleventh in any second, both ends of which belong to it, is refused, and counts as well."""

    def __init__(self) -> None:
        self.arrivals: list[float] = []
        """When requests arrived, in order."""
        self.refused: int = 0
        self._recent: deque[float] = deque()

    def admit(self, now: float) -> bool:
        """Count a request; whether it is granted."""
        recent = self._recent
        while recent and now - recent[0] > WINDOW:
            recent.popleft()
        recent.append(now)
        self.arrivals.append(now)
        granted = len(recent) <= LIMIT
        self.refused += not granted
        return granted


def worst(arrivals: Sequence[float]) -> int:
    """The most that arrived in any second."""
    most = start = 0
    for end, arrival in enumerate(arrivals):
        while arrival - arrivals[start] > WINDOW:
            start += 1
        most = max(most, end - start + 1)
    return most


def share(arrivals: Sequence[float], since: float) -> float:
    """Which share of the limit was used, from a time on."""
    # By every tenth, since they may come in bunches of ten.
    tenths = [arrival for arrival in arrivals[::LIMIT] if arrival >= since]
    return 0.0 if len(tenths) < 2 else (len(tenths) - 1) * WINDOW / (tenths[-1] - tenths[0])
