"""Equal failures are reported together: what failed in the same way for many entries is one sentence with a count."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zego_aigc.cli._format import error_text
from zego_aigc.provisioning.events import Outcome

__all__ = ["Failure", "Failures", "of_outcome", "without_details"]

MAX_FAILURES = 100
MAX_LISTED = 20

_VARIABLE = re.compile(r"'[^']*'|\d+")
"""What differs from entry to entry in messages that say the same."""


def without_details(text: str) -> str:
    """A message without the names and numbers in it: what is left is the same for all that say the same."""
    return _VARIABLE.sub("", text)


class Failure:
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
    def details(self) -> str:
        """What is known of the entry, if it is the only one."""
        return self.entries[0][1] if self.count == 1 else ""

    def listing(self, *, few: int = 3) -> Iterator[str]:
        """The entries, if they are several: one a line where there is more to say of each than its key."""
        if self.count == 1:
            return
        if any(details for _, details in self.entries):
            for key, details in self.entries:
                yield f"{key}  {details}"
            if self.count > len(self.entries):
                yield f"and {self.count - len(self.entries)} more"
            return
        more = f" and {self.count - few} more" if self.count > few else ""
        yield ", ".join(key for key, _ in self.entries[:few]) + more


class Failures:
    """Collects failures, as many as anybody would read. Iterates over them, those of the first entries first."""

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str], Failure] = {}
        self.others: int = 0
        """Entries whose failures were too many to be kept."""

    def add(self, status: str, key: str, text: str, details: str = "") -> Failure | None:
        """Count an entry; returns its failure, or None when there are too many."""
        alike = status, without_details(text)
        failure = self._failures.get(alike)
        if failure is None:
            if len(self._failures) >= MAX_FAILURES:
                self.others += 1
                return None
            failure = self._failures[alike] = Failure(status, text)
        failure.count += 1
        if len(failure.entries) < MAX_LISTED:
            failure.entries.append((key, details))
        return failure

    def __iter__(self) -> Iterator[Failure]:
        return iter(self._failures.values())

    def lines(self) -> Iterator[str]:
        """What is to be said, as plain lines."""
        for failure in self:
            details = f" [{failure.details}]" if failure.details else ""
            yield f"{failure.status}: {failure.subject}: {failure.text}{details}"
            for line in failure.listing():
                yield f"    {line}"
        if self.others:
            yield f"... and {self.others} more"


def of_outcome(failures: Failures, outcome: Outcome) -> Failure | None:
    """Count an outcome that is not done; None if it is, or when there are too many failures."""
    if outcome.status == "done":
        return None
    known = f"RequestId {outcome.request_id}" if outcome.request_id else outcome.where or ""
    return failures.add(outcome.status, outcome.key, error_text(outcome), known)
