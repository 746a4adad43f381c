"""What may go well with a fleet and yet not as meant: it is said before anything is made, and stops nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

from zego_aigc.schema.lifecycle import LIFECYCLES, QuotaKind

__all__ = ["ACCOUNTS_BEGIN_WITH", "instances_by_kind", "left_over", "may_have_ended", "warnings_of"]

ACCOUNTS_BEGIN_WITH = 10
"""Instances of a kind that an account may hold unless support has raised that."""

MAX_LISTED = 3
"""Keys that a warning names."""


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
                f"{idle} seconds without use (MaxIdleTime or TTL): the first may be gone before the last exist"
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
            known, ways = f"the quota is {limit}", "--on-quota, --quota-wait"
            if kind not in budget:
                known = f"accounts start with {limit}, unless support raised that"
                ways += "; a sandbox takes more with --quota"
            yield f"{count} {what} are asked for; {known}: what finds no place waits ({ways})"


def may_have_ended(keys: Sequence[str]) -> str:
    """The warning that entries are done which nothing was asked about for longer than they live unseen."""
    what = f"{_listed(keys)} {'was' if len(keys) == 1 else 'were'} made longer ago than MaxIdleTime or TTL"
    return f"{what}, and may have ended by now: --refresh (refresh=True) asks, and recreates it"


def left_over(keys: Sequence[str]) -> str:
    """The warning that the journal made what the fleet does not name."""
    what = f"{_listed(keys)} {'is' if len(keys) == 1 else 'are'} in the journal and no longer in the fleet"
    return f"{what}: --prune (prune=True) removes what this journal made of them"


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - MAX_LISTED} more" if len(keys) > MAX_LISTED else ""
    return ", ".join(keys[:MAX_LISTED]) + more


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
