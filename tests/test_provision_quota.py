"""A fleet and its account's room: what counts, what gives its place back, and what becomes of what finds none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from provision_fixtures import *  # noqa: F403 - fixtures
from provision_fixtures import lost, rows, run
from requests_made import register, stream, talking, voice

from zego_aigc import Action, Client, LocalQuota
from zego_aigc.aiagent import (
    CreateAgentInstance,
    CreateDigitalHumanAgentInstance,
    QueryAgentInstanceStatus,
    UpdateAgent,
)
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask, QueryDigitalHumanStreamTasks
from zego_aigc.errors import ConfigurationError, QuotaExceeded
from zego_aigc.provisioning import Entry
from zego_aigc.sandbox import Sandbox

pytestmark = pytest.mark.anyio


async def test_what_is_refused_gives_its_place_back(sandbox: Sandbox, client: Client, journal: Path) -> None:
    sandbox.faults.on(CreateDigitalHumanStreamTask).times(1).refuse(400000003)
    fleet = [Entry(stream("1"), "first"), *(Entry(stream(str(n)), str(n)) for n in (2, 3))]
    outcomes, report = await run(client, fleet, journal, quota=LocalQuota(streams=2))
    assert (report.done, report.failed) == (2, 1)
    assert sum(outcome.status == "failed" for outcome in outcomes.values()) == 1


async def test_what_may_have_been_made_keeps_its_place(sandbox: Sandbox, client: Client, journal: Path) -> None:
    await client.call(register("a"))
    sandbox.faults.on(CreateAgentInstance).times(1).cut_after_work()
    fleet = [voice(str(n), "a") for n in range(3)]
    _, report = await run(client, fleet, journal, quota=LocalQuota(agents=2), quota_wait=0.3)
    assert (report.done, report.unknown, report.pending) == (1, 1, 1)
    assert len(sandbox.app.instances) == 2


async def test_of_a_budget_for_some_kinds_the_others_are_free_and_a_new_run_counts_what_lives(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    made: list[Action[Any]] = [register("a"), UpdateAgent(agent_id="a"), voice("v", "a"), talking("d", "a"), stream("1")]
    assert (await run(client, made, journal, quota=LocalQuota(1, None, 2)))[1].exit_status == 0
    more = [*made, talking("e", "a"), voice("w", "a"), stream("2"), stream("3")]
    outcomes, report = await run(client, more, journal, quota=LocalQuota(1, None, 2), on_quota="fail")
    assert (report.done, report.failed) == (7, 2)
    assert outcomes["CreateAgentInstance:agent-w"].status == "failed"
    assert outcomes["CreateDigitalHumanAgentInstance:agent-e"].status == "done"


async def test_many_that_find_no_place_are_told_at_once_and_wait_for_the_next_run(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    sandbox.app.quotas.streams = 0
    fleet = [stream(str(n)) for n in range(150)]
    outcomes, report = await run(client, fleet, journal, quota_wait=0.1)
    assert (report.pending, report.exit_status) == (150, 3)
    assert all("full of streams" in str(outcome.error) for outcome in outcomes.values())
    sandbox.app.quotas.streams = 1000
    assert (await run(client, fleet, journal))[1].exit_status == 0


async def test_what_was_lost_and_not_made_waits_for_a_place_like_any_other(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await lost(sandbox, client, [stream()], journal, made=False)
    sandbox.app.quotas.streams = 0
    outcomes, report = await run(client, [stream()], journal, quota_wait=0.1)
    assert (report.pending, report.exit_status) == (1, 3)
    assert "full of streams" in str(outcomes["CreateDigitalHumanStreamTask:stream-1"].error)
    sandbox.app.quotas.streams = 1
    assert (await run(client, [stream()], journal))[1].exit_status == 0


async def test_while_a_budget_is_used_up_what_lives_keeps_its_place_although_it_cannot_be_asked_about(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await client.call(register("a"))
    fleet = [*(voice(str(n), "a") for n in range(3)), *(stream(str(n)) for n in range(3))]
    for code in (None, 410000003):  # it is asked and lives; it cannot be asked
        if code is not None:
            sandbox.faults.on(QueryAgentInstanceStatus, QueryDigitalHumanStreamTasks).refuse(code)
        _, report = await run(client, fleet, journal, quota=LocalQuota(agents=2, streams=2), quota_wait=0.3)
        assert (report.done, report.pending, report.exit_status) == (4, 2, 3)
    assert sandbox.received(QueryAgentInstanceStatus)
    assert sandbox.received(QueryDigitalHumanStreamTasks)


@pytest.mark.parametrize("room", ["budget", "account"])
async def test_a_function_may_decide_entry_by_entry_what_is_made_instead_or_that_nothing_is(
    sandbox: Sandbox, client: Client, journal: Path, room: str
) -> None:
    def only_for_the_second(entry: Entry, _: QuotaExceeded) -> Action[Any] | None:
        create = entry.action
        assert isinstance(create, CreateDigitalHumanAgentInstance)
        if create.rtc.room_id != "room-2":
            return None
        return CreateAgentInstance(agent_id=create.agent_id, user_id="visitor", rtc=create.rtc)

    sandbox.app.quotas.digital_humans = 1
    quota = LocalQuota(digital_humans=1) if room == "budget" else None
    # One after the other, so that it is known who finds a place.
    fleet: list[Any] = [Entry(register("a"), "a"), Entry(talking("1", "a"), "1")]
    fleet += [Entry(talking(str(n), "a"), str(n), after=["1"]) for n in (2, 3)]
    outcomes, report = await run(client, fleet, journal, quota=quota, on_quota=only_for_the_second)
    assert {key: outcome.status for key, outcome in outcomes.items()} == {"a": "done", "1": "done", "2": "done", "3": "failed"}
    assert isinstance(outcomes["3"].error, QuotaExceeded)
    assert rows(journal)["2"]["action"] == "CreateAgentInstance"
    assert report.exit_status == 1


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"on_quota": "stay"}, "on_quota must be 'wait' or 'fail', not 'stay'"),
        ({"until": "done"}, "until must be 'created' or 'streaming'"),
        ({"quota_wait": -1}, "quota_wait must be a number of seconds"),
        ({"lookup_delay": float("nan")}, "lookup_delay must be a number of seconds"),
    ],
)
async def test_an_option_that_makes_no_sense_is_refused_before_anything_is_sent(
    sandbox: Sandbox, client: Client, journal: Path, option: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        await run(client, [stream()], journal, **option)
    assert not sandbox.recording.calls
