"""A fleet lets people go first at the limiter, with all that it asks and changes."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from provision_fixtures import *  # noqa: F403 - fixtures
from provision_fixtures import FAST, removed, rows, run
from requests_made import register, stream, talking, voice

from zego_aigc import Action, LocalLimiter, maintain, provision
from zego_aigc.aiagent import (
    DeleteAgentInstance,
    QueryAgentInstanceStatus,
    QueryAgents,
    RegisterAgent,
    UpdateAgent,
)
from zego_aigc.digitalhuman import (
    CreateDigitalHumanStreamTask,
    QueryDigitalHumanStreamTasks,
    StopDigitalHumanStreamTask,
)
from zego_aigc.limits.limiter import FullPermit
from zego_aigc.sandbox import Sandbox

pytestmark = pytest.mark.anyio


class Lines(LocalLimiter):
    """A limiter that counts in which line each Action was called."""

    def __init__(self) -> None:
        super().__init__(FAST)
        self.foreground: Counter[str] = Counter()
        self.background: Counter[str] = Counter()

    def take(self, app_id: int, action: str, *, background: bool = False) -> FullPermit | None:
        (self.background if background else self.foreground)[action] += 1
        return super().take(app_id, action, background=background)


def fleet(agent_text: str = "") -> list[Action[Any]]:
    changed = {"Name": agent_text} if agent_text else {}
    return [register("a", **changed), voice("v", "a"), talking("d", "there-already"), stream("s1"), stream("s2")]


def killed_in_flight(journal: Path, *keys: str) -> None:
    """As if the run that wrote the journal had been killed before it knew the outcome of these."""
    with closing(sqlite3.connect(journal)) as connection, connection:
        for key in keys:
            connection.execute("UPDATE entries SET status = 'sent', made_id = NULL, result = NULL WHERE key = ?", (key,))


@pytest.mark.slow
async def test_all_that_a_fleet_calls_from_its_first_check_to_its_teardown_lets_others_go_first(
    sandbox: Sandbox, journal: Path
) -> None:
    lines = Lines()
    async with sandbox.client() as other:
        await other.call(register("there-already"))
    async with sandbox.client(limiter=lines, timeout=2.0) as client:
        # The preflight asks for the agent, lost creates are looked up, and tasks are asked whether they stream.
        sandbox.faults.on(RegisterAgent, CreateDigitalHumanStreamTask).times(2).cut_after_work()
        outcomes, report = await run(client, fleet(), journal, until="streaming")
        assert report.exit_status == 0, outcomes
        # What a killed run has left is looked up; what has ended is noticed, and what has changed is updated.
        killed_in_flight(journal, "RegisterAgent:a", "CreateDigitalHumanStreamTask:stream-s1")
        _, report = await run(client, fleet(), journal)
        assert report.exit_status == 0
        _, report = await run(client, fleet("changed")[:-1], journal, refresh=True, update=True, prune=True)
        assert report.exit_status == 0
        async with maintain(client, fleet("changed"), journal=journal) as upkeep:
            await upkeep.__anext__()
        await provision(client, fleet("changed"), journal=journal).plan(live=True)
        killed_in_flight(journal, "RegisterAgent:a", "CreateDigitalHumanStreamTask:stream-s1")
        _, report = await removed(client, journal)
        assert {row["status"] for row in rows(journal).values()} <= {"removed", "sent"}
    assert not lines.foreground
    expected = {
        QueryAgents,
        QueryDigitalHumanStreamTasks,
        QueryAgentInstanceStatus,
        UpdateAgent,
        DeleteAgentInstance,
        StopDigitalHumanStreamTask,
    }
    assert {each.__name__ for each in expected} <= lines.background.keys(), "or this test proves less than it says"


async def test_a_fleet_that_people_wait_for_may_go_first_itself(sandbox: Sandbox, journal: Path) -> None:
    lines = Lines()
    async with sandbox.client(limiter=lines) as client:
        await run(client, fleet()[:2], journal, background=False)
    assert not lines.background
