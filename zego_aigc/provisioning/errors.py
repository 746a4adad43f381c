"""What can be wrong before a fleet is touched: the fleet itself, or its journal."""

from __future__ import annotations

from collections.abc import Sequence

from zego_aigc.errors import InvalidRequest, Problem, ZegoError

__all__ = ["InvalidFleet", "JournalBusy", "JournalError", "NotTried", "StreamFailed"]

MAX_PROBLEMS = 1000
"""How many problems of a fleet are kept; a fleet of any size can be wrong in every entry."""


class InvalidFleet(InvalidRequest):
    """The fleet breaks rules. Nothing was sent that changes anything, and the journal is as it was.

    Each path of :attr:`problems` begins with the place: ``fleet.jsonl:3: Body.RTC.RoomId``.
    """

    more: int = 0
    """Problems beyond those in :attr:`problems`."""

    def __init__(self, problems: Sequence[Problem], /, *, more: int = 0, action: str = "the fleet") -> None:
        super().__init__(problems, action=action)
        self.more = more


class JournalError(ZegoError):
    """The journal cannot be used: it is damaged, of a newer version, of another target or fleet, or in use.

    It is as it was.
    """


class JournalBusy(JournalError):
    """Another process is writing the journal."""


class StreamFailed(ZegoError):
    """A stream task was made and ended before it streamed."""

    reason: str | None = None
    """The vendor's FailReason."""


class NotTried(ZegoError):
    """The entry was not tried in this run and stays pending in the journal; the message says why."""
