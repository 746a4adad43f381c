"""The arithmetic of "at most ten in any one-second window, as the server sees them".

Nothing here waits or reads a clock: time is an argument, in seconds, and never runs backwards from call to call.

A token is always in one of three places. It is *free*; or it is *held* by a request that has not left yet; or it is *out*,
spent by a request that left at a known time. What counts for the server is when the request arrives, and of that only a bound
is known, beyond the delay that all requests have in common. A request that left at ``t`` has arrived

* by ``t + guard``: the delay on the way varies by no more than the guard;
* by the time of its answer, whatever that says;
* by the time of its answer less the smallest round trip (:mod:`zego_aigc.limits.round_trips`), if it was served.

The earliest of these counts, and a slack of half a hundredth of the window for clocks and schedulers. There is one exception.
An answer that comes later than the guard explains may have been worked on for long, or its request may have been held up on
the way, as by a machine that stalls; then the guard is wrong. Where that is rare the answer's time counts
(:mod:`zego_aigc.limits.late_answers`). An out token is released more than one window after this bound.
So two requests that share a token arrive more than one window apart, and since every request holds one of ``limit`` tokens,
no window at the server ever sees more than ``limit`` of them. It does not matter how long a token is held: a cold connection
delays its own token and no other.

What the simulated network in the tests shows of this law: a saturated queue reaches 99 % of the limit with a steady delay; the
limit is exceeded only where the route itself becomes faster, by as many as fit into the difference, or where single requests
are delayed by more than the guard.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort

from zego_aigc.limits.late_answers import LateAnswers
from zego_aigc.limits.pacing import WITHHELD_WINDOWS, Blame, Pacing, withheld
from zego_aigc.limits.round_trips import RoundTrips
from zego_aigc.limits.throughput import Throughput

__all__ = ["SLACK", "UNPROVEN", "Window"]

SLACK = 0.005
"""In windows, what is added to every bound: timers, schedulers and clocks at both ends are a little off."""
UNPROVEN = 0.5
"""Seconds that the first request on a connection may take longer than others, where nothing was heard from the far end yet."""


class Window:
    """`limit` tokens, each of which is released one window after the request that spent it has arrived for sure.

    Any ``limit + 1`` departures span more than ``window + guard`` seconds, or less by what answers show.

    Args:
        limit: how many requests the server takes in any one window, at least 1.
        window: the length of the server's window in seconds.
        guard: by how many seconds the delay on the way to the server may vary.

    Raises:
        ValueError: when a number is out of these ranges.
    """

    __slots__ = (
        "_bounds",
        "_cut_short_at",
        "_free",
        "_given_back",
        "_late_answers",
        "_pacing",
        "_review_at",
        "_shift",
        "_slack",
        "_span",
        "_trips",
        "complaints",
        "limit",
        "throughput",
        "window",
    )

    def __init__(self, limit: int = 10, window: float = 1.0, guard: float = 0.05) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        if not 0 < window < math.inf:
            raise ValueError(f"window must be a positive number of seconds, not {window}")
        if not 0 <= guard < math.inf:
            raise ValueError(f"guard must be a number of seconds from 0 up, not {guard}")
        self.limit: int = limit
        self.window: float = window
        self.complaints: int = 0
        """Requests that the server refused as too fast."""
        self._slack = SLACK * window
        self._free = limit
        # Of out tokens, ascending: by when each request has arrived at the latest, less the shift of the time it was put in.
        self._bounds: list[float] = []
        # Grows by what the smallest round trip shrinks, so that tokens wait longer which were to be released by the old one.
        self._shift = 0.0
        self._span = window  # from an entry of `_bounds` until its token is released: window + shift
        # Tokens that are withheld stand among those that are out, with bounds so late that they are given back then:
        self._given_back: list[float] = []
        self._pacing = Pacing(window, guard)
        self._trips = RoundTrips()
        self._late_answers = LateAnswers(limit, window)
        self._cut_short_at = -math.inf  # when the guard last allowed an earlier release than an answer did
        self._review_at = -math.inf  # when something next changes with time alone
        self.throughput: Throughput = Throughput(limit, window)
        """What has left."""

    @property
    def guard(self) -> float:
        """Seconds by which the delay of requests without an answer may vary: as given, and what complaints have added."""
        return self._pacing.guard

    def withheld(self, now: float) -> int:
        """How many tokens are not used, after complaints that no other cause explains: others use the account."""
        given_back = self._given_back
        while given_back and given_back[0] <= now:
            del given_back[0]
        return len(given_back)

    @property
    def round_trip(self) -> float | None:
        """The smallest round trip of late in seconds, if any is known."""
        return self._trips.smallest

    @property
    def held(self) -> int:
        """How many tokens are held by requests that have not left."""
        return self.limit - self._free - len(self._bounds)

    def is_idle(self, now: float) -> bool:
        """Whether a new window would do as well: no token is held or out, and nothing that was learned counts any more."""
        return (
            not self.held
            and (not self._bounds or now > self._bounds[-1] + self._span)
            and self._trips.is_stale(now)
            and (self._pacing.next_change == math.inf or now >= self._pacing.next_change)
        )

    def take(self, now: float) -> bool:
        """Hold a token, if one is free or is released by `now`."""
        if self._free:
            self._free -= 1
            return True
        bounds = self._bounds
        if bounds and now > bounds[0] + self._span:
            del bounds[0]
            return True
        return False

    def departed(self, now: float, *, unproven: bool = False) -> float:
        """A held token's request has left for the wire.

        Args:
            now: when.
            unproven: it is the first on a connection from whose far end nothing was heard yet. It may take half a second
                longer than others: a proxy in between may still have to connect.

        Returns:
            its mark, for :meth:`answered` and :meth:`served`.
        """
        if now >= self._review_at:
            self._review(now)
        self.throughput.total += 1
        mark = now + self._pacing.guard + self._slack - self._shift
        if unproven:
            mark += UNPROVEN
        bounds = self._bounds
        if not bounds or mark >= bounds[-1]:
            bounds.append(mark)
        else:
            insort(bounds, mark)
        return mark

    def answered(self, mark: float, now: float) -> float:
        """The request was answered, whatever the answer says: so it has arrived by now.

        Args:
            mark: what :meth:`departed` returned.
            now: when the answer came.

        Returns:
            its mark from now on.
        """
        return self._bring_forward(mark, now + self._slack - self._shift)

    def served(self, mark: float, departed: float, answered: float, host: str, *, first: bool = False) -> float:
        """The answer is the service's own, and it has done the work. It need not be told to :meth:`answered`.

        Args:
            mark: what :meth:`departed` returned, or :meth:`answered`.
            departed: when the request left.
            answered: when its answer came.
            host: where it went.
            first: whether it was the first on its connection, whose round trip says nothing of others.

        Returns:
            its mark from now on.
        """
        trips = self._trips
        if not first and (lost := trips.learn(answered, host, answered - departed)):
            self._lose_lead(lost)
        bound = max(departed, answered - trips.known) + self._slack - self._shift
        if bound <= mark:
            self._late_answers.punctual += 1
            return self._bring_forward(mark, bound)
        # The request has arrived later than the guard allows, or was worked on for longer than others.
        if trips.known and self._late_answers.withdraw(bound - mark, self._pacing.guard) and self._put_off(mark, bound):
            return bound
        self._cut_short_at = answered
        return mark

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
        if not self._bounds:
            return None
        # take() wants to be later than the due time, not equal to it.
        return max(now, math.nextafter(self._bounds[0] + self._span, math.inf))

    def estimate(self, now: float, ahead: int) -> float:
        """Seconds until a newcomer behind `ahead` waiters gets a token, if every request leaves as soon as it has one.

        Answers may make it shorter, by less than the guard for each `limit` of those ahead.
        """
        if ahead < self._free:
            return 0.0
        cycle = self._cycle()
        rounds, place = divmod(ahead, self.limit - len(self._given_back))
        place -= self._free
        if place < 0:
            wait = 0.0
        elif place < len(self._bounds):
            wait = max(0.0, self._bounds[place] + self._span - now)
        else:
            wait = cycle
        return rounds * cycle + wait

    def successor(self, now: float) -> Window:
        """A window without the permits that hold its tokens, for another event loop: their requests count as leaving now."""
        successor = Window(self.limit, self.window, self._pacing.guard)
        successor._pacing = self._pacing.successor()
        held = [now + self._pacing.guard + self._slack] * self.held
        successor._bounds = sorted([*(bound + self._shift for bound in self._bounds), *held])
        successor._free = self._free
        successor._given_back = self._given_back[:]
        successor.throughput, successor.complaints = self.throughput, self.complaints
        return successor

    def too_fast(self, now: float) -> None:
        """The server refused a request as too fast; see :mod:`zego_aigc.limits.pacing`."""
        self.complaints += 1
        pacing = self._pacing
        lately = now - self._cut_short_at <= 2 * self.window + pacing.guard
        match pacing.complain(now, cut_short=lately, learned=self._trips.known > 0):
            case Blame.ROUND_TRIP:
                self._forget_trips()
            case Blame.OTHERS:
                self._withhold(now)
            case _:
                pass

    def _cycle(self) -> float:
        """Seconds from a departure until its token is released, without an answer."""
        return self.window + self._pacing.guard + self._slack

    def _withhold(self, now: float) -> None:
        """Take tokens out of use: free ones, else those that are released last."""
        bounds, already = self._bounds, self.withheld(now)
        due = self._given_back[-1] if already else now
        for _ in range(withheld(self.limit - already)):
            if self._free:
                self._free -= 1
            elif len(bounds) > len(self._given_back):
                del bounds[len(bounds) - len(self._given_back) - 1]
            else:
                return  # the others are held by requests that have not left
            due += WITHHELD_WINDOWS * self.window
            insort(bounds, due - self._span)
            self._given_back.append(due)

    def _bring_forward(self, mark: float, sooner: float) -> float:
        if sooner >= mark:
            return mark
        bounds = self._bounds
        place = bisect_left(bounds, mark)
        if place == len(bounds) or bounds[place] != mark:
            return mark  # its token has been released meanwhile
        del bounds[place]
        insort(bounds, sooner, hi=place)
        return sooner

    def _put_off(self, mark: float, later: float) -> bool:
        """Release a token later; False if it has been released already."""
        bounds = self._bounds
        place = bisect_left(bounds, mark)
        if place == len(bounds) or bounds[place] != mark:
            return False
        del bounds[place]
        insort(bounds, later)
        return True

    def _review(self, now: float) -> None:
        """What changes with time alone: complaints are forgiven, samples are forgotten, a span of counting ends."""
        self._pacing.relax(now)
        self.withheld(now)
        if self._trips.is_stale(now):
            self._forget_trips()
        self.throughput.turn(now)
        self._respan()
        self._review_at = min(self._pacing.next_change, self.throughput.span_ends)

    def _forget_trips(self) -> None:
        self._lose_lead(self._trips.known)
        self._trips.forget()

    def _lose_lead(self, seconds: float) -> None:
        """Tokens that are out are released so much later."""
        self._shift += seconds
        self._respan()

    def _respan(self) -> None:
        self._span = self.window + self._shift
