"""The sandbox as a whole: its life, what it leaves behind, crowds of calls, and accounts that stay consistent."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import subprocess
import sys
from collections import Counter
from typing import Any

import aiohttp
import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandbox_fixtures import NOW, sandbox, vendor
from vendor_client import VendorClient, digital_human

from benchmarks.ports import reserved_port
from zego_aigc.aiagent import ListAgents, RegisterAgent
from zego_aigc.digitalhuman import TaskStatus
from zego_aigc.errors import AuthenticationError, ConfigurationError
from zego_aigc.sandbox import DEFAULT_APP_ID, DEFAULT_SERVER_SECRET, App, Quotas, Sandbox, serve
from zego_aigc.sandbox.account import Shared
from zego_aigc.sandbox.callbacks import Outbox
from zego_aigc.sandbox.clock import Clock
from zego_aigc.sandbox.ids import Ids
from zego_aigc.sandbox.instances import InstanceKind
from zego_aigc.sandbox.models import Models
from zego_aigc.sandbox.refusal import Refusal
from zego_aigc.sandbox.registry import BEHAVIOURS
from zego_aigc.schema.actions import ACTIONS
from zego_aigc.transport.task_scope import TaskScope

__all__ = ["sandbox", "vendor"]

pytestmark = pytest.mark.anyio


# --- its life --------------------------------------------------------------------------------------------------------


async def test_the_librarys_own_client_can_use_it() -> None:
    async with Sandbox() as sandbox, sandbox.client() as client:
        await client.call(RegisterAgent(agent_id="a"))
        assert [agent.agent_id for agent in (await client.call(ListAgents())).agents] == ["a"]
        other = sandbox.add_app(5, "five")
        async with sandbox.client(app=other) as stranger:
            assert (await stranger.call(ListAgents())).agents == []
        other.server_secret = "changed"
        async with sandbox.client(app=other) as stranger:
            other.server_secret = "again"
            with pytest.raises(AuthenticationError):
                await stranger.call(ListAgents())


async def test_an_address_is_there_only_while_it_runs() -> None:
    sandbox = Sandbox(app_id=7, server_secret="s")
    with pytest.raises(RuntimeError, match="async with"):
        _ = sandbox.url
    async with sandbox:
        assert sandbox.url.startswith("http://127.0.0.1:")
        assert (sandbox.app_id, sandbox.server_secret) == (7, "s")
    with pytest.raises(RuntimeError, match="async with"):
        _ = sandbox.url
    await sandbox.aclose()


async def test_a_port_that_is_taken_is_an_error_and_leaves_nothing() -> None:
    async with Sandbox() as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(OSError, match=str(port)):
            await Sandbox(port=port).__aenter__()
        assert len(asyncio.all_tasks()) <= 3


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0", "::1"])
async def test_it_listens_where_it_is_asked_to(host: str) -> None:
    if host == "::1" and not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    async with (
        Sandbox(host=host) as sandbox,
        aiohttp.ClientSession() as session,
        session.get(f"{sandbox.url}/_sandbox/", headers={"Authorization": f"Bearer {sandbox.token}"}) as got,
    ):
        assert got.status == 200


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("app_id", [0, -1, 2**32])
def test_an_app_id_has_32_bits(app_id: int) -> None:
    with pytest.raises(ValueError, match="app_id"):
        Sandbox(app_id=app_id)


@pytest.mark.parametrize("wrong", [{"quota": -1}, {"quota": "3"}, {"quota": {"streams": -1}}, {"rate_limit": -1}])
def test_a_setting_that_cannot_be_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be a number from 0 on, or None"):
        Sandbox(**wrong)


def test_under_trio_it_says_that_it_runs_on_asyncio() -> None:
    pytest.importorskip("trio")

    async def main() -> None:
        with pytest.raises(ConfigurationError, match="runs on asyncio, not under trio"):
            async with Sandbox():
                pass

    anyio.run(main, backend="trio")


CONNECTED_AT_ITS_END = """
import asyncio, gc, socket
from zego_aigc.sandbox import Sandbox

async def main():
    for turns in range(6):
        async with Sandbox() as sandbox:
            address = sandbox.listening.getsockname()
            sockets = [socket.create_connection(address) for _ in range(3)]
            for _ in range(turns):  # of the loop, after which the sandbox ends
                await asyncio.sleep(0)
        for each in sockets:
            each.close()

asyncio.run(main())
gc.collect()
"""


def test_connections_that_are_being_taken_when_it_ends_are_closed() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", CONNECTED_AT_ITS_END],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_setting_that_there_is_not_is_named() -> None:
    misspelt: dict[str, Any] = {"qouta": 3}
    with pytest.raises(TypeError, match=r"no setting is called qouta; did you mean quota\?"):
        Sandbox(**misspelt)


async def test_the_command_line_serves_until_it_is_cancelled() -> None:
    ready: asyncio.Future[Sandbox] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(ready=ready.set_result, port=0, quota=300))
    sandbox = await ready
    assert (sandbox.app_id, sandbox.server_secret) == (DEFAULT_APP_ID, DEFAULT_SERVER_SECRET)
    assert sandbox.app.quotas.streams == 300
    async with aiohttp.ClientSession() as session, session.get(f"{sandbox.url}/_sandbox/state") as got:
        assert (await got.json())["agents"] == []
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    with pytest.raises(RuntimeError):
        _ = sandbox.url


async def test_it_leaves_nothing_behind() -> None:
    before = asyncio.all_tasks()
    async with Sandbox(port=reserved_port()) as sandbox:
        async with aiohttp.ClientSession() as session:
            vendor = VendorClient(sandbox.url, sandbox.app_id, sandbox.server_secret, session, sandbox.clock.now)
            await vendor.agent()
            await vendor.voice()
            await vendor.task()
        address = sandbox.url.removeprefix("http://").split(":")
    assert asyncio.all_tasks() == before
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(address[0], int(address[1]))
    gc.collect()


async def test_many_sandboxes_live_side_by_side() -> None:
    async with Sandbox() as one, Sandbox() as two, one.client() as client:
        await client.call(RegisterAgent(agent_id="a"))
        assert one.received(RegisterAgent)
        assert not two.received(RegisterAgent)


async def test_a_scope_reports_a_task_that_failed() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    scope = TaskScope("zego_aigc sandbox")
    await scope.open()
    scope.start(fail())
    await asyncio.sleep(0.01)
    with pytest.raises(ExceptionGroup) as caught:
        await scope.close()
    assert isinstance(caught.value.exceptions[0], ValueError)
    scope.start(fail())


def test_quotas_are_given_as_one_number_or_by_kind() -> None:
    def quotas(quota: Any) -> tuple[int | None, ...]:
        given = Sandbox(quota=quota).app.quotas
        return given.agents, given.digital_humans, given.streams

    assert quotas(3) == (3, 3, 3)
    assert quotas(None) == (None, None, None)
    assert quotas({"streams": 2}) == (10, 10, 2)
    assert quotas(Quotas(agents=1)) == (1, 10, 10)


def test_what_has_ended_is_remembered_up_to_a_number() -> None:
    app = Sandbox().app
    things: dict[str, Any] = {"lives": None}
    for number in range(10_050):
        things[str(number)] = None
        app.retire(things, str(number))
    assert len(things) == 10_001
    assert "lives" in things
    assert "50" in things
    assert "49" not in things


# --- crowds ----------------------------------------------------------------------------------------------------------


async def test_a_crowd_of_calls_never_exceeds_a_quota_or_shares_an_id(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    codes = await asyncio.gather(
        *(vendor.code("CreateDigitalHumanAgentInstance", digital_human(number % 40)) for number in range(120))
    )
    assert Counter(codes)[0] == 10
    assert set(codes) == {0, 410001030, 410001031}
    assert len(sandbox.app.instances) == 10
    registered = await asyncio.gather(*(vendor.code("RegisterAgent", {"AgentId": f"a{number % 20}"}) for number in range(100)))
    assert Counter(registered) == {0: 20, 410001008: 80}


async def test_a_crowd_within_one_second_is_admitted_up_to_the_limit() -> None:
    async with Sandbox(time=NOW) as sandbox, aiohttp.ClientSession() as session:
        vendor = VendorClient(sandbox.url, sandbox.app_id, sandbox.server_secret, session, sandbox.clock.now)
        codes = await asyncio.gather(*(vendor.code("QueryDigitalHumanStreamTasks") for _ in range(60)))
        assert Counter(codes) == {0: 10, 400010009: 50}


async def test_clients_that_hang_up_in_the_middle_do_no_harm(sandbox: Sandbox, vendor: VendorClient) -> None:
    host, port = sandbox.url.removeprefix("http://").split(":")
    for part in (
        b"",
        b"POST /?Action=List",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        b"\x16\x03\x01\x00",
    ):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(part)
        writer.close()
    assert await vendor.code("ListAgents") == 0


# --- consistency -----------------------------------------------------------------------------------------------------

IDS = st.integers(1, 4)
STEPS = st.one_of(
    st.tuples(st.just("voice"), IDS, IDS),
    st.tuples(st.just("digital human"), IDS, IDS),
    st.tuples(st.just("task"), IDS, IDS),
    st.tuples(st.just("delete"), IDS, IDS),
    st.tuples(st.just("stop"), IDS, IDS),
    st.tuples(st.just("say"), IDS, IDS),
    st.tuples(st.just("drive"), IDS, IDS),
    st.tuples(st.just("wait"), st.integers(0, 200), IDS),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_an_account_stays_consistent_whatever_is_called(steps: list[tuple[str, int, int]]) -> None:
    async def run() -> None:
        clock, scope, ids = Clock(), TaskScope("test"), Ids()
        app = App(Shared(clock, Outbox(clock, scope, ids), Models(clock, scope), ids), 1, "secret", quota=3)
        carry_out(app, "RegisterAgent", {"AgentId": "agent"})
        for step in steps:
            await take(app, *step)
            assert_consistent(app)
        await clock.advance(100_000)
        assert_consistent(app)
        assert not app.instances
        assert not any(app.alive.values())
        clock.close()

    asyncio.run(run())


async def take(app: App, step: str, one: int, two: int) -> None:
    """One step; ids are few, so that they clash."""
    body = digital_human(RTC={"RoomId": "r", "AgentStreamId": f"s{one}", "AgentUserId": f"a{two}", "UserStreamId": "u"})
    instances, tasks = list(app.instances), [task.task_id for task in app.tasks.values() if task.running]
    match step:
        case "voice":
            carry_out(app, "CreateAgentInstance", body)
        case "digital human":
            carry_out(app, "CreateDigitalHumanAgentInstance", body)
        case "task":
            stream = {"RTCConfig": {"RoomId": "r", "StreamId": f"s{one}"}, "TTL": 50 * two}
            carry_out(app, "CreateDigitalHumanStreamTask", {"DigitalHumanConfig": {"DigitalHumanId": "h"}, **stream})
        case "delete" if instances:
            order = {"AgentInstanceId": instances[one % len(instances)], "GracefulShutdown": two > 2}
            carry_out(app, "DeleteAgentInstance", order)
        case "stop" if tasks:
            carry_out(app, "StopDigitalHumanStreamTask", {"TaskId": tasks[one % len(tasks)]})
        case "say" if instances:
            speech = {"AgentInstanceId": instances[one % len(instances)], "Text": "x" * 50, "SamePriorityOption": "Enqueue"}
            carry_out(app, "SendAgentInstanceTTS", speech)
        case "drive" if tasks:
            audio = {"TaskId": tasks[one % len(tasks)], "AudioUrl": "https://a.invalid/a.wav", "InterruptMode": two % 2}
            carry_out(app, "DriveByAudio", audio)
        case "wait":
            await app.clock.advance(one / 2)
        case _:
            pass


def carry_out(app: App, action: str, body: dict[str, Any]) -> None:
    with contextlib.suppress(Refusal):
        BEHAVIOURS[action](app, ACTIONS[action].from_wire(body))


def assert_consistent(app: App) -> None:
    kinds = Counter(
        "agents" if instance.kind is InstanceKind.VOICE else "digital_humans" for instance in app.instances.values()
    )
    living = [task for task in app.tasks.values() if task.status not in {TaskStatus.STOPPED, TaskStatus.INIT_FAILED}]
    kinds["streams"] = len(living)
    assert {kind: count for kind, count in app.alive.items() if count} == {
        kind: count for kind, count in kinds.items() if count
    }
    assert all(count <= 3 for count in kinds.values())
    users = [instance.agent_user_id for instance in app.instances.values()]
    assert len(users) == len(set(users))
    faces = [instance.agent_stream_id for instance in app.instances.values() if instance.kind is not InstanceKind.VOICE]
    streams = [*faces, *(task.stream_id for task in living)]
    assert len(streams) == len(set(streams))
