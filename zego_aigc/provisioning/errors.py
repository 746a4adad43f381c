"""What can be wrong before a fleet is touched: the fleet itself, or its journal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from zego_aigc.errors import InvalidRequest, Problem, ZegoError

__all__ = ["InvalidFleet", "JournalBusy", "JournalError", "JournalLost", "NotTried", "ProblemGroup", "StreamFailed"]

MAX_PROBLEMS = 1000
"""How many problems of a fleet are kept; a fleet of any size can be wrong in every entry."""


class ProblemGroup(NamedTuple):
    """A problem that one or more entries of a fleet have."""

    place: str
    """Of the first."""
    problem: Problem
    """Path, rule and message."""
    entries: int
    """How many have it."""

    def __str__(self) -> str:
        others = f" and {self.entries - 1} more" if self.entries > 1 else ""
        place = f"{self.place}{others}: " if self.place else ""
        return f"{place}{self.problem}"


class InvalidFleet(InvalidRequest):
    """The fleet breaks rules. Nothing was sent that changes anything, and the journal is as it was.

    Each path of :attr:`problems` begins with the place: ``fleet.jsonl:3: Body.RTC.RoomId``.
    """

    more: int = 0
    """Problems beyond those in :attr:`problems`."""
    groups: Sequence[ProblemGroup]
    """The same problems, equal ones once: the first thousand kinds, each with how many entries have it."""

    def __init__(
        self,
        problems: Sequence[Problem],
        /,
        *,
        more: int = 0,
        groups: Sequence[ProblemGroup] | None = None,
        action: str = "the fleet",
    ) -> None:
        super().__init__(problems, action=action)
        self.more = more
        self.groups = tuple(ProblemGroup("", problem, 1) for problem in problems) if groups is None else tuple(groups)


class JournalError(ZegoError):
    """The journal cannot be used: it is damaged, of a newer version, of another target or fleet, or in use.

    It is as it was.
    """


class JournalBusy(JournalError):
    """Another process is writing the journal."""


class JournalLost(JournalError):
    """The journal was removed, or could not be written any more, while a run went on. The run has stopped.

    What is in flight may have been done.
    """

    made: Sequence[tuple[str, str]] = ()
    """The key and the id of what lives and stands in no journal any more: end it, or it bills until it ends by itself."""

    def __init__(self, message: str, /, *, made: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.made = made


class StreamFailed(ZegoError):
    """A stream task was made and ended before it streamed."""

    reason: str | None = None
    """The vendor's FailReason."""


class NotTried(ZegoError):
    """The entry was not tried in this run and stays pending in the journal; the message says why."""
