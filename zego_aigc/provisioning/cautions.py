"""What may go well with a fleet and yet not as meant: it is said before anything is made, and stops nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping

from zego_aigc.schema.lifecycle import LIFECYCLES, QuotaKind

__all__ = ["ACCOUNTS_BEGIN_WITH", "instances_by_kind", "warnings_of"]

ACCOUNTS_BEGIN_WITH = 10
"""Instances of a kind that an account may hold unless support has raised that."""


def warnings_of(connection: sqlite3.Connection, budget: Mapping[QuotaKind, int | None], seconds_a_call: float) -> Iterator[str]:
    """What may go well and yet not as meant.

    Args:
        connection: to the plan, with the journal attached.
        budget: how many instances of each kind may live; what is not in it is the account's.
        seconds_a_call: what a call of one Action takes at the limit.
    """
    yield from _short_lives(connection, seconds_a_call)
    yield from _quota(connection, budget)


def _short_lives(connection: sqlite3.Connection, seconds_a_call: float) -> Iterator[str]:
    counts = connection.execute(
        "SELECT plan.action, count(*), min(plan.idle) FROM plan LEFT JOIN journal.entries AS entries ON entries.key = plan.key"
        " WHERE entries.status IS NULL OR entries.status <> 'done' GROUP BY plan.action ORDER BY min(plan.seq)"
    ).fetchall()
    makespan = max((count * seconds_a_call for _, count, _ in counts), default=0.0)
    for action, _, idle in counts:
        if idle is not None and makespan > idle:
            yield (
                f"making everything takes about {_minutes(makespan)} at the limits, but a {action} ends by itself after "
                f"{idle} idle seconds (MaxIdleTime): the first may be gone before the last exist"
            )


def instances_by_kind(connection: sqlite3.Connection) -> dict[QuotaKind, tuple[int, int]]:
    """How many instances of each kind the fleet asks for, and how many of them are still to be made."""
    kinds: dict[QuotaKind, tuple[int, int]] = {}
    rows = connection.execute(
        "SELECT plan.action, count(*), count(*) FILTER (WHERE entries.status IS NULL OR entries.status <> 'done')"
        " FROM plan LEFT JOIN journal.entries AS entries ON entries.key = plan.key GROUP BY plan.action"
    )
    for action, count, missing in rows:
        life = LIFECYCLES.get(action)
        if life is not None and life.quota is not None:
            before = kinds.get(life.quota, (0, 0))
            kinds[life.quota] = before[0] + count, before[1] + missing
    return kinds


def _quota(connection: sqlite3.Connection, budget: Mapping[QuotaKind, int | None]) -> Iterator[str]:
    for kind, (count, missing) in instances_by_kind(connection).items():
        limit = budget.get(kind, ACCOUNTS_BEGIN_WITH)
        if missing and limit is not None and count > limit:
            what = kind.replace("_", " ")
            known = f"the quota is {limit}" if kind in budget else f"accounts start with {limit}, unless support raised that"
            yield f"{count} {what} are asked for; {known}: what finds no place waits (--on-quota, --quota-wait)"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
