"""Your own model's endpoint: read by the sandbox, which calls it as the vendor does and knows the rules from elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from callback_requests import SECRET, body_of, until
from hypothesis import given
from hypothesis import strategies as st
from openai import AsyncOpenAI
from requests_made import register, voice

from zego_aigc import ConfigurationError
from zego_aigc.aiagent import LLM, CreateAgentInstance
from zego_aigc.callbacks import Interrupted, parse_callback
from zego_aigc.llm import AgentInfo, ChatEndpoint, ChatRequest
from zego_aigc.llm.request import BadRequest, parse_request
from zego_aigc.llm.stream import ChunkWriter, ResponsesWriter
from zego_aigc.sandbox import Sandbox
from zego_aigc.sandbox.model_stream import ChatStreamReader, ResponsesStreamReader

pytestmark = pytest.mark.anyio

KEY = "a key of my own"


class Panic(BaseException):
    """As extensions written in Rust raise it."""


@contextlib.asynccontextmanager
async def served(endpoint: ChatEndpoint, adapter: str = "aiohttp") -> AsyncIterator[str]:
    """The endpoint on a socket, and its URL."""
    if adapter == "asgi":
        config = uvicorn.Config(endpoint.asgi, port=0, log_level="critical", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/model"
        server.should_exit = True
        await running
        return
    app = web.Application()
    for path in ("/model", "/model/responses"):
        app.router.add_route("*", path, endpoint.aiohttp_handler)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/model"
    await runner.cleanup()


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}], **fields}).encode()


def read(stream: bytes) -> tuple[str, list[dict[str, Any]]]:
    """What the service would speak, and the chunks."""
    reader = ChatStreamReader()
    lines = stream.decode().split("\n")
    assert lines.pop() == "", "the last line must end with a line break, too"
    text = "".join(reader.line(line) for line in lines)
    reader.end()
    return text, [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


async def spoken(endpoint: ChatEndpoint, **fields: Any) -> str:
    asked = await endpoint.admit(f"Bearer {KEY}", body(**fields))
    assert isinstance(asked, ChatRequest)
    return read(b"".join([frame async for frame in endpoint.stream(asked)]))[0]


# --- as the vendor calls it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", ["aiohttp", "asgi"])
async def test_an_agent_asks_the_endpoint_and_speaks_its_answer(adapter: str) -> None:
    asked: list[ChatRequest] = []

    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        asked.append(request)
        yield "I heard: "
        await asyncio.sleep(0.01)
        yield f"{request.text}."

    async with served(ChatEndpoint(answer, api_key=KEY), adapter) as url, Sandbox() as sandbox, sandbox.client() as client:
        model = LLM(
            url=url, api_key=KEY, model="mine", system_prompt="Be brief.", temperature=0.5, params={"max_tokens": 9},
            add_agent_info=True, agent_extra_info={"shop": "flowers"},
        )  # fmt: skip
        await client.call(register())
        base = voice()
        create = CreateAgentInstance(agent_id=base.agent_id, user_id=base.user_id, rtc=base.rtc, llm=model)
        async with client.agent(create) as agent:
            await sandbox.clock.advance(1)
            await agent.ask("What time is it", add_question_to_history=True)
            await sandbox.settled()
            (call,) = sandbox.models.calls
            assert (call.state, call.text, call.problem) == ("answered", "I heard: What time is it.", "")
            (request,) = asked
            assert request.agent_info is not None
            assert request.agent_info.agent_instance_id is not None
            assert (await client.attach(request.agent_info.agent_instance_id).messages())[-1].content == call.text
    assert request.model == "mine"
    assert [message["role"] for message in request.messages] == ["system", "user"]
    assert request.extra["temperature"] == 0.5
    assert request.parameters["max_tokens"] == 9
    assert "stream" not in request.parameters
    assert request.agent_extra_info == {"shop": "flowers"}
    assert request.agent_info.agent_instance_id == agent.id
    assert request.agent_info.room_id == base.rtc.room_id


@pytest.mark.parametrize("adapter", ["aiohttp", "asgi"])
async def test_a_service_that_hangs_up_cancels_the_answer(adapter: str) -> None:
    ended = asyncio.Event()
    begun = asyncio.Event()

    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        try:
            begun.set()
            yield "Once upon a time "
            await asyncio.Event().wait()
        finally:
            ended.set()

    endpoint = ChatEndpoint(answer, api_key=KEY)
    async with served(endpoint, adapter) as url, aiohttp.ClientSession() as session, asyncio.timeout(60):
        response = await session.post(url, data=body(), headers={"Authorization": f"Bearer {KEY}"})
        await response.content.readline()
        await begun.wait()
        response.close()
        await ended.wait()
    assert endpoint._running == {}


# --- by the Responses API --------------------------------------------------------------------------------------------


async def test_an_agent_with_the_responses_api_asks_the_same_endpoint_and_speaks_its_answer() -> None:
    asked: list[ChatRequest] = []

    async def answer(request: ChatRequest) -> AsyncIterator[Any]:
        asked.append(request)
        yield "I heard: "
        await asyncio.sleep(0.01)
        yield {"type": "response.output_text.delta", "delta": f"{request.text}"}  # of an upstream of that kind
        yield {"type": "response.completed"}
        yield {"choices": [{"delta": {"content": "."}}]}

    async with (
        served(ChatEndpoint(answer, api_key=KEY, heartbeat=0.002)) as url,
        Sandbox() as sandbox,
        sandbox.client() as client,
    ):
        model = LLM(vendor="OpenAIResponses", url=url, api_key=KEY, model="mine", system_prompt="Be brief.")
        await client.call(register())
        base = voice()
        create = CreateAgentInstance(agent_id=base.agent_id, user_id=base.user_id, rtc=base.rtc, llm=model)
        async with client.agent(create) as agent:
            await sandbox.clock.advance(1)
            await agent.ask("What time is it", add_question_to_history=True)
            await sandbox.settled()
            (call,) = sandbox.models.calls
            assert (call.state, call.text, call.problem) == ("answered", "I heard: What time is it.", "")
    (request,) = asked
    assert request.protocol == "OpenAIResponses"
    assert [(message["role"], message["content"]) for message in request.messages] == [
        ("system", "Be brief."),
        ("user", "What time is it"),
    ]
    assert (request.model, request.agent_info, request.extra["top_p"]) == ("mine", None, 0.9)


@pytest.mark.slow  # the client takes its time to be imported
async def test_openais_client_reads_the_answer_as_a_response() -> None:
    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        assert [message["content"] for message in request.messages] == ["Be brief.", "Hello?", "in parts"]
        yield "One, "
        yield "two."

    async with served(ChatEndpoint(answer, api_key=KEY)) as url, AsyncOpenAI(api_key=KEY, base_url=url) as client:
        parts: Any = [{"type": "input_text", "text": "in "}, {"type": "input_text", "text": "parts"}]
        asked: Any = [{"role": "user", "content": "Hello?"}, {"role": "user", "content": parts}]
        async with client.responses.stream(model="m", instructions="Be brief.", input=asked) as stream:
            kinds = [event.type async for event in stream]
            response = await stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert (response.status, response.model, response.output_text) == ("completed", "m", "One, two.")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))), st.integers(0, 3))
def test_whatever_an_answer_yields_the_response_says_all_of_it(pieces: list[str], heartbeats: int) -> None:
    writer = ResponsesWriter("id", 1, "m")
    frames = writer.start() + b"".join(map(writer.piece, pieces)) + writer.heartbeat() * heartbeats + writer.end()
    reader = ResponsesStreamReader()
    assert "".join(map(reader.line, frames.decode().split("\n"))) == "".join(pieces)
    reader.end()


# --- the rules -------------------------------------------------------------------------------------------------------

deltas = st.dictionaries(
    st.sampled_from(["role", "content", "refusal", "tool_calls"]), st.none() | st.just([{"index": 0}]) | st.just("assistant")
).map(lambda delta: {key: value for key, value in delta.items() if key != "content" or isinstance(value, str)})
choices = st.fixed_dictionaries(
    {"delta": deltas}, optional={"finish_reason": st.sampled_from([None, "", "stop", "length", "tool_calls"])}
)
chunks = st.fixed_dictionaries({}, optional={"choices": st.lists(choices, max_size=2), "usage": st.just({"total_tokens": 5})})


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | chunks))
def test_whatever_an_answer_yields_the_stream_keeps_the_rules_and_says_all_of_it(pieces: list[Any]) -> None:
    writer = ChunkWriter("id", 1, "m")
    stream = writer.start() + b"".join(map(writer.piece, pieces)) + writer.heartbeat() + writer.end()
    text, written = read(stream)
    said = [
        piece if isinstance(piece, str) else ((piece.get("choices") or [{"delta": {}}])[0]["delta"].get("content") or "")
        for piece in pieces
    ]
    assert text == "".join(said)
    assert [chunk["choices"][0].get("finish_reason") for chunk in written] == [None] * (len(written) - 1) + ["stop"]
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in written)


def test_tool_calls_pass_through_and_objects_of_openais_client_are_chunks() -> None:
    class Chunk:
        def model_dump(self, **_: Any) -> dict[str, Any]:
            return {
                "choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "f"}}]}, "finish_reason": "tool_calls"}]
            }

    writer = ChunkWriter("id", 1, "m")
    _, (written, last) = read(writer.piece(Chunk()) + writer.end())
    assert written["choices"][0] == {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "f"}}]}}
    assert last["choices"][0]["finish_reason"] == "stop"


def test_tools_and_tool_messages_come_through_in_the_request() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    messages = [{"role": "assistant", "tool_calls": [{"id": "1"}]}, {"role": "tool", "tool_call_id": "1", "content": "7"}]
    request = parse_request(body(tools=tools, messages=messages))
    assert request.parameters == {"model": "m", "tools": tools}
    assert request.messages == messages
    assert request.text == ""


@pytest.mark.parametrize("odd", [None, 5, "x", [], {"room_id": 7, "round_id": "12", "agent_instance_id": "i"}, {"newer": 1}])
def test_odd_or_absent_agent_info_does_not_cost_the_request(odd: Any) -> None:
    request = parse_request(body(agent_info=odd, agent_extra_info=odd if isinstance(odd, list) else None))
    if isinstance(odd, dict):
        assert isinstance(request.agent_info, AgentInfo)
        assert request.agent_info.agent_instance_id == odd.get("agent_instance_id")
        assert request.agent_info.round_id == (12 if "round_id" in odd else None)
    else:
        assert request.agent_info is None


@pytest.mark.parametrize("wrong", [b"", b"x", b"[]", b"{}", b'{"messages": 5}', b'{"messages": ["x"]}', b"[" * 100_000])
def test_what_is_no_chat_request_is_refused(wrong: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_request(wrong)


async def test_a_coroutine_that_returns_text_is_an_answer_too() -> None:
    async def answer(request: ChatRequest) -> str:
        return f"You said {request.text}."

    assert await spoken(ChatEndpoint(answer, api_key=KEY)) == "You said Hi."


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ValueError("no upstream"), Panic("broken"), asyncio.CancelledError(), TimeoutError()], ids=repr
)
@pytest.mark.parametrize("said", ["", "Half a"])
async def test_an_answer_that_fails_is_finished_by_the_fallback(
    error: BaseException, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        if said:
            yield said
        raise error

    assert await spoken(ChatEndpoint(answer, api_key=KEY, fallback="Sorry.")) == (f"{said} Sorry." if said else "Sorry.")
    assert await spoken(ChatEndpoint(answer, api_key=KEY, fallback=None)) == said
    assert type(error).__name__ in caplog.text
    assert "Hi" not in caplog.text


async def test_an_answer_that_yields_something_else_is_finished_by_the_fallback(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(request: ChatRequest) -> AsyncIterator[Any]:
        yield 5

    assert await spoken(ChatEndpoint(answer, api_key=KEY, fallback="Sorry.")) == "Sorry."
    assert "not int" in caplog.text


async def test_while_an_answer_takes_its_time_the_connection_is_kept_alive_and_not_for_ever() -> None:
    ended = asyncio.Event()

    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        try:
            await asyncio.Event().wait()
            yield ""
        finally:
            ended.set()

    endpoint = ChatEndpoint(answer, api_key=KEY, heartbeat=0.01, idle_timeout=0.1, fallback="Sorry.")
    text, written = read(b"".join([frame async for frame in endpoint.stream(parse_request(body()))]))
    assert text == "Sorry."
    assert len(written) > 4
    assert ended.is_set()


async def test_an_answer_is_not_far_ahead_of_what_was_taken() -> None:
    written = 0

    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        nonlocal written
        while True:
            written += 1
            yield "x"

    endpoint = ChatEndpoint(answer, api_key=KEY)
    async with contextlib.aclosing(endpoint.stream(parse_request(body()))) as frames:
        for _ in range(5):
            await anext(frames)
        await asyncio.sleep(0.01)
    assert written < 50


# --- who may ask -----------------------------------------------------------------------------------------------------


async def nothing(request: ChatRequest) -> str:
    return ""


async def is_a_visitors(key: str) -> bool:
    return key == "visitor 7"


@pytest.mark.parametrize(
    ("api_key", "right"),
    [(KEY, [KEY]), ([KEY, "new"], [KEY, "new"]), (lambda key: key == "odd", ["odd"]), (is_a_visitors, ["visitor 7"])],
    ids=["one", "two", "function", "coroutine"],
)
@pytest.mark.parametrize("adapter", ["aiohttp", "asgi"])
async def test_only_who_has_the_key_is_answered(
    api_key: Any, right: list[str], adapter: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(ChatEndpoint(nothing, api_key=api_key), adapter) as url, aiohttp.ClientSession() as session:

        async def status(authorization: str | None) -> int:
            headers = {} if authorization is None else {"Authorization": authorization}
            async with session.post(url, data=body(), headers=headers) as response:
                await response.read()
                return response.status

        for key in right:
            assert await status(f"Bearer {key}") == 200
            assert await status(f"bearer {key}") == 200
            assert await status(key) == 401
            assert await status(f"Bearer {key}x") == 401
        assert await status(None) == 401
        assert await status("Bearer ") == 401
        assert await status("Bearer é") == 401
    assert "LLM(api_key=...)" in caplog.text
    assert "127.0.0.1" in caplog.text


@pytest.mark.parametrize("adapter", ["aiohttp", "asgi"])
async def test_requests_are_bounded_and_get_says_that_the_address_lives(adapter: str) -> None:
    endpoint = ChatEndpoint(nothing, api_key=KEY, max_body=1000)
    async with served(endpoint, adapter) as url, aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {KEY}"}
        for data, expected in ((body(user="x" * 2000), 413), (b"junk", 400), (body(), 200)):
            async with session.post(url, data=data, headers=headers) as response:
                assert response.status == expected
                if expected != 200:
                    assert (await response.json())["error"]["message"]
        async with session.get(url) as response:
            assert response.status == 200
        async with session.head(url) as response:
            assert response.status == 200
        async with session.put(url) as response:
            assert response.status == 405


@pytest.mark.parametrize("wrong", ["", [], [""], [KEY, ""]])
def test_an_endpoint_without_a_key_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="anybody"):
        ChatEndpoint(nothing, api_key=wrong)
    with pytest.raises(ValueError, match="idle_timeout"):
        ChatEndpoint(nothing, api_key=KEY, idle_timeout=0)
    assert KEY not in repr(ChatEndpoint(nothing, api_key=KEY))


# --- interruptions ---------------------------------------------------------------------------------------------------


def interrupted(instance: str, round_: int | None, name: str = "Interrupted") -> Any:
    return parse_callback(body_of(instance=instance, Event=name, Data={"Round": round_, "Reason": 1}), secret=SECRET)


async def test_the_callback_of_an_interruption_ends_the_answer_of_that_round_only() -> None:
    ended: list[int] = []

    async def answer(request: ChatRequest) -> AsyncIterator[str]:
        assert request.agent_info is not None
        assert request.agent_info.round_id is not None
        try:
            yield "Once upon a time "
            await asyncio.Event().wait()
        finally:
            ended.append(request.agent_info.round_id)

    endpoint = ChatEndpoint(answer, api_key=KEY)

    frames: dict[tuple[str, int], bytes] = {("a", 1): b"", ("a", 2): b"", ("b", 1): b""}

    async def run(key: tuple[str, int]) -> str:
        asked = parse_request(body(agent_info={"agent_instance_id": key[0], "round_id": key[1]}))
        async for frame in endpoint.stream(asked):
            frames[key] += frame
        return read(frames[key])[0]

    answers = {key: asyncio.create_task(run(key)) for key in frames}
    await until(lambda: all(b"Once upon" in said for said in frames.values()))
    await endpoint.observe(interrupted("a", 1))
    assert await answers["a", 1] == "Once upon a time "
    assert ended == [1]
    await endpoint.observe(interrupted("a", None, "ASRResult"))
    await asyncio.sleep(0.01)
    assert not answers["a", 2].done()
    await endpoint.observe(interrupted("a", None, "AgentInstanceDeleted"))
    assert await answers["a", 2] == "Once upon a time "
    await endpoint.observe(interrupted("b", None))
    await answers["b", 1]
    assert isinstance(interrupted("b", None), Interrupted)
    assert endpoint._running == {}


# --- with an upstream ------------------------------------------------------------------------------------------------


async def test_the_example_passes_an_openai_compatible_upstream_through() -> None:
    path = Path(__file__).parent.parent / "examples" / "own_model.py"
    spec = importlib.util.spec_from_file_location("own_model", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    asked: list[dict[str, Any]] = []

    async def upstream(request: web.Request) -> web.StreamResponse:
        asked.append(await request.json())
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for choice in (
            {"delta": {"role": "assistant", "content": ""}, "finish_reason": None},
            {"delta": {"content": "Tulips, "}},
            {"delta": {"content": "two euros."}},
            {"delta": {}, "finish_reason": "length"},
        ):
            chunk = {
                "id": "1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "up",
                "choices": [{"index": 0, **choice}],
            }
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        await response.write(
            b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"up","choices":[],"usage":null}\n\n'
        )
        await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", upstream)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with AsyncOpenAI(api_key="up", base_url=f"http://127.0.0.1:{runner.addresses[0][1]}/v1") as client:
        own: Any = module.create_app(client, KEY)
        sent: list[Any] = []
        question = [
            {"type": "http.request", "body": body(agent_extra_info={"shop": "flowers"}, max_tokens=7), "more_body": False}
        ]

        async def receive() -> Any:
            if question:
                return question.pop()
            await asyncio.Event().wait()
            return None

        async def send(message: Any) -> None:
            sent.append(message)

        scope: dict[str, Any] = {
            "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"", "http_version": "1.1",
            "headers": [(b"authorization", f"Bearer {KEY}".encode())], "scheme": "http", "asgi": {"version": "3.0"},
        }  # fmt: skip
        await own(scope, receive, send)
    await runner.cleanup()
    text, _ = read(b"".join(message.get("body", b"") for message in sent))
    assert text == "Tulips, two euros."
    assert asked[0]["max_tokens"] == 7
    assert "tulips" in asked[0]["messages"][-1]["content"]


async def test_the_pages_example_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_API_KEY", KEY)
    page = (Path(__file__).parent.parent / "docs" / "own-model.md").read_text()
    names: dict[str, Any] = {"__name__": "example"}
    source = page.partition("<!-- test: own_model -->\n```python\n")[2].partition("```")[0]
    exec(compile(source, "own-model.md", "exec", dont_inherit=True), names)
    assert await spoken(names["endpoint"]) == "You said: Hi"
    assert names["app"].url_path_for("ChatApp") == "/model"


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "zego_aigc")
