"""The smallest round trip seen of late, from which follows how early a request that was answered must have arrived.

Nothing here reads a clock: time is an argument, in seconds.

A request that is answered at ``r`` arrived no later than ``r`` less the shortest way back, and the next one takes at least the
shortest way out. So the next may leave a window after ``r - m`` where ``m`` is at most the sum of both: the fastest possible
round trip. What is seen is the smallest of the round trips that happened, and with delay that varies both ways that is more
than the sum of the smallest. The excess of the smallest of ``n`` shrinks as ``1 / sqrt(n)`` times their spread (the sum of two
delays that vary independently), so this much is taken off, and a share of ``1 / n`` of the whole, since few samples say little
about the spread either.
"""

from __future__ import annotations

import math

__all__ = ["RoundTrips"]

_AGE = 30.0
"""Seconds after which samples begin to be forgotten, since routes change; all are gone after twice that."""
_SPREADS = 2.0
"""How many times the expected excess of the smallest sample is taken off."""
_ESTIMATED_ANEW = 16
"""What is known is worked out anew with each new smallest sample, and whenever there are more by the sixteenth part."""


class RoundTrips:
    """Learns from the answers of one Action, at one host at a time: hosts and Actions differ, and another host starts anew."""

    __slots__ = ("_count", "_earlier", "_estimate_at", "_host", "_least", "_since", "_total", "known")

    def __init__(self) -> None:
        self.known: float = 0.0
        """Seconds that a round trip takes at the very least, as far as the samples say; 0 while there are too few."""
        self._host = ""
        self._since = -math.inf  # when the present samples began
        self._count = 0
        self._least = math.inf
        self._total = 0.0
        self._estimate_at = 0  # by how many samples `known` is next to be worked out anew
        self._earlier: tuple[int, float, float] | None = None  # count, smallest and total of the time before `_since`

    @property
    def smallest(self) -> float | None:
        """The smallest sample of late, in seconds."""
        least = self._least if self._earlier is None else min(self._least, self._earlier[1])
        return least if least < math.inf else None

    def learn(self, now: float, host: str, seconds: float) -> float:
        """Take note of a round trip: of a request that was served, and not the first on its connection.

        Returns:
            by how much less than before is known now, in seconds.
        """
        before = self.known
        if host != self._host:
            self.forget()
            self._host = host
        if now - self._since >= _AGE:
            self._turn(now)
        self._count = count = self._count + 1
        self._total += seconds
        if seconds < self._least:
            self._least = seconds
        elif count < self._estimate_at:
            return 0.0  # one more of many, which would change next to nothing
        self._estimate()
        return max(0.0, before - self.known)

    def _estimate(self) -> None:
        count, least, total = self._count, self._least, self._total
        if self._earlier is not None:
            count, least, total = count + self._earlier[0], min(least, self._earlier[1]), total + self._earlier[2]
        known = least - _SPREADS * (total / count - least) / math.sqrt(count) - least / count
        self.known = max(0.0, known)
        self._estimate_at = self._count + 1 + count // _ESTIMATED_ANEW

    def _turn(self, now: float) -> None:
        """The present samples become those of the time before."""
        fresh = now - self._since < 2 * _AGE
        self._earlier = (self._count, self._least, self._total) if fresh and self._count else None
        self._forget_present()
        self._since = now

    def is_stale(self, now: float) -> bool:
        """Whether nothing was learned for so long that routes may have changed."""
        return now - self._since >= 2 * _AGE

    def forget(self) -> None:
        """Begin anew."""
        self.known = 0.0
        self._since = -math.inf
        self._earlier = None
        self._forget_present()

    def _forget_present(self) -> None:
        self._count, self._least, self._total, self._estimate_at = 0, math.inf, 0.0, 0
