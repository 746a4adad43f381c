"""How a limiter reacts to a service that says "too fast": additive steps down, multiplicative steps up.

Nothing here reads a clock: time is an argument, in seconds.

Three beliefs may be wrong, and each complaint is blamed on the one that it speaks against:

* Delay varies by more than the guard. That is so only where a token was released lately by the guard alone, before the
  answer's time would have allowed it. Then the guard doubles. It costs little, since most answers come before it is over, and
  is given back slowly: half of it after sixty windows without a complaint.
* The learned round trip is longer than the fastest possible. It is learned anew.
* Others use the account. Then the whole pace goes down, by a share of the window that doubles with each further complaint, and
  half of it is given back after ten windows without one.
"""

from __future__ import annotations

import math

__all__ = ["Pacing"]

_MAX_SHARE = 0.5
"""How far guard and pause may grow, in windows: at worst the pace falls to two thirds."""
_FIRST_SHARE = 0.05
"""What a complaint adds at least, in windows."""
_NEGLIGIBLE_SHARE = 0.01
"""In windows, what is not worth keeping."""
_GUARD_CALM = 60
"""Windows without a complaint after which half of the added guard is given back."""
_PAUSE_CALM = 10
"""Windows without a complaint after which half of the pause is given back."""


class Pacing:
    """The guard and the pause of one window.

    Args:
        window: the length of the service's window in seconds.
        guard: by how many seconds delay may vary, to begin with.
    """

    __slots__ = ("_given", "_guard_calm_at", "_heard_at", "_pause_calm_at", "_window", "guard", "pause")

    def __init__(self, window: float, guard: float) -> None:
        self._window = window
        self._given = guard
        self.guard: float = guard
        """Seconds by which the delay of requests that are not answered yet may vary."""
        self.pause: float = 0.0
        """Seconds that every token stays out beyond the window."""
        self._heard_at = -math.inf
        self._guard_calm_at = math.inf
        self._pause_calm_at = math.inf

    @property
    def next_change(self) -> float:
        """When :meth:`relax` has something to do."""
        return min(self._guard_calm_at, self._pause_calm_at)

    def complain(self, now: float, *, cut_short: bool, learned: bool) -> bool:
        """The service refused a request as too fast. Complaints within one span speak of the same crowd and count once.

        Args:
            now: when.
            cut_short: whether a token was released lately by the guard, and not by the answer's time.
            learned: whether tokens are released earlier than an answer alone allows, by a learned round trip.

        Returns:
            whether the learned round trip is to be forgotten.
        """
        if now - self._heard_at <= self.guard + self._window + self.pause:
            return False
        self._heard_at = now
        ceiling = _MAX_SHARE * self._window
        if cut_short and self.guard < ceiling:
            self.guard = min(ceiling, max(2 * self.guard, self.guard + _FIRST_SHARE * self._window))
            self._guard_calm_at = now + _GUARD_CALM * self._window
            return False
        if not learned or now < self._pause_calm_at < math.inf:  # learning anew did not help
            self.pause = min(ceiling, max(2 * self.pause, _FIRST_SHARE * self._window))
        self._pause_calm_at = now + _PAUSE_CALM * self._window
        return learned

    def relax(self, now: float) -> None:
        """Give back what has been kept for long enough."""
        if now >= self._guard_calm_at:
            self._guard_calm_at, added = _halve(now, self._guard_calm_at, self.guard - self._given, self._window, _GUARD_CALM)
            self.guard = self._given + added
        if now >= self._pause_calm_at:
            self._pause_calm_at, self.pause = _halve(now, self._pause_calm_at, self.pause, self._window, _PAUSE_CALM)

    def successor(self) -> Pacing:
        """The same state, for another window."""
        successor = Pacing(self._window, self._given)
        successor.guard, successor.pause, successor._heard_at = self.guard, self.pause, self._heard_at
        successor._guard_calm_at, successor._pause_calm_at = self._guard_calm_at, self._pause_calm_at
        return successor


def _halve(now: float, due: float, added: float, window: float, calm: int) -> tuple[float, float]:
    """When it is next halved, and what is left."""
    steps = 1 + int((now - due) / (calm * window))
    left = math.ldexp(added, -min(steps, 64))
    return (math.inf, 0.0) if left < _NEGLIGIBLE_SHARE * window else (due + steps * calm * window, left)
