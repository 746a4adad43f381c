"""The arithmetic of "at most ten in any one-second window, as the server sees them".

Nothing here waits or reads a clock: time is an argument, in seconds, and never runs backwards from call to call.

A token is always in one of three places. It is *free*; or it is *held* by a request that has not left yet; or it is *out*,
spent by a request that left at a known time. An out token comes back more than ``window + guard`` after its request left.
A request that left at ``t`` reaches the server between ``t`` and ``t + guard``, so two requests that share a token arrive
more than one ``window`` apart, and since every request holds one of ``limit`` tokens, no window at the server ever sees more
than ``limit`` of them. It does not matter how long a token is held: a cold connection delays its own token and no other.
"""

from __future__ import annotations

import math
from collections import deque

__all__ = ["Window"]

_CALM_WINDOWS = 10
"""After how many windows without a complaint of the server half of the added guard is given back."""
_MOST_GUARD = 0.5
"""How far the guard may grow, in windows: at worst the pace falls to two thirds."""
_FIRST_GUARD = 0.05
"""What a complaint adds at least, in windows."""


class Window:
    """`limit` tokens, each of which comes back one window and a guard after the request that spent it left.

    Any ``limit + 1`` departures span more than ``window + guard`` seconds.

    Args:
        limit: how many requests the server takes in any one window, at least 1.
        window: the length of the server's window in seconds.
        guard: by how many seconds the delay on the way to the server may vary.

    Raises:
        ValueError: when a number is out of these ranges.
    """

    __slots__ = ("_base", "_calm_at", "_departures", "_free", "_grown_at", "_guard", "_span", "limit", "window")

    def __init__(self, limit: int = 10, window: float = 1.0, guard: float = 0.05) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        if not 0 < window < math.inf:
            raise ValueError(f"window must be a positive number of seconds, not {window}")
        if not 0 <= guard < math.inf:
            raise ValueError(f"guard must be a number of seconds from 0 up, not {guard}")
        self.limit = limit
        self.window = window
        self._base = self._guard = guard
        self._span = window + guard
        self._free = limit
        self._departures: deque[float] = deque()
        self._grown_at = -math.inf
        self._calm_at = math.inf

    @property
    def guard(self) -> float:
        """Seconds that a token stays out beyond the window: the guard as given, or more after complaints of the server."""
        return self._guard

    @property
    def held(self) -> int:
        """How many tokens are held by requests that have not left."""
        return self.limit - self._free - len(self._departures)

    def take(self, now: float) -> bool:
        """Hold a token, if one is free or has come back by `now`."""
        if self._free:
            self._free -= 1
            return True
        departures = self._departures
        if departures and now > departures[0] + self._span:
            departures.popleft()
            return True
        return False

    def departed(self, now: float) -> None:
        """A held token's request has left for the wire."""
        if now >= self._calm_at:
            self._relax(now)
        self._departures.append(now)

    def release(self) -> None:
        """A held token's request will not be sent: the token is free at once."""
        self._free += 1

    def next_free(self, now: float) -> float | None:
        """When the next token can be taken: `now` or later.

        Returns:
            ``None`` while every token is held by a request that has not left.
        """
        if self._free:
            return now
        if not self._departures:
            return None
        # take() wants to be later than the due time, not equal to it.
        return max(now, math.nextafter(self._departures[0] + self._span, math.inf))

    def estimate(self, now: float, ahead: int) -> float:
        """Seconds until a newcomer behind `ahead` waiters gets a token, if every request leaves as soon as it has one.

        No request can do better, so a deadline that is shorter than this cannot be met.
        """
        rounds, place = divmod(ahead, self.limit)
        place -= self._free
        if place < 0:
            wait = 0.0
        elif place < len(self._departures):
            wait = max(0.0, self._departures[place] + self._span - now)
        else:
            wait = self._span
        return rounds * self._span + wait

    def inherited(self, now: float) -> Window:
        """A window for a successor who knows nothing of the requests that hold tokens: they count as leaving now."""
        heir = Window(self.limit, self.window, self._base)
        heir._departures.extend(self._departures)
        heir._departures.extend([now] * self.held)
        heir._free = self._free
        heir._grown_at, heir._calm_at = self._grown_at, self._calm_at
        heir._set_guard(self._guard)
        return heir

    def too_fast(self, now: float) -> None:
        """The server refused a request as too fast: delay varies more than thought, or others share the AppId.

        The guard doubles, up to half a window. Complaints within one span speak of the same crowd and count once.
        Every ten windows without a complaint, half of what was added is given back.
        """
        if now - self._grown_at > self._span:
            self._grown_at = now
            most = max(self._base, self.window * _MOST_GUARD)
            self._set_guard(min(most, max(2 * self._guard, self._base + self.window * _FIRST_GUARD)))
        self._calm_at = now + _CALM_WINDOWS * self.window

    def _relax(self, now: float) -> None:
        calm = _CALM_WINDOWS * self.window
        steps = 1 + int((now - self._calm_at) / calm)
        added = math.ldexp(self._guard - self._base, -min(steps, 64))
        if added < 0.01 * self.window:
            self._set_guard(self._base)
            self._calm_at = math.inf
        else:
            self._set_guard(self._base + added)
            self._calm_at += steps * calm

    def _set_guard(self, guard: float) -> None:
        self._guard = guard
        self._span = self.window + guard
