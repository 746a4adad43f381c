"""Whether and when to try again: pure rules and arithmetic. Time and randomness are arguments.

An attempt that did not succeed has one of the :class:`AttemptOutcome`, and the Action's
:class:`~zego_aigc.schema.actions.Repeat` says what follows from it.
"""

from __future__ import annotations

import enum
from email.utils import parsedate_to_datetime

import msgspec

from zego_aigc.errors import ConfigurationError
from zego_aigc.schema.actions import Repeat

__all__ = ["AttemptOutcome", "Backoff", "RetryDecision", "RetryPolicy", "outcome_of_refusal", "retry_after", "retry_decision"]


class AttemptOutcome(enum.Enum):
    """What is known about the work after an attempt that did not succeed."""

    NOT_PROCESSED = enum.auto()
    """It was not done, for sure: no connection carried the request, or the service said "later"."""
    AMBIGUOUS = enum.auto()
    """It may have been done: the request may have left and no clear answer came, or the service failed half way."""
    CLOCK_SKEW = enum.auto()
    """It was not done: the service does not accept the timestamp of the signature."""
    NOT_FOUND = enum.auto()
    """It was not done: what the Action refers to does not exist, or has ended."""
    ALREADY_EXISTS = enum.auto()
    """It was not done: what the Action creates exists already."""
    STALE = enum.auto()
    """The service already accepted a Sequence >= this one, possibly from an earlier attempt of the same call."""
    REJECTED = enum.auto()
    """It was not done: the service refuses the request for good."""


_OUTCOMES = {
    "transient": AttemptOutcome.AMBIGUOUS,
    "ratelimit": AttemptOutcome.NOT_PROCESSED,
    "busy": AttemptOutcome.NOT_PROCESSED,
    "capacity": AttemptOutcome.NOT_PROCESSED,
    "wait": AttemptOutcome.NOT_PROCESSED,
    "resign": AttemptOutcome.CLOCK_SKEW,
    "gone": AttemptOutcome.NOT_FOUND,
    "register": AttemptOutcome.NOT_FOUND,  # no such agent: what UnregisterAgent wants; nothing else gets further by a retry
    "done": AttemptOutcome.NOT_FOUND,
    "closing": AttemptOutcome.NOT_FOUND,
    "exists": AttemptOutcome.ALREADY_EXISTS,
    "duplicate": AttemptOutcome.ALREADY_EXISTS,
    "stale": AttemptOutcome.STALE,
}


def outcome_of_refusal(why: str | None, status: int) -> AttemptOutcome:
    """What a refusal says about the work.

    Args:
        why: the return code's :attr:`~zego_aigc.schema.codes.ReturnCode.why`; None for a code that the library does not know.
        status: the HTTP status, which decides only where the code does not.
    """
    if why is not None:
        return _OUTCOMES.get(why, AttemptOutcome.REJECTED)
    if status == 429:
        return AttemptOutcome.NOT_PROCESSED
    return AttemptOutcome.AMBIGUOUS if status >= 500 else AttemptOutcome.REJECTED


class RetryDecision(enum.Enum):
    """What to do after an attempt that did not succeed."""

    RETRY = enum.auto()
    LOOK_UP = enum.auto()
    """Find out whether an earlier attempt did the work."""
    DONE = enum.auto()
    """An earlier attempt did the work."""
    UNKNOWN = enum.auto()
    """Raise OutcomeUnknown."""
    RAISE = enum.auto()
    """Raise the attempt's error."""


def retry_decision(outcome: AttemptOutcome, repeat: Repeat, *, may_have_run: bool) -> RetryDecision:
    """The rule for each outcome of an attempt.

    Args:
        outcome: of this attempt.
        repeat: the Action's rule.
        may_have_run: whether an earlier attempt of the same call may have done the work.
    """
    match outcome, repeat:
        case ((AttemptOutcome.NOT_PROCESSED | AttemptOutcome.CLOCK_SKEW), _):
            return RetryDecision.RETRY
        case AttemptOutcome.AMBIGUOUS, (Repeat.READS | Repeat.OVERWRITES | Repeat.ENDS):
            return RetryDecision.RETRY
        case AttemptOutcome.AMBIGUOUS, Repeat.CREATES:
            return RetryDecision.LOOK_UP
        case AttemptOutcome.AMBIGUOUS, Repeat.ONCE:
            return RetryDecision.UNKNOWN
        case AttemptOutcome.NOT_FOUND, Repeat.ENDS if may_have_run:
            return RetryDecision.DONE
        case (
            (AttemptOutcome.ALREADY_EXISTS | AttemptOutcome.NOT_FOUND | AttemptOutcome.REJECTED),
            Repeat.CREATES,
        ) if may_have_run:
            return RetryDecision.LOOK_UP  # this attempt did nothing, but an earlier one may have been carried out late
        case AttemptOutcome.STALE, _ if may_have_run:
            return RetryDecision.UNKNOWN  # it was carried out, or something newer was: either way its result is lost
        case _:
            return RetryDecision.RAISE


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long a client waits, apart from each call's deadline, and how often it tries. All times are in seconds."""

    max_attempts: int = 5
    """Attempts of a call that may be lost or find no connection. Those that the service answers with "later" do not count."""
    initial_backoff: float = 0.1
    """The longest pause before the first retry. It doubles from retry to retry; the actual pause is random ("full jitter")."""
    max_backoff: float = 5.0
    """The longest pause before any retry."""
    attempt_timeout: float = 10.0
    """How long one attempt may take where the call can go on without its answer, so that a connection that died silently costs
    no more. A request that is sent only once may take the whole deadline."""
    lookup_delay: float = 2.0
    """How long a lost create of a stream task may still be carried out late: it is not sent again before."""
    cancel_grace: float = 5.0
    """How long a cancelled create that may have left waits for its answer."""
    delete_timeout: float = 15.0
    """How long a handle's delete or stop may take, retries included."""

    def __post_init__(self) -> None:
        """Check the numbers: they may come from a file.

        Raises:
            ConfigurationError: one is none, or out of range.
        """
        if not isinstance(self.max_attempts, int) or self.max_attempts < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(f"RetryPolicy.max_attempts must be a whole number, 1 or more, not {self.max_attempts!r}")
        for name in self.__struct_fields__[1:]:
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise ConfigurationError(f"RetryPolicy.{name} must be a number of seconds, 0 or more, not {value!r}")


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
