"""Connections that break, stall, lie or die, against servers that misbehave below HTTP."""

from __future__ import annotations

import asyncio
import gzip
import re
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import msgspec
import pytest
from loops import anyio_backend, way_of_sending  # noqa: F401 - fixtures
from raw_server import Exchange, http, ok, raw_server
from requests_made import register, voice

from zego_aigc import (
    ApiError,
    AuthenticationError,
    BadParameter,
    BadResponse,
    Client,
    ConnectFailed,
    LocalLimiter,
    OutcomeUnknown,
    RateLimited,
    SessionPool,
    TimedOut,
    TransportError,
    aiagent,
)
from zego_aigc.calls.retry import RetryPolicy
from zego_aigc.schema.actions import Repeat
from zego_aigc.transport.http import MAX_ANSWER
from zego_aigc.transport.signed_request import SignedRequest

pytestmark = pytest.mark.anyio

AIOHTTP = tuple(int(number) for number in aiohttp.__version__.split(".")[:2])

QUICK = RetryPolicy(max_attempts=3, initial_backoff=0.001, max_backoff=0.01, attempt_timeout=50.0)
SAY = aiagent.SendAgentInstanceTTS(agent_instance_id="1", text="Hello!")
ROUND = {"Round": 5}
AGENTS = {"Total": 0, "Agents": [], "Cursor": ""}


def client_of(url: str, **options: object) -> Client:
    settings = {"limiter": LocalLimiter(limit=1000), "retry": QUICK, "timeout": 60.0, **options}
    return Client(1, "server-secret", aiagent_url=url, digitalhuman_url=url, **settings)  # type: ignore[arg-type] # free options


Handle = Callable[[Exchange], Awaitable[None]]


def answering(*answers: bytes | None) -> tuple[Handle, list[Exchange]]:
    """A server that gives the answers in turn, the last one for ever; None cuts the connection."""
    seen: list[Exchange] = []

    async def handle(exchange: Exchange) -> None:
        seen.append(exchange)
        answer = answers[min(exchange.number, len(answers)) - 1]
        if answer is None:
            exchange.cut()
        else:
            await exchange.send(answer)

    return handle, seen


async def settled() -> None:
    """Let the loop look at its sockets a few times, so that it has read what was sent before, however late timers are."""
    for _ in range(5):
        await asyncio.sleep(0.01)


# --- what is sent


async def test_a_request_is_one_signed_post_of_json() -> None:
    handle, seen = answering(ok(ROUND))
    async with raw_server(handle) as url, client_of(url) as client:
        await client.call(SAY)
    (exchange,) = seen
    assert exchange.method == "POST"
    assert list(exchange.query) == ["Action", "AppId", "SignatureNonce", "Timestamp", "Signature", "SignatureVersion"]
    assert exchange.body == b'{"AgentInstanceId":"1","Text":"Hello!"}'
    head = exchange.head.lower()
    assert "content-type: application/json\r\n" in head
    assert "user-agent: zego_aigc/" in head
    assert "cookie" not in head


async def test_each_attempt_is_signed_anew() -> None:
    handle, seen = answering(None, ok(AGENTS))
    async with raw_server(handle) as url, client_of(url) as client:
        await client.call(aiagent.ListAgents())
    assert len({exchange.query["SignatureNonce"] for exchange in seen}) == 2


# --- keep-alive


@pytest.mark.parametrize("path", ["", "/some/where"])
@pytest.mark.parametrize("proxied", [False, True], ids=["direct", "by proxy"])
async def test_what_leaves_is_what_aiohttps_session_would_send(path: str, proxied: bool) -> None:
    seen: list[tuple[str, bytes]] = []

    async def handle(exchange: Exchange) -> None:
        head = re.sub(r"(SignatureNonce|Timestamp|Signature)=\w+", r"\1=", exchange.head)
        seen.append((head, exchange.body))
        await exchange.send(ok({"AgentInstanceId": "i-1"}))

    async with raw_server(handle) as url, aiohttp.ClientSession() as plain:
        proxy = url.replace("//", "//u:p@") if proxied else None
        where = f"http://vendor.example:8080{path}" if proxied else f"{url}{path}"
        for pool in (SessionPool(proxy=proxy), SessionPool(proxy=proxy, session=plain)):
            async with pool:
                client = Client(1, "s", aiagent_url=where, pool=pool)
                for agent in ("short", "l\u00f6ng" * 5):
                    await client.call(voice(agent_id=agent))
    assert len(seen) == 4
    assert seen[:2] == seen[2:]


async def test_a_body_can_be_asked_for_as_the_middlewares_of_a_borrowed_session_do() -> None:
    seen: list[tuple[bytes, str]] = []

    async def look(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        assert isinstance(request.body, aiohttp.Payload)
        seen.append((await request.body.as_bytes(), request.body.content_type))
        return await handler(request)

    async def handle(exchange: Exchange) -> None:
        assert seen == [(exchange.body, "application/json")]
        await exchange.send(ok({"AgentInstanceId": "i-1"}))

    async with raw_server(handle) as url, aiohttp.ClientSession(middlewares=(look,)) as session:
        await Client(1, "s", aiagent_url=url, session=session).call(voice())


async def test_the_traces_of_a_borrowed_session_hear_of_the_answer() -> None:
    heard: list[bytes] = []

    async def hear(_: aiohttp.ClientSession, __: object, chunk: aiohttp.TraceResponseChunkReceivedParams) -> None:
        heard.append(chunk.chunk)

    config = aiohttp.TraceConfig()
    config.on_response_chunk_received.append(hear)
    handle, _ = answering(ok({"AgentInstanceId": "i-1"}))
    async with raw_server(handle) as url, aiohttp.ClientSession(trace_configs=[config]) as session:
        await Client(1, "s", aiagent_url=url, session=session).call(voice())
    assert [msgspec.json.decode(chunk)["Data"] for chunk in heard] == [{"AgentInstanceId": "i-1"}]


async def test_a_connection_is_kept_for_the_next_call() -> None:
    handle, seen = answering(ok(AGENTS))
    async with raw_server(handle) as url, client_of(url) as client:
        for _ in range(3):
            await client.call(aiagent.ListAgents())
    assert {exchange.connection for exchange in seen} == {1}


async def test_a_server_that_closes_just_as_a_request_leaves_costs_a_read_another_attempt() -> None:
    async def handle(exchange: Exchange) -> None:
        if exchange.number == 2:
            exchange.cut()  # it read the request and closed: nobody can tell this from closing just before
        else:
            await exchange.send(ok(AGENTS))

    async with raw_server(handle) as url, client_of(url) as client:
        await client.call(aiagent.ListAgents())
        response = await client.call_with_response(aiagent.ListAgents())
    assert response.attempts == 2


async def test_the_same_race_is_an_unknown_outcome_for_what_must_not_happen_twice() -> None:
    handle, seen = answering(ok(ROUND), None)
    async with raw_server(handle) as url, client_of(url) as client:
        await client.call(SAY)
        with pytest.raises(OutcomeUnknown) as caught:
            await client.call(SAY)
    assert isinstance(caught.value.__cause__, TransportError)
    assert len(seen) == 2


async def test_a_server_that_closes_right_after_each_answer_leaves_no_create_unknown() -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.send(ok({"AgentInstanceId": f"i-{exchange.number}"}))  # which does not say that it closes
        exchange.writer.close()

    async with raw_server(handle) as url, client_of(url) as client:
        made = [(await client.call(voice())).agent_instance_id for _ in range(20)]
    assert made == [f"i-{number}" for number in range(1, 21)]


async def test_a_connection_that_the_server_closed_while_idle_is_never_used_again() -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.send(ok(ROUND))
        exchange.writer.close()

    async with raw_server(handle) as url, client_of(url) as client:
        for _ in range(5):
            response = await client.call_with_response(SAY)
            assert response.attempts == 1
            await settled()


@pytest.mark.parametrize("unasked", [http(408, b"<h1>Request Timeout</h1>"), ok({"Round": 999}), b"\r\n\0"])
async def test_what_comes_on_an_idle_connection_is_never_taken_for_the_answer_to_the_next_request(unasked: bytes) -> None:
    seen: list[Exchange] = []

    async def handle(exchange: Exchange) -> None:
        seen.append(exchange)
        await exchange.send(ok({"Round": exchange.number}))

    async with raw_server(handle) as url, client_of(url) as client:
        assert (await client.call(SAY)).round == 1
        seen[0].writer.write(unasked)
        await settled()
        for number in (2, 3):
            assert (await client.call(SAY)).round == number
    assert [exchange.connection for exchange in seen] == [1, 2, 2]


async def test_without_another_try_it_is_told_what_came_on_the_idle_connection() -> None:
    handle, seen = answering(ok(ROUND))
    async with raw_server(handle) as url, client_of(url, retry=RetryPolicy(max_attempts=1)) as client:
        await client.call(SAY)
        seen[0].writer.write(http(408, b"<h1>Request Timeout</h1>"))
        await settled()
        with pytest.raises(ConnectFailed, match=r"cannot use the connection to 127\.0\.0\.1: an answer to no request had come"):
            await client.call(SAY)


async def test_a_request_that_took_several_writes_leaves_its_connection_to_the_next() -> None:
    handle, seen = answering(ok(AGENTS))
    async with raw_server(handle) as url, client_of(url, retry=RetryPolicy(), timeout=60.0) as client:
        for _ in range(2):
            await client.call_raw("ListAgents", {"Text": "x" * 20_000_000}, repeat=Repeat.READS)
    assert {exchange.connection for exchange in seen} == {1}


async def test_a_limiter_that_breaks_as_a_request_leaves_is_named() -> None:
    class Broken:
        def departed(self, *, unproven: bool = False) -> None:
            raise ValueError(unproven)

        def release(self) -> None:
            pass

    class Breaking:
        async def acquire(self, app_id: int, action: str) -> Broken:
            return Broken()

    handle, _ = answering(ok(AGENTS))
    async with raw_server(handle) as url, client_of(url, limiter=Breaking()) as client:
        with pytest.raises(RuntimeError, match=r"the limiter's permit failed in departed\(\)"):
            await client.call(aiagent.ListAgents())
        with pytest.raises(OutcomeUnknown, match=r"the limiter's permit failed in departed\(\)"):
            await client.call(voice())


async def test_a_connection_on_which_the_answer_overtook_the_request_is_not_used_again(
    request: pytest.FixtureRequest,
) -> None:
    _, options = request.getfixturevalue("anyio_backend")
    if options["use_uvloop"] and request.getfixturevalue("way_of_sending") == "through the session" and AIOHTTP < (3, 14):
        pytest.skip("aiohttp before 3.14 leaves a future behind there, of which the loop complains")
    heads: list[bytes] = []

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(ok(AGENTS))  # and the body is never read
        await over.wait()
        writer.close()

    over = asyncio.Event()
    async with await asyncio.start_server(hasty, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with client_of(url, retry=RetryPolicy(), timeout=60.0) as client:
            for _ in range(2):
                await client.call_raw("ListAgents", {"Text": "x" * 20_000_000}, repeat=Repeat.READS)
        over.set()
    assert len(heads) == 2


async def test_a_transport_that_is_closing_when_a_request_is_written_has_carried_nothing() -> None:
    class Closing:
        def is_closing(self) -> bool:
            return True

    class Protocol:
        transport = Closing()
        should_close = False

    closing: Any = Protocol()
    request = SignedRequest(b"{}", "", await LocalLimiter().acquire(1, "A"))
    with pytest.raises(ConnectionResetError):
        request.begin(closing)
    assert not request.begun


async def test_a_connection_that_idled_close_to_the_servers_patience_is_not_used_for_what_must_not_be_repeated() -> None:
    connections: list[tuple[str, int]] = []

    async def handle(exchange: Exchange) -> None:
        connections.append((exchange.query["Action"], exchange.connection))
        await exchange.send(ok(AGENTS if exchange.query["Action"] == "ListAgents" else ROUND))

    async with raw_server(handle) as url, SessionPool(careful_keepalive=0.6, keepalive=30) as pool:
        client = Client(1, "s", aiagent_url=url, pool=pool)
        await client.call(aiagent.ListAgents())
        await client.call(SAY)
        await asyncio.sleep(0.7)
        await client.call(aiagent.ListAgents())
        await asyncio.sleep(0)
        await client.call(SAY)
    reads = {number for action, number in connections if action == "ListAgents"}
    once = {number for action, number in connections if action != "ListAgents"}
    assert (len(reads), len(once)) == (1, 2)


# --- answers that are not answers


@pytest.mark.parametrize(
    ("answer", "excerpt"),
    [
        (http(200, b"<html><body>Welcome to <b>hotel</b> Wi-Fi</body></html>"), "Welcome to hotel Wi-Fi"),
        (http(200, b""), ""),
        (http(200, b'{"ret": 0}'), '{"ret": 0}'),
        (http(500, b"upstream\r\nexploded\x1b[31m"), "upstream exploded [31m"),
        (http(404, b"<h1>Not Found</h1>"), "Not Found"),
        (http(502, b'{"Code": 0, "Data": {"Total": 0, "Agents": []}}'), '{"Code": 0, "Data": {"Total": 0, "Agents": []}}'),
    ],
)
async def test_an_answer_that_is_not_the_services_is_a_bad_response_with_a_clean_excerpt(answer: bytes, excerpt: str) -> None:
    handle, seen = answering(answer)
    async with raw_server(handle) as url, client_of(url) as client:
        with pytest.raises(BadResponse, match=r"127\.0\.0\.1 answered ListAgents with HTTP status \d+") as caught:
            await client.call(aiagent.ListAgents())
    error = caught.value
    assert error.excerpt == excerpt
    assert error.status == int(answer.split()[1])
    assert (error.action, error.attempts, len(seen)) == ("ListAgents", 3, 3)


async def test_a_redirect_is_not_followed_and_named_without_its_query() -> None:
    handle, seen = answering(http(307, b"", location="http://evil.example/x?Signature=abc"))
    async with raw_server(handle) as url, client_of(url) as client:
        with pytest.raises(BadResponse, match=r"a redirect to http://evil\.example/x, which is not followed") as caught:
            await client.call(aiagent.ListAgents())
    assert "abc" not in str(caught.value)
    assert len(seen) == 3


async def test_a_redirect_is_named_without_its_credentials_and_at_a_bearable_length() -> None:
    handle, _ = answering(http(302, b"", location=f"https://user:pass@evil.example/{'x' * 5000}#token"))
    async with raw_server(handle) as url, client_of(url) as client:
        with pytest.raises(BadResponse, match=r"a redirect to https://evil\.example/x+\.\.\., which is not followed") as caught:
            await client.call(aiagent.ListAgents())
    assert len(str(caught.value)) < 400


async def test_a_header_that_no_calendar_knows_is_passed_over() -> None:
    never = "Mon, 99999999999999999999 Jan 2020 00:00:00 GMT"
    handle, seen = answering(http(503, b"", retry_after=never), http(200, b'{"Code": 100000004}', date=never))
    async with raw_server(handle) as url, client_of(url) as client:
        with pytest.raises(AuthenticationError):
            await client.call(aiagent.ListAgents())
    assert len(seen) == 2


async def test_a_refusal_is_one_line_of_bearable_length_whatever_the_message() -> None:
    message = rb"first\nsecond\u001b[31m" + b"x" * 100_000
    deep = b"[" * 900 + b"]" * 900  # more than some Pythons look through
    handle, _ = answering(
        http(200, b'{"Code": 410000003, "Message": "%b", "RequestId": "r\\n-1", "Data": {"Deep": %b}}' % (message, deep))
    )
    async with raw_server(handle) as url, client_of(url) as client:
        with pytest.raises(BadParameter) as caught:
            await client.call(aiagent.ListAgents())
    error = caught.value
    assert error.message.startswith("first second [31mxxx")
    assert (len(error.message), error.request_id) == (1000, "r -1")
    assert str(error).isprintable()


async def test_a_body_that_is_announced_too_large_is_not_read() -> None:
    handle, _ = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n{}")
    async with raw_server(handle) as url, client_of(url) as client:
        with pytest.raises(BadResponse, match=f"larger than {MAX_ANSWER} bytes"):
            await client.call(aiagent.ListAgents())


@pytest.mark.parametrize("traced", [False, True], ids=["own session", "session with traces"])
async def test_a_body_without_a_length_is_read_up_to_the_bound(*, traced: bool) -> None:
    sent = 0

    async def handle(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1000):
            await exchange.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
            sent += 65536

    async with raw_server(handle) as url, aiohttp.ClientSession(trace_configs=[aiohttp.TraceConfig()]) as session:
        given = {"session": session} if traced else {}
        async with client_of(url, retry=RetryPolicy(max_attempts=1), **given) as client:
            with pytest.raises(BadResponse, match="larger than"):
                await client.call(aiagent.ListAgents())
    assert sent < 4 * MAX_ANSWER


async def test_a_compressed_answer_is_read_and_bounded_by_what_it_unpacks_to() -> None:
    small, bomb = gzip.compress(ok(AGENTS).partition(b"\r\n\r\n")[2]), gzip.compress(b" " * (2 * MAX_ANSWER))
    handle, _ = answering(http(200, small, content_encoding="gzip"), http(200, bomb, content_encoding="gzip"))
    async with raw_server(handle) as url, client_of(url, retry=RetryPolicy(max_attempts=1)) as client:
        await client.call(aiagent.ListAgents())
        with pytest.raises(BadResponse, match=r"larger than|broke off"):
            await client.call(aiagent.ListAgents())


async def test_a_connection_that_is_offered_for_something_else_is_not_used_again() -> None:
    handle, seen = answering(http(101, b"", upgrade="something", connection="upgrade"), ok(AGENTS))
    async with raw_server(handle) as url, client_of(url) as client:
        await client.call(aiagent.ListAgents())
    assert [exchange.connection for exchange in seen] == [1, 2]


async def test_a_body_that_breaks_off_is_a_bad_response() -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.send(ok(AGENTS)[:-5])
        exchange.cut()

    async with raw_server(handle) as url, client_of(url) as client:
        with pytest.raises(BadResponse, match="broke off"):
            await client.call(aiagent.ListAgents())


@pytest.mark.parametrize("noise", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nA" + b"x" * 70000])
async def test_what_is_not_http_is_a_bad_response_that_does_not_show_the_url(noise: bytes) -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.send(noise)
        exchange.writer.close()

    async with raw_server(handle) as url, client_of(url) as client:
        with pytest.raises(BadResponse, match="something that is not HTTP") as caught:
            await client.call(aiagent.ListAgents())
    assert "Signature" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


async def test_a_proxy_that_wants_credentials_has_passed_nothing_on() -> None:
    handle, seen = answering(http(407, b"<h1>Proxy Authentication Required</h1>", proxy_authenticate="Basic"))
    async with raw_server(handle) as url, client_of("http://vendor.example", proxy=url) as client:
        for action in (SAY, voice(), aiagent.ListAgents()):
            with pytest.raises(ConnectFailed, match=r"the proxy refuses .*407.*user:password@.*Nothing reached the"):
                await client.call(action)
    assert len(seen) == 3


# --- busy


async def test_retry_after_is_respected_for_refusals_and_for_gateways() -> None:
    for first in (http(429, b"", retry_after="0.15"), http(503, b"<p>back soon</p>", retry_after="0.15")):
        handle, _ = answering(first, ok(AGENTS))
        async with raw_server(handle) as url, client_of(url) as client:
            response = await client.call_with_response(aiagent.ListAgents())
        assert response.attempts == 2
        assert 0.15 <= response.elapsed < 30


async def test_a_retry_after_beyond_the_deadline_ends_the_call_at_once() -> None:
    handle, seen = answering(http(429, b"", retry_after="3600"))
    async with raw_server(handle) as url, client_of(url) as client:
        with anyio.fail_after(30):
            with pytest.raises(RateLimited) as caught:
                await client.call(SAY)
    assert caught.value.retry_after == 3600
    assert len(seen) == 1


async def test_a_service_that_says_too_fast_makes_the_limiter_slow_down() -> None:
    told: list[tuple[int, str]] = []

    class Listening(LocalLimiter):
        def too_fast(self, app_id: int, action: str) -> None:
            told.append((app_id, action))

    handle, _ = answering(http(429, b'{"Code": 410001029, "Message": "slow"}'), http(429, b""), ok(AGENTS))
    async with raw_server(handle) as url, client_of(url, limiter=Listening()) as client:
        await client.call(aiagent.ListAgents())
    assert told == [(1, "ListAgents")] * 2


async def test_the_pool_stops_retrying_when_its_budget_is_spent_but_never_starves_clean_up() -> None:
    handle, seen = answering(*[None] * 9, ok())
    async with raw_server(handle) as url, client_of(url, retry=RetryPolicy(max_attempts=10**6, initial_backoff=0)) as client:
        client.pool.budget.tokens = 12.0
        with pytest.raises(TransportError):
            await client.call(aiagent.ListAgents())
        assert len(seen) == 3
        with pytest.raises(TransportError):
            await client.call(aiagent.ListAgents())
        assert len(seen) == 4
        await client.call(aiagent.DeleteAgentInstance(agent_instance_id="1"))
        assert len(seen) == 10  # more than the budget would have let through


# --- slow and silent


async def test_a_silent_connection_costs_a_read_one_attempt_and_not_the_whole_call() -> None:
    numbers: list[int] = []

    async def handle(exchange: Exchange) -> None:
        numbers.append(exchange.number)
        if exchange.number > 1:
            await exchange.send(ok(AGENTS))

    policy = RetryPolicy(max_attempts=20, initial_backoff=0.001, attempt_timeout=0.5)
    async with raw_server(handle) as url, client_of(url, retry=policy) as client:
        response = await client.call_with_response(aiagent.ListAgents())
    assert response.attempts == len(numbers) > 1  # 2, unless the machine stands still for as long as an attempt may take
    assert 0.5 <= response.elapsed < 30


async def test_what_is_sent_only_once_gets_the_whole_deadline_for_its_answer() -> None:
    async def handle(exchange: Exchange) -> None:
        await asyncio.sleep(0.2)
        await exchange.send(ok(ROUND))

    async with raw_server(handle) as url, client_of(url, retry=RetryPolicy(attempt_timeout=0.01)) as client:
        assert (await client.call(SAY)).round == 5


@pytest.mark.parametrize(
    ("action", "ending"), [(SAY, OutcomeUnknown), (voice(), OutcomeUnknown), (aiagent.ListAgents(), TimedOut)]
)
async def test_a_deadline_that_passes_while_the_answer_is_awaited_says_what_is_known(
    action: aiagent.SendAgentInstanceTTS, ending: type[Exception]
) -> None:
    async def handle(exchange: Exchange) -> None:
        if exchange.number == 1:
            await exchange.send(ok({"Agents": []}))

    async with raw_server(handle) as url, client_of(url) as client:
        await client.call(aiagent.QueryAgents(agent_ids=["a"]))  # there is a connection: the request leaves at once
        began = time.monotonic()
        with pytest.raises(ending, match=r"waiting for the answer of 127\.0\.0\.1 when its time was up") as caught:
            await client.call(action, timeout=0.5)
        assert 0.499 <= time.monotonic() - began < 30  # uvloop counts milliseconds
    late = caught.value if isinstance(caught.value, TimedOut) else caught.value.__cause__
    assert isinstance(late, TimedOut)
    assert late.waited_for == "answer"


async def test_a_time_limit_that_ends_a_call_is_the_one_that_is_named() -> None:
    async def handle(exchange: Exchange) -> None:
        await asyncio.sleep(60)

    async with raw_server(handle) as url, client_of(url, retry=RetryPolicy(max_attempts=1, attempt_timeout=0.1)) as client:
        with pytest.raises(TimedOut, match=r"0\.1 s for one attempt, by RetryPolicy\.attempt_timeout"):
            await client.call(aiagent.ListAgents(), timeout=30)
        with pytest.raises(TimedOut, match=r"0\.05 s for the whole call"):
            await client.call(aiagent.ListAgents(), timeout=0.05)


async def test_a_port_that_never_accepts_is_a_connection_that_carried_nothing() -> None:
    async with client_of("http://127.0.0.1:9") as client:
        for action in (SAY, voice(), register(), aiagent.ListAgents()):
            with pytest.raises(ConnectFailed, match=r"cannot reach 127\.0\.0\.1:9: .*refused.*Nothing was sent") as caught:
                await client.call(action)
            assert caught.value.attempts == 3
            assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_a_handshake_that_stalls_is_a_connection_that_carried_nothing() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    async with server, client_of(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(TimedOut, match=r"waiting for a connection to 127\.0\.0\.1") as caught:
            await client.call(SAY, timeout=0.2)
    assert caught.value.waited_for == "connect"


async def test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent(tls: ssl.SSLContext) -> None:
    handle, seen = answering(ok(ROUND))
    async with raw_server(handle, tls=tls) as url, client_of(url) as client:
        with pytest.raises(ConnectFailed, match="its certificate is not accepted"):
            await client.call(SAY)
    assert seen == []


async def test_tls_works_with_an_authority_of_ones_own(tls: ssl.SSLContext) -> None:
    handle, seen = answering(ok(ROUND))
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    async with raw_server(handle, tls=tls) as url, SessionPool(ssl=trusting) as pool:
        client = Client(1, "s", aiagent_url=url.replace("127.0.0.1", "localhost"), pool=pool)
        assert (await client.call(SAY)).round == 5
    assert len(seen) == 1


CERTIFICATE = Path(__file__).parent / "data" / "localhost.pem"


@pytest.fixture
def tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, CERTIFICATE.with_suffix(".key"))
    return context


# --- refusals that carry data


async def test_a_refusals_data_is_kept_without_its_secrets() -> None:
    body = b'{"Code": 410000003, "Message": "no server-secret here", "RequestId": "r", "Data": {"ApiKey": "sk-1", "Hint": "x"}}'
    handle, _ = answering(http(400, body))
    async with raw_server(handle) as url, client_of(url) as client:
        with pytest.raises(ApiError) as caught:
            await client.call(SAY)
    assert caught.value.data == {"ApiKey": "***", "Hint": "x"}
    assert caught.value.message == "no *** here"
    assert caught.value.status == 400
