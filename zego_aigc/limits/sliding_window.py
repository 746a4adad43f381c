"""The arithmetic of "at most ten in any one-second window, as the server sees them".

Nothing here waits or reads a clock: time is an argument, in seconds, and never runs backwards from call to call.

A token is always in one of three places. It is *free*; or it is *held* by a request that has not left yet; or it is *out*,
spent by a request that left at a known time. What counts for the server is when the request arrives, and of that only a bound
is known: a request that left at ``t`` has arrived by ``t + guard``, or by the time of its answer if that comes first (and a
slack of half a hundredth of the window, for clocks and schedulers). An out token comes back more than one window after this
bound. So two requests that share a token arrive more than one window apart, and since every request holds one of ``limit``
tokens, no window at the server ever sees more than ``limit`` of them.
It does not matter how long a token is held: a cold connection delays its own token and no other.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort

__all__ = ["Window"]

_CALM_WINDOWS = 10
"""After how many windows without a complaint of the server half of the added guard is given back."""
_MAX_GUARD = 0.5
"""How far the guard may grow, in windows: at worst the pace falls to two thirds."""
_FIRST_GUARD = 0.05
"""What a complaint adds at least, in windows."""
_SLACK = 0.005
"""In windows, what is added to every bound: timers, schedulers and clocks at both ends are a little off."""
_UNPROVEN = 0.5
"""Seconds that the first request on a connection may take longer than others, where nothing was heard from the far end yet."""


class Window:
    """`limit` tokens, each of which comes back one window after the request that spent it has arrived for sure.

    Any ``limit + 1`` departures span more than ``window + guard`` seconds, or more than ``window`` where answers came
    before the guard was over.

    Args:
        limit: how many requests the server takes in any one window, at least 1.
        window: the length of the server's window in seconds.
        guard: by how many seconds the delay on the way to the server may vary.

    Raises:
        ValueError: when a number is out of these ranges.
    """

    __slots__ = ("_added", "_arrivals", "_calm_at", "_free", "_given", "_grown_at", "_slack", "_span", "limit", "window")

    def __init__(self, limit: int = 10, window: float = 1.0, guard: float = 0.05) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        if not 0 < window < math.inf:
            raise ValueError(f"window must be a positive number of seconds, not {window}")
        if not 0 <= guard < math.inf:
            raise ValueError(f"guard must be a number of seconds from 0 up, not {guard}")
        self.limit: int = limit
        self.window: float = window
        self._given = guard
        self._slack = _SLACK * window
        self._free = limit
        self._arrivals: list[float] = []  # of out tokens: by when each request has arrived at the latest; ascending
        self._added = 0.0  # to the guard, after complaints
        self._span = window  # from a latest arrival until its token comes back: window + added
        self._grown_at = -math.inf
        self._calm_at = math.inf

    @property
    def guard(self) -> float:
        """Seconds that a token stays out beyond the window: the guard as given, and what complaints have added."""
        return self._given + self._added

    @property
    def held(self) -> int:
        """How many tokens are held by requests that have not left."""
        return self.limit - self._free - len(self._arrivals)

    def take(self, now: float) -> bool:
        """Reservation a token, if one is free or has come back by `now`."""
        if self._free:
            self._free -= 1
            return True
        arrivals = self._arrivals
        if arrivals and now > arrivals[0] + self._span:
            del arrivals[0]
            return True
        return False

    def departed(self, now: float, *, unproven: bool = False) -> float:
        """A held token's request has left for the wire.

        Args:
            now: when.
            unproven: it is the first on a connection from whose far end nothing was heard yet. It may take half a second
                longer than others: a proxy in between may still have to connect.

        Returns:
            by when it has arrived at the latest, for :meth:`answered`.
        """
        if now >= self._calm_at:
            self._relax(now)
        latest = now + self._given + self._slack
        if unproven:
            latest += _UNPROVEN
        arrivals = self._arrivals
        if not arrivals or latest >= arrivals[-1]:
            arrivals.append(latest)
        else:
            insort(arrivals, latest)
        return latest

    def answered(self, latest: float, now: float) -> bool:
        """The request was answered, so it has arrived by now.

        Args:
            latest: what :meth:`departed` returned.
            now: when the answer came.

        Returns:
            whether the next token comes back earlier than it would have.
        """
        sooner = now + self._slack
        if sooner >= latest:
            return False
        arrivals = self._arrivals
        place = bisect_left(arrivals, latest)  # it is there: it would not have come back before `latest`
        del arrivals[place]
        insort(arrivals, sooner, hi=place)
        return arrivals[0] == sooner

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
        if not self._arrivals:
            return None
        # take() wants to be later than the due time, not equal to it.
        return max(now, math.nextafter(self._arrivals[0] + self._span, math.inf))

    def estimate(self, now: float, ahead: int) -> float:
        """Seconds until a newcomer behind `ahead` waiters gets a token, if every request leaves as soon as it has one.

        Answers may make it shorter, by less than the guard for each `limit` of those ahead.
        """
        if ahead < self._free:
            return 0.0
        cycle = self._given + self._slack + self._span
        rounds, place = divmod(ahead, self.limit)
        place -= self._free
        if place < 0:
            wait = 0.0
        elif place < len(self._arrivals):
            wait = max(0.0, self._arrivals[place] + self._span - now)
        else:
            wait = cycle
        return rounds * cycle + wait

    def successor(self, now: float) -> Window:
        """A window without the permits that hold its tokens, for another event loop: their requests count as leaving now."""
        successor = Window(self.limit, self.window, self._given)
        successor._arrivals = sorted([*self._arrivals, *[now + self._given + self._slack] * self.held])
        successor._free = self._free
        successor._added, successor._span = self._added, self._span
        successor._grown_at, successor._calm_at = self._grown_at, self._calm_at
        return successor

    def too_fast(self, now: float) -> None:
        """The server refused a request as too fast: delay varies more than thought, or others share the AppId.

        The guard doubles, up to half a window. Complaints within one span speak of the same crowd and count once.
        Every ten windows without a complaint, half of what was added is given back.
        """
        if now - self._grown_at > self._given + self._slack + self._span:
            self._grown_at = now
            most = max(self._given, self.window * _MAX_GUARD)
            self._add(min(most, max(2 * self.guard, self.guard + self.window * _FIRST_GUARD)) - self._given)
        self._calm_at = now + _CALM_WINDOWS * self.window

    def _relax(self, now: float) -> None:
        calm = _CALM_WINDOWS * self.window
        steps = 1 + int((now - self._calm_at) / calm)
        added = math.ldexp(self._added, -min(steps, 64))
        if added < 0.01 * self.window:
            self._add(0.0)
            self._calm_at = math.inf
        else:
            self._add(added)
            self._calm_at += steps * calm

    def _add(self, added: float) -> None:
        self._added = added
        self._span = self.window + added
