"""A sandbox without a rate limit, a client that is as fast, and small helpers to run fleets against it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from zego_aigc import Action, Client, LocalLimiter, RetryPolicy
from zego_aigc.provisioning import Outcome, Report, provision, teardown
from zego_aigc.sandbox import Fault, Sandbox

__all__ = ["FAST", "PATIENT", "client", "content", "ids", "journal", "removed", "rows", "run", "sandbox", "together", "until"]

FAST = 10_000
"""Calls a second."""

PATIENT = RetryPolicy(initial_backoff=0.01, max_backoff=0.1, lookup_delay=0.05, attempt_timeout=60.0)
"""Ends soon where an answer is lost, and waits for one that is only late, as on a busy machine."""


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(quota=None, rate_limit=None) as running:
        yield running


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[Client]:
    async with sandbox.client(limiter=LocalLimiter(FAST), timeout=60.0, retry=PATIENT) as made:
        yield made


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "fleet.journal"


async def run(client: Client, entries: Any, journal: Path, **options: Any) -> tuple[dict[str, Outcome], Report]:
    """Provision, and give the outcomes by key."""
    outcomes: dict[str, Outcome] = {}
    async with provision(client, entries, journal=journal, **{"lookup_delay": 0.05, **options}) as running:
        async for outcome in running:
            assert outcome.key not in outcomes, "an entry is told once"
            outcomes[outcome.key] = outcome
    return outcomes, running.report


async def removed(client: Client, journal: Path) -> tuple[dict[str, Outcome], Report]:
    """Tear down, and give the outcomes by key."""
    outcomes: dict[str, Outcome] = {}
    async with teardown(client, journal) as running:
        async for outcome in running:
            outcomes[outcome.key] = outcome
    return outcomes, running.report


async def until(condition: Callable[[], object]) -> None:
    """Wait until something holds, for a minute at most."""
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - it happens in a server
            await anyio.sleep(0.01)


async def together(sandbox: Sandbox, late: Fault, count: int) -> None:
    """Have so many requests arrive at the same moment, which `late` holds back for a minute of the sandbox's clock."""
    await until(lambda: late.hits == count)
    late.remove()
    await sandbox.clock.advance(60.0)


def content(journal: Path) -> bytes:
    """The journal's bytes, its companions' too; empty when there is none."""
    return b"".join(path.read_bytes() for path in sorted(journal.parent.glob(f"{journal.name}*")))


def rows(journal: Path) -> dict[str, dict[str, Any]]:
    """The journal's rows by key."""
    with closing(sqlite3.connect(journal)) as connection:
        connection.row_factory = sqlite3.Row
        return {row["key"]: dict(row) for row in connection.execute("SELECT * FROM entries")}


def ids(outcomes: Iterable[Outcome]) -> set[str]:
    """The ids of the instances and tasks that were made."""
    return {
        getattr(outcome.result, "agent_instance_id", None) or outcome.result.task_id
        for outcome in outcomes
        if outcome.result is not None
    }


def copied(journal: Path) -> Path:
    """The journal as a kill at this moment leaves it."""
    killed = journal.with_name("killed.journal")
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(f"{journal}{suffix}", f"{killed}{suffix}")
    return killed


async def killed_in_flight(sandbox: Sandbox, client: Client, fleet: Sequence[Action[Any]], journal: Path) -> Path:
    """The journal of a run that was killed with all its requests in flight. They are carried out a minute later."""
    late = sandbox.faults.on(*{type(action) for action in fleet}).latency(60.0)
    async with provision(client, fleet, journal=journal):
        await until(lambda: late.hits == len(fleet))
        killed = copied(journal)
        await together(sandbox, late, len(fleet))
    assert {row["status"] for row in rows(killed).values()} == {"sent"}
    return killed


async def lost(sandbox: Sandbox, client: Client, fleet: Sequence[Action[Any]], journal: Path, *, made: bool) -> None:
    """Leave a journal by which the requests of a fleet were sent and never answered, whether they were carried out or not."""
    creates = sandbox.faults.on(*{type(action) for action in fleet})
    lists = {action.lifecycle.listing.query for action in fleet if action.lifecycle and action.lifecycle.listing}
    faults = [creates.cut_after_work() if made else creates.cut_before_work()]
    if lists:  # or the call would look it up itself
        faults.append(sandbox.faults.on(*lists).refuse(400000001))
    async with provision(client, fleet, journal=journal, lookup_delay=60, extend=bool(content(journal))):
        await until(lambda: sum(row["status"] == "unknown" for row in rows(journal).values()) == len(fleet))
    for fault in faults:
        fault.remove()


def shift(journal: Path, seconds: float) -> None:
    """As if the clock by which the attempts were noted had been so much ahead."""
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute("UPDATE entries SET first_sent = first_sent + ?, last_sent = last_sent + ?", (seconds, seconds))
