"""A sandbox in a thread: for synchronous tests, web frameworks' test clients and unittest; and the word for who needs it."""

from __future__ import annotations

import asyncio
import os
import threading
import unittest
from importlib.metadata import entry_points
from unittest import mock

import pytest

from zego_aigc import Client
from zego_aigc.aiagent import RegisterAgent
from zego_aigc.sandbox import LiveSandbox, Sandbox

pytest_plugins = ["pytester"]


def register(live: LiveSandbox, agent_id: str = "a") -> None:
    async def main() -> None:
        with mock.patch.dict(os.environ, live.env):
            async with Client.from_env() as client:
                await client.call(RegisterAgent(agent_id=agent_id))

    asyncio.run(main())


def test_it_leads_clients_of_any_loop_to_it_and_is_controlled_synchronously(zego_live_sandbox: LiveSandbox) -> None:
    live = zego_live_sandbox
    register(live)
    assert live.received(RegisterAgent) == [RegisterAgent(agent_id="a")]
    before = live.call(lambda sandbox: sandbox.clock.now())
    live.advance(3600)
    assert live.call(lambda sandbox: sandbox.clock.now()) - before >= 3600
    assert live.emit("ASRResult", "7", Text="hi")["Data"]["Text"] == "hi"
    live.faults.on("RegisterAgent").refuse(410000006)
    with pytest.raises(Exception, match="410000006"):
        register(live, "b")
    live.join("room", "user")
    live.leave("room", "user")
    live.settle()
    with pytest.raises(LookupError, match="create one first"):
        live.user_speaks("hello")


@pytest.mark.zego_sandbox(quota=3)
def test_a_marker_chooses_its_settings(zego_live_sandbox: LiveSandbox) -> None:
    assert zego_live_sandbox.sandbox.app.quotas.agents == 3


def test_the_sessions_sandbox_is_another_one(zego_session_sandbox: LiveSandbox, zego_live_sandbox: LiveSandbox) -> None:
    assert zego_session_sandbox.url != zego_live_sandbox.url


class TestInUnittest(unittest.TestCase):
    """As the documentation has it."""

    def setUp(self) -> None:
        self.live = self.enterContext(LiveSandbox(quota=2))

    def test_a_registration(self) -> None:
        register(self.live)
        self.assertEqual(list(self.live.sandbox.app.agents), ["a"])  # noqa: PT009 - it is unittest


def test_it_can_be_looked_at_when_it_has_ended_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with LiveSandbox() as live:
        register(live)
    assert set(threading.enumerate()) <= before
    assert list(live.sandbox.app.agents) == ["a"]
    for use in (lambda: live.url, lambda: live.advance(1)):
        with pytest.raises(RuntimeError, match="with LiveSandbox"):
            use()
    live.stop()


def test_a_port_that_is_taken_is_raised_where_it_is_started() -> None:
    with LiveSandbox() as live:
        port = int(live.url.rpartition(":")[2])
        with pytest.raises(OSError, match=str(port)):
            LiveSandbox(port=port).start()


def test_what_fails_in_its_thread_is_raised_at_the_end() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    def start(sandbox: Sandbox) -> None:
        sandbox.scope.start(fail())

    with pytest.raises(ExceptionGroup), LiveSandbox() as live:
        live.call(start)


def test_its_own_thread_is_not_taken_for_another() -> None:
    with LiveSandbox() as live, pytest.raises(RuntimeError, match="own thread"):
        live.call(lambda _: live.advance(1))


@pytest.mark.anyio
async def test_an_async_sandbox_says_so_when_it_is_used_from_another_thread_or_loop(zego_sandbox: Sandbox) -> None:
    def elsewhere() -> None:
        for use in (lambda: zego_sandbox.emit("ASRResult", "7"), lambda: zego_sandbox.user_speaks("hi")):
            with pytest.raises(RuntimeError, match="zego_live_sandbox"):
                use()
        with pytest.raises(RuntimeError, match=r"in another event loop.*zego_live_sandbox"):
            asyncio.run(zego_sandbox.clock.advance(1))

    await asyncio.to_thread(elsewhere)


@pytest.fixture
def options(pytester: pytest.Pytester) -> list[str]:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    installed = any(point.value == "zego_aigc.pytest_plugin" for point in entry_points(group="pytest11"))
    return [] if installed else ["-p", "zego_aigc.pytest_plugin"]


def test_a_synchronous_test_that_asks_for_the_async_fixture_gets_an_error_that_names_the_right_one(
    pytester: pytest.Pytester, options: list[str]
) -> None:
    pytester.makepyfile("def test_it(zego_sandbox): pass")
    result = pytester.runpytest_inprocess(*options)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*test_it is synchronous*use zego_live_sandbox*"])


BLOCKING = """
import time
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from zego_aigc import Client
from zego_aigc.aiagent import RegisterAgent

@pytest.mark.{mark}
async def test_it(zego_sandbox):
    app = FastAPI()

    @app.post("/agents/{{agent_id}}")
    async def register(agent_id: str) -> None:
        async with Client(
            zego_sandbox.app_id, zego_sandbox.server_secret,
            aiagent_url=zego_sandbox.url, digitalhuman_url=zego_sandbox.url,
        ) as client:
            await client.call(RegisterAgent(agent_id=agent_id))

    with TestClient(app) as browser:
        browser.post("/agents/a")
"""


@pytest.mark.slow
@pytest.mark.parametrize("mark", ["anyio", "asyncio"])
def test_a_test_client_that_blocks_the_sandboxs_loop_is_refused_at_once(
    pytester: pytest.Pytester, options: list[str], mark: str
) -> None:
    pytest.importorskip("httpx")
    pytester.makeconftest("import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'")
    pytester.makepyfile(BLOCKING.format(mark=mark))
    result = pytester.runpytest_inprocess(*options, "-W", "ignore")
    result.assert_outcomes(failed=1)
    # Not the 30 s after which the client would have given up by itself.
    result.stdout.fnmatch_lines(["*refused: AppConfigLookupFailed*is blocked*Use the fixture zego_live_sandbox*"])


@pytest.mark.slow
def test_an_event_loop_that_is_only_busy_is_not_taken_for_a_blocked_one(pytester: pytest.Pytester, options: list[str]) -> None:
    pytester.makepyfile("""
import asyncio, threading, time, urllib.request
import pytest

@pytest.mark.asyncio
async def test_it(zego_sandbox):
    statuses = []
    def get():
        with urllib.request.urlopen(f"{zego_sandbox.url}/_sandbox/state") as answer:
            statuses.append(answer.status)
    thread = threading.Thread(target=get)
    thread.start()
    ends = time.monotonic() + 0.6  # twice as long as a loop that waits is watched
    while time.monotonic() < ends:
        pass
    while thread.is_alive():
        await asyncio.sleep(0.01)
    assert statuses == [200]
""")
    pytester.runpytest_inprocess(*options).assert_outcomes(passed=1)


def test_the_environment_names_what_the_command_line_prints() -> None:
    with LiveSandbox(callback_secret="c") as live:
        assert live.env == {
            "ZEGO_APP_ID": "1234567890",
            "ZEGO_SERVER_SECRET": live.sandbox.server_secret,
            "ZEGO_CALLBACK_SECRET": "c",
            "ZEGO_AIAGENT_URL": live.url,
            "ZEGO_DIGITALHUMAN_URL": live.url,
            "ZEGO_SANDBOX_URL": live.url,
        }
