"""The example web app, driven over its own HTTP as a visitor's page and the service would drive it."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web

from zego_aigc import Client, SQLiteRegistry
from zego_aigc.aiagent import CreateDigitalHumanAgentInstance, DeleteAgentInstance, SendAgentInstanceTTS
from zego_aigc.sandbox import Sandbox

pytestmark = pytest.mark.anyio

CALLBACK_SECRET = "a-callback-secret"
SERVER_SECRET = "0123456789abcdef0123456789abcdef"


def load_example() -> Any:
    path = Path(__file__).parent.parent / "examples" / "webapp.py"
    spec = importlib.util.spec_from_file_location("webapp", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def app_of(client: Client) -> web.Application:
    example = load_example()
    app: web.Application = example.create_app(client, SERVER_SECRET, CALLBACK_SECRET)
    return app


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(callback_secret=CALLBACK_SECRET) as sandbox:
        yield sandbox


@pytest.fixture
async def visitor(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser on the app's page, while the service's callbacks go to the app."""
    client = sandbox.client(registry=SQLiteRegistry(tmp_path / "live.db"), live_per_owner=1)
    runner = web.AppRunner(app_of(client))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        base = "http://{}:{}".format(*runner.addresses[0][:2])
        sandbox.app.callback_url = f"{base}/callbacks"
        async with aiohttp.ClientSession(base_url=base) as session:
            yield session
    finally:
        await runner.cleanup()


async def test_a_visitor_talks_to_a_digital_human_and_hangs_up(sandbox: Sandbox, visitor: aiohttp.ClientSession) -> None:
    async with visitor.post("/conversations", json={"user": "alice"}) as response:
        assert response.status == 201
        conversation = await response.json()
    assert conversation["digital_human_config"]
    assert conversation["token"].startswith("04")
    (create,) = sandbox.received(CreateDigitalHumanAgentInstance)
    assert conversation["user"] == create.user_id
    assert (conversation["room"], conversation["publish"], conversation["play"]) == (
        create.rtc.room_id,
        create.rtc.user_stream_id,
        create.rtc.agent_stream_id,
    )
    await sandbox.clock.advance(1)
    async with visitor.post(f"/conversations/{conversation['id']}/say", json={"text": "Welcome!"}) as response:
        assert response.status == 200
    async with visitor.delete(f"/conversations/{conversation['id']}") as response:
        assert response.status == 204
    assert [call.text for call in sandbox.received(SendAgentInstanceTTS)] == ["Welcome!"]
    assert len(sandbox.received(DeleteAgentInstance)) == 1


async def test_a_user_has_one_conversation_at_a_time(sandbox: Sandbox, visitor: aiohttp.ClientSession) -> None:
    statuses = []
    for user in ("alice", "alice", "bob"):
        async with visitor.post("/conversations", json={"user": user}) as response:
            statuses.append(response.status)
    assert statuses == [201, 429, 201]
    assert len(sandbox.app.instances) == 2


async def test_a_bad_user_id_is_the_visitors_error_and_says_where(visitor: aiohttp.ClientSession) -> None:
    async with visitor.post("/conversations", json={"user": "no spaces please"}) as response:
        assert response.status == 400
        (problem,) = (await response.json())["problems"]
    assert problem.startswith("UserId: ")


async def test_conversations_that_are_open_when_the_app_stops_are_ended(sandbox: Sandbox) -> None:
    runner = web.AppRunner(app_of(sandbox.client()))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://{host}:{port}/conversations", json={"user": "bob"}) as response,
        ):
            identity = (await response.json())["id"]
    finally:
        await runner.cleanup()
    assert [call.agent_instance_id for call in sandbox.received(DeleteAgentInstance)] == [identity]


async def test_all_of_many_conversations_are_ended_when_the_app_stops(sandbox: Sandbox) -> None:
    """The callbacks of those that have ended come while others are being ended."""
    sandbox.app.quotas.digital_humans = sandbox.app.rate_limit = None
    runner = web.AppRunner(app_of(sandbox.client()))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = "http://{}:{}".format(*runner.addresses[0][:2])
        sandbox.app.callback_url = f"{base}/callbacks"
        async with aiohttp.ClientSession(base) as session:
            for number in range(8):
                async with session.post("/conversations", json={"user": f"visitor-{number}"}) as response:
                    assert response.status == 201
    finally:
        await runner.cleanup()
    assert list(sandbox.app.instances) == []


@pytest.mark.parametrize("body", [b"", b"{broken", b"[]", b"{}", b'{"user": 5}', b"\xff", b"[" * 100_000], ids=repr)
async def test_a_body_that_is_not_what_was_expected_is_the_visitors_error(visitor: aiohttp.ClientSession, body: bytes) -> None:
    for path in ("/conversations", "/conversations/1/say"):
        async with visitor.post(path, data=body) as response:
            assert response.status == 400


async def test_a_browser_follows_a_conversation(sandbox: Sandbox, visitor: aiohttp.ClientSession) -> None:
    async with visitor.post("/conversations", json={"user": "alice"}) as response:
        identity = (await response.json())["id"]
    async with visitor.get(f"/conversations/{identity}/events") as events:
        with anyio.fail_after(60):
            await events.content.readline()
            sandbox.emit("LLMResult", identity, Round=1, Text="Hello there.")
            async with visitor.delete(f"/conversations/{identity}") as response:
                assert response.status == 204
            text = (await events.read()).decode()
    assert "Hello there." in text
    assert "event: AgentInstanceDeleted" in text
    assert text.endswith("event: end\ndata: {}\n\n")


async def test_an_unknown_conversation_is_not_found_and_counts_as_ended(visitor: aiohttp.ClientSession) -> None:
    async with visitor.post("/conversations/12345/say", json={"text": "Hello?"}) as response:
        assert (response.status, await response.json()) == (404, {"error": "AgentInstanceNotFound"})
    async with visitor.delete("/conversations/12345") as response:
        assert response.status == 204


async def test_an_account_that_is_full_is_told_as_busy(sandbox: Sandbox, visitor: aiohttp.ClientSession) -> None:
    sandbox.app.quotas.digital_humans = 0
    with anyio.fail_after(60):
        async with visitor.post("/conversations", json={"user": "alice"}) as response:
            assert response.status == 503
