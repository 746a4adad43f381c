"""The example web app: over HTTP as a page would use it, in a browser, and as several workers that are killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from anyio.from_thread import start_blocking_portal
from browser import DESK, PHONE, Page, axe, chromium
from callback_requests import until

from benchmarks.ports import reserved_port
from examples.fastapi_app.app import create_app
from examples.fastapi_app.settings import Settings
from zego_aigc import ConfigurationError
from zego_aigc.aiagent import CreateAgentInstance, DeleteAgentInstance, RegisterAgent, UpdateAgent
from zego_aigc.sandbox import LiveSandbox

__all__ = ["axe"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveSandbox]:
    """The service, in a thread: it calls the app's callbacks and model while a test waits for the app."""
    with LiveSandbox() as running:
        for name, value in running.env.items():
            monkeypatch.setenv(name, value)
        yield running


@contextlib.asynccontextmanager
async def served(live: LiveSandbox, tmp_path: Path, **settings: Any) -> AsyncIterator[str]:
    """The app under a real server; at the end the server is stopped as a deployment stops it."""
    port = reserved_port()
    url = f"http://127.0.0.1:{port}"
    live.sandbox.app.callback_url = f"{url}/callbacks"
    app = create_app(
        Settings(
            app_id=live.sandbox.app_id,
            server_secret=live.sandbox.server_secret,
            callback_secret=live.sandbox.app.callback_secret,
            public_url=url,
            llm_api_key="a key",
            registry_path=str(tmp_path / "live.db"),
            sandbox_url=live.url,
            **settings,
        )
    )
    config = uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started or running.done(), 60)
        yield url
    finally:
        server.should_exit = True
        await running
        for connection in [*server.server_state.connections]:  # of requests that it has given up
            connection.transport.abort()
        await asyncio.sleep(0)


def visitor(url: str) -> aiohttp.ClientSession:
    """A browser of one visitor, with a cookie jar of its own."""
    return aiohttp.ClientSession(url, cookie_jar=aiohttp.CookieJar(unsafe=True))


async def begin(session: aiohttp.ClientSession) -> dict[str, Any]:
    async with session.post("/conversations") as response:
        assert response.status == 201, await response.text()
        begun: dict[str, Any] = await response.json()
    return begun


def contents(folder: Path) -> bytes:
    """What all files of a folder hold."""
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def read_until(response: aiohttp.ClientResponse, name: str) -> list[tuple[str, Any]]:
    """The events of a stream up to one."""
    got: list[tuple[str, Any]] = []
    kind = ""
    async with asyncio.timeout(60):
        while not got or got[-1][0] != name:
            line = (await response.content.readline()).decode().strip()
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: "):
                got.append((kind, json.loads(line[6:])))
    return got


# --- over HTTP -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_visitor_talks_to_the_agent_and_hangs_up(live: LiveSandbox, tmp_path: Path) -> None:
    async with served(live, tmp_path) as url, visitor(url) as session:
        begun = await begin(session)
        assert begun["token"].startswith("04")
        async with session.get(f"/conversations/{begun['id']}/events") as events:
            await read_until(events, "AgentInstanceCreated")
            async with session.post(f"/conversations/{begun['id']}/messages", json={"text": "When are you open?"}) as response:
                assert (response.status, await response.json()) == (202, {"as": "spoken"})
            got = await read_until(events, "LLMResult")
            assert [data["Data"]["Text"] for name, data in got if name == "ASRResult"] == ["When are you open?"]
            assert "nine to six" in got[-1][1]["Data"]["Text"]
            async with session.delete(f"/conversations/{begun['id']}") as response:
                assert response.status == 204
            await read_until(events, "end")
        async with session.get(f"/conversations/{begun['id']}/events") as again:
            names = [name for name, _ in await read_until(again, "end")]
        assert names[0] == "AgentInstanceCreated"
        assert names[-2] == "AgentInstanceDeleted"


async def test_what_goes_wrong_has_a_status_that_says_whose_fault_it_is(live: LiveSandbox, tmp_path: Path) -> None:
    async with served(live, tmp_path) as url, visitor(url) as alice, visitor(url) as bob:
        begun = await begin(alice)
        path = f"/conversations/{begun['id']}"
        for session, method, where, body, status in (
            (alice, "POST", f"{path}/messages", b"{broken", 422),
            (alice, "POST", f"{path}/messages", b"[]", 422),
            (alice, "POST", f"{path}/messages", b'{"text": ""}', 422),
            (alice, "POST", f"{path}/messages", json.dumps({"text": "x" * 301}).encode(), 422),
            (alice, "POST", "/conversations", b"", 429),
            (alice, "GET", "/conversations/12345/events", b"", 404),
            (bob, "GET", f"{path}/events", b"", 404),
            (bob, "DELETE", path, b"", 404),
            (bob, "POST", f"{path}/messages", b'{"text": "Hi"}', 404),
            (alice, "GET", "/health", b"", 200),
            (alice, "GET", "/callbacks", b"", 200),
            (alice, "POST", "/callbacks", b"junk", 400),
            (alice, "POST", "/model", b"{}", 401),
        ):
            headers = {"Content-Type": "application/json"}
            async with session.request(method, where, data=body, headers=headers) as response:
                assert response.status == status, (method, where, body, await response.text())
        live.sandbox.app.quotas.agents = 1
        async with bob.post("/conversations") as response:
            assert response.status == 503
            assert response.headers["Retry-After"]
            assert "busy" in (await response.json())["detail"]
        async with bob.post("/conversations", headers={"Cookie": "visitor=../../etc"}) as response:
            assert response.status == 422


async def test_a_visitors_cookie_is_written_nowhere(
    live: LiveSandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has it is the visitor."""
    caplog.set_level(logging.DEBUG)
    async with served(live, tmp_path) as url, visitor(url) as session:
        begun = await begin(session)
        (cookie,) = session.cookie_jar
        async with session.post("/conversations") as response:  # what is refused is logged
            assert response.status == 429
            refusal = await response.text()
        kept = contents(tmp_path)
        users = [call.user_id for call in live.received(CreateAgentInstance)]
    name = begun["user_id"].removeprefix("visitor-")
    assert name in caplog.text
    assert name.encode() in kept
    for where in (caplog.text, kept.decode(errors="replace"), refusal, json.dumps(begun), *users):
        assert cookie.value[:16] not in where


@pytest.mark.slow
async def test_shutdown_ends_every_conversation_also_those_that_are_just_beginning(live: LiveSandbox, tmp_path: Path) -> None:
    slow = live.faults.on("CreateAgentInstance").latency(0.3)
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(live, tmp_path))
        sessions = [await stack.enter_async_context(visitor(url)) for _ in range(8)]
        await asyncio.gather(*map(begin, sessions[:4]))
        late = [asyncio.create_task(session.post("/conversations")) for session in sessions[4:]]
        await until(lambda: slow.hits == 8, 60)  # on their way
    for task in late:
        with contextlib.suppress(aiohttp.ClientError):
            (await task).close()
    assert live.call(lambda sandbox: list(sandbox.app.instances)) == []
    assert len(live.received(DeleteAgentInstance)) >= 4


async def test_a_changed_agent_is_updated_when_the_app_starts(live: LiveSandbox, tmp_path: Path) -> None:
    for _ in range(2):
        async with served(live, tmp_path):  # another port, so another LLM.Url
            pass
    assert len(live.received(RegisterAgent)) == 1
    (update,) = live.received(UpdateAgent)
    assert update.llm is not None


@pytest.mark.slow
async def test_one_command_starts_it_against_a_sandbox_of_its_own_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ZEGO_")} | {"PYTHONPATH": str(root)}
    port = reserved_port()
    command = ["-m", "examples.fastapi_app", "--port", str(port)]
    pipe = asyncio.subprocess.PIPE
    running = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=tmp_path, env=environ, stdout=pipe, stderr=pipe
    )
    try:
        assert running.stdout is not None
        async with asyncio.timeout(60), visitor(f"http://127.0.0.1:{port}") as session:
            assert f"open http://127.0.0.1:{port}" in (await running.stdout.readline()).decode()
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get("/") as page:
                        assert "Concierge" in await page.text()
                        break
                await asyncio.sleep(0.05)
            begun = await begin(session)
            async with session.get(f"/conversations/{begun['id']}/events") as events:
                await read_until(events, "AgentInstanceCreated")
        running.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            _, said = await running.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.kill()
        await running.wait()
    assert said == b"", "it ends without complaints"


def test_what_is_missing_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZEGO_APP_ID", "ZEGO_SERVER_SECRET", "ZEGO_CALLBACK_SECRET", "PUBLIC_URL", "LLM_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ZEGO_APP_ID", "1")
    with pytest.raises(ConfigurationError, match="ZEGO_SERVER_SECRET, ZEGO_CALLBACK_SECRET, PUBLIC_URL, LLM_API_KEY"):
        create_app()


@pytest.mark.parametrize("redis_url", [None, "redis://127.0.0.1:1"])
def test_redis_is_needed_only_where_it_is_set(redis_url: str | None) -> None:
    program = "import sys; sys.modules['redis'] = None; from examples.fastapi_app.app import create_app; create_app()"
    names = ("ZEGO_SERVER_SECRET", "ZEGO_CALLBACK_SECRET", "PUBLIC_URL", "LLM_API_KEY")
    environ = os.environ | dict.fromkeys(names, "0123456789abcdef" * 2) | {"ZEGO_APP_ID": "1", "REDIS_URL": redis_url or ""}
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program], cwd=root, env=environ, check=False, capture_output=True, text=True)
    if redis_url is None:
        assert done.returncode == 0, done.stderr
    else:
        assert "pip install 'zego_aigc[redis]'" in done.stderr.splitlines()[-1]


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("width", [DESK, PHONE], ids=["desktop", "phone"])
def test_a_person_talks_to_the_agent_in_a_browser(driver: Any, live: LiveSandbox, tmp_path: Path, width: int) -> None:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(served(live, tmp_path)) as url:
        page = Page(driver)
        page.show(url, width, height=800)
        assert not driver.find_element("css selector", "#send").is_enabled()
        page.click("#start")
        page.wait(lambda: "opening hours" in page.text("#transcript"))  # the greeting
        for question, answer in (("When are you open?", "nine to six"), ("<b>And the weather?</b>", "sunny")):
            page.type("#text", question)
            page.click("#send")
            page.wait(lambda: question in page.text("#transcript"))  # noqa: B023 - within this turn
            page.wait(lambda: answer in page.text("#transcript"))  # noqa: B023
        page.wait(lambda: re.fullmatch(r"\d+ ms", page.text("#latency")))
        assert driver.find_elements("css selector", "#transcript b") == [], "what people say is never HTML"
        assert page.run("return document.documentElement.scrollWidth <= window.innerWidth"), "nothing sticks out"
        tapped = [each for each in driver.find_elements("css selector", "button, input") if each.is_displayed()]
        assert min(each.size["height"] for each in tapped) >= 44, "what is tapped is large enough"
        page.click("#hang-up")
        page.wait(lambda: "has ended" in page.text("#transcript"))
        page.wait(lambda: driver.find_element("css selector", "#start").is_enabled())
        assert page.complaints() == []
        live.sandbox.app.quotas.agents = 0
        page.click("#start")
        page.wait(lambda: "busy" in page.text("#problem"))
        live.sandbox.app.quotas.agents = 10
        page.wait(lambda: driver.find_element("css selector", "#start").is_enabled())
        page.click("#start")
        page.wait(lambda: driver.find_element("css selector", "#hang-up").is_displayed())
        driver.get("about:blank")
        page.wait(lambda: not live.call(lambda sandbox: list(sandbox.app.instances)))  # closing the page hangs up


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_page(driver: Any, live: LiveSandbox, tmp_path: Path, axe: str, scheme: str) -> None:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(served(live, tmp_path)) as url:
        page = Page(driver)
        page.show(url, PHONE, scheme)
        assert page.violations(axe) == []
        page.click("#start")
        page.wait(lambda: "opening hours" in page.text("#transcript"))
        assert page.violations(axe) == []
        page.click("#hang-up")
        page.wait(lambda: "has ended" in page.text("#transcript"))
        live.sandbox.app.quotas.agents = 0
        page.wait(lambda: driver.find_element("css selector", "#start").is_enabled())
        page.click("#start")
        page.wait(lambda: "busy" in page.text("#problem"))
        assert page.violations(axe) == []
