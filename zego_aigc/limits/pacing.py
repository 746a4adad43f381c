"""How a limiter reacts to a service that says "too fast": each complaint is blamed on the belief that it speaks against.

Nothing here reads a clock: time is an argument, in seconds.

* Delay varies by more than the guard. That is so only where a token was released lately by the guard alone, before the
  answer's time would have allowed it. Then the guard doubles. It costs little, since most answers come before it is over, and
  is given back slowly: half of it after sixty windows without a complaint.
* The learned round trip is longer than the fastest possible. It is learned anew.
* Others use the account. Then a share of the tokens is withheld, and given back one by one: multiplicative decrease and
  additive increase, by which those who share something and do not know of each other come to use it up and to share it fairly.
  Tokens and not pauses, since ``n`` tokens here and ``limit - n`` elsewhere never add up to more than the limit, whenever
  each of them is used.
"""

from __future__ import annotations

import enum
import math

__all__ = ["WITHHELD_SHARE", "WITHHELD_WINDOWS", "Blame", "Pacing", "withheld"]

WITHHELD_SHARE = 0.3
"""Which share of the tokens in use a complaint withholds, rounded up; one stays in use."""
WITHHELD_WINDOWS = 5
"""Windows after which the first of them is given back, and between it and the next."""
_MAX_SHARE = 0.5
"""How far the guard may grow, in windows."""
_FIRST_SHARE = 0.05
"""What a complaint adds to it at least, in windows."""
_NEGLIGIBLE_SHARE = 0.01
"""In windows, what is not worth keeping."""
_GUARD_CALM = 60
"""Windows without a complaint after which half of the added guard is given back."""
_LEARNED_CALM = 10
"""Windows without a complaint after which a learned round trip is suspected again."""


class Blame(enum.Enum):
    """What a complaint is about."""

    KNOWN = "known"
    """The same crowd as the one before: nothing is to be done."""
    GUARD = "guard"
    """Delay varies more than was thought; the guard has grown."""
    ROUND_TRIP = "round trip"
    """What was learned is too long, and is to be learned anew."""
    OTHERS = "others"
    """Others use the account: tokens are to be :func:`withheld`."""


def withheld(in_use: int) -> int:
    """How many of so many tokens in use are to be withheld."""
    return min(in_use - 1, math.ceil(in_use * WITHHELD_SHARE))


class Pacing:
    """The guard of one window, and what complaints are blamed on.

    Args:
        window: the length of the service's window in seconds.
        guard: by how many seconds delay may vary, to begin with.
    """

    __slots__ = ("_given", "_guard_calm_at", "_heard_at", "_learned_calm_at", "_window", "guard")

    def __init__(self, window: float, guard: float) -> None:
        self._window = window
        self._given = guard
        self.guard: float = guard
        """Seconds by which the delay of requests that are not answered yet may vary."""
        self._heard_at = -math.inf
        self._guard_calm_at = math.inf
        self._learned_calm_at = -math.inf

    @property
    def next_change(self) -> float:
        """When :meth:`relax` has something to do."""
        return self._guard_calm_at

    def complain(self, now: float, *, cut_short: bool, learned: bool) -> Blame:
        """The service refused a request as too fast. Complaints within one span speak of the same crowd and count once.

        Args:
            now: when.
            cut_short: whether a token was released lately by the guard, and not by the answer's time.
            learned: whether tokens are released earlier than an answer alone allows, by a learned round trip.
        """
        if now - self._heard_at <= self.guard + self._window:
            return Blame.KNOWN
        self._heard_at = now
        ceiling = _MAX_SHARE * self._window
        if cut_short and self.guard < ceiling:
            self.guard = min(ceiling, max(2 * self.guard, self.guard + _FIRST_SHARE * self._window))
            self._guard_calm_at = now + _GUARD_CALM * self._window
            return Blame.GUARD
        learned_anew = now < self._learned_calm_at  # and that did not help
        self._learned_calm_at = now + _LEARNED_CALM * self._window
        return Blame.ROUND_TRIP if learned and not learned_anew else Blame.OTHERS

    def relax(self, now: float) -> None:
        """Give back what has been added to the guard for long enough."""
        if now < self._guard_calm_at:
            return
        steps = 1 + int((now - self._guard_calm_at) / (_GUARD_CALM * self._window))
        left = math.ldexp(self.guard - self._given, -min(steps, 64))
        if left < _NEGLIGIBLE_SHARE * self._window:
            left, self._guard_calm_at = 0.0, math.inf
        else:
            self._guard_calm_at += steps * _GUARD_CALM * self._window
        self.guard = self._given + left

    def successor(self) -> Pacing:
        """The same state, for another window."""
        successor = Pacing(self._window, self._given)
        successor.guard, successor._heard_at = self.guard, self._heard_at
        successor._guard_calm_at, successor._learned_calm_at = self._guard_calm_at, self._learned_calm_at
        return successor
