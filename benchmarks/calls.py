"""(a) A call, end to end: the sample request to a server that answers at once, one at a time and 64 at a time; and after 50 ms.

Every contender but the first builds its request anew, sends it and reads the answer into whatever it gives its users. Ours has
everything switched on: the check of the request, the limiter (at a rate that it never has to hold back), retries, the typed
result and logging at its default level.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.util import find_spec
from typing import Any

import aiohttp
import msgspec

from benchmarks.measure import crowd, package, side_by_side
from benchmarks.report import Table, Target
from benchmarks.sample import APP_ID, SERVER_SECRET, build, build_dict, builder
from benchmarks.server import running
from benchmarks.twins import pydantic_twins
from zego_aigc import Signer
from zego_aigc.client import Client
from zego_aigc.limits.local_limiter import LocalLimiter

Call = Callable[[], Awaitable[object]]

PREPARED = "aiohttp, prepared bytes"
BY_HAND = "by hand: aiohttp + json + hashlib"
OURS = "zego_aigc"
HTTPX = "httpx + pydantic"


@contextlib.asynccontextmanager
async def prepared(url: str) -> AsyncIterator[Call]:
    """What the others are measured by: aiohttp posts the same bytes to the same URL, and reads the answer."""
    body = msgspec.json.encode(build_dict())
    query = Signer(APP_ID, SERVER_SECRET).query("CreateDigitalHumanAgentInstance", timestamp=int(time.time()))
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def call() -> bytes:
            async with session.post(f"{url}/?{query}", data=body) as response:
                return await response.read()

        yield call


@contextlib.asynccontextmanager
async def by_hand(url: str) -> AsyncIterator[Call]:
    """What a good engineer writes in an afternoon. It checks nothing, limits nothing and repeats nothing."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:

        async def call() -> Any:
            timestamp = int(time.time())
            nonce = os.urandom(8).hex()
            params = {
                "Action": "CreateDigitalHumanAgentInstance",
                "AppId": str(APP_ID),
                "SignatureNonce": nonce,
                "Timestamp": str(timestamp),
                "Signature": hashlib.md5(f"{APP_ID}{nonce}{SERVER_SECRET}{timestamp}".encode()).hexdigest(),
                "SignatureVersion": "2.0",
            }
            async with session.post(f"{url}/", params=params, json=build_dict()) as response:
                answer = await response.json()
            if answer["Code"] != 0:
                raise RuntimeError(f"{answer['Code']}: {answer['Message']}")
            return answer["Data"]

        yield call


@contextlib.asynccontextmanager
async def ours(url: str) -> AsyncIterator[Call]:
    """The library. Its limiter works as it does at ten a second, only faster: a token is out for a window after each answer."""
    limiter = LocalLimiter(200, window=1e-3)
    async with Client(APP_ID, SERVER_SECRET, limiter=limiter, aiagent_url=url, digitalhuman_url=url) as client:
        yield lambda: client.call(build())


@contextlib.asynccontextmanager
async def httpx_pydantic(url: str) -> AsyncIterator[Call]:
    """What generators of SDKs write."""
    httpx, pydantic = package("httpx"), package("pydantic")
    build_model = builder(pydantic_twins())
    signer = Signer(APP_ID, SERVER_SECRET)
    data = pydantic.create_model("Data", AgentInstanceId=(str, ...), DigitalHumanConfig=(str, ...))
    envelope = pydantic.create_model("Envelope", Code=(int, ...), Message=(str, ...), RequestId=(str, ...), Data=(data, ...))
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=100, max_keepalive_connections=100)) as client:

        async def call() -> Any:
            query = signer.query("CreateDigitalHumanAgentInstance", timestamp=int(time.time()))
            response = await client.post(
                f"{url}/?{query}",
                content=build_model().model_dump_json(by_alias=True, exclude_none=True),
                headers={"Content-Type": "application/json"},
            )
            return envelope.model_validate_json(response.content)

        yield call


@contextlib.asynccontextmanager
async def livekit(url: str) -> AsyncIterator[Call]:
    """LiveKit's server API: creates a room (a smaller request, in protobuf)."""
    api = package("livekit.api")
    async with api.LiveKitAPI(url, "key", SERVER_SECRET) as client:
        yield lambda: client.room.create_room(api.CreateRoomRequest(name="room_1", empty_timeout=600, max_participants=20))


@contextlib.asynccontextmanager
async def openai(url: str) -> AsyncIterator[Call]:
    """OpenAI's SDK: a chat completion of three messages."""
    client = package("openai").AsyncOpenAI(api_key="key", base_url=f"{url}/v1")
    messages = [
        {"role": "system", "content": "You are brief."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello there."},
    ]
    async with client:
        yield lambda: client.chat.completions.create(model="small", messages=messages, temperature=0.7)


@contextlib.asynccontextmanager
async def agora(url: str) -> AsyncIterator[Call]:
    """Agora's SDK: starts a conversational agent."""
    sdk, httpx = package("agora_agent.client"), package("httpx")
    kind = package("agora_agent.agents.types.start_agents_request_properties").StartAgentsRequestProperties
    body = {
        "channel": "room_1",
        "token": "token",
        "agent_rtc_uid": "1001",
        "remote_rtc_uids": ["1002"],
        "idle_timeout": 120,
        "llm": {"url": "https://api.openai.com/v1/chat/completions", "api_key": "key", "params": {"model": "small"}},
        "tts": {"vendor": "microsoft", "params": {"key": "key", "region": "eastus", "voice_name": "en-US-AndrewNeural"}},
        "asr": {"language": "en-US"},
    }
    async with httpx.AsyncClient() as session:
        client = sdk.AsyncAgora(base_url=url, authorization="key", username="user", password="key", httpx_client=session)
        yield lambda: client.agents.start("app", name="agent_1", properties=kind.model_validate(body))


CONTENDERS: dict[str, tuple[str, Callable[[str], contextlib.AbstractAsyncContextManager[Call]]]] = {
    PREPARED: ("aiohttp", prepared),
    OURS: ("zego_aigc", ours),
    BY_HAND: ("aiohttp", by_hand),
    "livekit-api (smaller request)": ("livekit.api", livekit),
    HTTPX: ("httpx", httpx_pydantic),
    "agora-agents (smaller request)": ("agora_agent", agora),
    "openai (smaller request)": ("openai", openai),
}


def installed(name: str) -> bool:
    """Whether a package, or a part of one, is there."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


async def run(*, quick: bool) -> list[Table]:
    """Measure."""
    found = {name: make for name, (needs, make) in CONTENDERS.items() if installed(needs)}
    if not installed("pydantic"):
        found.pop(HTTPX, None)
    skipped = [f"{name} is not installed" for name in CONTENDERS if name not in found]
    tables: list[Table] = []
    for in_flight, delay in ((1, 0.0), (64, 0.0), (64, 0.05)):
        count, rounds = (64, 3) if quick else (64 * min(4, in_flight), 50)
        async with contextlib.AsyncExitStack() as stack:
            url = stack.enter_context(running(delay))
            calls = {name: crowd(await stack.enter_async_context(make(url)), in_flight) for name, make in found.items()}
            costs = await side_by_side(
                calls, count=count, rounds=rounds, baseline=PREPARED, least=8 if in_flight == 1 else in_flight
            )
        against = costs[OURS].ratio
        targets = [Target("zego_aigc, relative to aiohttp posting prepared bytes", against, 1.05)]
        if not delay:
            targets.append(Target("zego_aigc, relative to the version by hand", against / costs[BY_HAND].ratio, 0.65))
            if HTTPX in costs:
                least = 0.2 if in_flight == 1 else 0.125
                targets.append(Target("zego_aigc, relative to httpx + pydantic", against / costs[HTTPX].ratio, least))
        title = f"A call, {in_flight} in flight" + (f", answered after {delay * 1000:.0f} ms" if delay else "")
        rows: list[list[str | float | None]] = [
            [name, cost.cpu, cost.ratio, cost.spread, cost.wall] for name, cost in costs.items()
        ]
        columns = ["", "CPU us", "x aiohttp", "+-", "wall us"]
        tables.append(
            Table(part="calls", title=title, columns=columns, rows=rows, targets=targets, skipped=[] if tables else skipped)
        )
    return tables
