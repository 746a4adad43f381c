"""Building, sharing and closing clients: environment, hosts, loops, pools, sessions, proxies."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import subprocess
import sys
import textwrap
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import anyio
import pytest
from raw_server import Exchange, ok, raw_server
from requests_made import register, stream

import zego_aigc
from zego_aigc import (
    BadParameter,
    Client,
    ConfigurationError,
    ConnectFailed,
    LocalLimiter,
    OutcomeUnknown,
    SessionPool,
    Signer,
    TimedOut,
    aiagent,
    digitalhuman,
)
from zego_aigc.sandbox import Sandbox

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(rate_limit=None) as running:
        yield running


# --- the environment


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("APP_ID", "SERVER_SECRET", "CALLBACK_SECRET", "REGION", "AIAGENT_URL", "DIGITALHUMAN_URL"):
        monkeypatch.delenv(f"ZEGO_{name}", raising=False)
    return monkeypatch


async def test_from_env_names_every_variable_that_is_missing(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="set ZEGO_APP_ID and ZEGO_SERVER_SECRET in the environment"):
        Client.from_env()
    environment.setenv("ZEGO_APP_ID", "12345")
    environment.setenv("ZEGO_SERVER_SECRET", "  ")
    with pytest.raises(ConfigurationError, match=r"^set ZEGO_SERVER_SECRET in the environment"):
        Client.from_env()


@pytest.mark.parametrize(("app_id", "message"), [("twelve", "ZEGO_APP_ID must be a number"), ("0", "from 1 to 4294967295")])
async def test_from_env_refuses_an_app_id_that_cannot_be(environment: pytest.MonkeyPatch, app_id: str, message: str) -> None:
    environment.setenv("ZEGO_APP_ID", app_id)
    environment.setenv("ZEGO_SERVER_SECRET", "top-secret")
    with pytest.raises(ConfigurationError, match=message) as caught:
        Client.from_env()
    assert "top-secret" not in str(caught.value)


async def test_from_env_takes_everything_that_is_set(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ZEGO_APP_ID", " 12345 ")
    environment.setenv("ZEGO_SERVER_SECRET", "secret")
    environment.setenv("ZEGO_CALLBACK_SECRET", "callback")
    environment.setenv("ZEGO_REGION", "sgp")
    environment.setenv("ZEGO_DIGITALHUMAN_URL", "https://overseas.example")
    client = Client.from_env()
    assert (client.app_id, client.callback_secret) == (12345, "callback")
    assert client.hosts == {
        "aiagent": "https://aigc-aiagent-api-sgp.zegotech.cn/",
        "digitalhuman": "https://overseas.example/",
    }


async def test_what_the_caller_gives_wins_over_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("ZEGO_APP_ID", "12345")
    environment.setenv("ZEGO_SERVER_SECRET", "secret")
    environment.setenv("ZEGO_REGION", "sgp")
    client = Client.from_env(aiagent_url="http://127.0.0.1:1", timeout=5)
    assert client.hosts["aiagent"] == "http://127.0.0.1:1/"


# --- hosts


@pytest.mark.parametrize("region", ["sha", "hkg", "fra", "lax", "bom", "sgp", "SGP"])
async def test_a_region_chooses_the_host_of_ai_agent_and_leaves_digital_human_alone(region: str) -> None:
    hosts = Client(1, "s", region=region).hosts
    assert hosts["aiagent"] == f"https://aigc-aiagent-api-{region.lower()}.zegotech.cn/"
    assert hosts["digitalhuman"] == "https://aigc-digitalhuman-api.zegotech.cn/"


async def test_without_a_region_the_vendor_chooses() -> None:
    assert Client(1, "s").hosts["aiagent"] == "https://aigc-aiagent-api.zegotech.cn/"


async def test_an_unknown_region_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        ConfigurationError, match=r"region 'mars' is not known; there are sha \(Shanghai\), .*sgp \(Singapore\)"
    ):
        Client(1, "s", region="mars")


async def test_a_region_and_a_url_contradict_each_other() -> None:
    with pytest.raises(ConfigurationError, match="either region or aiagent_url, not both"):
        Client(1, "s", region="sgp", aiagent_url="https://x.example")


@pytest.mark.parametrize(
    "url", ["ftp://x", "x.example", "", "https://user:hunter2@x.example", "https://x.example/?a=b", "https://x#y", "http://[x"]
)
async def test_a_base_url_that_cannot_be_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="digitalhuman_url must be an http or https URL") as caught:
        Client(1, "s", digitalhuman_url=url or "x")
    assert "hunter2" not in str(caught.value)


async def test_a_base_url_may_have_a_path() -> None:
    seen: list[str] = []

    async def handle(exchange: Exchange) -> None:
        seen.append(exchange.target)
        await exchange.send(ok({"Total": 0, "Agents": [], "Cursor": ""}))

    async with raw_server(handle) as url, Client(1, "s", aiagent_url=f"{url}/gateway/zego") as client:
        await client.call(aiagent.ListAgents())
    assert seen[0].startswith("/gateway/zego?Action=ListAgents&AppId=1&")


async def test_a_host_that_fails_is_not_replaced_by_another(sandbox: Sandbox) -> None:
    async with sandbox.client(aiagent_url="http://127.0.0.1:9") as client:
        with pytest.raises(ConnectFailed, match=r"cannot reach 127\.0\.0\.1:9: .*Nothing was sent"):
            await client.call(register(), timeout=20)
        await client.call(digitalhuman.QueryDigitalHumanStreamTasks())
    assert not sandbox.received(aiagent.RegisterAgent)


async def test_a_name_that_cannot_be_resolved_is_named() -> None:
    async with Client(1, "s", aiagent_url="http://no-such-host.invalid") as client:
        with pytest.raises(ConnectFailed, match=r"cannot reach no-such-host\.invalid"):
            await client.call(aiagent.ListAgents(), timeout=20)


# --- loops


def test_a_client_may_be_built_outside_a_loop() -> None:
    client = Client(1, "s", aiagent_url="http://127.0.0.1:9")

    async def main() -> None:
        async with client:
            with pytest.raises(ConnectFailed):
                await client.call(aiagent.ListAgents(), timeout=20)

    asyncio.run(main())


def test_a_client_refuses_clearly_to_serve_a_second_loop() -> None:
    client = Client(1, "s", aiagent_url="http://127.0.0.1:9")

    async def first() -> None:
        with pytest.raises(ConnectFailed):
            await client.call(aiagent.ListAgents(), timeout=20)

    async def second() -> None:
        with pytest.raises(ConfigurationError, match="belongs to another event loop"):
            await client.call(aiagent.ListAgents())

    asyncio.run(first())
    asyncio.run(second())


def test_a_client_says_under_trio_that_it_runs_on_asyncio() -> None:
    pytest.importorskip("trio")

    async def main() -> None:
        with pytest.raises(ConfigurationError, match=r"runs on asyncio.*not under trio"):
            await Client(1, "s").call(aiagent.ListAgents())
        with pytest.raises(ConfigurationError, match="runs on asyncio"):
            async with Client(1, "s"):
                pass

    anyio.run(main, backend="trio")


async def test_a_plain_with_is_answered_by_what_to_write_instead() -> None:
    with pytest.raises(TypeError, match="use 'async with Client"), Client(1, "s"):  # type: ignore[attr-defined]  # what is tested
        pass


# --- closing


async def test_a_closed_client_refuses_calls_and_may_be_closed_again(sandbox: Sandbox) -> None:
    client = sandbox.client()
    await client.call(aiagent.ListAgents())
    assert await client.aclose() == []
    assert await client.aclose() == []
    with pytest.raises(ConfigurationError, match="the client is closed: make a new one"):
        await client.call(aiagent.ListAgents())


async def test_closing_ends_a_call_that_waits_for_the_limiter(sandbox: Sandbox) -> None:
    client = sandbox.client(limiter=LocalLimiter(limit=1, window=30))
    await client.call(stream())
    waiting = asyncio.create_task(client.call(stream("2"), timeout=60))
    await asyncio.sleep(0.05)
    await client.aclose(drain=0.05)
    with pytest.raises(ConfigurationError, match="closed before CreateDigitalHumanStreamTask was sent"):
        await waiting


@pytest.mark.slow
@pytest.mark.parametrize(
    "use",
    [
        "async with client: await client.call(ListAgents())",
        "await client.call(ListAgents()); await client.aclose()",
        "await client.call(ListAgents())  # and it is forgotten",
        "await client.warmup(); del client; import gc; gc.collect(); await asyncio.sleep(0.01)",
        "pass",
    ],
)
async def test_no_warnings_about_unclosed_sessions(sandbox: Sandbox, use: str) -> None:
    program = f"""
        import asyncio
        from zego_aigc import Client
        from zego_aigc.aiagent import ListAgents

        async def main():
            url = {sandbox.url!r}
            client = Client({sandbox.app_id}, {sandbox.server_secret!r}, aiagent_url=url, digitalhuman_url=url)
            {use}

        asyncio.run(main())
    """
    run = await anyio.run_process([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert (run.returncode, run.stderr) == (0, b"")


async def test_with_an_aiohttp_of_an_unknown_version_a_client_does_without_its_insides() -> None:
    program = """
        import asyncio
        import aiohttp
        aiohttp.__version__ = "3.999.0"

        from raw_server import ok, raw_server
        from requests_made import voice
        from zego_aigc import Client, SessionPool

        async def main():
            assert not SessionPool().past_session
            came, go_on, orphans = asyncio.Event(), asyncio.Event(), []

            async def handle(exchange):
                came.set()
                await go_on.wait()
                await exchange.send(ok({"AgentInstanceId": f"i-{exchange.number}"}))

            async with raw_server(handle) as url, Client(1, "s", aiagent_url=url, on_orphan=orphans.append) as client:
                create = asyncio.ensure_future(client.call(voice()))
                await came.wait()
                create.cancel()
                go_on.set()
                await asyncio.wait([create])
                assert [orphan.result.agent_instance_id for orphan in orphans] == ["i-1"]
                assert (await client.call(voice())).agent_instance_id == "i-2"

        asyncio.run(main())
    """
    run = await anyio.run_process([sys.executable, "-c", textwrap.dedent(program)], check=False, cwd=Path(__file__).parent)
    assert run.returncode == 0, run.stderr.decode()


def test_without_the_module_that_goes_past_the_session_requests_go_through_it(tmp_path: Path) -> None:
    package = Path(zego_aigc.__file__).parent
    shutil.copytree(package, tmp_path / "zego_aigc", ignore=shutil.ignore_patterns("fastpath*", "__pycache__"))
    program = "import zego_aigc; print(zego_aigc.__file__, zego_aigc.SessionPool().past_session)"
    # The copy is not what is measured where branches are.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert (run.stdout.split(), run.stderr) == ([str(tmp_path / "zego_aigc" / "__init__.py"), "False"], "")


def test_one_line_says_that_requests_go_through_the_session(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ZEGO_AIGC_NO_FASTPATH", "1")
    caplog.set_level("INFO", "zego_aigc")
    Client(1, "s")
    (record,) = caplog.records
    assert (record.levelname, "ZEGO_AIGC_NO_FASTPATH is set" in record.getMessage()) == ("INFO", True)


def test_a_client_that_is_forgotten_is_freed_at_once() -> None:
    client = Client(1, "s")
    pool = weakref.ref(client.pool)
    gc.disable()  # what counts is that no cycle keeps it
    try:
        del client
        assert pool() is None
    finally:
        gc.enable()


# --- sharing


async def test_clients_of_one_pool_keep_the_limit_together(sandbox: Sandbox) -> None:
    async with SessionPool(limiter=LocalLimiter(limit=1, window=30)) as pool:
        one, two = sandbox.client(pool=pool), sandbox.client(pool=pool)
        assert one.pool.signer(1, "s") is two.pool.signer(1, "s")
        await one.call(aiagent.ListAgents())
        with pytest.raises(TimedOut):
            await two.call(aiagent.ListAgents(), timeout=0.1)
        await one.aclose()
        assert not pool.closed
        await two.call(digitalhuman.QueryDigitalHumanStreamTasks())
    assert pool.closed


async def test_apps_that_share_a_pool_share_connections_and_keep_limits_of_their_own(sandbox: Sandbox) -> None:
    other = sandbox.add_app(77, "another-secret", rate_limit=None)
    async with SessionPool(limiter=LocalLimiter(limit=1, window=30)) as pool:
        await sandbox.client(pool=pool).call(aiagent.ListAgents())
        await sandbox.client(app=other, pool=pool).call(aiagent.ListAgents())
    assert [call.app_id for call in sandbox.recording.calls] == [sandbox.app_id, 77]


async def test_what_belongs_to_the_pool_is_given_to_the_pool() -> None:
    with pytest.raises(ConfigurationError, match="belong to the pool"):
        Client(1, "s", pool=SessionPool(), proxy="http://127.0.0.1:1")


async def test_a_borrowed_session_is_used_and_stays_open(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession(headers={"X-Mine": "1"}) as session:
        async with sandbox.client(session=session) as client:
            await client.call(aiagent.ListAgents())
            await client.call(stream())
        assert not session.closed


async def test_a_borrowed_session_that_is_closed_is_named_as_the_trouble(sandbox: Sandbox) -> None:
    session = aiohttp.ClientSession()
    client = sandbox.client(session=session)
    await client.call(aiagent.ListAgents())
    await session.close()
    with pytest.raises(ConfigurationError, match="aiohttp session is closed"):
        await client.call(aiagent.ListAgents())
    with pytest.raises(ConfigurationError, match="aiohttp session that was given is closed"):
        await sandbox.client(session=session).call(aiagent.ListAgents())


async def test_a_proxy_gets_the_whole_url_and_is_named_when_it_cannot_be_reached() -> None:
    seen: list[str] = []

    async def handle(exchange: Exchange) -> None:
        seen.append(exchange.target)
        await exchange.send(ok({"Total": 0, "Agents": [], "Cursor": ""}))

    async with raw_server(handle) as url, Client(1, "s", aiagent_url="http://vendor.example", proxy=url) as client:
        await client.call(aiagent.ListAgents())
    assert seen[0].startswith("http://vendor.example/?Action=ListAgents")
    async with Client(1, "s", aiagent_url="http://vendor.example", proxy="http://u:hunter2@127.0.0.1:9") as client:
        with pytest.raises(ConnectFailed) as caught:
            await client.call(aiagent.ListAgents(), timeout=20)
    assert "cannot reach the proxy 127.0.0.1:9: Connection refused" in str(caught.value)
    assert "hunter2" not in f"{caught.value!r}{caught.value.__cause__!r}"


@pytest.mark.parametrize("proxy", ["proxy", "socks5://u:hunter2@127.0.0.1:9", "http://", "http://u:hunter2@h:port"])
def test_a_proxy_that_cannot_be_one_is_refused_without_repeating_it(proxy: str) -> None:
    with pytest.raises(ConfigurationError, match="proxy must be the URL of an HTTP proxy") as caught:
        Client(1, "s", proxy=proxy)
    assert "hunter2" not in str(caught.value)


async def test_a_borrowed_session_that_raises_for_status_does_not_hide_a_refusal(sandbox: Sandbox) -> None:
    sandbox.faults.on(aiagent.ListAgents).refuse(410000003, status=400)
    async with aiohttp.ClientSession(raise_for_status=True) as session, sandbox.client(session=session) as client:
        with pytest.raises(BadParameter):
            await client.call(aiagent.ListAgents())


async def test_a_borrowed_session_that_times_out_by_itself_says_what_it_waited_for(sandbox: Sandbox) -> None:
    sandbox.faults.on(aiagent.SendAgentInstanceTTS).stall()
    limits = aiohttp.ClientTimeout(total=1)
    async with aiohttp.ClientSession(timeout=limits) as session, sandbox.client(session=session) as client:
        with pytest.raises(OutcomeUnknown, match="no answer in time"):
            await client.call(aiagent.SendAgentInstanceTTS(agent_instance_id="1", text="Hello!"))


def test_a_borrowed_session_of_another_loop_is_named_as_the_trouble() -> None:
    async def borrow() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    async def use(session: aiohttp.ClientSession) -> None:
        with pytest.raises(ConfigurationError, match="session that was given belongs to another event loop"):
            await Client(1, "s", session=session).call(aiagent.ListAgents())

    with asyncio.Runner() as owner:
        session = owner.run(borrow())
        asyncio.run(use(session))
        owner.run(session.close())


# --- warming up


async def test_warmup_opens_the_connections_that_the_first_calls_use() -> None:
    connections: list[int] = []

    async def handle(exchange: Exchange) -> None:
        connections.append(exchange.connection)
        await exchange.send(ok({"Total": 0, "Agents": [], "Cursor": ""}) if exchange.method == "POST" else HEAD)

    async with raw_server(handle) as url, Client(1, "s", aiagent_url=url, digitalhuman_url=url) as client:
        await client.warmup()
        warmed = set(connections)
        await client.call(aiagent.ListAgents())
    assert connections[-1] in warmed


HEAD = b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 10\r\n\r\n"


async def test_warmup_names_the_host_that_it_cannot_reach(sandbox: Sandbox) -> None:
    async with sandbox.client(digitalhuman_url="http://127.0.0.1:9") as client:
        with pytest.raises(ConnectFailed, match=r"cannot reach 127\.0\.0\.1"):
            await client.warmup()


async def test_warmup_is_bounded_in_time() -> None:
    async def handle(exchange: Exchange) -> None:
        await asyncio.sleep(60)

    async with raw_server(handle) as url, Client(1, "s", aiagent_url=url, digitalhuman_url=url) as client:
        with pytest.raises(TimedOut, match=r"connecting took longer than 0\.1 s"):
            await client.warmup(timeout=0.1)


@pytest.mark.slow
async def test_a_pool_forgets_the_signers_of_apps_whose_clients_have_gone() -> None:
    async with SessionPool() as pool:
        kept = pool.signer(1, "s")
        apps = range(4_000_000_000, 4_000_001_000)  # which no other test has
        for app_id in apps:
            pool.signer(app_id, "s")
        gc.collect()
        assert pool.signer(1, "s") is kept
        assert sum(isinstance(each, Signer) and each.app_id in apps for each in gc.get_objects()) == 0
