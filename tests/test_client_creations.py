"""Callbacks and creates whose answer was lost: each is joined to what it belongs to, or to nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_server import Exchange, ok, raw_server
from requests_made import register, stream, talking, voice

from zego_aigc import Client, LocalQuota, Orphan, OutcomeUnknown, RetryPolicy, aiagent, digitalhuman
from zego_aigc.aiagent import CreatedAgentInstance
from zego_aigc.callbacks import events
from zego_aigc.calls.creations import MAX_UNKNOWN, Birth, Creations
from zego_aigc.sandbox import Sandbox

QUICK = RetryPolicy(max_attempts=2, initial_backoff=0.001, max_backoff=0.01, cancel_grace=0.1)

ENVELOPE: dict[str, Any] = {"app_id": 1, "nonce": "n", "signature": "s", "timestamp": 1}


class Books:
    """Creations whose time is set by hand, and what they report."""

    def __init__(self) -> None:
        self.now = 0.0
        self.orphans: list[Orphan] = []
        self.creations = Creations(lambda orphan, **_: self.orphans.append(orphan), clock=lambda: self.now)

    def born(self, instance_id: str, name: str = "1") -> None:
        self.creations.observe(Birth(instance_id, f"room-{name}", agent_id="guide", agent_user_id=f"bot-{name}"))

    @property
    def found(self) -> list[str]:
        return [orphan.result.agent_instance_id for orphan in self.orphans]


# --- what belongs together


def test_a_callback_that_comes_before_its_create_is_given_up_settles_it_when_it_is() -> None:
    books = Books()
    lost = books.creations.begin(voice())
    books.born("7")
    assert books.orphans == []
    lost.unknown()
    assert books.orphans == [Orphan(voice(), CreatedAgentInstance(agent_instance_id="7"), certain=True)]


def test_a_later_creates_callback_is_not_taken_for_an_older_lost_one() -> None:
    books = Books()
    books.creations.begin(voice()).unknown()
    later = books.creations.begin(voice())
    books.born("8")  # which of the two?
    assert books.orphans == []
    later.made(CreatedAgentInstance(agent_instance_id="8"))
    assert books.orphans == []
    books.born("8")  # once more, and late
    assert books.orphans == []


def test_an_older_ones_callback_is_found_when_the_later_create_turns_out_to_have_made_something_else() -> None:
    books = Books()
    books.creations.begin(voice()).unknown()
    later = books.creations.begin(voice())
    books.born("7")
    later.made(CreatedAgentInstance(agent_instance_id="8"))
    assert books.found == ["7"]


def test_an_older_ones_callback_is_found_when_the_later_create_was_refused() -> None:
    books = Books()
    books.creations.begin(voice()).unknown()
    later = books.creations.begin(voice())
    books.born("7")
    later.not_made()
    assert books.found == ["7"]


def test_an_unknown_outcome_ends_with_its_max_idle_time() -> None:
    books = Books()
    books.creations.begin(voice()).unknown()
    books.now = 121.0  # MaxIdleTime is 120 s unless given
    books.born("9")
    assert books.orphans == []


def test_two_lost_creates_in_one_room_are_not_told_apart() -> None:
    books = Books()
    for _ in range(2):
        books.creations.begin(voice()).unknown()
    books.born("7")
    assert books.orphans == []


def test_what_ended_before_it_was_clear_whose_it_is_is_reported_no_more() -> None:
    books = Books()
    lost = books.creations.begin(voice())
    books.born("7")
    books.creations.ended("7")
    lost.unknown()
    assert books.orphans == []


def test_a_lost_stream_task_is_found_by_its_room_and_stream() -> None:
    books = Books()
    books.creations.begin(stream()).unknown()
    books.creations.observe(Birth("t-0", "room-1", stream_id="stream-2"))
    books.creations.observe(Birth("t-1", "room-1", stream_id="stream-1"))
    assert books.orphans == [Orphan(stream(), digitalhuman.StreamTask(task_id="t-1"), certain=True)]


def test_a_registration_leaves_nothing_behind_that_a_callback_could_settle() -> None:
    books = Books()
    books.creations.begin(register()).unknown()
    books.creations.begin(register()).made(None)
    assert not books.creations._unknown
    assert not books.creations._known


def test_unknown_outcomes_are_bounded() -> None:
    books = Books()
    for n in range(MAX_UNKNOWN + 10):
        books.creations.begin(voice(str(n))).unknown()
    assert len(books.creations._unknown) == MAX_UNKNOWN
    books.born("7", name="0")
    assert books.orphans == []
    books.born("8", name=str(MAX_UNKNOWN))
    assert books.found == ["8"]


@given(
    st.lists(st.sampled_from(["begin", "made", "lost", "refused", "callback", "late callback"]), max_size=40),
    st.randoms(use_true_random=False),
)
def test_no_schedule_reports_what_a_create_returned_and_each_orphan_is_reported_once(steps: list[str], random: Any) -> None:
    books = Books()
    open_ones: list[tuple[str, Any]] = []
    returned: set[str] = set()
    born: list[str] = []
    for n, step in enumerate(steps):
        if step == "begin":
            open_ones.append((str(n), books.creations.begin(random.choice([voice, talking])())))
        elif step == "callback" and open_ones:
            instance_id, _ = random.choice(open_ones)
            born.append(instance_id)
            books.born(instance_id)
        elif step == "late callback" and born:
            books.born(random.choice(born))
        elif open_ones:
            instance_id, creation = open_ones.pop(random.randrange(len(open_ones)))
            if step == "made":
                returned.add(instance_id)
                creation.made(CreatedAgentInstance(agent_instance_id=instance_id))
            elif step == "lost":
                creation.unknown()
            else:
                creation.not_made()
    assert len(set(books.found)) == len(books.found)
    reported_before_it_was_returned = returned & set(books.found)
    assert not reported_before_it_was_returned


# --- through a client


def created(instance_id: str) -> events.AgentInstanceCreated:
    return events.AgentInstanceCreated(
        event="AgentInstanceCreated",
        agent_instance_id=instance_id,
        room_id="room-1",
        agent_user_id="bot-1",
        data=events.AgentInstanceCreatedData(created_timestamp=1),
        **ENVELOPE,
    )


@pytest.mark.anyio
@pytest.mark.parametrize("by", ["handle", "call"])
async def test_a_callback_during_a_create_whose_answer_is_lost_brings_its_id(by: str) -> None:
    orphans: list[Orphan] = []
    quota = LocalQuota(agents=1)

    async def handle(exchange: Exchange) -> None:
        await client.observe(created("7"))
        exchange.cut()

    async def create() -> None:
        if by == "call":
            await client.call(voice())
        else:
            async with client.agent(voice()):
                pytest.fail("it was entered")

    options: dict[str, Any] = {"quota": quota, "retry": QUICK, "on_orphan": orphans.append}
    async with raw_server(handle) as url, Client(1, "s", aiagent_url=url, **options) as client:
        with pytest.raises(OutcomeUnknown):
            await create()
    assert orphans == [Orphan(voice(), CreatedAgentInstance(agent_instance_id="7"), certain=True)]
    if by == "handle":
        usage = quota.usage("agents")
        assert (usage.live, usage.unknown) == (1, 0)


@pytest.mark.anyio
async def test_the_callback_of_a_handles_instance_is_no_orphan_of_an_older_create() -> None:
    orphans: list[Orphan] = []
    async with Sandbox(rate_limit=None) as sandbox, sandbox.client(retry=QUICK, on_orphan=orphans.append) as client:
        await client.call(register())
        sandbox.faults.on(aiagent.CreateAgentInstance).times(1).cut_before_work()
        with pytest.raises(OutcomeUnknown):
            await client.call(voice())
        async with client.agent(voice()) as agent:
            await client.observe(created(agent.id))
        await client.observe(created(agent.id))  # late
    assert orphans == []


# --- hooks that are coroutine functions


@pytest.mark.anyio
async def test_hooks_may_be_coroutine_functions_and_closing_waits_for_them() -> None:
    seen: list[str] = []

    async def on_attempt(event: Any) -> None:
        await asyncio.sleep(0.02)
        seen.append(f"attempt {event.attempt}")

    async def on_result(event: Any) -> None:
        await asyncio.sleep(0.04)
        seen.append(f"result of {event.action}")

    async def on_orphan(orphan: Orphan) -> None:
        await asyncio.sleep(0.06)
        seen.append(f"orphan {orphan.certain}")

    arrived = asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        if exchange.query["Action"] == "CreateAgentInstance":
            arrived.set()
            await asyncio.sleep(60)
        await exchange.send(ok({"Total": 0, "Agents": [], "Cursor": ""}))

    hooks: dict[str, Any] = {"on_attempt": on_attempt, "on_result": on_result, "on_orphan": on_orphan}
    async with raw_server(handle) as url, Client(1, "s", aiagent_url=url, retry=QUICK, **hooks) as client:
        await client.call(aiagent.ListAgents())
        creating = asyncio.ensure_future(client.call(voice()))
        await arrived.wait()
        creating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await creating
    assert sorted(seen) == ["attempt 1", "attempt 1", "orphan False", "result of CreateAgentInstance", "result of ListAgents"]


@pytest.mark.anyio
async def test_a_coroutine_hook_that_fails_is_logged_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(event: Any) -> None:
        raise ValueError(event)

    async with Sandbox(rate_limit=None) as sandbox, sandbox.client(on_result=broken) as client:
        await client.call(aiagent.ListAgents())
        await client.aclose()
    assert "failed" in caplog.text
    assert "ValueError" in caplog.text
