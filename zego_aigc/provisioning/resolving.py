"""Settling by hand what no answer and no callback has settled."""

from __future__ import annotations

import os
import sqlite3
import time
from functools import partial

from zego_aigc.errors import ConfigurationError
from zego_aigc.provisioning import journal_file, observation
from zego_aigc.provisioning.journal import Journal
from zego_aigc.provisioning.journal_file import Row
from zego_aigc.provisioning.removal import require_known
from zego_aigc.schema.lifecycle import LIFECYCLES

__all__ = ["resolve"]


async def resolve(journal: str | os.PathLike[str], key: str, *, made_id: str | None = None, gone: bool = False) -> None:
    """Note in a journal what has become of an entry whose outcome is unknown.

    ::

        await resolve("fleet.journal", "CreateAgentInstance:booth-3", made_id="1913363...")  # it lives: it counts as done
        await resolve("fleet.journal", "CreateAgentInstance:booth-4", gone=True)  # it does not: the next run makes it anew

    Args:
        journal: path of the journal.
        key: the entry's.
        made_id: the AgentInstanceId, TaskId or AgentId of what the entry made, from a callback or the console.
        gone: nothing of the entry lives. It may also be said of one that is done and has ended.

    Raises:
        ConfigurationError: the journal knows no such entry, there is nothing to resolve, or not exactly one of `made_id` and
            `gone` was given.
        JournalError: the journal cannot be used, or is in use.
    """
    if (made_id is None) is not gone:
        raise ConfigurationError("pass either the id of what the entry made, or gone=True")
    opened = await Journal.open(journal, must_exist=True)
    try:
        await require_known(opened, [key])
        (row,) = await opened.run_in_transaction(partial(journal_file.rows, where="key = ?", values=(key,)))
        _require_open_question(row, made_id)
        target = opened.facts.target
        assert target is not None
        await opened.begin(target)
        await opened.run_in_transaction(partial(_note, row=row, made_id=made_id))
    finally:
        await opened.close()


def _require_open_question(row: Row, made_id: str | None) -> None:
    """See that there is something to resolve.

    Raises:
        ConfigurationError: there is not.
    """
    if made_id is not None:
        if row.status not in {"sent", "unknown"}:
            raise ConfigurationError(f"{row.key!r} is {row.status}: an id is given to what is unknown")
        if row.action not in LIFECYCLES:
            raise ConfigurationError(
                f"{row.key!r} is a {row.action}, which makes nothing that has an id: pass gone=True (--gone)"
            )
    elif row.status not in {"sent", "unknown", "done", "made"}:
        raise ConfigurationError(f"{row.key!r} is {row.status}: there is nothing to resolve")


def _note(connection: sqlite3.Connection, *, row: Row, made_id: str | None) -> None:
    if made_id is None:
        observation.set_gone(connection, row, time.time())
    else:
        observation.set_made(connection, row, made_id, time.time())
