"""Provisioning from Python: everything once, whatever goes wrong on the way."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from provision_fixtures import *  # noqa: F403 - fixtures
from provision_fixtures import FAST, content, ids, removed, rows, run, until
from requests_made import llm, register, stream, talking, voice

from zego_aigc import Action, Client, LocalLimiter, LocalQuota, VendorAdvice
from zego_aigc.aiagent import (
    CreateAgentInstance,
    CreateDigitalHumanAgentInstance,
    RegisterAgent,
    UnregisterAgent,
    UpdateAgent,
)
from zego_aigc.digitalhuman import (
    CreateDigitalHumanStreamTask,
    QueryDigitalHumanStreamTasks,
    StopDigitalHumanStreamTask,
)
from zego_aigc.errors import AlreadyExists, ConnectFailed, InvalidRequest, OutcomeUnknown, QuotaExceeded, ZegoError
from zego_aigc.provisioning import (
    Entry,
    Finished,
    Fleet,
    InvalidFleet,
    JournalError,
    JournalLost,
    Outcome,
    Started,
    StreamFailed,
    provision,
)
from zego_aigc.provisioning.journal_reader import read_journal
from zego_aigc.provisioning.operation import MAX_UNREAD_EVENTS
from zego_aigc.provisioning.presence import look
from zego_aigc.sandbox import Sandbox

pytestmark = pytest.mark.anyio


def live_tasks(sandbox: Sandbox) -> list[str]:
    return [task.stream_id for task in sandbox.app.tasks.values() if task.running]


def shift_into_the_past(journal: Path, seconds: float) -> None:
    """As if the journal had been written so much earlier."""
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute("UPDATE entries SET first_sent = first_sent - ?, last_sent = last_sent - ?", (seconds, seconds))


def small_fleet() -> list[Action[Any]]:
    return [
        *(register(f"agent-{n}") for n in range(3)),
        *(talking(f"d{n}", f"agent-{n}") for n in range(3)),
        voice("v", "agent-0"),
        *(stream(f"s{n}") for n in range(3)),
    ]


async def test_everything_is_made_once_and_a_second_run_makes_nothing(sandbox: Sandbox, client: Client, journal: Path) -> None:
    first, report = await run(client, small_fleet(), journal)
    calls = len(sandbox.recording.calls)
    again, second = await run(client, small_fleet(), journal)

    assert (report.done, report.earlier, report.exit_status) == (10, 0, 0)
    assert (second.done, second.earlier, second.exit_status) == (10, 10, 0)
    assert len(sandbox.recording.calls) == calls
    assert len(sandbox.app.agents) == 3
    assert len(sandbox.app.instances) == 4
    assert len(live_tasks(sandbox)) == 3
    assert ids(first.values()) == ids(again.values()), "results of an earlier run are known to a later one"
    assert again["CreateDigitalHumanAgentInstance:agent-d0"].unwrap().digital_human_config.decode()


async def test_an_instance_waits_for_its_agent_wherever_it_stands(sandbox: Sandbox, client: Client, journal: Path) -> None:
    sandbox.faults.on(RegisterAgent).latency(0.1)
    entries = [talking("1", "late"), Entry(stream("a"), "last", after=["first"]), register("late"), Entry(stream("b"), "first")]

    outcomes, report = await run(client, entries, journal)

    assert report.exit_status == 0
    order = [
        call.request.rtc_config.stream_id
        for call in sandbox.recording.calls
        if isinstance(call.request, CreateDigitalHumanStreamTask)
    ]
    assert order == ["stream-b", "stream-a"]
    told = list(outcomes)
    assert told.index("RegisterAgent:late") < told.index("CreateDigitalHumanAgentInstance:agent-1")


async def test_what_waits_for_something_that_failed_is_left_pending_and_made_later(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    sandbox.faults.on(RegisterAgent).times(1).refuse(410000003, "no such vendor")
    entries = [register("a"), talking("1", "a"), Entry(stream(), after=["CreateDigitalHumanAgentInstance:agent-1"])]

    outcomes, report = await run(client, entries, journal)

    assert [outcome.status for outcome in outcomes.values()] == ["failed", "pending", "pending"]
    assert "'RegisterAgent:a', which failed" in str(outcomes["CreateDigitalHumanAgentInstance:agent-1"].error)
    with pytest.raises(ZegoError, match="not tried"):
        outcomes["CreateDigitalHumanAgentInstance:agent-1"].unwrap()
    assert report.exit_status == 1
    assert (await run(client, entries, journal))[1].exit_status == 0


@pytest.mark.parametrize("action", [register("a"), stream()])
async def test_a_create_whose_answer_is_lost_is_looked_up_and_not_made_twice(
    sandbox: Sandbox, client: Client, journal: Path, action: Action[Any]
) -> None:
    sandbox.faults.on(type(action)).times(1).cut_after_work()
    outcomes, report = await run(client, [action], journal)
    assert report.exit_status == 0
    assert len(sandbox.received(type(action))) == 1
    assert next(iter(outcomes.values())).origin == "made"


async def test_a_stream_task_that_cannot_be_looked_up_now_is_looked_up_later_in_the_run(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    sandbox.faults.on(CreateDigitalHumanStreamTask).times(1).cut_after_work()
    sandbox.faults.on(QueryDigitalHumanStreamTasks).times(1).refuse(400000002)
    outcomes, _ = await run(client, [stream()], journal)
    (task_id,) = ids(outcomes.values())
    assert task_id in sandbox.app.tasks
    assert len(sandbox.received(CreateDigitalHumanStreamTask)) == 1


async def test_a_lost_digital_human_is_probed_and_stays_unknown_when_it_lives(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await client.call(register())
    sandbox.faults.on(CreateDigitalHumanAgentInstance).times(1).cut_after_work()
    outcomes, report = await run(client, [talking()], journal)
    (outcome,) = outcomes.values()

    assert outcome.status == "unknown"
    assert report.exit_status == 3
    with pytest.raises(OutcomeUnknown, match="lives") as unknown:
        outcome.unwrap()
    assert "AgentInstanceCreated for room 'room-1' brings the id" in unknown.value.advice
    assert len(sandbox.app.instances) == 1
    assert (await run(client, [talking()], journal))[1].unknown == 1, "and a later run does not make another"
    assert len(sandbox.app.instances) == 1


async def test_a_lost_digital_human_that_was_not_made_is_made(sandbox: Sandbox, client: Client, journal: Path) -> None:
    await client.call(register())
    sandbox.faults.on(CreateDigitalHumanAgentInstance).times(1).cut_before_work()
    outcomes, _ = await run(client, [talking()], journal)
    assert ids(outcomes.values()) == set(sandbox.app.instances)


async def test_what_is_unknown_tells_where_it_may_live(sandbox: Sandbox, client: Client, journal: Path) -> None:
    sandbox.faults.on(CreateAgentInstance).times(1).cut_after_work()
    lost = voice("1", "a")
    outcomes, _ = await run(client, [register("a"), Entry(lost, "lost")], journal)
    where = f"stream {lost.rtc.agent_stream_id!r} in room {lost.rtc.room_id!r}"
    assert outcomes["lost"].where == where
    left, _ = await removed(client, journal)
    assert left["lost"].where == where
    assert where in str(left["lost"].error)


async def test_a_lost_voice_instance_is_never_sent_again(sandbox: Sandbox, client: Client, journal: Path) -> None:
    await client.call(register())
    sandbox.faults.on(CreateAgentInstance).times(1).cut_before_work()
    for _ in range(2):
        _, report = await run(client, [voice()], journal)
        assert report.unknown == 1
    assert sum(call.action == "CreateAgentInstance" for call in sandbox.recording.calls) == 1


async def test_teardown_removes_what_the_journal_made_and_nothing_else(sandbox: Sandbox, client: Client, journal: Path) -> None:
    await client.call(register("mine"))
    await client.call(register("kept"))
    mine = await client.call(talking("mine", "mine"))
    await run(client, [register("kept"), *small_fleet()], journal, if_exists="keep")

    outcomes, report = await removed(client, journal)

    assert report.exit_status == 0
    assert len(outcomes) == 10
    assert set(sandbox.app.agents) == {"mine", "kept"}
    assert set(sandbox.app.instances) == {mine.agent_instance_id}
    assert not live_tasks(sandbox)
    names = [call.action for call in sandbox.recording.calls]
    assert names.index("UnregisterAgent") > max(
        n for n, name in enumerate(names) if name in {"DeleteAgentInstance", "StopDigitalHumanStreamTask"}
    )
    assert (await removed(client, journal))[1].total == 0


@pytest.mark.slow
async def test_teardown_takes_what_is_gone_for_removed_and_goes_on_after_failures(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await run(client, [register("a"), talking("1", "a"), stream()], journal)
    await sandbox.clock.advance(1000)  # both have ended by themselves
    sandbox.faults.on("UnregisterAgent").times(1).refuse(410000003)

    _, report = await removed(client, journal)
    assert (report.done, report.failed, report.exit_status) == (2, 1, 1)
    _, report = await removed(client, journal)
    assert (report.done, report.exit_status) == (1, 0)
    assert not sandbox.app.agents


async def test_teardown_finds_a_task_of_unknown_outcome_and_lists_an_instance(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await client.call(register())
    sandbox.faults.on(CreateDigitalHumanStreamTask, CreateAgentInstance).cut_after_work()
    sandbox.faults.on(QueryDigitalHumanStreamTasks).refuse(400000002)
    async with provision(client, [stream(), voice()], journal=journal, lookup_delay=60) as running:
        await until(lambda: sum(row["status"] == "unknown" for row in rows(journal).values()) == 2)
    assert running.report.unknown == 2
    sandbox.faults.clear()

    outcomes, report = await removed(client, journal)

    assert not live_tasks(sandbox)
    assert outcomes["CreateDigitalHumanStreamTask:stream-1"].status == "done"
    assert report.exit_status == 3
    assert "'agent-1' in room 'room-1'" in str(outcomes["CreateAgentInstance:agent-1"].error)


@pytest.mark.parametrize(
    ("if_exists", "status", "name"), [("fail", "failed", "Old"), ("keep", "done", "Old"), ("update", "done", "Guide")]
)
async def test_an_agent_that_exists_is_treated_as_asked(
    sandbox: Sandbox, client: Client, journal: Path, if_exists: str, status: str, name: str
) -> None:
    await client.call(RegisterAgent(agent_id="a", name="Old"))
    outcomes, _ = await run(client, [register("a"), talking("1", "a")], journal, if_exists=if_exists)
    assert outcomes["RegisterAgent:a"].status == status
    assert len(sandbox.received(UpdateAgent)) == (if_exists == "update")
    assert sandbox.app.agents["a"].name == name
    if status == "failed":
        with pytest.raises(AlreadyExists):
            outcomes["RegisterAgent:a"].unwrap()


async def test_agents_that_are_to_be_updated_must_be_sound_as_updates(client: Client, journal: Path) -> None:
    with pytest.raises(InvalidFleet, match=r"entry 1: Name: is 80 characters"):
        await run(client, [register("a", Name="x" * 80)], journal, if_exists="update")


@pytest.mark.slow
async def test_a_full_account_is_waited_for_while_instances_go_away(sandbox: Sandbox, client: Client, journal: Path) -> None:
    sandbox.app.quotas.streams = 2
    async with provision(client, [stream(str(n)) for n in range(4)], journal=journal) as running:
        seen = 0
        async for outcome in running:
            assert outcome.status == "done"
            if (seen := seen + 1) == 2:
                await anyio.sleep(0.1)
                sandbox.app.quotas.streams = 10
    assert running.report.done == 4


async def test_what_finds_no_place_for_too_long_stays_pending(sandbox: Sandbox, client: Client, journal: Path) -> None:
    sandbox.app.quotas.streams = 2
    entries = [*(stream(str(n)) for n in range(5)), register("a")]
    _, report = await run(client, entries, journal, quota_wait=0.3)
    assert (report.done, report.pending, report.exit_status) == (3, 3, 3)
    sandbox.app.quotas.streams = 10
    assert (await run(client, entries, journal))[1].exit_status == 0


@pytest.mark.slow
async def test_places_that_the_service_refuses_are_no_progress(journal: Path) -> None:
    async with Sandbox(quota=1, rate_limit=None) as sandbox, sandbox.client() as client:
        _, report = await run(client, [stream("1"), stream("2")], journal, quota_wait=1.2)
        asked = len(sandbox.received(CreateDigitalHumanStreamTask))
    assert report.pending == 1
    assert asked <= 3, "the service is asked again after a second, and that begins no new wait"


async def test_a_budget_holds_back_what_would_be_refused(sandbox: Sandbox, client: Client, journal: Path) -> None:
    _, report = await run(client, [stream(str(n)) for n in range(5)], journal, quota=LocalQuota(streams=2), on_quota="fail")
    assert (report.done, report.failed) == (2, 3)
    assert len(sandbox.received(CreateDigitalHumanStreamTask)) == 2


async def test_a_function_may_substitute_another_action_when_the_account_is_full(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    sandbox.app.quotas.digital_humans = 1

    async def voice_instead(entry: Entry, error: QuotaExceeded) -> Action[Any] | None:
        assert isinstance(entry.action, CreateDigitalHumanAgentInstance)
        return CreateAgentInstance(agent_id=entry.action.agent_id, user_id="visitor", rtc=entry.action.rtc)

    fleet = [register("a"), *(talking(str(n), "a") for n in range(3))]
    _, report = await run(client, fleet, journal, on_quota=voice_instead)

    assert report.exit_status == 0
    assert len(sandbox.app.instances) == 3
    made_as = sorted(row["action"] for row in rows(journal).values() if row["agent_id"] and row["stream_id"])
    assert made_as == ["CreateAgentInstance", "CreateAgentInstance", "CreateDigitalHumanAgentInstance"]
    assert (await run(client, fleet, journal))[1].earlier == 4
    await removed(client, journal)
    assert not sandbox.app.instances
    assert not sandbox.app.agents


@pytest.mark.slow
async def test_leaving_the_block_early_stops_and_the_next_run_goes_on(sandbox: Sandbox, client: Client, journal: Path) -> None:
    fleet = [stream(str(n)) for n in range(40)]
    async with sandbox.client(limiter=LocalLimiter(5, 60.0)) as slow:
        async with provision(slow, fleet, journal=journal) as running:
            async for _ in running:
                break
        assert running.report.stopped
        assert 0 < running.report.done <= 5
        assert running.report.done == len(live_tasks(sandbox))
        assert running.report.exit_status == 3
    outcomes, report = await run(client, fleet, journal)
    assert report.done == 40
    assert ids(outcomes.values()) == set(sandbox.app.tasks)


@pytest.mark.slow
async def test_pace_and_pause_of_a_run_are_those_of_the_limiter(sandbox: Sandbox, client: Client, journal: Path) -> None:
    """An account whose window is longer than the vendor's second: what is shown, foreseen and waited for follows it."""

    def of_the_account() -> LocalLimiter:
        return LocalLimiter(limit=3, window=1.5, guard=0.1)

    async with sandbox.client(limiter=of_the_account()) as slow:
        async with provision(slow, [stream(str(n)) for n in range(4)], journal=journal) as running:
            events = running.events()
            async for event in events:
                if isinstance(event, Outcome):
                    break
            lane = running.progress.lanes[0]
        assert lane.limit == 2.0
        assert lane.seconds_left == pytest.approx(lane.pending * 1.6 / 3)
    before = len(sandbox.recording.calls)
    async with (
        sandbox.client(limiter=of_the_account()) as another,
        provision(another, [stream(str(n)) for n in range(6)], journal=journal, extend=True) as running,
    ):
        async for _ in running:
            break
    calls = sandbox.recording.calls
    assert calls[before].time - calls[before - 1].time >= 1.5, "what the run before sent has left the account's window"


async def test_an_outcome_is_told_once_it_is_durable(client: Client, journal: Path) -> None:
    fleet = [*small_fleet(), *(stream(f"more-{n}") for n in range(100))]
    async with provision(client, fleet, journal=journal) as running:
        async for outcome in running:
            with read_journal(journal) as reading:
                (row,) = reading.rows("key = ?", (outcome.key,))
            assert row.status == "done"
            assert row.made_id in {getattr(outcome.result, "task_id", row.made_id), row.agent_id}


async def test_outcomes_that_cannot_be_recorded_end_the_run_and_are_not_reported_but_listed(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await run(client, [stream("first")], journal)
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE UPDATE ON entries WHEN new.status = 'done' BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    reported: list[Outcome] = []
    fleet = [stream("first"), *(stream(str(n)) for n in range(100))]
    with pytest.raises(JournalLost, match="no room") as caught:  # noqa: PT012 - what is reported before
        async with provision(client, fleet, journal=journal) as running:
            async for outcome in running:
                reported.append(outcome)  # noqa: PERF401 - kept although it ends in an error
    assert {outcome.key for outcome in reported} <= {"CreateDigitalHumanStreamTask:stream-first"}
    known = {made_id for _, made_id in caught.value.made} | {row["made_id"] for row in rows(journal).values()}
    assert set(sandbox.app.tasks) <= known
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute("DROP TRIGGER full")
    _, report = await run(client, fleet, journal)
    assert report.done == 101
    assert len(sandbox.app.tasks) == 101


@pytest.mark.slow
async def test_a_run_that_nobody_listens_to_waits(sandbox: Sandbox, journal: Path) -> None:
    count = 2000
    client = sandbox.client(limiter=LocalLimiter(FAST), timeout=60.0)
    async with client, provision(client, [stream(str(n)) for n in range(count)], journal=journal) as running:
        await until(lambda: running.report.done >= MAX_UNREAD_EVENTS // 2)  # other events may be among the unread ones
        before = -1
        while (done := running.report.done) != before:
            before = done
            await anyio.sleep(0.3)
        assert done < count / 2, "as many as had left by then, and no more"
        told = [outcome.key async for outcome in running]
    assert len({*told}) == len(told) == running.report.done == count


async def test_an_error_in_the_block_is_the_one_that_comes_out(client: Client, journal: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with provision(client, [stream()], journal=journal):
            _ = 1 / 0


@pytest.mark.parametrize("how", ["scope", "task"])
async def test_cancelling_waits_for_what_has_left_and_notes_it(
    sandbox: Sandbox, client: Client, journal: Path, how: str
) -> None:
    late = sandbox.faults.on(CreateDigitalHumanStreamTask).latency(0.3)

    async def work() -> None:
        async with provision(client, [stream(str(n)) for n in range(3)], journal=journal) as running:
            async for _ in running:
                pass

    if how == "scope":
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            await until(lambda: late.hits == 3)
            group.cancel_scope.cancel()
    else:
        task = asyncio.create_task(work())
        await until(lambda: late.hits == 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    noted = {row["made_id"] for row in rows(journal).values() if row["status"] == "done"}
    assert noted == set(sandbox.app.tasks)
    assert len(noted) == 3
    assert [path.name for path in journal.parent.iterdir()] == [journal.name], "it is closed, and free for the next run"


async def test_a_run_that_is_cancelled_again_and_again_ends_and_leaves_its_journal_free(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    sandbox.faults.everywhere().latency(0.2)

    async def whole() -> None:
        async with provision(client, small_fleet(), journal=journal) as going:
            async for _ in going:
                pass

    task = asyncio.ensure_future(whole())
    await until(lambda: sandbox.recording.calls)
    while not task.done():
        task.cancel()
        await asyncio.sleep(0.001)
    assert task.cancelled()
    sandbox.faults.clear()
    _, report = await run(client, small_fleet(), journal)
    assert report.done + report.unknown == 10


async def test_a_run_that_fails_is_rolled_back_when_asked(sandbox: Sandbox, client: Client, journal: Path) -> None:
    await run(client, [register("before")], journal)
    sandbox.faults.on(CreateDigitalHumanStreamTask).after(2).refuse(400000003)
    fleet = [register("before"), register("a"), talking("1", "a"), *(stream(str(n)) for n in range(5))]
    _, report = await run(client, fleet, journal, rollback=True)
    assert report.failed
    assert report.rolled_back
    assert report.exit_status == 1
    assert set(sandbox.app.agents) == {"before"}
    assert not sandbox.app.instances
    assert not live_tasks(sandbox)


async def test_what_a_rollback_cannot_remove_is_told(sandbox: Sandbox, client: Client, journal: Path) -> None:
    sandbox.faults.on(CreateDigitalHumanStreamTask).after(2).refuse(400000003)
    sandbox.faults.on(StopDigitalHumanStreamTask).times(1).refuse(400000003)
    _, report = await run(client, [stream(str(n)) for n in range(3)], journal, rollback=True)
    assert report.rolled_back == 1
    (warning,) = report.warnings
    assert "was not removed again" in warning
    assert len(live_tasks(sandbox)) == 1


async def test_a_cancelled_run_is_rolled_back_when_asked(sandbox: Sandbox, client: Client, journal: Path) -> None:
    with anyio.CancelScope() as scope:
        async with provision(client, [stream(str(n)) for n in range(5)], journal=journal, rollback=True) as running:
            async for _ in running:
                scope.cancel()
    assert not live_tasks(sandbox)
    assert len(sandbox.received(CreateDigitalHumanStreamTask)) > 0


async def test_a_service_that_is_not_there_ends_the_run_and_leaves_the_rest_pending(journal: Path) -> None:
    async with Client(1, "secret", aiagent_url="http://127.0.0.1:9", digitalhuman_url="http://127.0.0.1:9") as client:
        outcomes, report = await run(client, [stream(str(n)) for n in range(50)], journal)
    assert report.exit_status == 1
    assert "127.0.0.1" in (report.stopped or "")
    assert any(isinstance(outcome.error, ConnectFailed) for outcome in outcomes.values())
    assert {row["status"] for row in rows(journal).values()} <= {"failed", "pending"}


async def test_wrong_credentials_end_the_run_at_once(sandbox: Sandbox, journal: Path) -> None:
    async with Client(sandbox.app_id, "wrong", aiagent_url=sandbox.url, digitalhuman_url=sandbox.url) as client:
        _, report = await run(client, [stream(str(n)) for n in range(200)], journal)
    assert report.exit_status == 1
    assert len(sandbox.recording.calls) < 100


async def test_entries_may_come_from_an_async_generator(sandbox: Sandbox, client: Client, journal: Path) -> None:
    async def entries() -> AsyncIterator[Action[Any]]:
        for n in range(5):
            await anyio.lowlevel.checkpoint()
            yield stream(str(n))

    assert (await run(client, entries(), journal))[1].done == 5


async def test_events_tell_the_whole_story(client: Client, journal: Path) -> None:
    async with provision(client, small_fleet(), journal=journal) as running:
        events = [event async for event in running.events()]
    assert isinstance(events[0], Started)
    assert events[0].actions["RegisterAgent"] == 3
    assert isinstance(events[-1], Finished)
    assert events[-1].report is running.report
    assert sum(isinstance(event, Outcome) for event in events) == 10
    assert [lane.done for lane in running.progress.lanes] == [3, 3, 1, 3]


async def test_a_known_key_with_another_spec_is_refused_unless_only_a_secret_changed(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    def agent(model: str, key: str) -> RegisterAgent:
        return RegisterAgent(agent_id="a", llm=llm(key).__class__(url="https://x.example", model=model, api_key=key))

    await run(client, [agent("m", "old")], journal)
    before = content(journal)
    with pytest.raises(InvalidFleet, match="another spec"):
        await run(client, [agent("n", "old")], journal)
    assert content(journal) == before
    assert (await run(client, [agent("m", "rotated")], journal))[1].earlier == 1


async def test_an_entry_that_failed_may_be_mended(sandbox: Sandbox, client: Client, journal: Path) -> None:
    sandbox.faults.on(RegisterAgent).times(1).refuse(410000003)
    assert (await run(client, [register("a", Name="bad")], journal))[1].failed == 1
    assert (await run(client, [register("a", Name="good")], journal))[1].done == 1


async def test_secrets_never_reach_the_journal(client: Client, journal: Path) -> None:
    await run(client, [register("a", LLM=llm("sk-secret").to_wire())], journal)
    assert b"sk-secret" not in content(journal)
    assert b"sandbox0sandbox0" not in content(journal)


async def test_a_journal_of_another_fleet_is_refused_unless_it_is_extended(client: Client, journal: Path) -> None:
    await run(client, [stream("a")], journal)
    before = content(journal)
    with pytest.raises(JournalError, match="another fleet"):
        await run(client, [stream("b")], journal)
    assert content(journal) == before
    assert (await run(client, [stream("b")], journal, extend=True))[1].done == 1


async def test_agents_that_nobody_registered_are_found_before_anything_is_made(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await client.call(register("known"))
    fleet = [register("here"), talking("1", "here"), talking("2", "known"), talking("3", "ghost"), voice("4", "ghost")]
    with pytest.raises(InvalidFleet, match=r"entry 4: AgentId: refers to the agent 'ghost'.*in 2 entries") as caught:
        await run(client, fleet, journal)
    assert len(caught.value.problems) == 1
    assert len(sandbox.app.agents) == 1
    assert not content(journal)


async def test_names_that_must_be_unique_are_and_a_bot_is_no_real_user(client: Client, journal: Path) -> None:
    twin = talking("1", "a")
    clash = CreateAgentInstance.from_wire({**voice("5", "a").to_wire(), "UserId": "bot-1"})
    fleet = [register("a"), twin, twin, clash, stream("x"), Entry(stream("x"), "another"), Entry(register("a"), "b")]
    with pytest.raises(InvalidFleet) as caught:
        await run(client, fleet, journal)
    assert {(p.path, p.rule) for p in caught.value.problems} == {
        ("entry 2: RTC.AgentUserId", "unique"),
        ("entry 3: RTC.AgentStreamId", "unique"),
        ("entry 3: RTC.AgentUserId", "unique"),
        ("entry 6: RTCConfig.StreamId", "unique"),
        ("entry 7: AgentId", "unique"),
    }


async def test_entries_that_wait_in_a_circle_or_for_nobody_are_found(client: Client, journal: Path) -> None:
    with pytest.raises(InvalidFleet) as caught:
        await run(
            client,
            [
                Entry(stream("a"), "a", ["b"]),
                Entry(stream("b"), "b", ["a"]),
                Entry(stream("c"), "c", ["a"]),
                Entry(stream("d"), "d", ["x"]),
            ],
            journal,
        )
    assert [str(problem) for problem in caught.value.problems] == [
        "entry 1: After: these wait for each other: 'a' -> 'b' -> 'a'. Take one of them out of an After",
        "entry 4: After: 'x' is the Key of no entry",
    ]


async def test_a_long_cycle_is_shortened_and_each_cycle_is_one_problem(client: Client, journal: Path) -> None:
    long = [Entry(stream(f"long-{n}"), f"long-{n}", [f"long-{(n + 1) % 20}"]) for n in range(20)]
    alone = Entry(stream("self"), "self", ["self"])
    with pytest.raises(InvalidFleet) as caught:
        await run(client, [*long, alone], journal)
    one, two = map(str, caught.value.problems)
    assert "'long-0' -> 'long-1' -> 'long-2' -> 'long-3' -> 'long-4' -> 'long-5' -> ... 14 more ... -> 'long-0'." in one
    assert two.startswith("entry 21: After: these wait for each other: 'self' -> 'self'.")


async def test_a_misspelt_key_in_after_is_answered_with_the_closest(client: Client, journal: Path) -> None:
    with pytest.raises(InvalidFleet) as caught:
        await run(client, [register("guide"), Entry(stream("a"), after=["RegisterAgent:giude"])], journal)
    assert str(caught.value.problems[0]).endswith("is the Key of no entry; did you mean RegisterAgent:guide?")


async def test_what_waits_for_nobody_is_found_beside_other_problems_and_what_waits_for_them_is_not(
    client: Client, journal: Path
) -> None:
    def short(name: str) -> CreateDigitalHumanStreamTask:
        return msgspec.structs.replace(stream(name), ttl=5)

    fleet = [
        Entry(short("a"), "a"),
        Entry(stream("b"), after=["a"]),
        Entry(stream("c"), after=["nobody"]),
        Entry(msgspec.structs.replace(register("x"), agent_id="")),
        Entry(stream("d"), after=["CreateDigitalHumanStreamTask:stream-e"]),
        short("e"),
    ]
    with pytest.raises(InvalidFleet) as caught:
        await run(client, fleet, journal)
    assert [(p.path, p.rule) for p in caught.value.problems] == [
        ("entry 1: TTL", "range"),
        ("entry 3: After", "unknown"),
        ("entry 4: AgentId", "length"),
        ("entry 6: TTL", "range"),
    ]


async def test_the_key_of_an_entry_and_what_it_waits_for_are_checked(client: Client, journal: Path) -> None:
    after: Any = "abc"
    with pytest.raises(InvalidFleet) as caught:
        await run(client, [Entry(stream("a"), ""), Entry(stream("b"), after=after)], journal)
    assert [str(problem) for problem in caught.value.problems] == [
        "entry 1: Key: must be a string that is not empty",
        "entry 2: After: must be a list of keys",
    ]


@pytest.mark.parametrize("entries", [[], [object()], [QueryDigitalHumanStreamTasks()], [RegisterAgent(agent_id="")]])
async def test_what_is_no_fleet_is_refused(client: Client, journal: Path, entries: list[Any]) -> None:
    with pytest.raises(InvalidRequest):
        await run(client, entries, journal)
    assert not content(journal)


async def test_a_fleet_that_takes_longer_than_its_instances_may_idle_is_warned_about_by_the_limiter_in_use(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    fleet = [*(stream(str(n)) for n in range(1200)), register("a"), talking("1", "a")]
    async with sandbox.client(limiter=LocalLimiter(10)) as slow, provision(slow, fleet, journal=journal) as running:
        pass
    idle, _ = running.report.warnings
    assert "MaxIdleTime" in idle
    assert "2 min" in idle
    async with provision(client, fleet, journal=journal) as running:
        pass
    assert not any("MaxIdleTime" in warning for warning in running.report.warnings), "at 10,000 a second it is done at once"


async def test_a_fleet_that_asks_for_more_than_the_account_holds_is_warned_about(client: Client, journal: Path) -> None:
    fleet = [stream(str(n)) for n in range(12)]
    async with provision(client, fleet, journal=journal) as running:
        pass
    (warning,) = running.report.warnings
    assert warning.startswith("12 streams are asked for; accounts start with 10")
    async with provision(client, fleet, journal=journal, quota=LocalQuota(5, 5, 12)) as running:
        pass
    assert running.report.warnings == []
    async with provision(client, fleet, journal=journal, quota=LocalQuota(5, 5, 11)) as running:
        pass
    assert running.report.warnings[0].startswith("12 streams are asked for; the quota is 11")


async def test_a_stream_task_may_count_as_done_only_when_it_streams(sandbox: Sandbox, client: Client, journal: Path) -> None:
    sandbox.app.pace.stream_start = 0.3
    outcomes, report = await run(client, [stream(str(n)) for n in range(40)], journal, until="streaming")
    assert report.exit_status == 0
    assert report.seconds > 0.3
    assert {sandbox.app.tasks[task_id].status.name for task_id in ids(outcomes.values())} == {"STREAMING"}


@pytest.mark.slow
async def test_a_stream_task_that_fails_to_stream_fails_with_the_reason_and_is_made_anew(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    sandbox.app.pace.stream_start = 0.05
    sandbox.app.failing_streams.append("no camera")
    outcomes, report = await run(client, [stream("a")], journal, until="streaming")
    (outcome,) = outcomes.values()
    assert report.exit_status == 1
    with pytest.raises(StreamFailed, match="INIT_FAILED and does not stream: no camera") as caught:
        outcome.unwrap()
    assert caught.value.reason == "no camera"
    assert (await run(client, [stream("a")], journal, until="streaming"))[1].exit_status == 0
    assert live_tasks(sandbox) == ["stream-a"]


async def test_a_task_that_was_made_when_the_run_was_killed_is_watched_by_the_next(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    sandbox.app.pace.stream_start = 25.0
    async with provision(client, [stream("a")], journal=journal, until="streaming") as running:
        await until(lambda: rows(journal)["CreateDigitalHumanStreamTask:stream-a"]["status"] == "made")
    assert running.report.pending == 1
    await sandbox.clock.advance(25.0)
    outcomes, report = await run(client, [stream("a")], journal, until="streaming")
    assert (report.done, len(sandbox.received(CreateDigitalHumanStreamTask))) == (1, 1)
    assert ids(outcomes.values()) == set(sandbox.app.tasks)


async def test_looking_at_what_is_live_tells_what_has_gone(sandbox: Sandbox, client: Client, journal: Path) -> None:
    outcomes, _ = await run(client, small_fleet(), journal)
    gone = {
        "RegisterAgent:agent-1",
        "CreateDigitalHumanAgentInstance:agent-d1",
        "CreateDigitalHumanStreamTask:stream-s1",
    }
    for key in gone - {"RegisterAgent:agent-1"}:
        life = outcomes[key].action.lifecycle
        assert life is not None
        await client.call(life.end(ids([outcomes[key]]).pop()))
    await client.call(UnregisterAgent(agent_id="agent-1"))
    with read_journal(journal) as reading:
        seen = {row.key: presence async for row, presence in look(client, reading)}
    assert {key for key, presence in seen.items() if presence.there is False} == gone
    assert all(presence.there for key, presence in seen.items() if key not in gone)


async def test_a_budget_that_is_used_up_notices_when_instances_end(
    sandbox: Sandbox, client: Client, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zego_aigc.provisioning.quota_gate.REAP_INTERVAL", 0.1)
    fleet = [register("a"), *(voice(str(n), "a") for n in range(3)), *(stream(str(n)) for n in range(3))]
    async with provision(client, fleet, journal=journal, quota=LocalQuota(agents=2, streams=2)) as running:
        seen = 0
        async for outcome in running:
            assert outcome.status == "done"
            if (seen := seen + 1) == 5:
                await sandbox.clock.advance(1000)
    assert running.report.done == 7


@pytest.mark.parametrize("action", [voice(), talking()])
async def test_an_unknown_instance_is_waited_out_and_made_afresh_when_asked(
    sandbox: Sandbox, client: Client, journal: Path, action: Action[Any]
) -> None:
    await client.call(register())
    sandbox.faults.on(type(action)).times(1).cut_after_work()
    assert (await run(client, [action], journal))[1].unknown == 1
    shift_into_the_past(journal, 300)
    await sandbox.clock.advance(300)
    outcomes, report = await run(client, [action], journal, on_unknown="wait")
    assert report.exit_status == 0
    assert ids(outcomes.values()) == set(sandbox.app.instances)


async def test_the_vendors_advice_on_a_fleet_file_is_a_warning_with_its_place(
    client: Client, journal: Path, tmp_path: Path
) -> None:
    body = voice("v").to_wire() | {"VAD": {"VoiceDetectConfig": {"SensitiveConfig": {"Level": 1, "MinSpeechDur": 5}}}}
    entries = [{"Action": "RegisterAgent", "Body": {"AgentId": "guide"}}, {"Action": "CreateAgentInstance", "Body": body}]
    file = tmp_path / "fleet.jsonl"
    file.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    with pytest.warns(VendorAdvice) as caught:
        _, report = await run(client, Fleet(file), journal)
    assert any("fleet.jsonl:2: VAD" in str(warning.message) for warning in caught)
    assert report.exit_status == 0
    assert len(report.warnings) == 1
