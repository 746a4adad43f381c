"""Reading a journal, also while another process writes it."""

# ruff: noqa: S608 - what the SQL is put together from are words of our own
from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from zego_aigc.provisioning.errors import JournalError
from zego_aigc.provisioning.journal_file import COLUMNS, Facts, Row, Target, attach, inspect, missing, require_target
from zego_aigc.provisioning.lock import is_locked

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["Reading", "read_journal"]


class Reading:
    """A journal as it stands, which another process may be writing. Use it with ``with``."""

    def __init__(self, path: Path, connection: sqlite3.Connection, facts: Facts, *, in_use: bool | None) -> None:
        self.path = path
        self.facts = facts
        self.in_use = in_use
        """Whether a process is writing it: then what was sent is in flight, otherwise unknown. None if this account may not see
        that."""
        self._connection = connection

    @property
    def sandbox_ended(self) -> bool:
        """Whether it is of a sandbox that lived inside the run that wrote it, and that run is over."""
        return self.facts.target is not None and self.facts.target.sandbox is not None and self.in_use is False

    def refuse_ended_sandbox(self) -> None:
        """See that there is a service to be asked.

        Raises:
            JournalError: the journal is of a sandbox that no other process can reach.
        """
        require_target(self.path, self.facts.target, None)

    def require(self, client: Client) -> None:
        """See that the journal belongs to the client's target.

        Raises:
            JournalError: it belongs to another.
        """
        require_target(self.path, self.facts.target, Target.of(client))

    def rows(self, where: str = "1", values: Sequence[Any] = ()) -> Iterator[Row]:
        """Rows in order, as a stream. `where` is SQL of our own."""
        query = f"SELECT {COLUMNS} FROM entries WHERE {where} ORDER BY seq"
        return map(Row._make, self._connection.execute(query, values))

    def counts(self) -> dict[tuple[str, str], int]:
        """How many rows there are by Action and status."""
        rows = self._connection.execute(
            "SELECT action, status, count(*) FROM entries GROUP BY action, status ORDER BY min(seq)"
        )
        return {(action, status): count for action, status, count in rows}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def read_journal(path: str | os.PathLike[str]) -> Reading:
    """Open a journal for reading, also while a run goes on.

    Raises:
        JournalError: there is none, it is damaged, or newer than this library.
    """
    where = Path(path)
    if not where.exists():
        raise missing(where)
    in_use = is_locked(where)
    facts = inspect(where)
    if facts.version == 0:
        raise JournalError(f"the journal {where} is empty: nothing was written to it yet")
    connection = sqlite3.connect(":memory:", uri=True, isolation_level=None)
    attach(connection, where, facts)
    connection.execute("BEGIN")  # one state of the journal for everything that is read
    return Reading(where, connection, facts, in_use=in_use)
