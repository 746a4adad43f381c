"""(a) What a call is made of: aiohttp posting prepared bytes, and what the library leaves out or adds, step by step."""

from __future__ import annotations

import contextlib
import time

import aiohttp
import msgspec
import yarl

from benchmarks.calls import OURS, PREPARED, Call, ours, prepared
from benchmarks.measure import crowd, side_by_side
from benchmarks.report import Table
from benchmarks.sample import APP_ID, SERVER_SECRET, build
from benchmarks.server import running
from zego_aigc import Signer
from zego_aigc.aiagent import CreatedDigitalHumanAgentInstance
from zego_aigc.limits.local_limiter import LocalLimiter
from zego_aigc.schema import validation
from zego_aigc.transport.envelope import read
from zego_aigc.transport.fastpath import DirectPost
from zego_aigc.transport.http import post
from zego_aigc.transport.signed_request import HEADERS, SignedRequest

NAME = "CreateDigitalHumanAgentInstance"
PLAIN = msgspec.json.Encoder()


class Free:
    """A permit that costs nothing."""

    def departed(self, *, unproven: bool = False) -> None:
        """The request leaves."""

    def answered(self) -> None:
        """It is answered."""

    def served(self, host: str, *, first: bool = False) -> None:
        """Its answer is good."""

    def release(self) -> None:
        """It will not leave."""


def steps(url: str, session: aiohttp.ClientSession) -> dict[str, Call]:
    """Each changes one thing in the one before it."""
    base = yarl.URL(f"{url}/")
    direct = DirectPost(session, base)
    signer = Signer(APP_ID, SERVER_SECRET)
    limiter = LocalLimiter(200, window=1e-3)
    prepared_body = PLAIN.encode(build())

    def signed() -> str:
        return signer.query(NAME, timestamp=int(time.time()))

    query = signed()
    fixed = base.with_query(query)

    async def tuned() -> object:
        response = await session.post(fixed, data=prepared_body, allow_redirects=False)
        return await response.read()

    async def departing() -> object:
        return await post(direct, SignedRequest(prepared_body, query, Free()))

    async def signing() -> object:
        return await post(direct, SignedRequest(prepared_body, signed(), Free()))

    async def encoding() -> object:
        return await post(direct, SignedRequest(PLAIN.encode(build()), signed(), Free()))

    async def checking() -> object:
        return await post(direct, SignedRequest(validation.encode(build()), signed(), Free()))

    async def decoding() -> object:
        answer = await post(direct, SignedRequest(validation.encode(build()), signed(), Free()))
        return read(answer.body, CreatedDigitalHumanAgentInstance)

    async def limiting() -> object:
        encoded = validation.encode(build())
        permit = await limiter.acquire(APP_ID, NAME)
        request = SignedRequest(encoded, signed(), permit)
        try:
            answer = await post(direct, request)
            request.served("127.0.0.1")
        finally:
            permit.release()
        return read(answer.body, CreatedDigitalHumanAgentInstance)

    return {
        "headers on the session, no cookies, no timer": tuned,
        "past the session, written by the caller in one piece; a bounded answer": departing,
        "the signature": signing,
        "the request built and encoded": encoding,
        "checked": checking,
        "the answer decoded": decoding,
        "the limiter's permit": limiting,
    }


async def run(*, quick: bool) -> list[Table]:
    """Measure."""
    count, rounds = (64, 3) if quick else (64, 100)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=8.0)
    async with contextlib.AsyncExitStack() as stack:
        url = stack.enter_context(running())
        calls: dict[str, Call] = {PREPARED: await stack.enter_async_context(prepared(url))}
        session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS,
            timeout=timeout,
        )
        calls |= steps(url, await stack.enter_async_context(session))
        calls[f"{OURS}: deadline, retries, cancellation, hooks, log"] = await stack.enter_async_context(ours(url))
        contenders = {name: crowd(call, 1) for name, call in calls.items()}
        costs = await side_by_side(contenders, count=count, rounds=rounds, baseline=PREPARED)
    return [
        Table(
            part="steps",
            title="What a call is made of, 1 in flight: each step changes one thing in the one above it",
            columns=["", "CPU us", "x aiohttp", "+-"],
            rows=[[name, cost.cpu, cost.ratio, cost.spread] for name, cost in costs.items()],
        )
    ]
