"""Equal causes told together: what befell many entries in the same way is one sentence with a count."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zego_aigc.cli._format import error_text
from zego_aigc.provisioning.events import Outcome

__all__ = ["Cause", "Causes", "of_outcome"]

MOST_CAUSES = 100
MOST_LISTED = 20

_PARTICULARS = re.compile(r"'[^']*'|\d+")
"""What differs from entry to entry in messages that say the same."""


class Cause:
    """Why some entries are not done.

    Args:
        text: as it was said of the first.
    """

    def __init__(self, status: str, text: str) -> None:
        self.status = status
        self.text = text
        self.count = 0
        self.entries: list[tuple[str, str]] = []
        """The first entries: their keys, each with its RequestId or what else is known of it alone."""

    @property
    def subject(self) -> str:
        """Whom it befell."""
        return self.entries[0][0] if self.count == 1 else f"{self.count} entries"

    @property
    def particulars(self) -> str:
        """What is known of the entry, if it is the only one."""
        return self.entries[0][1] if self.count == 1 else ""

    def listing(self, *, few: int = 3) -> Iterator[str]:
        """The entries, if they are several: one a line where there is more to say of each than its key."""
        if self.count == 1:
            return
        if any(particulars for _, particulars in self.entries):
            for key, particulars in self.entries:
                yield f"{key}  {particulars}"
            if self.count > len(self.entries):
                yield f"and {self.count - len(self.entries)} more"
            return
        more = f" and {self.count - few} more" if self.count > few else ""
        yield ", ".join(key for key, _ in self.entries[:few]) + more


class Causes:
    """Collects causes, as many as anybody would read. Iterates over them, those of the first entries first."""

    def __init__(self) -> None:
        self._causes: dict[tuple[str, str], Cause] = {}
        self.others: int = 0
        """Entries whose causes were too many to be kept."""

    def add(self, status: str, key: str, text: str, particulars: str = "") -> Cause | None:
        """Count an entry; returns its cause, or None when there are too many."""
        alike = status, _PARTICULARS.sub("", text)
        cause = self._causes.get(alike)
        if cause is None:
            if len(self._causes) >= MOST_CAUSES:
                self.others += 1
                return None
            cause = self._causes[alike] = Cause(status, text)
        cause.count += 1
        if len(cause.entries) < MOST_LISTED:
            cause.entries.append((key, particulars))
        return cause

    def __iter__(self) -> Iterator[Cause]:
        return iter(self._causes.values())

    def lines(self) -> Iterator[str]:
        """What is to be said, as plain lines."""
        for cause in self:
            particulars = f" [{cause.particulars}]" if cause.particulars else ""
            yield f"{cause.status}: {cause.subject}: {cause.text}{particulars}"
            for line in cause.listing():
                yield f"    {line}"
        if self.others:
            yield f"... and {self.others} more"


def of_outcome(causes: Causes, outcome: Outcome) -> Cause | None:
    """Count an outcome that is not done; None if it is, or when there are too many causes."""
    if outcome.status == "done":
        return None
    known = f"RequestId {outcome.request_id}" if outcome.request_id else outcome.where or ""
    return causes.add(outcome.status, outcome.key, error_text(outcome), known)
