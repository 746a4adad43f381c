"""What to do about an entry that an earlier attempt may have done: pure rules. Times are Unix times, in seconds."""

from __future__ import annotations

import enum
from typing import Literal

from zego_aigc.schema.actions import Action, Repeat
from zego_aigc.schema.lifecycle import Recovery

__all__ = ["MARGIN", "Remedy", "due", "remedy"]

MARGIN = 40.0
"""Seconds on top of MaxIdleTime before an instance without its user counts as gone: the vendor may have carried the request
out as late as a call's deadline after it left, and counts idle time in its own way."""


class Remedy(enum.Enum):
    """How to find out, or to make it not matter."""

    AGAIN = enum.auto()
    """A repeat does no harm."""
    LOOK_UP = enum.auto()
    """The service can be asked; what is absent after the settle time is sent again."""
    PROBE = enum.auto()
    """A resend is refused while the first one lives, which then remains unknown: its id cannot be had."""
    OUTWAIT = enum.auto()
    """By then the first one has ended by itself, and a fresh one can be made."""
    LEAVE = enum.auto()
    """A resend would do harm: only a callback or time can tell."""


def remedy(action: Action[object], on_unknown: Literal["report", "wait"], *, idle: int | None, probed: bool) -> Remedy:
    """The remedy for an entry.

    Args:
        action: what may have been done.
        on_unknown: ``"wait"`` says that no user can be in the rooms, so that waiting out MaxIdleTime ends what was made.
        idle: its MaxIdleTime in seconds.
        probed: whether a resend has been refused, since one like it lives.
    """
    repeat = action.repeatable()
    if repeat in (Repeat.READS, Repeat.OVERWRITES, Repeat.ENDS):
        return Remedy.AGAIN
    recovery = None if action.lifecycle is None else action.lifecycle.recovery
    if recovery in (Recovery.COMPARE, Recovery.FIND):
        return Remedy.LOOK_UP
    if recovery is Recovery.RESEND and not probed:
        return Remedy.PROBE
    if repeat is Repeat.CREATES and on_unknown == "wait" and idle is not None:
        return Remedy.OUTWAIT
    return Remedy.LEAVE


def due(how: Remedy, *, last_sent: float, settle: float, idle: int | None) -> float:
    """When the remedy may be applied.

    Args:
        how: the remedy.
        last_sent: when the last attempt left.
        settle: seconds that a request may take to be carried out after its answer was lost.
        idle: MaxIdleTime in seconds.
    """
    match how:
        case Remedy.AGAIN | Remedy.LEAVE:
            return last_sent
        case Remedy.LOOK_UP | Remedy.PROBE:
            return last_sent + settle
        case Remedy.OUTWAIT:
            return last_sent + settle + (idle or 0) + MARGIN
