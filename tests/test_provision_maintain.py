"""A fleet is kept alive: what ends is made anew, once, whatever ends and whenever."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from provision_fixtures import *  # noqa: F403 - fixtures
from provision_fixtures import content, removed, rows, run, shift, until
from requests_made import register, stream, talking, voice

from zego_aigc import Action, Client, LocalLimiter, maintain
from zego_aigc.aiagent import (
    AdvancedConfig,
    CreateAgentInstance,
    CreateDigitalHumanAgentInstance,
    DeleteAgentInstance,
    QueryAgentInstanceStatus,
    QueryAgents,
    UpdateAgent,
)
from zego_aigc.callbacks.events import Event
from zego_aigc.callbacks.parsing import parse_callback
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask
from zego_aigc.errors import ConfigurationError
from zego_aigc.provisioning import Fleet, Gone, InvalidFleet, JournalBusy, JournalError, Outcome, Warned, provision
from zego_aigc.provisioning.maintenance import Maintenance, MaintenanceEvent
from zego_aigc.provisioning.options import Options
from zego_aigc.sandbox import DEFAULT_CALLBACK_SECRET, Sandbox

pytestmark = pytest.mark.anyio


def fleet(count: int) -> list[Action[Any]]:
    return [
        register("a"),
        *(voice(f"v{n}", "a") for n in range(count)),
        *(talking(f"d{n}", "a") for n in range(count)),
        *(stream(f"s{n}") for n in range(count)),
    ]


def living(sandbox: Sandbox) -> list[str]:
    """What lives now, by the stream that it publishes."""
    tasks = [task.stream_id for task in sandbox.app.tasks.values() if task.running]
    return [*(instance.agent_stream_id for instance in sandbox.app.instances.values()), *tasks]


class SimulatedHours:
    """The sandbox's clock as the time of a :class:`Maintenance`: to wait is to move it on, while things die at random.

    Args:
        chance: of each thing to die in each step.
    """

    STEP = 10.0

    def __init__(self, sandbox: Sandbox, client: Client, *, chance: float, seed: int, size: int) -> None:
        self._sandbox = sandbox
        self._client = client
        self._random = random.Random(seed)
        self._chance = chance
        self._size = size
        self._sent = 0
        self.deaths = 0
        self.alive = 0.0
        """Seconds for which the whole fleet was alive, and parts of it in proportion."""
        self.hours = 0.0
        self.told: Callable[[Any], Awaitable[None]] | None = None

    def now(self) -> float:
        return self._sandbox.clock.now()

    async def sleep(self, seconds: float) -> None:
        end = self.now() + seconds
        while (left := end - self.now()) > 0.001:
            alive, began = len(living(self._sandbox)), self.now()
            await self._sandbox.clock.advance(min(left, self.STEP))
            self.alive += alive / self._size * (self.now() - began)
            self.hours += (self.now() - began) / 3600
            await self._kill()
            await self._tell()

    async def _kill(self) -> None:
        app = self._sandbox.app
        for instance_id in list(app.instances):
            if self._random.random() < self._chance:
                self.deaths += 1
                await self._client.call(DeleteAgentInstance(agent_instance_id=instance_id))
        for task in [task for task in app.tasks.values() if task.running]:
            if self._random.random() < self._chance:
                self.deaths += 1
                life = CreateDigitalHumanStreamTask.lifecycle
                assert life is not None
                await self._client.call(life.end(task.task_id))

    async def _tell(self) -> None:
        """Pass on the callbacks that were sent since the last step."""
        await self._sandbox.settled()
        deliveries = self._sandbox.outbox.deliveries
        while self._sent < len(deliveries):  # one at a time: the wait may be cut off by what is passed on
            delivery = deliveries[self._sent]
            self._sent += 1
            if self.told is not None:
                body = msgspec.json.encode(delivery.body)
                await self.told(parse_callback(body, secret=DEFAULT_CALLBACK_SECRET, now=delivery.time))


@pytest.mark.slow
@pytest.mark.parametrize("by", ["asking", "callbacks"])
async def test_under_random_deaths_for_hours_nothing_lives_twice_nothing_is_forgotten_and_99_of_100_live(
    sandbox: Sandbox, client: Client, journal: Path, by: str
) -> None:
    patient = AdvancedConfig(max_idle_time=1800)
    fleet_: list[Action[Any]] = [
        msgspec.structs.replace(one, max_idle_time=86_400, ttl=86_400)
        if isinstance(one, CreateDigitalHumanStreamTask)
        else msgspec.structs.replace(one, advanced_config=patient)
        if isinstance(one, CreateAgentInstance | CreateDigitalHumanAgentInstance)
        else one
        for one in fleet(12)
    ]
    size = len(fleet_) - 1
    # Each lives for about two hours: twenty deaths an hour in a fleet of thirty-six.
    hours = SimulatedHours(sandbox, client, chance=SimulatedHours.STEP / 7200, seed=7, size=size)
    upkeep = Maintenance(
        client,
        fleet_,
        journal,
        Options(refresh=True),
        interval=60.0 if by == "asking" else 900.0,
        clock=hours.now,
        sleep=hours.sleep,
        jitter=lambda: 0.5,
    )
    began = hours.now()
    made: Counter[str] = Counter()
    events: list[MaintenanceEvent] = []
    async with upkeep:
        if by == "callbacks":
            hours.told = upkeep.observe
        async for event in upkeep:
            events.append(event)
            if isinstance(event, Outcome) and event.status == "done":
                made[event.key] += 1
            twice = [name for name, count in Counter(living(sandbox)).items() if count > 1]
            assert not twice
            if hours.now() - began > 2 * 3600:
                upkeep.stop()
    assert hours.deaths > 20
    assert hours.alive / (hours.hours * 3600) >= 0.99
    assert sum(isinstance(event, Gone) for event in events) >= hours.deaths - size // 4
    assert all(isinstance(event, Gone | Outcome | Warned) for event in events)
    known = {row["made_id"] for row in rows(journal).values() if row["status"] == "done"}
    running = {task.task_id for task in sandbox.app.tasks.values() if task.running}
    assert {*sandbox.app.instances, *running} <= known, "nothing that lives is forgotten"
    _, report = await removed(client, journal)
    assert report.exit_status == 0
    assert living(sandbox) == []


async def collect(upkeep: Maintenance, events: list[MaintenanceEvent]) -> None:
    async for event in upkeep:
        events += [event]


async def test_what_dies_at_once_is_made_anew_later_and_later(sandbox: Sandbox, client: Client, journal: Path) -> None:
    now = 0.0
    waits: list[float] = []
    upkeep: Maintenance

    async def sleep(seconds: float) -> None:
        nonlocal now
        for instance_id in list(sandbox.app.instances):
            await client.call(DeleteAgentInstance(agent_instance_id=instance_id))
        waits.append(seconds)
        now += seconds
        if len(waits) > 30:
            upkeep.stop()
        await anyio.lowlevel.checkpoint()

    upkeep = Maintenance(
        client,
        [register("a"), voice("v", "a")],
        journal,
        Options(refresh=True),
        interval=30.0,
        clock=lambda: now,
        sleep=sleep,
        jitter=lambda: 0.5,
    )
    events: list[MaintenanceEvent] = []
    async with upkeep:
        await collect(upkeep, events)
    delays = [round(event.delay) for event in events if isinstance(event, Gone)]
    assert delays[:5] == [10, 20, 40, 80, 160]
    assert len(sandbox.received(CreateAgentInstance)) <= len(delays) + 1


@pytest.mark.slow
async def test_an_end_that_is_told_while_a_round_deals_with_the_beginning_is_not_missed(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    ended: list[Event] = []

    def entries() -> list[Action[Any]]:
        if upkeep.rounds == 1:  # this round is about to deal with the callback of the creation
            for event in ended:
                group.start_soon(upkeep.observe, event)
        return [register("a"), voice("v", "a")]

    upkeep = maintain(client, entries, journal=journal, interval=600)
    events: list[MaintenanceEvent] = []
    async with upkeep, anyio.create_task_group() as group:
        group.start_soon(collect, upkeep, events)
        await until(lambda: upkeep.rounds >= 1)
        (instance,) = sandbox.app.instances
        await until(lambda: any(sent.body["Event"] == "AgentInstanceCreated" for sent in sandbox.outbox.deliveries))
        await client.call(DeleteAgentInstance(agent_instance_id=instance))
        await sandbox.settled()
        created, *ended[:] = [
            parse_callback(msgspec.json.encode(sent.body), secret=DEFAULT_CALLBACK_SECRET, now=sent.time)
            for sent in sandbox.outbox.deliveries
            if sent.body["Event"] in {"AgentInstanceCreated", "AgentInstanceDeleted"}
        ]
        await upkeep.observe(created)
        await until(lambda: any(isinstance(event, Gone) for event in events))
        upkeep.stop()


async def test_a_file_that_is_changed_counts_from_the_next_round_and_an_invalid_one_ends_nothing(
    sandbox: Sandbox, client: Client, journal: Path, tmp_path: Path
) -> None:
    def write(*streams: str) -> None:
        body = 'Body = { DigitalHumanConfig = { DigitalHumanId = "h" }, RTCConfig = { RoomId = "r", StreamId = "%s" } }'
        entries = [f'[[fleet]]\nAction = "CreateDigitalHumanStreamTask"\n{body % name}\n' for name in streams]
        (tmp_path / "new.toml").write_text("".join(entries))
        (tmp_path / "new.toml").replace(tmp_path / "f.toml")  # at once: nothing reads half of it

    write("kept", "one")
    events: list[MaintenanceEvent] = []
    upkeep = maintain(client, Fleet(tmp_path / "f.toml"), journal=journal, interval=0.05, prune=True)
    async with upkeep, anyio.create_task_group() as group:
        group.start_soon(collect, upkeep, events)
        await until(lambda: sorted(living(sandbox)) == ["kept", "one"])
        write("kept", "not valid")
        await until(lambda: any(isinstance(event, Warned) and "may hold only" in event.message for event in events))
        assert sorted(living(sandbox)) == ["kept", "one"]
        write("kept", "two")
        await until(lambda: sorted(living(sandbox)) == ["kept", "two"])
        upkeep.stop()
    assert sum(isinstance(event, Warned) and "may hold only" in event.message for event in events) == 1, "it is said once"
    assert upkeep.size == (2, 2)


async def test_what_cannot_be_maintained_is_refused_at_once(client: Client, journal: Path) -> None:
    with pytest.raises(ConfigurationError, match="not an iterator"):
        maintain(client, iter([stream("s")]), journal=journal)
    with pytest.raises(ConfigurationError, match="interval"):
        maintain(client, [stream("s")], journal=journal, interval=0)
    with pytest.raises(InvalidFleet):
        async with maintain(client, [stream("s"), stream("s")], journal=journal) as upkeep:
            await collect(upkeep, [])
    assert not content(journal)


async def test_while_a_fleet_is_maintained_its_journal_is_in_use_and_afterwards_it_is_free(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    async with maintain(client, lambda: [stream("s")], journal=journal, interval=600) as upkeep:
        await until(lambda: upkeep.rounds >= 1)
        with pytest.raises(JournalBusy):
            async with provision(client, [stream("s")], journal=journal):
                pass
    _, report = await removed(client, journal)
    assert report.exit_status == 0
    assert living(sandbox) == []


async def test_leaving_the_block_in_the_middle_of_a_round_forgets_nothing(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    async with maintain(client, [stream(str(n)) for n in range(300)], journal=journal) as upkeep:
        async for _ in upkeep:
            break
    assert {row["made_id"] for row in rows(journal).values() if row["status"] == "done"} >= {
        task.task_id for task in sandbox.app.tasks.values() if task.running
    }
    _, report = await removed(client, journal)
    assert report.unknown == 0
    assert living(sandbox) == []


async def test_a_service_that_cannot_answer_for_a_while_ends_nothing(sandbox: Sandbox, client: Client, journal: Path) -> None:
    events: list[MaintenanceEvent] = []
    upkeep = maintain(client, [register("a"), voice("v", "a")], journal=journal, interval=0.05)
    async with upkeep, anyio.create_task_group() as group:
        group.start_soon(collect, upkeep, events)
        await until(lambda: upkeep.rounds >= 1)
        sandbox.faults.on(QueryAgentInstanceStatus).refuse(410000003)
        before = upkeep.rounds
        await until(lambda: upkeep.rounds > before + 2)
        sandbox.faults.clear()
        upkeep.stop()
    assert len(sandbox.received(CreateAgentInstance)) == 1
    assert sum(isinstance(event, Warned) for event in events) == 1


async def told(sandbox: Sandbox, name: str) -> Event:
    """The last callback of a kind that the sandbox sent, as it arrives."""
    await until(lambda: any(sent.body["Event"] == name for sent in sandbox.outbox.deliveries))
    sent = next(sent for sent in reversed(sandbox.outbox.deliveries) if sent.body["Event"] == name)
    return parse_callback(msgspec.json.encode(sent.body), secret=DEFAULT_CALLBACK_SECRET, now=sent.time)


async def test_late_callbacks_of_what_was_before_say_nothing_of_what_was_made_anew_and_not_answered(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    fleet = [register("a"), voice("v", "a")]
    await run(client, fleet, journal)
    (first,) = sandbox.app.instances
    born = await told(sandbox, "AgentInstanceCreated")
    await client.call(DeleteAgentInstance(agent_instance_id=first))
    ended = await told(sandbox, "AgentInstanceDeleted")
    sandbox.faults.on(CreateAgentInstance).cut_after_work()
    assert (await run(client, fleet, journal, refresh=True))[1].unknown == 1
    shift(journal, 60)  # as if that had been a minute after the end
    for event in (born, ended):
        async with maintain(client, fleet, journal=journal, interval=600) as upkeep:
            await upkeep.observe(event)
            await until(lambda: upkeep.rounds)
        assert rows(journal)["CreateAgentInstance:agent-v"]["status"] == "unknown"
    assert len(sandbox.received(CreateAgentInstance)) == 2


@pytest.mark.slow
async def test_a_callback_settles_at_once_what_a_round_has_left_unknown(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    sandbox.faults.on(CreateAgentInstance).stall_after_work()
    events: list[MaintenanceEvent] = []
    async with (
        sandbox.client(limiter=LocalLimiter(10_000), timeout=5.0) as hasty,
        maintain(hasty, [register("a"), voice("v", "a")], journal=journal, interval=600) as upkeep,
        anyio.create_task_group() as group,
    ):
        group.start_soon(collect, upkeep, events)
        await until(lambda: sandbox.app.instances)
        await upkeep.observe(await told(sandbox, "AgentInstanceCreated"))
        await until(lambda: upkeep.rounds)
        upkeep.stop()
    assert upkeep.size == (2, 2)
    assert [event.status for event in events if isinstance(event, Outcome)] == ["done", "done"]


async def test_what_may_live_is_waited_for_between_rounds_and_not_in_one(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    sandbox.faults.on(CreateAgentInstance).times(1).cut_after_work()
    events: list[MaintenanceEvent] = []
    fleet = [register("a"), voice("v", "a")]
    async with maintain(client, fleet, journal=journal, interval=0.05, on_unknown="wait") as upkeep:
        await until(lambda: upkeep.rounds > 2)
        assert upkeep.size == (1, 2)
        await sandbox.clock.advance(300)  # it has ended without its user
        await until(lambda: upkeep.size == (2, 2))
        upkeep.stop()
        await collect(upkeep, events)
    told = [(event.key, event.status) for event in events if isinstance(event, Outcome)]
    voice_, agent = "CreateAgentInstance:agent-v", "RegisterAgent:a"
    assert told == [(agent, "done"), (voice_, "unknown"), (voice_, "done")], "what stays unknown is said once"
    assert len(sandbox.received(CreateAgentInstance)) == 2


@pytest.mark.slow
async def test_rounds_that_were_stopped_or_came_to_nothing_are_said_once_and_the_next_one_goes_on(
    sandbox: Sandbox, client: Client, journal: Path
) -> None:
    await client.call(register("a"))
    sandbox.faults.on(QueryAgents).after(1).answer(503, b"<html>503</html>")  # it is there: that is all that is learned
    sandbox.faults.on(UpdateAgent).answer(503, b"<html>503</html>")
    events: list[MaintenanceEvent] = []
    async with (
        sandbox.client(limiter=LocalLimiter(10_000), timeout=0.3) as hasty,
        maintain(hasty, [UpdateAgent(agent_id="a", name="New")], journal=journal, interval=0.05) as upkeep,
        anyio.create_task_group() as group,
    ):
        group.start_soon(collect, upkeep, events)
        await until(lambda: upkeep.rounds > 3)
        sandbox.faults.clear()
        await until(lambda: upkeep.size == (1, 1))
        upkeep.stop()
    said = [event.message for event in events if isinstance(event, Warned)]
    assert sum(message.startswith("this round was stopped") for message in said) <= 1
    assert any(message.startswith(("this round was stopped", "this round came to nothing")) for message in said)
    assert sandbox.app.agents["a"].name == "New"


async def test_a_journal_that_is_lost_ends_the_upkeep(sandbox: Sandbox, client: Client, journal: Path) -> None:
    async with maintain(client, [stream("s")], journal=journal, interval=0.05) as upkeep:
        await until(lambda: upkeep.rounds)
        os.unlink(journal)  # noqa: PTH108
        with anyio.fail_after(60), pytest.raises(JournalError, match="was removed"):
            await collect(upkeep, [])
