"""Keeping the limit from one run to the next.

A limiter knows what its own process has sent, but not what a run sent that ended, or was killed, a moment ago. So a run
that is to call anyone first lets the window of the last one pass.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from zego_aigc.limits.limiter import Limiter

__all__ = ["Ended", "pause", "tag"]

SLACK = 0.05
"""Seconds on top of the window and its guard, for two processes that wake up a little apart."""


class Ended(NamedTuple):
    """When a run ended, and by which limiter it kept the limit."""

    at: float
    """Seconds of the monotonic clock, which is one for all processes of a machine until that is started anew."""
    limiter: str


_tags: WeakKeyDictionary[Any, tuple[int, str]] = WeakKeyDictionary()


def tag(limiter: Limiter) -> str:
    """A name for a limiter that no other has, in this process or another."""
    # A process that was forked has a copy of the limiter, which does not know what the original sends.
    if limiter not in _tags or _tags[limiter][0] != os.getpid():
        _tags[limiter] = os.getpid(), os.urandom(8).hex()
    return _tags[limiter][1]


def pause(last: Ended | None, limiter: Limiter, *, opened: float, now: float, window: float, guard: float) -> float:
    """Seconds until the calls of the last run have left the service's window.

    Args:
        last: how it ended; None if it was killed, at any time until the journal was opened.
        limiter: of the run to come. If it is the last one's, too, it knows what was sent.
        opened: when the journal was opened, in seconds of the monotonic clock, which is never set.
        now: the time, by the same clock.
        window: seconds of the service's window.
        guard: seconds by which delay on the way may vary.
    """
    if last is not None and last.limiter == tag(limiter):
        return 0.0
    ended = opened if last is None else min(last.at, opened)  # it seems to be later if the machine was started anew
    return max(0.0, ended + window + 2 * guard + SLACK - now)
