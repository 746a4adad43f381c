"""Finding out what of a fleet has ended by itself, so that it is made anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from zego_aigc.errors import ApiError, AuthenticationError, ConnectFailed, ZegoError
from zego_aigc.provisioning import journal_file
from zego_aigc.provisioning.journal import Journal
from zego_aigc.provisioning.journal_update import JournalUpdate
from zego_aigc.provisioning.observation import Revive
from zego_aigc.provisioning.presence import Presences
from zego_aigc.provisioning.service_clock import ServiceClock

if TYPE_CHECKING:
    from zego_aigc.provisioning.run_calls import RunCalls

__all__ = ["Refreshed", "refresh"]

_DONE = "made_id IS NOT NULL AND status IN ('done', 'made') AND key IN (SELECT key FROM main.plan)"

PAGE = 100
"""Entries that are asked about together."""

MAX_EXAMPLES = 3
"""Keys of entries that are gone that are kept."""


class Refreshed(NamedTuple):
    """What came of it."""

    gone: int
    examples: tuple[str, ...]
    """The keys of the first that are gone."""
    not_known: int
    """How many could not be asked about."""
    trouble: str
    """Why the first of them could not."""

    def warnings(self, *, gone: bool) -> Iterator[str]:
        """What to say about it; with or without what is gone."""
        if gone and self.gone:
            more = f" and {self.gone - len(self.examples)} more" if self.gone > len(self.examples) else ""
            yield f"gone at the service, and recreated: {', '.join(self.examples)}{more}"
        if self.not_known:
            yield f"{self.not_known} entries could not be asked about, and count as there: {self.trouble}"


async def refresh(
    calls: RunCalls,
    journal: Journal,
    clock: ServiceClock,
    *,
    revive: Revive,
    progress: Callable[[str], object],
) -> Refreshed:
    """Note as removed what the plan's entries made and the service has no more.

    Args:
        calls: to the service.
        journal: begun.
        clock: the service's.
        revive: whether to do so with an entry that is gone.
        progress: called with how far it is.

    Raises:
        ConnectFailed: the service cannot be reached.
        AuthenticationError: the credentials are wrong.
    """
    total = await journal.run_in_transaction(
        lambda connection: int(connection.execute(f"SELECT count(*) FROM journal.entries WHERE {_DONE}").fetchone()[0])  # noqa: S608 - our own words
    )
    presences = Presences(calls)
    gone: list[str] = []
    not_known, asked, at = 0, 0, 0
    trouble: ZegoError | None = None
    count = 0
    while rows := await journal.run_in_transaction(partial(journal_file.rows, where=_DONE, after=at, most=PAGE)):
        at = rows[-1].seq
        progress(f"asking what is still there: {asked} of {total}")
        found = await presences.of(rows)
        for row in rows:
            presence = found[row.seq]
            if isinstance(presence.error, ConnectFailed | AuthenticationError):
                raise presence.error
            if presence.there is None and presence.error is not None:
                not_known += 1
                trouble = trouble or presence.error
            elif presence.there is False and revive(row, presence):
                count += 1
                if len(gone) < MAX_EXAMPLES:
                    gone.append(row.key)
                journal.record_outcome(JournalUpdate(row.key, "removed", clock.now()))
        await journal.flush()
        asked += len(rows)
    return Refreshed(count, tuple(gone), not_known, "" if trouble is None else _said(trouble))


def _said(error: ZegoError) -> str:
    """An error without its RequestId, which differs from call to call."""
    return f"{error.action}: {error.name} ({error.code})" if isinstance(error, ApiError) else str(error)
