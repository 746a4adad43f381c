"""Whether and when to try again: pure rules and arithmetic. Time and randomness are arguments.

An attempt ends in one of these ways, and the Action's :class:`~zego_aigc.schema.actions.Repeat` says what follows.
"""

from __future__ import annotations

import enum
from email.utils import parsedate_to_datetime

import msgspec

from zego_aigc.schema.actions import Repeat

__all__ = ["Backoff", "Ending", "RetryPolicy", "Step", "ending_of_refusal", "next_step", "retry_after"]


class Ending(enum.Enum):
    """What is known after an attempt that did not succeed."""

    NOTHING_DONE = enum.auto()
    """Proof that the work was not done: no connection carried the request, or the service said "later"."""
    LOST = enum.auto()
    """The request may have left and no clear answer came; or the service failed half way."""
    EXPIRED = enum.auto()
    """The service does not accept the timestamp; nothing was done."""
    GONE = enum.auto()
    """What the Action ends is not there any more."""
    TAKEN = enum.auto()
    """What the Action creates is there already."""
    OUTDATED = enum.auto()
    """A number as high as the Action's has been taken: the Action's own, if an earlier attempt of it arrived."""
    REFUSED = enum.auto()
    """A clear no."""


_ENDINGS = {
    "transient": Ending.LOST,
    "ratelimit": Ending.NOTHING_DONE,
    "busy": Ending.NOTHING_DONE,
    "capacity": Ending.NOTHING_DONE,
    "wait": Ending.NOTHING_DONE,
    "resign": Ending.EXPIRED,
    "gone": Ending.GONE,
    "register": Ending.GONE,  # no such agent: what UnregisterAgent wants, and what nothing else gets further with
    "done": Ending.GONE,
    "closing": Ending.GONE,
    "exists": Ending.TAKEN,
    "duplicate": Ending.TAKEN,
    "stale": Ending.OUTDATED,
}


def ending_of_refusal(why: str | None, status: int) -> Ending:
    """The ending for a return code's `why` (None for a code that the library does not know) and the HTTP status."""
    if why is not None:
        return _ENDINGS.get(why, Ending.REFUSED)
    if status == 429:
        return Ending.NOTHING_DONE
    return Ending.LOST if status >= 500 else Ending.REFUSED


class Step(enum.Enum):
    """What to do after an attempt."""

    AGAIN = enum.auto()
    LOOK_UP = enum.auto()
    """Find out whether an earlier attempt did the work."""
    DONE = enum.auto()
    """An earlier attempt did the work."""
    UNKNOWN = enum.auto()
    RAISE = enum.auto()


def next_step(ending: Ending, repeat: Repeat, *, may_have_run: bool) -> Step:
    """The rule for each way an attempt may end.

    Args:
        ending: of this attempt.
        repeat: the Action's rule.
        may_have_run: whether an earlier attempt of the same call may have done the work.
    """
    match ending, repeat:
        case ((Ending.NOTHING_DONE | Ending.EXPIRED), _):
            return Step.AGAIN
        case Ending.LOST, (Repeat.READS | Repeat.OVERWRITES | Repeat.ENDS):
            return Step.AGAIN
        case Ending.LOST, Repeat.CREATES:
            return Step.LOOK_UP
        case Ending.LOST, Repeat.ONCE:
            return Step.UNKNOWN
        case Ending.GONE, Repeat.ENDS if may_have_run:
            return Step.DONE
        case ((Ending.TAKEN | Ending.GONE | Ending.REFUSED), Repeat.CREATES) if may_have_run:
            return Step.LOOK_UP  # this attempt did nothing, but the one before may have been carried out late
        case Ending.OUTDATED, _ if may_have_run:
            return Step.UNKNOWN  # it was carried out, or something newer was: either way its result is lost
        case _:
            return Step.RAISE


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long a client waits, apart from each call's deadline, and how often it tries. All times are in seconds."""

    max_attempts: int = 5
    """Attempts of a call that may be lost or find no connection; being told "later" by the service is not counted."""
    initial_backoff: float = 0.1
    """The longest wait before the first retry; it doubles from retry to retry."""
    max_backoff: float = 5.0
    """The longest wait before any retry."""
    attempt_timeout: float = 10.0
    """What one attempt may take where the call can go on without its answer: a connection that died silently costs no
    more. A request that is sent only once may take the whole deadline."""
    lookup_delay: float = 2.0
    """What a lost create of a stream task is given to be carried out late, before it is sent again."""
    cancel_grace: float = 5.0
    """What a cancelled create that may have left waits for its answer."""
    delete_timeout: float = 15.0
    """What a handle's delete or stop may take, retries included."""


class Backoff:
    """Full jitter: the n-th wait is uniform in [0, min(cap, first * 2**(n - 1))] seconds.

    Args:
        first: the longest first wait, seconds.
        cap: the longest wait of all, seconds.
    """

    __slots__ = ("cap", "first")

    def __init__(self, first: float = 0.1, cap: float = 5.0) -> None:
        self.first: float = first
        self.cap: float = cap

    def ceiling(self, retry: int) -> float:
        """The longest that the `retry`-th wait (from 1) may be, seconds."""
        return min(self.cap, self.first * 2.0 ** min(retry - 1, 60))

    def delay(self, retry: int, *, chance: float) -> float:
        """The `retry`-th wait in seconds for a random number in [0, 1)."""
        return self.ceiling(retry) * chance


def retry_after(value: str | None, *, now: float) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait, from a number or a date; None if there is none to be read.

    Args:
        value: the header.
        now: the Unix time to count a date from.
    """
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None
