"""Runs and teardowns when the service does not answer: what is waited out, what ends the run, and what stays unknown."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from provision_fixtures import *  # noqa: F403 - fixtures
from provision_fixtures import killed_in_flight, lost, removed, rows, run, until
from requests_made import live, register, stream, voice

from zego_aigc import Action, Client, LocalLimiter
from zego_aigc.aiagent import QueryAgents, UpdateAgent
from zego_aigc.digitalhuman import (
    CreateDigitalHumanStreamTask,
    GetDigitalHumanStreamTaskStatus,
    QueryDigitalHumanStreamTasks,
    StopDigitalHumanStreamTask,
)
from zego_aigc.errors import AlreadyExists, ApiError
from zego_aigc.provisioning import JournalLost, Pruned, StreamFailed, provision, teardown
from zego_aigc.provisioning.listings import Listings
from zego_aigc.provisioning.run_calls import RunCalls
from zego_aigc.provisioning.streaming import Streams
from zego_aigc.sandbox import Sandbox

pytestmark = pytest.mark.anyio

WRONG_PARAMETER = 400000003
"""A refusal that does not pass by itself."""

BUSY = b"<html>503</html>"


@pytest.fixture
async def hasty(sandbox: Sandbox) -> AsyncIterator[Client]:
    """A client that makes a hundred calls a second and gives each of them up soon."""
    async with sandbox.client(limiter=LocalLimiter(10, 0.1, 0.0), timeout=0.3) as made:
        yield made


def clear_soon(sandbox: Sandbox) -> None:
    """Let the service answer again, once some calls were given up."""
    asyncio.get_running_loop().call_later(0.6, sandbox.faults.clear)


def running_tasks(sandbox: Sandbox) -> set[str]:
    return {task.stream_id for task in sandbox.app.tasks.values() if task.running}


# --- removing


@pytest.mark.slow
async def test_a_teardown_ends_when_the_service_never_answers_and_the_next_one_goes_on(
    sandbox: Sandbox, client: Client, hasty: Client, journal: Path
) -> None:
    await run(client, [stream(str(n)) for n in range(40)], journal)
    sandbox.faults.everywhere().answer(503, BUSY)
    with anyio.fail_after(60):
        outcomes, report = await removed(hasty, journal)
    assert report.stopped
    assert "does not answer" in report.stopped
    assert report.done == 0
    assert report.pending > report.failed > 0, "what was not tried waits for the next teardown"
    assert {outcome.status for outcome in outcomes.values()} == {"failed"}
    sandbox.faults.clear()
    assert (await removed(client, journal))[1].exit_status == 0
    assert not running_tasks(sandbox)


@pytest.mark.slow
async def test_a_teardown_that_looks_for_what_was_lost_ends_when_the_service_never_answers(
    sandbox: Sandbox, client: Client, hasty: Client, journal: Path
) -> None:
    await lost(sandbox, client, [stream(str(n)) for n in range(3)], journal, made=True)
    sandbox.faults.everywhere().answer(503, BUSY)
    with anyio.fail_after(60):
        outcomes, report = await removed(hasty, journal)
    assert report.stopped
    assert all("could not be looked up" in str(outcome.error) for outcome in outcomes.values())
    sandbox.faults.clear()
    assert (await removed(client, journal))[1].exit_status == 0
    assert not running_tasks(sandbox)


@pytest.mark.slow
async def test_pruning_that_the_service_never_answers_ends_the_run(
    sandbox: Sandbox, client: Client, hasty: Client, journal: Path
) -> None:
    await run(client, [stream(str(n)) for n in range(50)], journal)
    sandbox.faults.on(StopDigitalHumanStreamTask, QueryDigitalHumanStreamTasks).answer(503, BUSY)
    with anyio.fail_after(60):
        async with provision(hasty, [stream("0"), stream("new")], journal=journal, prune=True) as running:
            events = [event async for event in running.events()]
    report = running.report
    assert report.stopped
    assert 0 < report.not_pruned < 49
    assert (report.pruned, report.done, report.pending, report.exit_status) == (0, 1, 1, 1)
    assert all(event.outcome.status == "failed" for event in events if isinstance(event, Pruned))
    assert len(running_tasks(sandbox)) == 50


@pytest.mark.slow
async def test_what_a_teardown_sends_in_an_outage_is_sent_again_after_it(
    sandbox: Sandbox, client: Client, hasty: Client, journal: Path
) -> None:
    await run(client, [stream(str(n)) for n in range(60)], journal)
    out = False
    async with teardown(hasty, journal) as running:
        async for _ in running:
            if not out:
                out = True
                sandbox.faults.everywhere().answer(503, BUSY)
                clear_soon(sandbox)
    assert (running.report.done, running.report.exit_status) == (60, 0)
    assert not running_tasks(sandbox)


@pytest.mark.slow
async def test_what_a_teardown_looks_up_in_an_outage_is_looked_up_again(
    sandbox: Sandbox, client: Client, hasty: Client, journal: Path
) -> None:
    await run(client, [stream(str(n)) for n in range(3)], journal)
    await lost(sandbox, client, [stream("lost")], journal, made=True)
    sandbox.faults.on(QueryDigitalHumanStreamTasks).answer(503, BUSY)
    async with teardown(hasty, journal) as running:
        clear_soon(sandbox)
        async for _ in running:
            pass
    # If nothing at all was answered before the first look-up was given up, it ends.
    assert running.report.stopped or running.report.exit_status == 0
    await removed(client, journal)
    assert not running_tasks(sandbox)


async def test_what_a_teardown_cannot_look_up_stays_unknown(sandbox: Sandbox, client: Client, journal: Path) -> None:
    await lost(sandbox, client, [stream()], journal, made=True)
    sandbox.faults.on(QueryDigitalHumanStreamTasks).refuse(WRONG_PARAMETER)
    outcomes, report = await removed(client, journal)
    assert (report.unknown, report.exit_status) == (1, 3)
    assert "could not be looked up" in str(outcomes["CreateDigitalHumanStreamTask:stream-1"].error)
    assert running_tasks(sandbox)


async def test_what_must_have_ended_by_the_services_clock_is_struck_off_whatever_this_machines_says(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await client.call(register())
    await lost(sandbox, client, [voice()], journal, made=True)
    assert (await removed(client, journal))[1].exit_status == 3
    await sandbox.clock.advance(300)
    assert (await removed(client, journal))[1].exit_status == 0
    assert not sandbox.app.instances


async def test_an_instance_without_an_end_of_its_own_stays_unknown_after_its_answer_was_lost(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await client.call(register())
    await lost(sandbox, client, [live()], journal, made=True)
    outcomes, report = await removed(client, journal)
    assert (report.unknown, report.exit_status) == (1, 3)
    (outcome,) = outcomes.values()
    assert "an instance may live on stream 'agent-1' in room 'room-1'" in str(outcome.error)


async def test_an_agent_of_a_journal_that_does_not_say_what_was_asked_for_is_left_alone(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    """As of a version that did not keep it."""
    await lost(sandbox, client, [register("a")], journal, made=True)
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute("UPDATE entries SET spec = NULL")
    outcomes, report = await removed(client, journal)
    assert report.exit_status == 3
    assert "'a' exists, which may be older" in str(outcomes["RegisterAgent:a"].error)
    assert set(sandbox.app.agents) == {"a"}


@pytest.mark.parametrize("what", ["made", "lost"])
async def test_a_teardown_that_cannot_be_recorded_ends_and_says_so(
    sandbox: Sandbox, client: Client, journal: Path, what: str
) -> None:
    if what == "made":
        await run(client, [stream()], journal)
    else:
        await lost(sandbox, client, [stream()], journal, made=True)
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute("CREATE TRIGGER full BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'no room'); END")
    with pytest.raises(JournalLost, match="no room"):
        await removed(client, journal)


# --- looking up what was lost


@pytest.mark.parametrize("action", [register("a"), stream()])
async def test_what_was_lost_and_cannot_be_looked_up_stays_unknown(
    sandbox: Sandbox, client: Client, journal: Path, action: Action[Any]
) -> None:
    await lost(sandbox, client, [action], journal, made=True)
    sandbox.faults.on(QueryAgents).refuse(410000003)
    sandbox.faults.on(QueryDigitalHumanStreamTasks).refuse(WRONG_PARAMETER)
    outcomes, report = await run(client, [action], journal)
    assert (report.unknown, report.exit_status) == (1, 3)
    (outcome,) = outcomes.values()
    assert "could not be looked up" in str(outcome.error)
    sandbox.faults.clear()
    assert (await run(client, [action], journal))[1].exit_status == 0
    assert len(sandbox.received(type(action))) == 1


async def test_a_look_up_waits_an_outage_out(sandbox: Sandbox, client: Client, hasty: Client, journal: Path) -> None:
    await lost(sandbox, client, [stream()], journal, made=True)
    async with provision(hasty, [stream(), register("a")], journal=journal, lookup_delay=0.3) as running:
        lists = sandbox.faults.on(QueryDigitalHumanStreamTasks).after(1).answer(503, BUSY)
        async for outcome in running:
            if outcome.key == "RegisterAgent:a":
                await until(lambda: lists.hits or running.report.done == 2)
                clear_soon(sandbox)
    assert running.report.exit_status in {0, 3}
    assert (await run(client, [stream(), register("a")], journal))[1].exit_status == 0
    assert len(sandbox.received(CreateDigitalHumanStreamTask)) == 1


@pytest.mark.slow
async def test_a_run_that_looks_for_what_was_lost_ends_when_the_service_never_answers(
    sandbox: Sandbox, client: Client, hasty: Client, journal: Path
) -> None:
    await lost(sandbox, client, [stream(str(n)) for n in range(3)], journal, made=True)
    sandbox.faults.everywhere().answer(503, BUSY)
    with anyio.fail_after(60):
        _, report = await run(hasty, [stream(str(n)) for n in range(3)], journal)
    assert report.stopped
    assert (report.unknown, report.exit_status) == (3, 3)


@pytest.mark.slow
async def test_a_run_whose_service_stops_answering_before_the_first_answer_leaves_everything_pending(
    sandbox: Sandbox, client: Client, hasty: Client, journal: Path
) -> None:
    await client.call(register("a"))
    fleet = [UpdateAgent(agent_id="a", name=f"Name {n}") for n in range(100)]
    with anyio.fail_after(60):
        async with provision(hasty, fleet, journal=journal) as running:
            sandbox.faults.everywhere().answer(503, BUSY)
            async for outcome in running:
                assert outcome.status == "pending"
                assert "does not answer" in str(outcome.error)
    assert running.report.stopped
    assert (running.report.pending, running.report.exit_status) == (100, 3)


@pytest.mark.parametrize(
    ("if_exists", "status", "name"), [("fail", "failed", "Another"), ("keep", "done", "Another"), ("update", "done", "Guide")]
)
async def test_an_agent_that_somebody_registered_meanwhile_is_treated_as_asked(
    sandbox: Sandbox, client: Client, journal: Path, if_exists: str, status: str, name: str
) -> None:
    await lost(sandbox, client, [register("a")], journal, made=False)
    await client.call(register("a", Name="Another"))
    outcomes, _ = await run(client, [register("a")], journal, if_exists=if_exists)
    assert outcomes["RegisterAgent:a"].status == status
    assert sandbox.app.agents["a"].name == name
    if status == "failed":
        with pytest.raises(AlreadyExists, match="is not what was asked for"):
            outcomes["RegisterAgent:a"].unwrap()


async def test_an_update_that_the_service_refuses_fails_its_entry(sandbox: Sandbox, client: Client, journal: Path) -> None:
    await client.call(register("a"))
    sandbox.faults.on(UpdateAgent).refuse(410000003)
    outcomes, report = await run(client, [register("a"), stream()], journal, if_exists="update")
    assert (outcomes["RegisterAgent:a"].status, report.done, report.failed) == ("failed", 1, 1)


async def test_an_agent_that_was_not_made_is_made(sandbox: Sandbox, client: Client, journal: Path) -> None:
    await lost(sandbox, client, [register("a")], journal, made=False)
    _, report = await run(client, [register("a")], journal)
    assert (report.exit_status, set(sandbox.app.agents)) == (0, {"a"})


async def test_what_turns_up_too_late_to_be_listed_stays_unknown(sandbox: Sandbox, client: Client, journal: Path) -> None:
    """A resend is refused as taken, and the service lists nothing: it may be what the first attempt made."""
    await lost(sandbox, client, [stream()], journal, made=False)
    sandbox.faults.on(CreateDigitalHumanStreamTask).refuse(400000015)
    outcomes, report = await run(client, [stream()], journal)
    assert (report.unknown, report.exit_status) == (1, 3)
    assert "is not listed" in str(outcomes["CreateDigitalHumanStreamTask:stream-1"].error)


async def test_credentials_that_are_not_valid_any_more_end_a_run_that_makes_what_was_lost_anew(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await lost(sandbox, client, [stream()], journal, made=False)
    sandbox.faults.on(CreateDigitalHumanStreamTask).refuse(100000011)
    _, report = await run(client, [stream()], journal)
    assert report.stopped
    assert report.failed == 1


@pytest.mark.slow
async def test_what_was_in_flight_as_a_run_was_killed_is_repeated_where_that_does_no_harm_and_unknown_otherwise(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await client.call(register())
    fleet = [UpdateAgent(agent_id="guide", name="New"), voice()]
    killed = await killed_in_flight(sandbox, client, fleet, journal)
    sandbox.faults.clear()
    outcomes, report = await run(client, fleet, killed)
    assert (report.done, report.unknown) == (1, 1)
    assert "ended while the request was under way" in str(outcomes["CreateAgentInstance:agent-1"].error)
    assert len(sandbox.received(UpdateAgent)) == 2


# --- until it streams


async def test_a_task_whose_status_cannot_be_asked_stays_pending_and_is_looked_at_by_the_next_run(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    sandbox.faults.on(QueryDigitalHumanStreamTasks).refuse(WRONG_PARAMETER)
    outcomes, report = await run(client, [stream()], journal, until="streaming")
    assert (report.pending, report.exit_status) == (1, 3)
    assert "whether it streams could not be asked" in str(outcomes["CreateDigitalHumanStreamTask:stream-1"].error)
    assert rows(journal)["CreateDigitalHumanStreamTask:stream-1"]["status"] == "made"
    sandbox.faults.clear()
    assert (await run(client, [stream()], journal, until="streaming"))[1].exit_status == 0
    assert len(sandbox.received(CreateDigitalHumanStreamTask)) == 1


async def test_a_task_that_does_not_come_up_is_waited_for_no_longer_than_a_while(sandbox: Sandbox, client: Client) -> None:
    sandbox.app.pace.stream_start = 25.0
    made = await client.call(stream())
    calls = RunCalls(client, background=False)
    life = CreateDigitalHumanStreamTask.lifecycle
    assert life is not None
    assert not await Streams(calls, Listings(calls), max_wait=0.1).wait(life, made.task_id)
    await sandbox.clock.advance(25.0)
    assert await Streams(calls, Listings(calls), max_wait=60.0).wait(life, made.task_id)
    await client.call(life.end(made.task_id))
    await sandbox.clock.advance(25.0)
    with pytest.raises(StreamFailed, match="ended before it streamed"):
        await Streams(calls, Listings(calls)).wait(life, made.task_id)
    sandbox.faults.on(GetDigitalHumanStreamTaskStatus).refuse(WRONG_PARAMETER)
    with pytest.raises(ApiError):
        await Streams(calls, Listings(calls)).wait(life, made.task_id)
