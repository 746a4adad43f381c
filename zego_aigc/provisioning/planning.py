"""What a run would do, without doing any of it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec

from zego_aigc.provisioning import journal_file, plan, preflight
from zego_aigc.provisioning.cautions import instances_by_kind
from zego_aigc.provisioning.changes import FieldChange
from zego_aigc.provisioning.cross_checks import changed_entries
from zego_aigc.provisioning.journal import Journal
from zego_aigc.provisioning.preflight import Entries, Rules
from zego_aigc.provisioning.presence import Presences
from zego_aigc.provisioning.run_calls import RunCalls
from zego_aigc.schema.actions import ACTIONS
from zego_aigc.schema.lifecycle import LIFECYCLES, QuotaKind

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["Changed", "Plan", "draw_up"]


class Changed(msgspec.Struct, frozen=True):
    """An entry that is done, or may be, and says something else now."""

    key: str
    """The entry's, unique in its fleet."""
    action: str
    """The vendor's name of the Action."""
    fields: tuple[FieldChange, ...]
    """What has changed, secrets masked. Empty where the journal does not know what it was."""
    way: Literal["update", "teardown"]
    """``"update"``: ``update=True`` does it. ``"teardown"``: it must be ended first (``teardown(only=[key])``)."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run would do with a fleet and a journal as they are now."""

    to_make: dict[str, list[str]]
    """The keys of entries to be made, by Action: never made, failed, or removed."""
    unclear: list[str]
    """The keys of entries that may have been made: the next run looks into them."""
    done: dict[str, int]
    """How many entries are done, by Action; changed ones included."""
    changed: list[Changed]
    """Entries that are done, or may be, and say something else now."""
    left: list[str]
    """The keys of what the journal made, perhaps, and the fleet does not name any more: ``prune`` removes it."""
    gone: list[str] | None
    """The keys of entries that are done and that the service has no more: ``refresh`` makes them anew. None if it was not
    asked."""
    instances: dict[QuotaKind, int]
    """How many instances of each kind the fleet asks for."""
    seconds: float
    """How long making everything takes at the limits; what waits for a place in the quota is not foreseen."""
    warnings: tuple[str, ...]
    """What would be warned of."""

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.to_make or self.unclear or self.changed or self.left or self.gone)


async def draw_up(
    entries: Entries,
    journal: str | os.PathLike[str],
    *,
    client: Client | None = None,
    rules: Rules | None = None,
) -> Plan:
    """Compare a fleet with its journal, and with the service if there is a client. Nothing is changed, nor locked.

    Args:
        entries: the fleet. It is gone through once.
        journal: path of the journal; there need not be one.
        client: asked which agents exist, and what of the entries that are done is still there.
        rules: what the fleet may be.

    Raises:
        InvalidFleet: with all that is wrong with the fleet.
        JournalError: the journal cannot be used.
        ZegoError: the service could not be asked.
    """
    calls = None if client is None else RunCalls(client, background=True)
    rules = (rules or Rules())._replace(changed=frozenset(ACTIONS), update=False)
    look = await Journal.look(journal)
    try:
        totals = await preflight.check(
            calls,
            entries,
            look,
            rules=rules,
            pause=lambda: 0.0,
            progress=lambda count: None,  # noqa: ARG005
        )
        gone = None if calls is None else await _gone(calls, look)
        return await look.run_alone(partial(_plan, gone=gone, warnings=totals.warnings, seconds_a_call=rules.seconds_a_call))
    finally:
        await look.close()


async def _gone(calls: RunCalls, journal: Journal) -> list[str]:
    where = "made_id IS NOT NULL AND status IN ('done', 'made') AND key IN (SELECT key FROM main.plan)"
    presences, gone, at = Presences(calls), list[str](), 0
    while rows := await journal.run_alone(partial(journal_file.rows, where=where, after=at, most=100)):
        at = rows[-1].seq
        found = await presences.of(rows)
        for row in rows:
            presence = found[row.seq]
            if presence.error is not None:
                raise presence.error
            if presence.there is False:
                gone.append(row.key)
    return gone


def _plan(connection: sqlite3.Connection, *, gone: list[str] | None, warnings: Sequence[str], seconds_a_call: float) -> Plan:
    to_make: dict[str, list[str]] = {}
    unclear: list[str] = []
    done: dict[str, int] = {}
    rows = connection.execute(
        "SELECT plan.key, plan.action, entries.status FROM plan LEFT JOIN journal.entries AS entries ON entries.key = plan.key"
        " ORDER BY plan.seq"
    )
    for key, action, status in rows:
        if status in {None, "pending", "failed", "removed"}:
            to_make.setdefault(action, []).append(key)
        elif status == "done":
            done[action] = done.get(action, 0) + 1
        else:
            unclear.append(key)
    changed = [
        Changed(entry.key, entry.action, entry.fields, _way(entry.action, entry.status))
        for entry in changed_entries(connection)
    ]
    return Plan(
        to_make=to_make,
        unclear=unclear,
        done=done,
        changed=changed,
        left=plan.left(connection),
        gone=gone,
        instances={kind: count for kind, (count, _) in instances_by_kind(connection).items()},
        seconds=max((len(keys) * seconds_a_call for keys in to_make.values()), default=0.0),
        warnings=tuple(warnings),
    )


def _way(action: str, status: str) -> Literal["update", "teardown"]:
    life = LIFECYCLES.get(action)
    return "update" if status == "done" and life is not None and life.updated_by is not None else "teardown"
