"""Your own model's endpoint: called as the vendor calls it, and read by the vendor's rules."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from sandbox_fixtures import eventually, sandbox, vendor
from vendor_client import RTC, TTS, VendorClient

from zego_aigc.sandbox import Sandbox
from zego_aigc.sandbox.model_stream import ChatStreamReader, StreamProblem

__all__ = ["sandbox", "vendor"]

pytestmark = pytest.mark.anyio


def chunk(content: str | None = None, finish: str | None = None, **fields: Any) -> str:
    """A line of an answer."""
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({'object': 'chat.completion.chunk', 'choices': [choice], **fields})}\n"


DONE = "data: [DONE]\n"

HELLO = [chunk("Hello "), "\n", chunk("there. "), chunk("All well?"), chunk(finish="stop"), DONE]


class Endpoint:
    """A model's endpoint on loopback that answers with given lines."""

    def __init__(self) -> None:
        self.url = ""
        self.lines: list[str] = HELLO
        self.status = 200
        self.asked: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.pause = 0.0
        self.gone = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append((dict(request.headers), json.loads(await request.read())))
        response = web.StreamResponse(status=self.status, headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for line in self.lines:
                await response.write(line.encode())
                await asyncio.sleep(self.pause)
        except (ConnectionError, asyncio.CancelledError):
            self.gone += 1
            raise
        return response


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    model = Endpoint()
    runner = web.ServerRunner(web.Server(model.handle, handler_cancellation=True))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    model.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/chat/completions"
    yield model
    await runner.cleanup()


async def start(sandbox: Sandbox, vendor: VendorClient, endpoint: Endpoint, **llm: Any) -> str:
    """An instance whose model is the endpoint, in its room."""
    await vendor.do("RegisterAgent", {"AgentId": "agent", "TTS": TTS})
    options = {"Url": endpoint.url, "Model": "mine", "ApiKey": "my key", "SystemPrompt": "Be brief.", **llm}
    identity = await vendor.voice(LLM=options, CallbackConfig={"LLMResult": 1, "AgentInstanceStatus": 1})
    await sandbox.clock.advance(1)
    return identity


async def ask(vendor: VendorClient, identity: str, text: str = "Hi") -> int:
    body = {"AgentInstanceId": identity, "Text": text, "AddQuestionToHistory": True}
    round_: int = (await vendor.do("SendAgentInstanceLLM", body))["Round"]
    return round_


def events(sandbox: Sandbox, name: str) -> list[Any]:
    return [one.body["Data"] for one in sandbox.outbox.deliveries if one.event == name]


# --- what it is asked ------------------------------------------------------------------------------------------------


async def test_it_is_asked_as_an_openai_client_would(sandbox: Sandbox, vendor: VendorClient, endpoint: Endpoint) -> None:
    identity = await start(sandbox, vendor, endpoint, Temperature=0.1, TopP=0.5, Params={"max_tokens": 50, "stop": ["x"]})
    await ask(vendor, identity, "One")
    await sandbox.clock.advance(20)
    await ask(vendor, identity, "Two")
    await sandbox.clock.advance(20)
    (headers, first), (_, second) = endpoint.asked
    assert headers["Authorization"] == "Bearer my key"
    assert headers["Content-Type"] == "application/json"
    assert first == {
        "model": "mine",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "One"}],
        "temperature": 0.1,
        "top_p": 0.5,
        "max_tokens": 50,
        "stop": ["x"],
        "stream": True,
    }
    assert [(message["role"], message["content"]) for message in second["messages"]] == [
        ("system", "Be brief."),
        ("user", "One"),
        ("assistant", "Hello there. All well?"),
        ("user", "Two"),
    ]


async def test_it_learns_of_the_agent_where_that_was_asked_for(
    sandbox: Sandbox, vendor: VendorClient, endpoint: Endpoint
) -> None:
    identity = await start(sandbox, vendor, endpoint, AddAgentInfo=True, AgentExtraInfo={"tenant": 7})
    round_ = await ask(vendor, identity)
    await sandbox.clock.advance(20)
    ((_, body),) = endpoint.asked
    info = body["agent_info"]
    assert abs(info.pop("time_stamp") / 1000 - sandbox.clock.now()) < 60
    assert info == {
        "room_id": "room-1", "user_id": "user", "agent_instance_id": identity, "agent_user_id": "agent-1", "round_id": round_,
    }  # fmt: skip
    assert body["agent_extra_info"] == {"tenant": 7}


async def test_without_a_key_there_is_no_authorization(sandbox: Sandbox, vendor: VendorClient, endpoint: Endpoint) -> None:
    identity = await start(sandbox, vendor, endpoint, ApiKey="")
    await ask(vendor, identity)
    await sandbox.clock.advance(20)
    assert "Authorization" not in endpoint.asked[0][0]


async def test_the_responses_protocol_is_asked_and_read_too(sandbox: Sandbox, vendor: VendorClient, endpoint: Endpoint) -> None:
    pieces = [{"type": "response.output_text.delta", "delta": "Hello."}, {"type": "response.completed"}]
    endpoint.lines = [f"event: {piece['type']}\ndata: {json.dumps(piece)}\n\n" for piece in pieces]
    identity = await start(sandbox, vendor, endpoint, Vendor="OpenAIResponses", AddAgentInfo=True)
    round_ = await ask(vendor, identity)
    await sandbox.clock.advance(20)
    body = endpoint.asked[0][1]
    assert body["input"][-1] == {"role": "user", "content": "Hi"}
    assert "agent_info" not in body
    assert events(sandbox, "LLMResult") == [{"Round": round_, "Text": "Hello."}]
    endpoint.lines = endpoint.lines[:1]
    await ask(vendor, identity)
    await sandbox.clock.advance(20)
    assert sandbox.models.calls[-1].problem == "the answer ended without a response.completed event"


# --- which is asked --------------------------------------------------------------------------------------------------


async def test_addresses_elsewhere_are_not_called_unless_that_is_asked_for(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    identity = await vendor.voice(CallbackConfig={"LLMResult": 1})
    await sandbox.clock.advance(1)
    await ask(vendor, identity)
    await sandbox.clock.advance(20)
    assert [event["Text"] for event in events(sandbox, "LLMResult")] == ["You said: Hi"]
    assert not sandbox.models.calls
    assert not sandbox.app.calls_model("https://llm.example/v1/chat/completions")
    sandbox.app.llm = True
    assert sandbox.app.calls_model("https://llm.example/v1/chat/completions")


async def test_a_scripted_reply_stands_in_for_every_model(sandbox: Sandbox, vendor: VendorClient, endpoint: Endpoint) -> None:
    sandbox.app.reply = lambda question: f"{question.text}!"
    identity = await start(sandbox, vendor, endpoint)
    await ask(vendor, identity)
    await sandbox.clock.advance(20)
    assert not endpoint.asked
    assert [event["Text"] for event in events(sandbox, "LLMResult")] == ["Hi!"]


# --- what it answers -------------------------------------------------------------------------------------------------


async def test_a_good_stream_is_spoken_sentence_by_sentence(sandbox: Sandbox, vendor: VendorClient, endpoint: Endpoint) -> None:
    identity = await start(sandbox, vendor, endpoint)
    round_ = await ask(vendor, identity)
    await sandbox.clock.advance(20)
    assert events(sandbox, "LLMResult") == [{"Round": round_, "Text": text} for text in ("Hello there.", "All well?")]
    assert [event["Status"] for event in events(sandbox, "AgentInstanceStatus")] == ["THINKING", "SPEAKING", "IDLE"]
    assert not events(sandbox, "Exception")
    (call,) = sandbox.models.calls
    assert (call.state, call.status, call.text, call.problem) == ("answered", 200, "Hello there. All well?", "")


BROKEN: dict[str, tuple[list[str], str]] = {
    "no blank after data:": (
        [chunk("Hi.").replace("data: ", "data:"), chunk(finish="stop"), DONE],
        "each line must begin with",
    ),
    "bare JSON": (['{"choices": []}\n'], "each line must begin with"),
    "a comment": ([": ping\n", *HELLO], "each line must begin with"),
    "no JSON": (["data: hello\n", *HELLO], "comes one JSON object"),
    "no stop": ([chunk("Hi."), DONE], 'no chunk before it had "finish_reason": "stop"'),
    "early finish_reason": ([chunk("Hi.", finish="null"), *HELLO], "must be empty or absent"),
    "length": ([chunk("Hi."), chunk(finish="length"), DONE], "it was 'length'"),
    "no [DONE]": ([chunk("Hi."), chunk(finish="stop")], "without data: [DONE]"),
    "no last line break": ([chunk("Hi."), chunk(finish="stop"), DONE.strip()], "each line must end with a line break"),
    "more after stop": ([chunk("Hi."), chunk(finish="stop"), chunk("more"), DONE], "nothing may follow the chunk"),
    "more after [DONE]": ([*HELLO, chunk("more")], "nothing may follow data: [DONE]"),
    "another object": ([chunk("Hi.", object="chat.completion"), *HELLO], '"chat.completion.chunk"'),
    "no delta": (['data: {"object": "chat.completion.chunk", "choices": [7]}\n', *HELLO], "choices[0].delta"),
    "no text": ([chunk("Hi.").replace('"Hi."', "7"), *HELLO], "must be a text"),
    "nothing": ([], 'without a chunk with "finish_reason": "stop"'),
}


@pytest.mark.parametrize("lines", BROKEN.values(), ids=BROKEN)
async def test_a_broken_stream_leaves_the_agent_mute_and_says_why(
    sandbox: Sandbox, vendor: VendorClient, endpoint: Endpoint, lines: tuple[list[str], str]
) -> None:
    endpoint.lines, reason = lines
    identity = await start(sandbox, vendor, endpoint)
    round_ = await ask(vendor, identity)
    await sandbox.clock.advance(20)
    (call,) = sandbox.models.calls
    assert call.state == "broken"
    assert reason in call.problem
    ((exception),) = events(sandbox, "Exception")
    assert (exception["Code"], exception["Round"]) == (2201, round_)
    assert sandbox.app.instances[identity].conversation.status == "IDLE"


@pytest.mark.parametrize(("status", "code"), [(401, 2203), (403, 2203), (404, 2202), (429, 2204), (402, 2205), (500, 2201)])
async def test_a_refusal_of_the_endpoint_is_an_exception_of_its_kind(
    sandbox: Sandbox, vendor: VendorClient, endpoint: Endpoint, status: int, code: int
) -> None:
    endpoint.status = status
    identity = await start(sandbox, vendor, endpoint)
    await ask(vendor, identity)
    await sandbox.clock.advance(20)
    assert [event["Code"] for event in events(sandbox, "Exception")] == [code]
    assert sandbox.models.calls[-1].status == status


async def test_an_endpoint_that_is_not_there_is_an_exception(
    sandbox: Sandbox, vendor: VendorClient, endpoint: Endpoint
) -> None:
    identity = await start(sandbox, vendor, endpoint, Url="http://127.0.0.1:9/v1")
    await ask(vendor, identity)
    await sandbox.clock.advance(20)
    assert [event["Code"] for event in events(sandbox, "Exception")] == [2201]
    assert sandbox.models.calls[-1].status is None


async def test_an_interruption_closes_the_connection_while_the_answer_is_written(
    sandbox: Sandbox, vendor: VendorClient, endpoint: Endpoint
) -> None:
    endpoint.lines, endpoint.pause = [chunk("Well, ")] * 1000, 0.01
    identity = await start(sandbox, vendor, endpoint)
    await ask(vendor, identity)
    await eventually(lambda: sandbox.models.calls and sandbox.models.calls[0].text)
    await vendor.do("InterruptAgentInstance", {"AgentInstanceId": identity})
    await eventually(lambda: endpoint.gone)
    assert sandbox.models.calls[0].state == "cut"
    assert not events(sandbox, "Exception")
    await sandbox.clock.advance(1)  # and nothing waits for it


async def test_a_sandbox_that_closes_waits_for_no_model(endpoint: Endpoint) -> None:
    endpoint.lines, endpoint.pause = [chunk("Well, ")] * 1000, 0.01
    async with asyncio.timeout(60), Sandbox() as sandbox, aiohttp.ClientSession() as session:
        vendor = VendorClient(sandbox.url, sandbox.app_id, sandbox.server_secret, session, sandbox.clock.now)
        identity = await start(sandbox, vendor, endpoint)
        await ask(vendor, identity)


def test_a_reader_takes_the_usage_chunk_of_openai() -> None:
    reader = ChatStreamReader()
    for line in (*HELLO[:-1], 'data: {"object": "chat.completion.chunk", "choices": [], "usage": {}}\n', DONE):
        reader.line(line.strip("\n"))
    reader.end()
    with pytest.raises(StreamProblem):
        ChatStreamReader().end()


async def test_secrets_in_what_an_endpoint_is_sent_are_masked_on_the_page(
    sandbox: Sandbox, vendor: VendorClient, endpoint: Endpoint
) -> None:
    identity = await start(sandbox, vendor, endpoint, Params={"api_key": "very-secret"}, AddAgentInfo=True)
    await ask(vendor, identity)
    await sandbox.clock.advance(20)
    shown = json.dumps(sandbox.models.calls[0].to_json())
    assert "very-secret" not in shown
    assert "my key" not in shown
    assert RTC["RoomId"] in shown
