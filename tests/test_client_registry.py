"""A client with a registry: what it makes is noted, and what a dead process left is ended by another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from requests_made import register, stream, talking, voice
from sandbox_fixtures import eventually

from zego_aigc import (
    Client,
    ConfigurationError,
    LiveRecord,
    LocalLimiter,
    LocalQuota,
    OutcomeUnknown,
    QuotaExceeded,
    RegistryError,
    RetryPolicy,
    SQLiteRegistry,
    TimedOut,
    TooManyLive,
    provision,
)
from zego_aigc.aiagent import CreateAgentInstance, DeleteAgentInstance
from zego_aigc.callbacks import events
from zego_aigc.calls.register import LATE, MARGIN
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask, QueryDigitalHumanStreamTasks
from zego_aigc.sandbox import Pace, Sandbox

pytestmark = pytest.mark.anyio

LEASE = 9000.0
"""Seconds: a third of it is longer than any test, so that a client sweeps only when it is asked to."""

QUICK = RetryPolicy(max_attempts=2, initial_backoff=0.001, max_backoff=0.01, lookup_delay=0.02, cancel_grace=60.0)


class Time:
    """What the registries of a test take for the time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Processes:
    """Clients as so many processes would have them, on one registry's file. One that is not asked to sweep is dead."""

    def __init__(self, sandbox: Sandbox, path: Path) -> None:
        self.sandbox = sandbox
        self.path = path
        self.time = Time()
        self.clients: list[Client] = []

    def registry(self) -> SQLiteRegistry:
        return SQLiteRegistry(self.path, lease=LEASE, clock=self.time)

    def start(self, registry: SQLiteRegistry | None = None, **options: Any) -> Client:
        client = self.sandbox.client(
            registry=registry or self.registry(), retry=QUICK, limiter=LocalLimiter(limit=1000), timeout=60, **options
        )
        self.clients.append(client)
        return client

    async def let_pass(self, seconds: float, *alive: Client) -> list[LiveRecord]:
        """Let time pass, while those that are alive sweep as they do by themselves; what they ended."""
        ended: list[LiveRecord] = []
        while seconds > 0:
            self.time.now += min(seconds, LEASE / 3)
            seconds -= LEASE / 3
            for client in alive:
                ended += await client.sweep()
        return ended

    def live(self) -> set[str]:
        """The ids of what lives at the service."""
        running = {task_id for task_id, task in self.sandbox.app.tasks.items() if task.running}
        return running | {*self.sandbox.app.instances}

    @property
    def account(self) -> str:
        """What the registry calls the account."""
        return f"{self.sandbox.app_id}@{self.sandbox.url.rstrip('/')}"


def created(instance_id: str, room_id: str) -> events.AgentInstanceCreated:
    return events.AgentInstanceCreated(
        app_id=1,
        signature="s",
        nonce="n",
        timestamp=1,
        event="AgentInstanceCreated",
        agent_instance_id=instance_id,
        room_id=room_id,
        data=events.AgentInstanceCreatedData(created_timestamp=1),
    )


def deleted(instance_id: str) -> events.AgentInstanceDeleted:
    return events.AgentInstanceDeleted(
        app_id=1,
        signature="s",
        nonce="n",
        timestamp=1,
        sequence=1,
        room_id="room-1",
        event="AgentInstanceDeleted",
        agent_instance_id=instance_id,
        data=events.AgentInstanceDeletedData(code=1202),
    )


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(rate_limit=None, pace=Pace(stream_start=0, stream_stop=0)) as running:
        async with running.client() as client:
            await client.call(register())
        yield running


@pytest.fixture
async def processes(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Processes]:
    processes = Processes(sandbox, tmp_path / "live.db")
    yield processes
    for client in processes.clients:
        await client.aclose()


async def test_what_is_made_is_noted_and_struck_off_when_it_ends(processes: Processes) -> None:
    client, other = processes.start(), processes.start()
    async with client.agent(voice()) as agent:
        (record,) = await other.live()
        assert (record.action, record.state, record.instance_id) == ("CreateAgentInstance", "live", agent.id)
        assert (record.room_id, record.stream_id, record.agent_id) == ("room-1", "agent-1", "guide")
    assert await other.live() == []


@pytest.mark.slow
async def test_a_create_is_noted_before_its_first_byte_leaves(processes: Processes, sandbox: Sandbox) -> None:
    client = processes.start()
    sandbox.faults.on(CreateAgentInstance).stall()
    creating = asyncio.ensure_future(client.call(voice(), owner="ann", timeout=5))
    await eventually(lambda: sandbox.received(CreateAgentInstance))
    assert [(record.state, record.owner) for record in await client.live()] == [("starting", "ann")]
    with pytest.raises(OutcomeUnknown):
        await creating
    assert [record.state for record in await client.live()] == ["unknown"]


async def test_what_a_dead_process_made_is_ended_by_another(processes: Processes, caplog: pytest.LogCaptureFixture) -> None:
    dead, alive = processes.start(), processes.start()
    created = await dead.call(voice())
    task = await dead.call(stream())
    ended = await processes.let_pass(2 * LEASE, alive)
    assert {record.instance_id for record in ended} == {created.agent_instance_id, task.task_id}
    assert processes.live() == set()
    assert await alive.live() == []
    logged = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"{task.task_id}, made by CreateDigitalHumanStreamTask in a process that has died, was ended" in logged


async def test_what_a_living_process_made_is_left_alone(processes: Processes) -> None:
    one, other = processes.start(), processes.start()
    created = await one.call(voice())
    assert await processes.let_pass(5 * LEASE, one, other) == []
    assert processes.live() == {created.agent_instance_id}


async def test_a_stream_task_whose_create_outlived_its_process_is_looked_up_and_ended(processes: Processes) -> None:
    dead, alive, somebody = processes.registry(), processes.start(), processes.sandbox.client()
    await alive.live()  # a member
    await somebody.call(stream("1"))
    await somebody.call(stream("2"))
    await dead.join(processes.account)
    await dead.add(
        LiveRecord(key="k", action="CreateDigitalHumanStreamTask", room_id="room-1", stream_id="stream-1", lives_unseen=900)
    )
    (ended,) = await processes.let_pass(2 * LEASE, alive)
    assert ended.key == "k"
    assert [task.stream_id for task in processes.sandbox.app.tasks.values() if task.running] == ["stream-2"]
    await somebody.aclose()
    await dead.aclose()


async def test_an_instance_of_which_nothing_is_known_is_unknown_until_it_must_be_over(processes: Processes) -> None:
    dead, alive = processes.registry(), processes.start()
    await alive.live()
    await dead.join(processes.account)
    await dead.add(LiveRecord(key="k", action="CreateAgentInstance", room_id="room-1", lives_unseen=LEASE))
    await processes.let_pass(2 * LEASE, alive)
    assert [record.state for record in await alive.live()] == ["unknown"]
    await processes.let_pass(LEASE + MARGIN, alive)
    assert await alive.live() == []
    await dead.aclose()


async def test_a_create_that_is_refused_leaves_no_record(processes: Processes) -> None:
    client = processes.start()
    with pytest.raises(Exception, match="AgentNotFound"):
        await client.call(voice(agent_id="nobody"))
    assert await client.live() == []


async def test_a_create_whose_outcome_is_unknown_stays_noted_for_as_long_as_it_may_live(
    processes: Processes, sandbox: Sandbox
) -> None:
    client = processes.start()
    sandbox.faults.on(CreateAgentInstance).cut_after_work()
    with pytest.raises(OutcomeUnknown):
        await client.call(voice())
    assert [record.state for record in await client.live()] == ["unknown"]
    await processes.let_pass(LEASE, client)
    await processes.let_pass(max(LATE, 120 + MARGIN), client)
    assert await client.live() == []


@pytest.mark.parametrize("create", [voice(), talking(), stream()], ids=lambda create: type(create).__name__)
async def test_a_create_that_is_cancelled_in_flight_is_noted_with_what_it_made(
    processes: Processes, sandbox: Sandbox, create: Any
) -> None:
    client = processes.start()
    creating = asyncio.ensure_future(client.call(create))
    # As it comes to the service, so that no machine is too slow to cancel it in time.
    sandbox.faults.on(type(create)).where(lambda _: creating.cancel()).latency(0.05)
    with pytest.raises(asyncio.CancelledError):
        await creating
    assert {record.instance_id for record in await client.live()} == processes.live()


async def test_a_callback_that_says_that_it_has_ended_strikes_it_off_in_any_process(processes: Processes) -> None:
    one, other = processes.start(), processes.start()
    created = await one.call(voice())
    await other.observe(deleted(created.agent_instance_id))
    assert await one.live() == []


async def test_a_callback_identifies_what_a_process_was_making_when_it_died(processes: Processes, sandbox: Sandbox) -> None:
    dead, alive, somebody = processes.registry(), processes.start(), processes.sandbox.client()
    await dead.join(processes.account)
    await dead.add(LiveRecord(key="k", action="CreateAgentInstance", agent_id="guide", room_id="room-1", agent_user_id="bot-1"))
    instance_id = (await somebody.call(voice("1"))).agent_instance_id
    await somebody.call(voice("2"))
    await alive.observe(created(instance_id, "room-1"))
    await alive.observe(created(instance_id, "room-1"))  # the vendor may repeat it
    await alive.observe(created("another", "room-2"))
    (ended,) = await processes.let_pass(2 * LEASE, alive)
    assert ended.instance_id == instance_id
    assert instance_id not in processes.live()
    assert await alive.live() == []
    await somebody.aclose()
    await dead.aclose()


async def test_of_two_creates_for_one_room_no_callback_tells_which_it_was(processes: Processes) -> None:
    dead, alive = processes.registry(), processes.start()
    await dead.join(processes.account)
    for key in ("k", "l"):
        await dead.add(LiveRecord(key=key, action="CreateAgentInstance", agent_id="guide", room_id="room-1"))
    await alive.observe(created("instance", "room-1"))
    assert [record.instance_id for record in await alive.live()] == [None, None]
    await dead.aclose()


async def test_an_owner_has_no_more_than_the_bound(processes: Processes, sandbox: Sandbox) -> None:
    one, other = processes.start(live_per_owner=1), processes.start(live_per_owner=1)
    created = await one.call(voice("1"), owner="ann")
    with pytest.raises(TooManyLive, match=r"'ann' has as many live instances as it may have \(1\)"):
        await other.call(voice("2"), owner="ann")
    assert len(sandbox.received(CreateAgentInstance)) == 1
    await other.call(voice("3"), owner="ben")
    await one.end(created.agent_instance_id, DeleteAgentInstance(agent_instance_id=created.agent_instance_id))
    await other.call(voice("4"), owner="ann")


async def test_handles_are_for_an_owner_too(processes: Processes, sandbox: Sandbox) -> None:
    one, other = processes.start(live_per_owner=1), processes.start(live_per_owner=1)
    async with one.agent(voice("1"), owner="ann"):
        with pytest.raises(TooManyLive):
            await other.start(voice("2"), owner="ann")
        for handle in (other.handle(voice("3"), owner="ann"), other.agent(voice("3"), owner="ann")):
            with pytest.raises(TooManyLive):
                await handle.__aenter__()
    async with await other.start(voice("4"), owner="ann"):
        assert [record.owner for record in await one.live()] == ["ann"]
    assert len(sandbox.received(CreateAgentInstance)) == 2


async def test_a_bound_for_each_owner_bounds_nothing_unless_there_are_owners_and_a_registry(processes: Processes) -> None:
    with pytest.raises(ConfigurationError, match="live_per_owner needs a registry"):
        Client(1, "s", live_per_owner=1)
    client = processes.start(live_per_owner=1)
    calls = client.call(voice()), client.call(voice(), owner="")
    for make in (*calls, client.start(voice()), client.agent(voice()).__aenter__()):
        with pytest.raises(ConfigurationError, match="say for whom CreateAgentInstance is, such as owner='user-17'"):
            await make
    assert not await client.live()


async def test_an_owner_whose_process_died_in_the_middle_of_a_create_is_back_after_a_lease_and_a_third(
    processes: Processes,
) -> None:
    dead, alive = processes.registry(), processes.start(live_per_owner=1)
    await alive.sweep()
    await dead.join(processes.account)
    await dead.add(LiveRecord(key="k", action="CreateAgentInstance", owner="ann", room_id="room-1", lives_unseen=9 * LEASE))
    await alive.sweep()
    with pytest.raises(TooManyLive):
        await alive.call(voice(), owner="ann")
    await processes.let_pass(LEASE * 4 / 3, alive)
    await alive.call(voice(), owner="ann")
    await dead.aclose()


async def test_an_owner_whose_create_was_not_answered_may_try_again_at_once(processes: Processes, sandbox: Sandbox) -> None:
    client = processes.start(live_per_owner=1)
    sandbox.faults.on(CreateAgentInstance).times(1).cut_before_work()
    with pytest.raises(OutcomeUnknown):
        await client.call(voice("1"), owner="ann")
    await client.call(voice("2"), owner="ann")


class Slow(SQLiteRegistry):
    """A registry that notes things, and takes its time to say so."""

    async def add(self, record: LiveRecord, *, per_owner: int | None = None) -> None:
        await super().add(record, per_owner=per_owner)
        await asyncio.sleep(60)


async def test_a_create_that_is_given_up_while_it_is_noted_locks_no_owner_out(tmp_path: Path, sandbox: Sandbox) -> None:
    async with sandbox.client(registry=Slow(tmp_path / "live.db", lease=LEASE), live_per_owner=1) as client:
        with pytest.raises(TimedOut):
            await client.call(voice(), owner="ann", timeout=0.1)
        assert [record.owner for record in await client.live()] == ["ann"]
        await client.sweep()
        assert await client.live() == []
    assert sandbox.received(CreateAgentInstance) == []


class Beating(SQLiteRegistry):
    """A registry that counts its process's heartbeats."""

    beats = 0

    async def beat(self) -> bool:
        self.beats += 1
        return await super().beat()


@pytest.mark.slow
async def test_a_process_shows_that_it_lives_while_an_ending_hangs_that_holds_up_no_other(
    processes: Processes, sandbox: Sandbox
) -> None:
    registry = Beating(processes.path, lease=1)
    client, dead = processes.start(registry), processes.start()
    lost = [(await dead.call(voice(str(n)))).agent_instance_id for n in range(3)]
    sandbox.faults.on(DeleteAgentInstance).times(1).stall()
    await client.call(stream())  # from now on it sweeps by itself
    await eventually(lambda: len({*lost} & processes.live()) == 1)
    beats = registry.beats
    await eventually(lambda: registry.beats >= beats + 3)
    assert len({*lost} & processes.live()) == 1
    await client.aclose(drain=0.1)


async def test_closing_ends_what_this_process_has_and_nothing_else(processes: Processes) -> None:
    one, other = processes.start(), processes.start()
    await one.call(voice("1"))
    kept = await other.call(voice("2"))
    assert await one.aclose() == []
    assert processes.live() == {kept.agent_instance_id}
    assert [record.instance_id for record in await other.live()] == [kept.agent_instance_id]


async def test_closing_may_leave_what_lives_for_a_while(processes: Processes) -> None:
    one, other = processes.start(), processes.start()
    created = await one.call(voice("1"))
    await other.live()
    assert await one.aclose(live="leave") == []
    assert processes.live() == {created.agent_instance_id}
    assert await other.sweep() == []
    assert [record.state for record in await other.live()] == ["left"]
    (ended,) = await processes.let_pass(60, other)
    assert ended.instance_id == created.agent_instance_id
    assert processes.live() == set()


async def test_what_a_fleet_makes_belongs_to_its_journal(processes: Processes, tmp_path: Path) -> None:
    client = processes.start()
    async with provision(client, [voice("1"), stream("2")], journal=tmp_path / "fleet.journal") as run:
        assert [outcome.status async for outcome in run] == ["done", "done"]
    assert await client.live() == []


async def test_a_client_without_a_registry_says_how_to_get_one(sandbox: Sandbox) -> None:
    async with sandbox.client() as client:
        with pytest.raises(ConfigurationError, match="registry=SQLiteRegistry"):
            await client.live()


class Failing(SQLiteRegistry):
    """A registry whose disk fills up."""

    full: frozenset[str] = frozenset()

    async def add(self, record: LiveRecord, *, per_owner: int | None = None) -> None:
        if "add" in self.full:
            raise RegistryError("no room")
        await super().add(record, per_owner=per_owner)

    async def made(self, record: LiveRecord, instance_id: str) -> None:
        if "made" in self.full:
            raise RegistryError("no room")
        await super().made(record, instance_id)

    async def ended(self, instance_id: str) -> bool:
        if "ended" in self.full:
            raise RegistryError("no room")
        return await super().ended(instance_id)

    async def join(self, account: str) -> None:
        if "join" in self.full:
            raise RegistryError("no room")
        await super().join(account)

    async def leave(self) -> Sequence[LiveRecord]:
        if "leave" in self.full:
            raise RegistryError("no room")
        return await super().leave()

    async def beat(self) -> bool:
        if "beat" in self.full:
            raise RegistryError("no room")
        return await super().beat()


async def test_what_cannot_be_noted_is_not_sent(processes: Processes, sandbox: Sandbox) -> None:
    registry = Failing(processes.path, lease=LEASE, clock=processes.time)
    client = processes.start(registry)
    registry.full = frozenset({"add"})
    with pytest.raises(RegistryError):
        await client.call(voice())
    assert sandbox.received(CreateAgentInstance) == []


@pytest.mark.parametrize("create", [voice(), talking(), stream()], ids=lambda create: type(create).__name__)
async def test_what_was_made_and_cannot_be_noted_is_ended_again(processes: Processes, create: Any) -> None:
    registry = Failing(processes.path, lease=LEASE, clock=processes.time)
    client = processes.start(registry)
    registry.full = frozenset({"made"})
    with pytest.raises(RegistryError, match="it was ended again"):
        await client.call(create)
    assert processes.live() == set()
    registry.full = frozenset()
    assert await client.live() == []


async def test_an_end_that_cannot_be_noted_is_noted_later(processes: Processes) -> None:
    registry = Failing(processes.path, lease=LEASE, clock=processes.time)
    client = processes.start(registry)
    registry.full = frozenset({"ended"})
    async with client.agent(voice()):
        pass
    assert processes.live() == set()
    assert len(await client.live()) == 1
    registry.full = frozenset()
    await client.sweep()
    assert await client.live() == []


async def test_closing_without_a_registry_that_works_says_that_others_end_what_is_left(
    processes: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Failing(processes.path, lease=LEASE, clock=processes.time)
    client, other = processes.start(registry), processes.start()
    await client.start(voice())
    await client.live()
    registry.full = frozenset({"leave"})
    await client.aclose(live="leave")
    assert "ended by others after a lease" in caplog.text
    assert len(processes.live()) == 1
    await processes.let_pass(3 * LEASE, other)
    assert processes.live() == set()


async def test_what_cannot_be_taken_over_is_attached_to_all_the_same(
    processes: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    maker = processes.start()
    agent = await maker.start(voice())
    registry = Failing(processes.path, lease=LEASE, clock=processes.time)
    registry.full = frozenset({"join"})
    attached = processes.start(registry).attach(agent.id)
    await eventually(lambda: "could not be taken over" in caplog.text)
    await attached.end()
    assert processes.live() == set()


async def test_a_registry_that_cannot_be_kept_is_said_once_until_it_works_again(
    processes: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Failing(processes.path, lease=1.0, clock=processes.time)  # it shows that it lives three times a second
    client = processes.start(registry)
    await client.start(voice())
    registry.full = frozenset({"beat"})
    await eventually(lambda: "cannot be kept" in caplog.text)
    registry.full = frozenset()
    assert len(await client.live()) == 1


async def test_a_process_that_was_silent_for_too_long_hears_that_others_may_have_ended_what_it_made(
    processes: Processes, caplog: pytest.LogCaptureFixture
) -> None:
    client, other = processes.start(), processes.start()
    await client.start(voice())
    await processes.let_pass(3 * LEASE, other)
    await client.sweep()
    assert "others may have ended what it made" in caplog.text
    assert processes.live() == set()


async def test_what_cannot_be_ended_or_looked_up_now_is_by_a_later_sweep(
    processes: Processes, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    dead, other = processes.start(), processes.start()
    await dead.start(voice())
    sandbox.faults.on(CreateDigitalHumanStreamTask).cut_after_work()
    lists = sandbox.faults.on(QueryDigitalHumanStreamTasks).refuse(400000003)
    with pytest.raises(OutcomeUnknown):
        await dead.call(stream())
    ending = sandbox.faults.on(DeleteAgentInstance).refuse(410000003)
    assert await processes.let_pass(3 * LEASE, other) == []
    assert "cannot be looked up now" in caplog.text
    assert len(processes.live()) == 2
    lists.remove()
    ending.remove()
    await other.sweep()
    await eventually(lambda: processes.live() == set())


async def test_a_stream_task_that_nobody_finds_was_never_made(processes: Processes, sandbox: Sandbox) -> None:
    dead, other = processes.start(), processes.start()
    await other.start(stream("another"))
    sandbox.faults.on(CreateDigitalHumanStreamTask).cut_before_work()
    lists = sandbox.faults.on(QueryDigitalHumanStreamTasks).refuse(400000003)
    with pytest.raises(OutcomeUnknown):
        await dead.call(stream())
    lists.remove()
    assert await processes.let_pass(3 * LEASE, other) == []
    assert [record.stream_id for record in await other.live()] == ["stream-another"]


async def test_what_was_attached_to_has_a_place_in_the_quota_of_its_process_until_it_ends(processes: Processes) -> None:
    maker, quota = processes.start(), LocalQuota(agents=1, streams=1)
    other = processes.start(quota=quota)
    agents = [await maker.start(voice(str(n))) for n in range(2)]
    task = await maker.start(stream("3"))
    attached = [other.attach(made_id) for made_id in (agents[0].id, agents[1].id, task.id, agents[0].id)]
    await eventually(lambda: (quota.usage("agents").live, quota.usage("streams").live) == (2, 1))
    with pytest.raises(QuotaExceeded, match="2 live"):
        await other.start(voice("4"), timeout=0.1)
    for handle in attached:
        await handle.end()
    assert (quota.usage("agents").used, quota.usage("streams").used) == (0, 0)
    await other.start(voice("4"))


async def test_attaching_takes_an_instance_over_from_the_process_that_made_it(processes: Processes) -> None:
    one, other = processes.start(), processes.start()
    agent = await one.start(voice())
    taken = other.attach(agent.id)
    await eventually(lambda: other._lifetimes.sweeper is not None and other._lifetimes.sweeper._task is not None)
    (record,) = await other.live()
    assert record.instance_id == agent.id
    assert [each.member for each in await one.live()] == [record.member]
    await other.aclose()  # which ends what is its own
    assert taken.id not in processes.live()
