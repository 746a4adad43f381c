"""What a run emits: outcomes of entries, events on the way, and the report at the end."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from zego_aigc.calls.unknown import unknown_advice
from zego_aigc.errors import ApiError, OutcomeUnknown, ZegoError
from zego_aigc.limits.limiter import LimiterStats
from zego_aigc.provisioning.errors import NotTried
from zego_aigc.schema.actions import Action

__all__ = ["Finished", "LaneProgress", "Outcome", "Progress", "Pruned", "Report", "RunEvent", "Started", "Status", "Warned"]

Status = Literal["done", "failed", "unknown", "pending"]

MAX_KEPT = 100
"""How many failures and unknowns a report keeps; the journal has them all."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one entry."""

    key: str
    """The entry's, unique in its fleet."""
    action: Action[Any]
    """What was sent, or was to be."""
    status: Status
    """``done``; ``failed``: not done, and it may be tried again; ``unknown``: it may have been done; ``pending``: not tried."""
    result: Any = None
    """What ``client.call`` returned, or did in an earlier run. None for what returns nothing."""
    error: ZegoError | None = None
    """Why it is not done."""
    origin: Literal["made", "kept", "updated"] | None = None
    """Whether an agent was made, or was there and was kept or updated."""
    earlier: bool = False
    """Whether an earlier run did it."""
    request_id: str | None = None
    """The service's id of the last request, for its support."""
    attempts: int = 0
    """Requests that this run made for it; 0 for what an earlier run did."""
    where: str | None = None
    """Stream and room of an instance that may or may not live."""
    made_by: str = ""
    """The entry's Action, by name; a teardown's :attr:`action` is another."""

    def unwrap(self) -> Any:
        """The result of an entry that is done.

        Raises:
            ZegoError: the entry is not done: :attr:`error`.
        """
        if self.status == "done":
            return self.result
        assert self.error is not None
        raise self.error


class Started(msgspec.Struct, frozen=True):
    """The fleet was checked, and the first calls are about to leave."""

    actions: Mapping[str, int]
    """How many entries there are of each Action."""


class Warned(msgspec.Struct, frozen=True):
    """Something that does not stop the run."""

    message: str
    """What it is, and what to do about it."""


class Pruned(msgspec.Struct, frozen=True):
    """An entry that the fleet does not name any more was removed, or could not be."""

    outcome: Outcome
    """``done`` where it was removed, else ``failed`` or ``unknown``."""


class Finished(msgspec.Struct, frozen=True):
    """The run is over."""

    report: Report
    """What the run came to."""


RunEvent = Started | Warned | Outcome | Pruned | Finished


class Report(msgspec.Struct, kw_only=True):
    """What a run came to. It is complete once the run is over."""

    counts: dict[str, Counter[str]]
    """Entries by Action, then by status; what an earlier run did counts as done."""
    earlier: int = 0
    """How many of those done were done by earlier runs."""
    failures: list[Outcome] = msgspec.field(default_factory=list[Outcome])
    """The first hundred that failed."""
    unknowns: list[Outcome] = msgspec.field(default_factory=list[Outcome])
    """The first hundred whose outcome is unknown."""
    warnings: list[str] = msgspec.field(default_factory=list[str])
    """What was warned of on the way."""
    seconds: float = 0.0
    """Since the run began."""
    stopped: str | None = None
    """Why the run ended before its time, if it did."""
    rolled_back: int = 0
    """How much of what was made was removed again."""
    gone: int = 0
    """How many entries had ended and were to be made anew (``refresh``)."""
    pruned: int = 0
    """How many entries were removed that the fleet does not name any more (``prune``)."""
    not_pruned: int = 0
    """How many of those could not be removed."""
    stale: int = 0
    """How many entries were done longer ago than they can live without a user: they may have ended, and nobody asked."""

    def _count(self, status: str) -> int:
        return sum(counter[status] for counter in self.counts.values())

    @property
    def total(self) -> int:
        """All entries."""
        return sum(counter.total() for counter in self.counts.values())

    @property
    def done(self) -> int:
        """Entries that are done, by this run or an earlier one."""
        return self._count("done")

    @property
    def failed(self) -> int:
        """Entries that failed."""
        return self._count("failed")

    @property
    def unknown(self) -> int:
        """Entries whose outcome is unknown."""
        return self._count("unknown")

    @property
    def pending(self) -> int:
        """Entries that were not tried."""
        return self._count("pending")

    @property
    def exit_status(self) -> Literal[0, 1, 3]:
        """0 when all is done, 1 when something failed, 3 when something is unknown or pending, or may have ended since."""
        if self.failed or self.not_pruned:
            return 1
        return 3 if self.unknown or self.pending or self.stale else 0

    def add(self, outcome: Outcome) -> None:
        """Count an outcome, which was pending until now."""
        counter = self.counts[outcome.made_by or type(outcome.action).__name__]
        counter["pending"] -= 1
        counter[outcome.status] += 1
        self.earlier += outcome.earlier
        kept = {"failed": self.failures, "unknown": self.unknowns}.get(outcome.status)
        if kept is not None and len(kept) < MAX_KEPT:
            kept.append(outcome)


class LaneProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the entries of one Action are."""

    action: str
    """The vendor's name of the Action."""
    total: int
    """All entries of the Action."""
    done: int
    """Entries that are done, by this run or an earlier one."""
    failed: int
    """Entries that failed."""
    unknown: int
    """Entries whose outcome is unknown."""
    pending: int
    """Entries that have not been tried yet."""
    in_flight: int
    """Requests that have left and are not answered."""
    rate: float
    """Requests that left in the last second."""
    limit: float
    """Requests a second that the limit allows."""
    seconds_left: float
    """How long what is pending takes at the limit."""
    limiter: LimiterStats = LimiterStats()
    """How the Action uses its limit, by this run and by all others of the process."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is."""

    lanes: tuple[LaneProgress, ...]
    """One for each Action, in the order in which they are first met."""
    seconds: float
    """Since it began."""
    seconds_left: float
    """As the limits set it; what waits for a place in the quota is not foreseen."""
    note: str | None
    """What the run is waiting for, where that is not the limits."""
    checked: int = 0
    """Entries that were checked so far; there are no lanes before all of them are."""


class Meter:
    """Counts what leaves in the last second, in slots, so that its memory is bounded."""

    _SLOTS = 20

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slots: deque[tuple[int, int]] = deque(maxlen=self._SLOTS)

    def tick(self) -> None:
        """One left."""
        slot = int(self._clock() * self._SLOTS)
        if self._slots and self._slots[-1][0] == slot:
            self._slots[-1] = (slot, self._slots[-1][1] + 1)
        else:
            self._slots.append((slot, 1))

    def rate(self) -> float:
        """How many left in the last second."""
        oldest = int(self._clock() * self._SLOTS) - self._SLOTS + 1
        return sum(number for slot, number in self._slots if slot >= oldest)


def error_facts(error: ZegoError) -> dict[str, Any]:
    """An error as the journal and the JSON output show it."""
    facts: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, ApiError):
        facts |= {"code": error.code, "name": error.name, "request_id": error.request_id}
    return facts


def error_from_facts(facts: Mapping[str, Any], action: Action[Any]) -> ZegoError:
    """What an earlier run noted, as an error."""
    text = f"{facts.get('type', 'ZegoError')}: {facts.get('message', '')}"
    kind = facts.get("type")
    if kind == "OutcomeUnknown":
        return OutcomeUnknown(str(facts.get("message", "")), action=action, advice=unknown_advice(action))
    return NotTried(text) if kind == "NotTried" else ZegoError(text)
