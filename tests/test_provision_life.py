"""A fleet after its first evening: what has ended is made anew, what has changed is changed, and unknowns get known."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from provision_fixtures import *  # noqa: F403 - fixtures
from provision_fixtures import FAST, content, ids, killed_in_flight, removed, rows, run, until
from requests_made import llm, register, stream, talking, voice

from zego_aigc import Action, Client, LocalLimiter, LocalQuota
from zego_aigc.aiagent import (
    AdvancedConfig,
    CreateAgentInstance,
    DeleteAgentInstance,
    QueryAgentInstanceStatus,
    RegisterAgent,
    UnregisterAgent,
    UpdateAgent,
)
from zego_aigc.callbacks.events import AgentInstanceCreated, AgentInstanceDeleted
from zego_aigc.callbacks.parsing import parse_callback
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask
from zego_aigc.errors import ConfigurationError, ConnectFailed
from zego_aigc.provisioning import (
    Entry,
    InvalidFleet,
    JournalError,
    Outcome,
    Pruned,
    Unclaimed,
    find_unclaimed,
    provision,
    resolve,
    teardown,
)
from zego_aigc.sandbox import DEFAULT_CALLBACK_SECRET, Sandbox

pytestmark = pytest.mark.anyio


async def end(client: Client, outcome: Outcome) -> None:
    """End what an entry has made, behind the journal's back."""
    life = outcome.action.lifecycle
    assert life is not None
    await client.call(life.end(life.id_of(outcome.action, outcome.result)))


def live_instances(sandbox: Sandbox) -> list[str]:
    return list(sandbox.app.instances)


def live_tasks(sandbox: Sandbox) -> list[str]:
    return [task_id for task_id, task in sandbox.app.tasks.items() if task.running]


def fleet() -> list[Action[Any]]:
    return [register("a"), register("b"), voice("v", "a"), talking("d", "b"), stream("s1"), stream("s2")]


# --- refresh


async def test_what_has_ended_is_made_anew_when_asked_and_nothing_else(sandbox: Sandbox, client: Client, journal: Path) -> None:
    first, _ = await run(client, fleet(), journal)
    ended = ["CreateAgentInstance:agent-v", "CreateDigitalHumanStreamTask:stream-s2"]
    for key in ended:
        await end(client, first[key])
    await client.call(UnregisterAgent(agent_id="b"))
    calls = len(sandbox.recording.calls)

    again, report = await run(client, fleet(), journal)
    assert all(outcome.earlier for outcome in again.values())
    assert len(sandbox.recording.calls) == calls, "nothing is asked unasked"

    again, report = await run(client, fleet(), journal, refresh=True)
    assert {key for key, outcome in again.items() if not outcome.earlier} == {*ended, "RegisterAgent:b"}
    assert (report.exit_status, report.gone, report.done) == (0, 3, 6), report.failures
    assert any("gone at the service, and recreated" in warning for warning in report.warnings)
    made = ids(again.values())
    assert {row["made_id"] for row in rows(journal).values() if row["made_id"] not in {"a", "b"}} == made
    assert len(live_instances(sandbox)) == 2


async def test_a_run_that_skips_what_may_have_ended_says_so_and_does_not_end_as_if_all_were_well(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    short = msgspec.structs.replace(voice("v", "a"), advanced_config=AdvancedConfig(max_idle_time=10))
    await run(client, [register("a"), short], journal)
    await client.call(DeleteAgentInstance(agent_instance_id=live_instances(sandbox)[0]))
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute("UPDATE entries SET recorded = recorded - 11")  # it was made eleven seconds ago
    _, report = await run(client, [register("a"), short, stream("new")], journal)
    assert (report.stale, report.exit_status, report.done) == (1, 3, 3)
    assert any(
        "CreateAgentInstance:agent-v was made longer ago than MaxIdleTime or TTL" in warning for warning in report.warnings
    )
    _, report = await run(client, [register("a"), short, stream("new")], journal, refresh=True)
    assert (report.stale, report.exit_status, report.gone) == (0, 0, 1)


@pytest.mark.parametrize("action", [voice("v", "a"), msgspec.structs.replace(stream("s"), ttl=100)])
async def test_what_may_have_ended_is_judged_by_the_services_clock_and_asking_it_is_no_call(
    sandbox: Sandbox, client: Client, journal: Path, action: Action[Any]
) -> None:
    fleet = [register("a"), action]
    await run(client, fleet, journal)
    assert (await run(client, fleet, journal))[1].exit_status == 0
    calls = len(sandbox.recording.calls)
    await sandbox.clock.advance(121)  # more than MaxIdleTime of the one and TTL of the other; this machine's clock stays
    _, report = await run(client, fleet, journal)
    assert (report.stale, report.exit_status) == (1, 3)
    assert len(sandbox.recording.calls) == calls
    await sandbox.aclose()
    _, report = await run(client, fleet, journal)
    assert report.exit_status == 0, "without the service this machine's clock has to do"


@pytest.mark.slow
async def test_a_service_that_cannot_be_reached_is_no_reason_to_make_anything_anew(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await run(client, fleet(), journal)
    sandbox.faults.on(QueryAgentInstanceStatus).refuse(410000003)
    _, report = await run(client, fleet(), journal, refresh=True)
    assert (report.exit_status, report.gone) == (0, 0)
    assert any("2 entries could not be asked about" in warning for warning in report.warnings)
    url = sandbox.url
    await sandbox.aclose()
    with pytest.raises(ConnectFailed, match=url.removeprefix("http://")):
        await run(client, fleet(), journal, refresh=True)
    assert {row["status"] for row in rows(journal).values()} == {"done"}


# --- changes


async def test_a_changed_agent_is_updated_when_asked(sandbox: Sandbox, client: Client, journal: Path) -> None:
    def guide(model: str, key: str = "sk-1") -> RegisterAgent:
        return RegisterAgent(agent_id="a", name="Guide", llm=msgspec.structs.replace(llm(key), model=model))

    await run(client, [guide("m-1"), voice("v", "a")], journal)
    with pytest.raises(InvalidFleet) as caught:
        await run(client, [guide("m-2", "sk-hidden"), voice("v", "a")], journal)
    (problem,) = caught.value.problems
    assert 'LLM.Model: "m-1" -> "m-2"' in problem.message
    assert "--update" in problem.message
    assert "sk-" not in problem.message

    outcomes, report = await run(client, [guide("m-2"), voice("v", "a")], journal, update=True)
    assert report.exit_status == 0
    assert (outcomes["RegisterAgent:a"].origin, outcomes["RegisterAgent:a"].earlier) == ("updated", False)
    (sent,) = sandbox.received(UpdateAgent)
    assert sent.llm is not None
    assert sent.llm.model == "m-2"
    again, _ = await run(client, [guide("m-2"), voice("v", "a")], journal)
    assert all(outcome.earlier for outcome in again.values())
    _, report = await removed(client, journal)
    assert not sandbox.app.agents, "an agent that was updated is still one that this journal made"


async def test_an_update_that_fails_is_tried_again_by_the_next_run(sandbox: Sandbox, client: Client, journal: Path) -> None:
    await run(client, [register("a")], journal)
    sandbox.faults.on(UpdateAgent).times(1).refuse(410000003)
    outcomes, report = await run(client, [register("a", Name="B")], journal, update=True)
    assert (outcomes["RegisterAgent:a"].status, report.exit_status) == ("failed", 1)
    assert rows(journal)["RegisterAgent:a"]["status"] == "done"
    _, report = await run(client, [register("a", Name="B")], journal, update=True)
    assert report.exit_status == 0
    assert len(sandbox.received(UpdateAgent)) == 2


async def test_what_else_has_changed_is_ended_by_its_key_and_made_anew(sandbox: Sandbox, client: Client, journal: Path) -> None:
    def task(ttl: int) -> list[Any]:
        return [msgspec.structs.replace(stream("s1"), ttl=ttl), stream("s2")]

    await run(client, task(100), journal)
    with pytest.raises(InvalidFleet, match=r"TTL: 100 -> 200.*teardown JOURNAL --only KEY"):
        await run(client, task(200), journal, update=True)
    async with teardown(client, journal, only=["CreateDigitalHumanStreamTask:stream-s1"]) as tearing:
        outcomes = [outcome.key async for outcome in tearing]
    assert outcomes == ["CreateDigitalHumanStreamTask:stream-s1"]
    again, report = await run(client, task(200), journal)
    assert report.exit_status == 0
    assert [outcome.earlier for outcome in again.values()].count(False) == 1
    assert len(live_tasks(sandbox)) == 2


async def test_a_key_that_the_journal_does_not_know_is_answered_with_the_closest(client: Client, journal: Path) -> None:
    await run(client, [stream("s1")], journal)
    before = content(journal)
    for keys in (["CreateDigitalHumanStreamTask:streem-s1"], "CreateDigitalHumanStreamTask:stream-s1"):
        with pytest.raises(ConfigurationError) as caught:
            async with teardown(client, journal, only=keys):
                pass
    with pytest.raises(ConfigurationError, match="did you mean CreateDigitalHumanStreamTask:stream-s1"):
        async with teardown(client, journal, only=["CreateDigitalHumanStreamTask:streem-s1"]):
            pass
    assert "as a list" in str(caught.value)
    assert content(journal) == before


async def test_what_left_the_fleet_is_listed_and_removed_when_asked(sandbox: Sandbox, client: Client, journal: Path) -> None:
    await run(client, fleet(), journal)
    smaller = [register("a"), stream("s1")]
    _, report = await run(client, smaller, journal)
    assert len(live_tasks(sandbox)) == 2
    (warning,) = report.warnings
    assert "RegisterAgent:b, CreateAgentInstance:agent-v, CreateDigitalHumanAgentInstance:agent-d and 1 more are" in warning
    assert "--prune" in warning

    pruned: list[str] = []
    async with provision(client, smaller, journal=journal, prune=True) as running:
        async for event in running.events():
            if isinstance(event, Pruned):
                assert event.outcome.status == "done"
                pruned.append(event.outcome.key)
    assert pruned[-1] == "RegisterAgent:b", "instances before agents"
    assert running.report.pruned == len(pruned) == 4
    assert (len(live_tasks(sandbox)), len(live_instances(sandbox)), len(sandbox.app.agents)) == (1, 0, 1)
    _, report = await run(client, smaller, journal)
    assert report.warnings == []


async def test_pruning_frees_names_first_and_refuses_to_take_an_agent_that_is_needed(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await run(client, [register("a"), Entry(stream("s"), "old")], journal)
    with pytest.raises(InvalidFleet, match="is taken by 'old'"):
        await run(client, [register("a"), Entry(stream("s"), "new")], journal)
    outcomes, report = await run(client, [register("a"), Entry(stream("s"), "new")], journal, prune=True)
    assert (report.exit_status, outcomes["new"].earlier) == (0, False)
    with pytest.raises(InvalidFleet, match="refers to the agent 'a', which is to be pruned"):
        await run(client, [Entry(stream("s"), "new"), voice("v", "a")], journal, prune=True)
    with pytest.raises(ConfigurationError, match="extend"):
        await run(client, [stream("s")], journal, prune=True, extend=True)


async def test_what_cannot_be_pruned_is_told_and_ends_with_1(sandbox: Sandbox, client: Client, journal: Path) -> None:
    await run(client, [register("a"), voice("v", "a")], journal)
    sandbox.faults.on(DeleteAgentInstance).refuse(410000003)
    _, report = await run(client, [register("a")], journal, prune=True)
    assert (report.pruned, report.not_pruned, report.exit_status) == (0, 1, 1)


# --- plan


async def test_a_plan_says_what_a_run_would_do_and_changes_nothing(
    sandbox: Sandbox, client: Client, journal: Path, tmp_path: Path
) -> None:
    none = await provision(client, fleet(), journal=tmp_path / "none.journal").plan()
    assert none.has_work
    assert none.to_make["RegisterAgent"] == ["RegisterAgent:a", "RegisterAgent:b"]
    assert none.instances == {"agents": 1, "digital_humans": 1, "streams": 2}
    assert not (tmp_path / "none.journal").exists()

    first, _ = await run(client, fleet(), journal)
    calls, before = len(sandbox.recording.calls), content(journal)
    assert not (await provision(client, fleet(), journal=journal).plan()).has_work
    changed = [register("a", Name="B"), voice("v", "a"), msgspec.structs.replace(stream("s1"), ttl=99), stream("s3")]
    plan = await provision(client, changed, journal=journal).plan()
    assert plan.has_work
    assert plan.to_make == {"CreateDigitalHumanStreamTask": ["CreateDigitalHumanStreamTask:stream-s3"]}
    assert [(one.key, one.way, [str(field) for field in one.fields]) for one in plan.changed] == [
        ("RegisterAgent:a", "update", ['Name: "Guide" -> "B"']),
        ("CreateDigitalHumanStreamTask:stream-s1", "teardown", ["TTL: not set -> 99"]),
    ]
    assert plan.left == [
        "RegisterAgent:b",
        "CreateDigitalHumanAgentInstance:agent-d",
        "CreateDigitalHumanStreamTask:stream-s2",
    ]
    assert plan.gone is None
    assert (len(sandbox.recording.calls), content(journal)) == (calls, before)

    await end(client, first["CreateDigitalHumanStreamTask:stream-s2"])
    plan = await provision(client, fleet(), journal=journal).plan(live=True)
    assert plan.gone == ["CreateDigitalHumanStreamTask:stream-s2"]
    assert content(journal) == before


async def test_a_plan_names_what_is_wrong_and_what_may_have_been_made(sandbox: Sandbox, client: Client, journal: Path) -> None:
    sandbox.faults.on(CreateAgentInstance).cut_after_work()
    await run(client, [register("a"), voice("v", "a")], journal)
    plan = await provision(client, [register("a"), voice("v", "a")], journal=journal).plan()
    assert plan.unclear == ["CreateAgentInstance:agent-v"]
    with pytest.raises(InvalidFleet):
        await provision(client, [RegisterAgent(agent_id="")], journal=journal).plan()
    async with provision(client, [register("a"), voice("v", "a")], journal=journal) as running:
        with pytest.raises(JournalError, match="in this process"):
            await running.plan()


async def test_long_texts_and_secrets_do_not_reach_the_journal_and_a_change_in_them_is_seen(
    client: Client, journal: Path
) -> None:
    def agent(text: str) -> RegisterAgent:
        return RegisterAgent(agent_id="a", name="n", llm=msgspec.structs.replace(llm("sk-hidden"), system_prompt=text))

    await run(client, [agent("x" * 10_000)], journal)
    assert b"sk-hidden" not in content(journal)
    assert len(rows(journal)["RegisterAgent:a"]["spec"]) < 1000
    plan = await provision(client, [agent("x" * 9_999 + "y")], journal=journal).plan()
    ((field,),) = [one.fields for one in plan.changed]
    assert field.path == "LLM.SystemPrompt"


# --- unknowns get known


async def created(sandbox: Sandbox, name: type) -> Any:
    """The last callback of a kind that the sandbox sent, as it arrives."""
    for delivery in reversed(sandbox.outbox.deliveries):
        body = msgspec.json.encode(delivery.body)
        event = parse_callback(body, secret=DEFAULT_CALLBACK_SECRET, now=sandbox.clock.now())
        if isinstance(event, name):
            return event
    raise AssertionError


async def test_a_callback_settles_what_no_answer_did(sandbox: Sandbox, client: Client, journal: Path) -> None:
    sandbox.faults.on(CreateAgentInstance).cut_after_work()
    outcomes: dict[str, Outcome] = {}
    async with provision(
        client, [register("a"), voice("v", "a")], journal=journal, on_unknown="wait", lookup_delay=0.05
    ) as running:
        with anyio.fail_after(60):
            async for outcome in running:
                outcomes[outcome.key] = outcome
                if outcome.key == "RegisterAgent:a":
                    await until(lambda: live_instances(sandbox))
                    await sandbox.settled()
                    await anyio.sleep(0.3)
                    await running.observe(await created(sandbox, AgentInstanceCreated))
    (instance,) = live_instances(sandbox)
    assert outcomes["CreateAgentInstance:agent-v"].result.agent_instance_id == instance
    assert running.report.exit_status == 0
    _, report = await removed(client, journal)
    assert (report.exit_status, live_instances(sandbox)) == (0, [])


@pytest.mark.slow
async def test_a_callback_that_comes_before_the_answer_is_lost_settles_it_too(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    sandbox.faults.on(CreateAgentInstance).stall_after_work()
    async with (
        sandbox.client(limiter=LocalLimiter(FAST), timeout=5.0) as hasty,
        provision(hasty, [register("a"), voice("v", "a")], journal=journal) as running,
    ):
        await until(lambda: any(sent.body["Event"] == "AgentInstanceCreated" for sent in sandbox.outbox.deliveries))
        born = await created(sandbox, AgentInstanceCreated)
        for change in ({"room_id": "another's"}, {"room_id": None}, {"agent_id": "another's"}):  # of nothing that is known here
            await running.observe(msgspec.structs.replace(born, agent_instance_id="1", **change))
        await running.observe(born)
        outcomes = {outcome.key: outcome async for outcome in running}
    assert ids(outcomes.values()) == {*live_instances(sandbox)}
    assert running.report.exit_status == 0


async def test_a_callback_of_an_end_frees_the_place_and_the_next_run_makes_it_anew(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    quota = LocalQuota(1, 1, 1)
    fleet = [register("a"), voice("1", "a"), voice("2", "a")]
    made: list[str] = []
    async with provision(client, fleet, journal=journal, quota=quota, quota_wait=30) as running:
        with anyio.fail_after(60):
            async for outcome in running:
                if outcome.result is not None and outcome.status == "done":
                    made.append(outcome.key)
                    if len(made) == 1:
                        await client.call(DeleteAgentInstance(agent_instance_id=outcome.result.agent_instance_id))
                        await sandbox.settled()
                        await running.observe(await created(sandbox, AgentInstanceDeleted))
    assert len(made) == 2
    assert rows(journal)[made[0]]["status"] == "removed"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["id", "gone"])
async def test_a_person_settles_what_nothing_else_did(sandbox: Sandbox, client: Client, journal: Path, how: str) -> None:
    sandbox.faults.on(CreateAgentInstance).times(1).cut_after_work()
    fleet = [register("a"), voice("v", "a")]
    key = "CreateAgentInstance:agent-v"
    _, report = await run(client, fleet, journal)
    assert report.exit_status == 3
    (instance,) = live_instances(sandbox)
    if how == "id":
        await resolve(journal, key, made_id=instance)
        outcomes, report = await run(client, fleet, journal)
        assert outcomes[key].result.agent_instance_id == instance
        assert len(sandbox.received(CreateAgentInstance)) == 1
    else:
        await client.call(DeleteAgentInstance(agent_instance_id=instance))
        await resolve(journal, key, gone=True)
        _, report = await run(client, fleet, journal)
        assert len(sandbox.received(CreateAgentInstance)) == 2
    assert report.exit_status == 0
    _, report = await removed(client, journal)
    assert live_instances(sandbox) == []


async def test_what_need_not_be_settled_is_refused_with_the_reason(
    sandbox: Sandbox, client: Client, journal: Path, tmp_path: Path
) -> None:
    sandbox.faults.on(CreateDigitalHumanStreamTask).refuse(400000003)
    await run(client, [register("a"), Entry(stream(), "refused")], journal)
    before = content(journal)
    for key, arguments, said in (
        ("RegisterAgent:a", {"made_id": "1", "gone": True}, "either the id"),
        ("RegisterAgent:a", {}, "either the id"),
        ("RegisterAgent:a", {"made_id": "1"}, "is done"),
        ("refused", {"gone": True}, "nothing to resolve"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            await resolve(journal, key, **arguments)
    with pytest.raises(ConfigurationError, match="did you mean RegisterAgent:a"):
        await resolve(journal, "RegisterAgnet:a", gone=True)
    with pytest.raises(JournalError, match="there is no journal"):
        await resolve(tmp_path / "none", "x", gone=True)
    assert content(journal) == before
    killed = await killed_in_flight(sandbox, client, [UpdateAgent(agent_id="a")], tmp_path / "another.journal")
    with pytest.raises(ConfigurationError, match="makes nothing that has an id"):
        await resolve(killed, *rows(killed), made_id="1")


# --- what no journal knows


async def test_what_no_journal_knows_is_listed(sandbox: Sandbox, client: Client, journal: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.journal"
    await run(client, [register("a"), stream("1")], journal)
    await run(client, [register("b"), stream("2")], other)
    await client.call(register("stray"))
    stray = await client.call(stream("3"))

    async def found(*journals: Path) -> list[Unclaimed]:
        return [one async for one in find_unclaimed(client, journals)]

    assert [(one.action, one.id) for one in await found(journal, other)] == [
        ("RegisterAgent", "stray"),
        ("CreateDigitalHumanStreamTask", stray.task_id),
    ]
    assert len(await found(journal)) == 4
    assert len(await found()) == 6


async def test_what_a_run_that_goes_on_may_be_making_is_nobodys_orphan(sandbox: Sandbox, client: Client, journal: Path) -> None:
    async with provision(client, [stream(str(n)) for n in range(20)], journal=journal) as running:
        async for _ in running:
            assert [one async for one in find_unclaimed(client, [journal])] == []
            break
