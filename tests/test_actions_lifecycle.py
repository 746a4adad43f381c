"""A lifetime is declared once: a made-up Action that makes something needs its declaration and a behaviour, and nothing else.

The relay below is no kind of thing that the library knows: it has an id, an ending, a list and names of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from provision_fixtures import *  # noqa: F403 - fixtures
from provision_fixtures import removed, rows, run
from requests_made import llm, stream, talking, voice

from zego_aigc import Action, Client, LocalLimiter, LocalQuota, Repeat, RetryPolicy, Service
from zego_aigc.aiagent import CreateDigitalHumanAgentInstance, RegisterAgent, SendAgentInstanceTTS
from zego_aigc.digitalhuman import DriveByRTCStream, SourceRTCConfig
from zego_aigc.errors import AlreadyExists, OutcomeUnknown, QuotaExceeded
from zego_aigc.handles import HANDLES, Handle
from zego_aigc.limits.quota import Usage
from zego_aigc.provisioning.entry import default_key, unseen_life
from zego_aigc.provisioning.errors import InvalidFleet
from zego_aigc.provisioning.journal_reader import read_journal
from zego_aigc.provisioning.presence import look
from zego_aigc.sandbox import App, Sandbox
from zego_aigc.sandbox.refusal import Refusal
from zego_aigc.sandbox.registry import BEHAVIOURS, answers
from zego_aigc.schema.actions import ACTIONS, Result
from zego_aigc.schema.constraints import Number, Text
from zego_aigc.schema.lifecycle import LIFECYCLES, Lifecycle, Listing, Names, Recovery, names_in

pytestmark = pytest.mark.anyio

Id = Annotated[str, Text(min_chars=1)]


class MadeUpRelay(Result, frozen=True, kw_only=True):
    relay_key: str
    room_id: str = ""
    stream_id: str = ""
    status: str = ""
    create_time: int = 0


class MadeUpRelays(Result, frozen=True, kw_only=True):
    relays: Sequence[MadeUpRelay] = ()


class DropMadeUpRelay(Action[None], frozen=True, kw_only=True):
    """End a relay."""

    service: ClassVar[Service] = Service.DIGITAL_HUMAN
    repeat: ClassVar[Repeat] = Repeat.ENDS
    relay_key: Id


class ListMadeUpRelays(Action[MadeUpRelays], frozen=True, kw_only=True):
    """List the relays."""

    service: ClassVar[Service] = Service.DIGITAL_HUMAN
    repeat: ClassVar[Repeat] = Repeat.READS


class CreateMadeUpRelay(Action[MadeUpRelay], frozen=True, kw_only=True):
    """Make a relay."""

    service: ClassVar[Service] = Service.DIGITAL_HUMAN
    repeat: ClassVar[Repeat] = Repeat.CREATES
    lifecycle: ClassVar[Lifecycle | None] = Lifecycle(
        makes="relay",
        id_field="relay_key",
        ended_by=DropMadeUpRelay,
        quota="streams",
        full_codes=(400000008,),
        max_idle_time=77,
        max_idle_time_path="patience",
        recovery=Recovery.FIND,
        listing=Listing(ListMadeUpRelays, items="relays"),
        paths=Names(agent_id="owner", stream_id="line", room_id="place"),
        unique=("stream_id",),
    )
    owner: Id
    place: Id
    line: Id
    patience: Annotated[int, Number(1, 1000)] | None = None


@answers(CreateMadeUpRelay)
def create(app: App, action: CreateMadeUpRelay) -> dict[str, Any]:
    app.find_agent(action.owner)
    if app.stream_ids.holder(action.line) is not None:
        raise Refusal(400000015, "the line is in use")
    app.check_quota(type(action))
    key = f"relay-{app.snowflake()}"
    app.stream_ids.take(action.line, key)
    app.alive["streams"] += 1
    relays_of(app)[key] = {
        "RelayKey": key,
        "RoomId": action.place,
        "StreamId": action.line,
        "Status": "UP",
        "CreateTime": int(app.clock.now()),
    }
    return {"RelayKey": key}


@answers(ListMadeUpRelays)
def list_all(app: App, action: ListMadeUpRelays) -> dict[str, Any]:
    return {"Relays": list(relays_of(app).values())}


@answers(DropMadeUpRelay)
def drop(app: App, action: DropMadeUpRelay) -> None:
    if (relay := relays_of(app).pop(action.relay_key, None)) is None:
        raise Refusal(400000005, "there is no such relay")
    app.stream_ids.release(relay["StreamId"], action.relay_key)
    app.alive["streams"] -= 1


_RELAYS: dict[int, dict[str, dict[str, Any]]] = {}


def relays_of(app: App) -> dict[str, dict[str, Any]]:
    return _RELAYS.setdefault(id(app), {})


MADE_UP = [CreateMadeUpRelay, DropMadeUpRelay, ListMadeUpRelays]
DECLARED = CreateMadeUpRelay.__name__ in ACTIONS and CreateMadeUpRelay.__name__ in LIFECYCLES
MADE_UP_BEHAVIOURS = {kind.__name__: BEHAVIOURS.pop(kind.__name__) for kind in MADE_UP}
for kind in MADE_UP:  # other tests count what the library has: here it is known only while one of these tests runs
    del ACTIONS[kind.__name__]
LIFE = LIFECYCLES.pop(CreateMadeUpRelay.__name__)


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for kind in MADE_UP:
        monkeypatch.setitem(ACTIONS, kind.__name__, kind)
        monkeypatch.setitem(BEHAVIOURS, kind.__name__, MADE_UP_BEHAVIOURS[kind.__name__])
    monkeypatch.setitem(LIFECYCLES, CreateMadeUpRelay.__name__, LIFE)
    yield
    _RELAYS.clear()


@pytest.fixture
async def agent(client: Client) -> RegisterAgent:
    register = RegisterAgent(agent_id="guide", llm=llm())
    await client.call(register)
    return register


def relay(line: str = "a", **fields: Any) -> CreateMadeUpRelay:
    return CreateMadeUpRelay(owner="guide", place="hall", line=line, **fields)


def alive(sandbox: Sandbox) -> int:
    return len(relays_of(sandbox.app))


def test_the_declaration_alone_makes_it_known() -> None:
    assert DECLARED


def test_every_lifetime_of_the_library_has_a_handle_unless_it_bills_nothing() -> None:
    assert {life.makes for life in LIFECYCLES.values() if life is not LIFE and life.quota is not None} == HANDLES.keys()


# --- quota


async def test_a_budget_counts_it_and_names_it(sandbox: Sandbox, agent: RegisterAgent) -> None:
    async with sandbox.client(quota=LocalQuota(streams=1)) as client:
        assert client.quota is not None
        async with client.handle(relay()):
            assert client.quota.usage("streams") == Usage(1, 0, 1, 0, full=False)
            with pytest.raises(QuotaExceeded) as caught:
                await client.quota.acquire("streams", wait=False)
        assert "CreateDigitalHumanStreamTask or CreateMadeUpRelay" in caught.value.action
        assert client.quota.usage("streams").used == 0


async def test_the_sandbox_refuses_one_too_many_with_the_declared_code(sandbox: Sandbox, agent: RegisterAgent) -> None:
    sandbox.app.quotas.streams = 2
    async with sandbox.client() as client:
        await client.call(stream())
        await client.call(relay("a"))
        with pytest.raises(QuotaExceeded) as caught:
            await client.call(relay("b"))
    assert caught.value.code == 400000008


async def test_the_sandbox_can_be_told_that_it_is_full_of_it(sandbox: Sandbox, client: Client, agent: RegisterAgent) -> None:
    sandbox.faults.on(CreateMadeUpRelay).times(1).quota_full()
    with pytest.raises(QuotaExceeded):
        await client.call(relay())


async def test_a_second_code_that_says_full_is_heard_by_the_budget_and_not_tried_again(
    sandbox: Sandbox, agent: RegisterAgent
) -> None:
    sandbox.faults.on(CreateDigitalHumanAgentInstance).refuse(410001025)
    async with sandbox.client(quota=LocalQuota()) as client:
        assert client.quota is not None
        with pytest.raises(QuotaExceeded, match="DigitalHumanInsufficientResources"):
            async with client.digital_human_agent(talking()):
                pass
        assert client.quota.usage("digital_humans") == Usage(10, 0, 0, 0, full=True)
    assert len(sandbox.received(CreateDigitalHumanAgentInstance)) == 1


# --- handles and lost creates


async def test_a_handle_makes_and_ends_it(sandbox: Sandbox, client: Client, agent: RegisterAgent) -> None:
    async with client.handle(relay()) as handle:
        assert type(handle) is Handle
        assert handle.id in relays_of(sandbox.app)
    assert alive(sandbox) == 0
    assert sandbox.received(DropMadeUpRelay) == [DropMadeUpRelay(relay_key=handle.id)]


async def test_a_lost_create_is_found_by_its_own_list(sandbox: Sandbox, client: Client, agent: RegisterAgent) -> None:
    sandbox.faults.on(CreateMadeUpRelay).times(1).cut_after_work()
    made = await client.call(relay())
    assert list(relays_of(sandbox.app)) == [made.relay_key]
    assert len(sandbox.received(CreateMadeUpRelay)) == 1


async def test_what_somebody_else_has_made_is_not_taken_for_ours(
    sandbox: Sandbox, client: Client, agent: RegisterAgent
) -> None:
    await client.call(relay("a"))
    await sandbox.clock.advance(60)
    with pytest.raises(AlreadyExists):
        await client.call(relay("a"))


# --- provisioning


def test_its_entry_is_named_after_its_own_unique_name_and_idles_as_it_declares() -> None:
    assert default_key(relay("north"), "f" * 32) == "CreateMadeUpRelay:north"
    assert unseen_life(relay()) == 77
    assert unseen_life(relay(patience=5)) == 5


async def test_a_fleet_of_it_waits_for_its_agent_and_is_done_once(sandbox: Sandbox, client: Client, journal: Path) -> None:
    fleet = [relay("a"), relay("b"), RegisterAgent(agent_id="guide")]
    for again in (False, True):
        outcomes, report = await run(client, fleet, journal)
        assert report.exit_status == 0
        assert {outcome.earlier for outcome in outcomes.values()} == {again}
    assert len(sandbox.received(CreateMadeUpRelay)) == 2
    assert {row["made_id"] for row in rows(journal).values()} == {"guide", *relays_of(sandbox.app)}
    assert outcomes["CreateMadeUpRelay:a"].result.relay_key in relays_of(sandbox.app)


async def test_a_fleet_with_its_unique_name_twice_is_refused_where_the_name_stands(client: Client, journal: Path) -> None:
    with pytest.raises(InvalidFleet, match=r"entry 2: Line: 'a' is taken by entry 1"):
        await run(client, [relay("a"), relay("a", patience=9), RegisterAgent(agent_id="guide")], journal)


async def test_a_fleet_that_refers_to_no_agent_is_refused(client: Client, journal: Path) -> None:
    with pytest.raises(InvalidFleet, match="refers to the agent 'guide'"):
        await run(client, [relay("a")], journal)


async def test_a_full_account_leaves_its_kind_pending(sandbox: Sandbox, client: Client, journal: Path) -> None:
    sandbox.app.quotas.streams = 1
    fleet = [RegisterAgent(agent_id="guide"), relay("a"), relay("b")]
    outcomes, _ = await run(client, fleet, journal, quota_wait=0.2)
    assert sorted(outcome.status for outcome in outcomes.values()) == ["done", "done", "pending"]


async def test_an_entry_without_an_answer_is_looked_up_by_the_next_run(
    sandbox: Sandbox, journal: Path, agent: RegisterAgent
) -> None:
    sandbox.faults.on(CreateMadeUpRelay).times(1).cut_after_work()
    sandbox.faults.on(ListMadeUpRelays).refuse(400000001)
    async with sandbox.client(limiter=LocalLimiter(1000), retry=RetryPolicy(initial_backoff=0.001)) as client:
        with pytest.raises(OutcomeUnknown):
            await client.call(relay("a"))
    sandbox.faults.clear()
    assert alive(sandbox) == 1
    name, names = "CreateMadeUpRelay", Names(stream_id="a", room_id="hall")
    async with sandbox.client(limiter=LocalLimiter(1000)) as client:
        assert await client.find(name, names) == next(iter(relays_of(sandbox.app)))


async def test_teardown_ends_it_before_its_agent(sandbox: Sandbox, client: Client, journal: Path) -> None:
    await run(client, [RegisterAgent(agent_id="guide"), relay("a"), relay("b"), stream()], journal)
    outcomes, report = await removed(client, journal)
    assert report.exit_status == 0
    assert {outcome.status for outcome in outcomes.values()} == {"done"}
    assert alive(sandbox) == 0
    ended = [call.action for call in sandbox.recording.calls if call.action.startswith(("Drop", "Unregister"))]
    assert ended == ["DropMadeUpRelay", "DropMadeUpRelay", "UnregisterAgent"]


async def test_rollback_removes_it(sandbox: Sandbox, client: Client, journal: Path) -> None:
    sandbox.faults.on(CreateMadeUpRelay).where(lambda request: request.line == "b").refuse(400000001)
    _, report = await run(client, [RegisterAgent(agent_id="guide"), relay("a"), relay("b")], journal, rollback=True)
    assert report.rolled_back == 2
    assert alive(sandbox) == 0
    assert not sandbox.app.agents


async def test_status_live_says_which_of_it_are_gone(sandbox: Sandbox, client: Client, journal: Path) -> None:
    outcomes, _ = await run(client, [RegisterAgent(agent_id="guide"), relay("a"), relay("b")], journal)
    await client.call(DropMadeUpRelay(relay_key=outcomes["CreateMadeUpRelay:b"].result.relay_key))
    with read_journal(journal) as reading:
        seen = {row.key: presence async for row, presence in look(client, reading)}
    assert {key: (presence.there, presence.state) for key, presence in seen.items()} == {
        "RegisterAgent:guide": (True, ""),
        "CreateMadeUpRelay:a": (True, "UP"),
        "CreateMadeUpRelay:b": (False, ""),
    }


# --- what makes nothing


async def test_an_entry_that_makes_nothing_leaves_nothing_to_tear_down(
    sandbox: Sandbox, client: Client, journal: Path, agent: RegisterAgent
) -> None:
    made = await client.call(voice())
    speech = SendAgentInstanceTTS(agent_instance_id=made.agent_instance_id, text="Welcome.")
    sandbox.faults.on(SendAgentInstanceTTS).cut_after_work()
    outcomes, _ = await run(client, [speech], journal)
    assert [outcome.status for outcome in outcomes.values()] == ["unknown"]
    outcomes, report = await removed(client, journal)
    assert (outcomes, report.exit_status) == ({}, 0)


def test_a_stream_that_is_only_listened_to_may_be_in_a_fleet_twice() -> None:
    drive = DriveByRTCStream(task_id="t", rtc_config=SourceRTCConfig(room_id="r", stream_id="s"))
    assert names_in(drive) == Names()
