"""Secrets are planted everywhere they can stand, everything that can go wrong goes wrong, and all that is said is searched."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import pickle
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from raw_server import Exchange, http, ok, raw_server
from requests_made import rtc, stream

from zego_aigc import (
    Client,
    InvalidRequest,
    LocalLimiter,
    Orphan,
    Repeat,
    ZegoError,
    aiagent,
    digitalhuman,
)
from zego_aigc.calls.hooks import AttemptEvent, CallEvent
from zego_aigc.calls.retry import RetryPolicy
from zego_aigc.sandbox import Sandbox
from zego_aigc.schema.actions import Action

pytestmark = pytest.mark.anyio

PLANTED = {
    "ServerSecret": "planted-server-secret-0001",
    "CallbackSecret": "planted-callback-secret-0002",
    "LLM.ApiKey": "planted-llm-key-0003",
    "TTS app token": "planted-tts-token-0004",
    "TTS app key": "planted-tts-key-0005",
    "WssAddress token": "planted-wss-token-0006",
    "another agent's ApiKey": "planted-foreign-key-0007",
    "proxy password": "planted-proxy-password-0008",
    "extra token": "planted-extra-token-0009",
}
LLM = aiagent.LLM(url="https://llm.example/v1", model="m", api_key=PLANTED["LLM.ApiKey"])
TTS = aiagent.TTS(
    vendor="ByteDanceV3",
    params={
        "app": {"appid": PLANTED["TTS app key"], "token": PLANTED["TTS app token"], "resource_id": "seed-tts-2.0"},
        "req_params": {"speaker": "s"},
    },
)
EXTRA = {"NewVendor": {"access_token": PLANTED["extra token"]}}

REGISTER = aiagent.RegisterAgent(agent_id="guide", llm=LLM, tts=TTS, extra=EXTRA)
CREATE = aiagent.CreateAgentInstance(agent_id="guide", user_id="u", rtc=rtc(), llm=LLM, tts=TTS)
ACTIONS: list[Action[Any]] = [
    REGISTER,
    CREATE,
    aiagent.QueryAgents(agent_ids=["guide"]),
    aiagent.ListAgents(),
    aiagent.UpdateAgent(agent_id="guide", llm=LLM, tts=TTS),
    aiagent.SendAgentInstanceTTS(agent_instance_id="1", text="Hello!"),
    aiagent.DeleteAgentInstance(agent_instance_id="1"),
    digitalhuman.DriveByWsStream(task_id="t"),
    stream(),
]

ECHO = b"{echo}"
"""Where a careless service repeats the secrets that it was sent or shares with us."""

FOREIGN = {
    "AgentId": "guide",
    "Name": 5,
    "LLM": {"ApiKey": PLANTED["another agent's ApiKey"], "Url": "u", "Model": "m"},
    "TTS": {"Vendor": "ByteDanceV3", "Params": {"app": {"token": PLANTED["TTS app token"]}}},
}
SPILLING: dict[str, Any] = {
    "Total": "1",
    "Agents": [FOREIGN],
    "DriveId": 5,
    "WssAddress": f"wss://x.example/?token={PLANTED['WssAddress token']}",
    "TaskId": {},
    "AgentInstanceId": [],
}

ANSWERS: dict[str, bytes | None] = {
    "refusal that echoes": http(200, json.dumps({"Code": 410000003, "Message": "bad: {echo}", "Data": SPILLING}).encode()),
    "transient refusal that echoes": http(
        500, json.dumps({"Code": 410000001, "Message": "bad: {echo}", "RequestId": "r"}).encode()
    ),
    "page that echoes": http(502, b"<html><p>cannot serve {echo}</p></html>"),
    "data of a wrong shape": ok(SPILLING),
    "data that breaks off": http(200, json.dumps({"Code": 0, "Data": SPILLING}).encode()[:-30]),
    "answer that is cut": ok(SPILLING)[:-30],
    "redirect": http(302, b"", location=f"http://x.example/?Signature={PLANTED['WssAddress token']}"),
    "no http": b"HTTP/1.1 200 OK\r\nBroken header without colon\r\n\r\n",
    "nothing": None,
}


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[io.StringIO]:
    """Everything that is written to any log, with every field of every record."""
    out = io.StringIO()

    class Everything(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            out.write(f"{record.getMessage()} {record.__dict__!r} {logging.Formatter().format(record)}\n")

    handler = Everything(level=logging.DEBUG)
    root = logging.getLogger()
    root.addHandler(handler)
    caplog.set_level(logging.DEBUG)
    yield out
    root.removeHandler(handler)


def search(text: str, *, and_signatures: list[str] | None = None) -> None:
    found = [name for name, secret in PLANTED.items() if secret in text]
    assert not found, f"{found} in: {text[:2000]}"
    for signature in and_signatures or []:
        assert signature not in text


def shown(error: BaseException) -> str:
    """Everything that an error may show: its text, repr, facts, and the whole traceback with its causes and contexts."""
    chain = []
    link: BaseException | None = error
    while link is not None:
        chain.append(f"{link!s} {link!r} {link.__dict__!r} {link.args!r}")
        link = link.__cause__ or link.__context__
    return "\n".join([*chain, *traceback.format_exception(error)])


def timeout_of(repeat: Repeat) -> float:
    """Seconds: what ends something is tried until then, whatever goes wrong."""
    return 0.5 if repeat is Repeat.ENDS else 20.0


@pytest.mark.slow
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
async def test_nothing_that_goes_wrong_on_the_way_says_a_secret(answer: bytes | None, said: io.StringIO) -> None:
    signatures: list[str] = []

    async def handle(exchange: Exchange) -> None:
        signatures.append(exchange.query["Signature"])
        if answer is None:
            exchange.cut()
        else:
            shared = [PLANTED["ServerSecret"], PLANTED["CallbackSecret"]]
            echo = " ".join([*shared, *(secret for secret in PLANTED.values() if secret.encode() in exchange.body)])
            head, _, body = answer.partition(b"\r\n\r\n")
            body = body.replace(ECHO, echo.encode())
            await exchange.send(http(int(head.split()[1]), body) if ECHO in answer else answer)
            if not answer.startswith(b"HTTP/1.1 200 X") or answer is ANSWERS["answer that is cut"]:
                exchange.writer.close()

    attempts: list[AttemptEvent] = []
    outcomes: list[CallEvent] = []
    orphans: list[Orphan] = []
    async with (
        raw_server(handle) as url,
        Client(
            1,
            PLANTED["ServerSecret"],
            callback_secret=PLANTED["CallbackSecret"],
            aiagent_url=url,
            digitalhuman_url=url,
            limiter=LocalLimiter(limit=1000),
            on_attempt=attempts.append,
            on_result=outcomes.append,
            on_orphan=orphans.append,
            retry=RetryPolicy(max_attempts=2, initial_backoff=0.001, lookup_delay=0.001),
        ) as client,
    ):
        errors: list[str] = []
        for action in ACTIONS:
            try:
                await client.call(action, timeout=timeout_of(action.repeat))
            except ZegoError as error:
                errors.append(shown(error))
                # Pickles hold an unknown outcome's whole action, so that it can be taken up again: only texts are searched.
                errors.append(shown(pickle.loads(pickle.dumps(error))))
        for repeat in Repeat:
            try:
                await client.call_raw("RegisterAgent", REGISTER.to_wire(), repeat=repeat, timeout=timeout_of(repeat))
            except ZegoError as error:
                errors.append(shown(error))
        assert len(errors) >= len(ACTIONS)
        everything = [*errors, said.getvalue(), f"{attempts!r} {outcomes!r} {orphans!r} {client!r} {client.pool!r}"]
    for text in everything:
        search(text, and_signatures=signatures)
    assert signatures
    assert said.getvalue()


async def test_a_connection_that_fails_says_neither_signature_nor_proxy_password(said: io.StringIO) -> None:
    errors = []
    proxy = f"http://user:{PLANTED['proxy password']}@127.0.0.1:9"
    for url, options in (
        ("http://127.0.0.1:9", {}),
        ("https://127.0.0.1:9", {}),
        ("http://no-such-host.invalid", {}),
        ("http://vendor.example", {"proxy": proxy}),
        ("https://vendor.example", {"proxy": proxy}),
    ):
        async with Client(1, PLANTED["ServerSecret"], aiagent_url=url, retry=RetryPolicy(max_attempts=1), **options) as client:  # type: ignore[arg-type] # free options
            with pytest.raises(ZegoError) as caught:
                await client.call(REGISTER, timeout=3)
            errors.append(shown(caught.value) + repr(client) + repr(client.pool))
    for text in (*errors, said.getvalue()):
        search(text)
        assert "Signature=" not in text


async def test_a_proxy_that_refuses_says_no_signature(said: io.StringIO) -> None:
    async def handle(exchange: Exchange) -> None:
        await exchange.send(http(407, b""))

    async with (
        raw_server(handle) as url,
        Client(1, PLANTED["ServerSecret"], aiagent_url="https://vendor.example", proxy=url) as client,
    ):
        with pytest.raises(ZegoError) as caught:
            await client.call(aiagent.ListAgents(), timeout=20)
    search(shown(caught.value) + said.getvalue())
    assert "Signature" not in shown(caught.value)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(server_secret=PLANTED["ServerSecret"], rate_limit=None) as running:
        yield running


async def test_nothing_that_goes_well_says_a_secret(sandbox: Sandbox, said: io.StringIO) -> None:
    async with sandbox.client(callback_secret=PLANTED["CallbackSecret"]) as client:
        await client.call(REGISTER)
        found = await client.call_with_response(aiagent.QueryAgents(agent_ids=["guide"]))
        listed = [agent async for agent in client.list_agents()]
        made = await client.call_with_response(stream())
        await sandbox.clock.advance(1)
        drive = await client.call_with_response(digitalhuman.DriveByWsStream(task_id=made.result.task_id))
        token = drive.result.wss_address.rpartition("=")[2]
        assert len(token) > 8
        assert found.result.agents[0].llm is not None
        assert found.result.agents[0].llm.api_key == PLANTED["LLM.ApiKey"]
        texts = [repr(found), repr(found.result), repr(listed), repr(drive), repr(drive.result), repr(REGISTER), repr(CREATE)]
        texts.append(json.dumps([call.to_json() for call in sandbox.recording.calls]))
        texts.append(said.getvalue())
    for text in texts:
        search(text)
        assert token not in text


async def test_an_invalid_request_names_what_is_wrong_without_its_secrets() -> None:
    bad = aiagent.RegisterAgent(
        agent_id="g" * 200,
        llm=aiagent.LLM(url="", model="", api_key=5),  # type: ignore[arg-type] # on purpose
        tts=aiagent.TTS(vendor="Aliyun", params={"app": {"token": PLANTED["TTS app token"]}}),
    )
    with pytest.raises(InvalidRequest) as caught:
        await Client(1, "s").call(bad)
    search(shown(caught.value))


async def test_orphans_of_raw_calls_are_shown_masked(said: io.StringIO) -> None:
    orphans: list[Orphan] = []
    came, go_on = asyncio.Event(), asyncio.Event()

    async def handle(exchange: Exchange) -> None:
        came.set()
        await go_on.wait()
        await exchange.send(ok({"TaskId": "t", "Token": PLANTED["WssAddress token"]}))

    async with raw_server(handle) as url, Client(1, "s", aiagent_url=url, on_orphan=orphans.append) as client:
        task = asyncio.ensure_future(client.call_raw("RegisterAgent", REGISTER.to_wire(), repeat=Repeat.CREATES))
        await came.wait()
        task.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert orphans[0].action.body == REGISTER.to_wire()
    search(f"{said.getvalue()} {orphans[0].action!r}")
