"""What is done about an entry that an earlier attempt may have done: pure rules.

Times are Unix times by the service's clock.
"""

from __future__ import annotations

import enum
from typing import Literal

from zego_aigc.schema.actions import Action, Repeat
from zego_aigc.schema.lifecycle import Recovery

__all__ = ["MARGIN", "RecoveryAction", "delay", "left_of", "recovery_action"]

MARGIN = 40.0
"""Seconds on top of MaxIdleTime before an instance without its user counts as gone: the vendor may have carried the request
out as late as a call's deadline after it left, and counts idle time in its own way."""


class RecoveryAction(enum.Enum):
    """How to find out, or to make it not matter."""

    REPEAT = enum.auto()
    """A repeat does no harm."""
    LOOK_UP = enum.auto()
    """The service can be asked; what is absent after the look-up delay is sent again."""
    PROBE = enum.auto()
    """A resend is refused while the first one lives, which then remains unknown: its id cannot be had."""
    WAIT_FOR_EXPIRY = enum.auto()
    """By then the first one has ended by itself, and a fresh one can be made."""
    GIVE_UP = enum.auto()
    """A resend would do harm: only a callback or time can settle it."""


def recovery_action(
    action: Action[object], on_unknown: Literal["report", "wait"], *, idle: int | None, probed: bool
) -> RecoveryAction:
    """The rule for an entry.

    Args:
        action: what may have been done.
        on_unknown: ``"wait"`` says that no user can be in the rooms, so that waiting out MaxIdleTime ends what was made.
        idle: its MaxIdleTime in seconds.
        probed: whether a resend has been refused, since one like it lives.
    """
    repeat = action.repeatable()
    if repeat in (Repeat.READS, Repeat.OVERWRITES, Repeat.ENDS):
        return RecoveryAction.REPEAT
    recovery = None if action.lifecycle is None else action.lifecycle.recovery
    if recovery in (Recovery.COMPARE, Recovery.FIND):
        return RecoveryAction.LOOK_UP
    if recovery is Recovery.RESEND and not probed:
        return RecoveryAction.PROBE
    if repeat is Repeat.CREATES and on_unknown == "wait" and idle is not None:
        return RecoveryAction.WAIT_FOR_EXPIRY
    return RecoveryAction.GIVE_UP


def delay(how: RecoveryAction, *, last_sent: float, now: float, lookup_delay: float, idle: int | None) -> float:
    """Seconds until it may be done. However the clock was set meanwhile: never more than it takes from now on.

    Args:
        how: what is to be done.
        last_sent: when the last attempt left.
        now: the time, by the same clock.
        lookup_delay: seconds that a request may take to be carried out after its answer was lost.
        idle: MaxIdleTime in seconds.
    """
    match how:
        case RecoveryAction.REPEAT | RecoveryAction.GIVE_UP:
            return 0.0
        case RecoveryAction.LOOK_UP | RecoveryAction.PROBE:
            length = lookup_delay
        case RecoveryAction.WAIT_FOR_EXPIRY:
            length = lookup_delay + (idle or 0) + MARGIN
    return left_of(length, since=last_sent, now=now)


def left_of(length: float, *, since: float, now: float) -> float:
    """Seconds that are left of a time that began at `since`: none if it is over, and never more than its length."""
    return min(length, max(0.0, since + length - now))
