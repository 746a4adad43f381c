"""The sandbox's own addresses: state, recording, the page, and commands from other programs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sandbox_fixtures import sandbox, vendor
from vendor_client import LLM, TTS, VendorClient, digital_human

from zego_aigc.aiagent import RegisterAgent, UnregisterAgent
from zego_aigc.sandbox import Sandbox

__all__ = ["sandbox", "vendor"]

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}

SECRET_LLM = {**LLM, "ApiKey": "sk-very-secret"}
SECRET_TTS = {**TTS, "Params": {"app": {"api_key": "tts-very-secret"}, "model": "m"}}


async def get(vendor: VendorClient, path: str) -> Any:
    async with vendor.session.get(f"{vendor.url}{path}") as got:
        assert got.status == 200, await got.text()
        return await got.json()


async def command(vendor: VendorClient, path: str, body: Any, method: str = "POST") -> tuple[int, Any]:
    async with vendor.session.request(method, f"{vendor.url}{path}", data=json.dumps(body), headers=JSON) as got:
        return got.status, await got.json()


# --- state -----------------------------------------------------------------------------------------------------------


async def test_state_lists_what_lives_and_the_calls(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent(LLM=SECRET_LLM, TTS=SECRET_TTS)
    await vendor.call("RegisterAgent", {"AgentId": "agent"})
    identity = (await vendor.do("CreateDigitalHumanAgentInstance", digital_human()))["AgentInstanceId"]
    task = await vendor.task()
    state = await get(vendor, "/_sandbox/state")
    assert [agent["AgentId"] for agent in state["agents"]] == ["agent"]
    assert [(one["AgentInstanceId"], one["Kind"], one["Status"]) for one in state["instances"]] == [
        (identity, "digital human", "IDLE")
    ]
    assert [(one["TaskId"], one["Status"]) for one in state["tasks"]] == [(task, 1)]
    assert [call["Action"] for call in state["calls"]] == [
        "RegisterAgent",
        "RegisterAgent",
        "CreateDigitalHumanAgentInstance",
        "CreateDigitalHumanStreamTask",
    ]
    (refused,) = state["refused"]
    assert (refused["Action"], refused["Code"]) == ("RegisterAgent", 410001008)
    assert refused["Message"].startswith("AgentAlreadyExists")
    assert "very-secret" not in json.dumps(state)
    await vendor.do("StopDigitalHumanStreamTask", {"TaskId": task})
    assert (await get(vendor, "/_sandbox/state"))["tasks"] == []


# --- recording -------------------------------------------------------------------------------------------------------


async def test_every_request_and_answer_is_recorded_with_its_secrets_masked(
    sandbox: Sandbox, vendor: VendorClient, tmp_path: Path
) -> None:
    await vendor.agent(LLM=SECRET_LLM, TTS=SECRET_TTS)
    await vendor.do("QueryAgents", {"AgentIds": ["agent"]})
    task = await vendor.task()
    await sandbox.clock.advance(1)
    address = (await vendor.do("DriveByWsStream", {"TaskId": task}))["WssAddress"]
    await vendor.call("RegisterAgent", b'{"ApiKey": "sk-very-secret"')
    registered, queried, *_ = (await get(vendor, "/_sandbox/calls"))["calls"]
    assert registered["Body"]["LLM"] == {**LLM, "ApiKey": "***"}
    assert registered["Query"]["Signature"] == "***"
    assert registered["Answer"]["Code"] == 0
    assert queried["Answer"]["Data"]["Agents"][0]["TTS"]["Params"] == {"app": "***", "model": "m"}
    path = tmp_path / "calls.jsonl"
    assert sandbox.recording.save(path) == 5
    text = path.read_text()
    assert len(text.splitlines()) == 5
    for secret in ("very-secret", sandbox.server_secret, address, sandbox.recording.calls[0].query):
        assert secret not in text
    assert "very-secret" not in repr(sandbox.recording.calls)


async def test_requests_count_as_received_wherever_they_were_refused(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.app.rate_limits["UnregisterAgent"] = 0
    sandbox.faults.on("UnregisterAgent").after(3).answer(502)
    unregister = UnregisterAgent(agent_id="a")
    for body, changes in ((unregister.to_wire(), {}), (unregister.to_wire(), {"Signature": "x"}), ({}, {})):
        assert await vendor.code("UnregisterAgent", body, **changes) != 0
    async with vendor.session.post(f"{vendor.url}/", params=vendor.query("UnregisterAgent"), data=b'{"AgentId": "a"}') as got:
        assert got.status == 502
    assert sandbox.received(UnregisterAgent) == [unregister] * 3  # one was malformed


async def test_secrets_of_a_get_are_masked_too(sandbox: Sandbox, vendor: VendorClient) -> None:
    fields = {"AgentId": "agent", "LLM": json.dumps(SECRET_LLM), "Signature": "again"}
    for action in ("RegisterAgent", "NoSuchAction"):
        query = [*vendor.query(action).items(), *fields.items()]
        async with vendor.session.get(f"{vendor.url}/", params=query) as got:
            await got.read()
    registered, unknown = (call.to_full_json() for call in sandbox.recording.calls)
    assert registered["Code"] == 0
    assert registered["Fields"] == {"AgentId": "agent", "LLM": {**SECRET_LLM, "ApiKey": "***"}, "Signature": "***"}
    assert unknown["Fields"] == dict.fromkeys(fields, "***")
    assert registered["Query"] == {**vendor.query("RegisterAgent"), **registered["Query"], "Signature": "***"}


async def test_the_recording_can_be_filtered(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    await vendor.call("RegisterAgent", {"AgentId": "agent"})
    await sandbox.clock.advance(60)
    await vendor.call("ListAgents")
    select = sandbox.recording.select
    assert [call.code for call in select(RegisterAgent)] == [0, 410001008]
    assert [call.action for call in select(refused=False)] == ["RegisterAgent", "ListAgents"]
    assert [call.action for call in select(since=sandbox.clock.now() - 30)] == ["ListAgents"]
    assert [call.code for call in select(where=lambda call: call.code == 410001008)] == [410001008]
    assert list(select(app_id=1)) == []
    for query, count in (
        ("action=RegisterAgent&refused=1", 1),
        ("code=410001008", 1),
        (f"app_id={sandbox.app_id}", 3),
        ("limit=1", 1),
        ("limit=0", 0),
        ("refused=0", 2),
    ):
        assert len((await get(vendor, f"/_sandbox/calls?{query}"))["calls"]) == count
    for malformed in ("code=x", "limit=-1"):
        assert (await command(vendor, f"/_sandbox/calls?{malformed}", None, "GET"))[0] == 400


async def test_only_so_many_calls_are_remembered_and_all_are_counted() -> None:
    async with Sandbox(history=3, rate_limit=None) as sandbox, aiohttp.ClientSession() as session:
        vendor = VendorClient(sandbox.url, sandbox.app_id, sandbox.server_secret, session, sandbox.clock.now)
        for _ in range(5):
            await vendor.call("ListAgents")
        assert len(sandbox.recording.calls) == 3
        assert sandbox.recording.totals == {"ListAgents": 5}


# --- the page --------------------------------------------------------------------------------------------------------


async def test_the_page_needs_nothing_from_elsewhere(vendor: VendorClient) -> None:
    async with vendor.session.get(f"{vendor.url}/_sandbox") as got:
        assert got.url.path == "/_sandbox/"
        assert got.content_type == "text/html"
        page = await got.text()
    assert set(re.findall(r"""(?:src|href)=["']([^"']*)["']""", page)) == {"page.css", "page.js"}
    for name, content_type in (("page.css", "text/css"), ("page.js", "text/javascript")):
        async with vendor.session.get(f"{vendor.url}/_sandbox/{name}") as got:
            assert (got.status, got.content_type) == (200, content_type)
            page += await got.text()
    assert not re.search(r"https?://(?!www\.w3\.org)|@import|innerHTML|eval\(", page)


async def test_the_page_is_sent_what_it_shows(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.app.rate_limit = 10
    sandbox.faults.on("ListAgents").latency(0)
    await vendor.agent()
    await vendor.task()
    await vendor.call("RegisterAgent", {"AgentId": "agent"})
    live = await get(vendor, "/_sandbox/live")
    (app,) = live["apps"]
    assert app["Rates"] == {"RegisterAgent": [2, 10], "CreateDigitalHumanStreamTask": [1, 10]}
    assert [quota["Alive"] for quota in app["Quotas"]] == [0, 0, 1]
    assert live["refused"]["Total"] == 1
    assert live["refused"]["Shown"][0]["Advice"]
    assert live["faults"] == [{"On": "on ListAgents", "Fault": "latency", "Hits": 0}]
    assert live["callbacks"]["Shown"][0]["State"] == "unaddressed"
    page = Path(__file__).parent.parent / "zego_aigc" / "sandbox" / "page.js"
    assert set(re.findall(r"live\.(\w+)", page.read_text(encoding="utf-8"))) <= {*live, "models"}


async def test_a_page_that_has_seen_all_is_sent_nothing_again(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    await sandbox.clock.advance(2)  # until the rates have settled
    seen = (await get(vendor, "/_sandbox/live"))["seen"]
    again = await get(vendor, f"/_sandbox/live?seen={seen}")
    assert set(again) == {"now", "seen"}
    await vendor.call("ListAgents")
    assert "calls" in await get(vendor, f"/_sandbox/live?seen={seen}")


async def test_what_happened_to_an_instance_is_listed_in_order(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    identity = await vendor.voice(CallbackConfig={"AgentInstanceStatus": 1})
    await sandbox.clock.advance(1)
    await vendor.do("SendAgentInstanceTTS", {"AgentInstanceId": identity, "Text": "Hello"})
    await sandbox.clock.advance(0.1)
    await vendor.call("StartListening", {"AgentInstanceId": identity})
    await sandbox.clock.advance(10)
    events = await get(vendor, f"/_sandbox/timeline?about={identity}")
    assert [(event["Kind"], event["Name"]) for event in events] == [
        ("call", "CreateAgentInstance"),
        ("callback", "AgentInstanceCreated"),
        ("call", "SendAgentInstanceTTS"),
        ("callback", "AgentInstanceStatus"),
        ("call", "StartListening"),
        ("callback", "AgentInstanceStatus"),
    ]
    assert [event.get("Round") for event in events if event["Name"] == "AgentInstanceStatus"] == [1, 1]
    assert events[4]["Code"] == 410001042
    assert await get(vendor, "/_sandbox/timeline?about=nobody") == []


async def test_one_call_and_one_callback_are_shown_in_full_and_masked(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent(LLM=SECRET_LLM, TTS=SECRET_TTS)
    sandbox.emit("ASRResult", "7", Text="hi")
    shown = await get(vendor, f"/_sandbox/call?id={sandbox.recording.calls[0].request_id}")
    assert shown["Body"]["LLM"]["ApiKey"] == "***"
    reported = await get(vendor, "/_sandbox/callback?number=1")
    assert (reported["Body"]["Data"]["Text"], reported["Body"]["Signature"]) == ("hi", "***")
    for gone in ("call?id=1", "callback?number=2", "callback?number=x"):
        assert (await command(vendor, f"/_sandbox/{gone}", None, "GET"))[0] == 404


async def test_another_program_can_end_what_lives(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    identity, task = await vendor.voice(), await vendor.task()
    for about in (identity, task):
        assert await command(vendor, "/_sandbox/end", {"About": about}) == (200, {"About": about})
    assert not sandbox.app.instances
    assert not sandbox.app.tasks[task].running
    status, answer = await command(vendor, "/_sandbox/end", {"About": task})
    assert (status, answer["Error"].startswith("no agent instance")) == (400, True)


# --- commands ----------------------------------------------------------------------------------------------------------


async def test_another_program_can_move_the_clock(sandbox: Sandbox, vendor: VendorClient) -> None:
    before = sandbox.clock.now()
    status, answer = await command(vendor, "/_sandbox/advance", {"Seconds": 100})
    assert status == 200
    assert answer["Now"] - before >= 100
    wrongs: tuple[Any, ...] = ({"Seconds": -1}, {"Seconds": "x"}, {}, [])
    for wrong in wrongs:
        assert (await command(vendor, "/_sandbox/advance", wrong))[0] == 400


async def test_another_program_can_raise_callbacks(sandbox: Sandbox, vendor: VendorClient) -> None:
    status, answer = await command(
        vendor, "/_sandbox/emit", {"Event": "ASRResult", "About": "7", "Data": {"Text": "hi"}, "AppId": sandbox.app_id}
    )
    assert status == 200
    assert answer["Body"]["Data"]["Text"] == "hi"
    assert (await command(vendor, "/_sandbox/emit", {"Event": "ASRResult"}))[0] == 400
    assert (await command(vendor, "/_sandbox/emit", {"Event": "ASRResult", "About": "7", "AppId": 9}))[0] == 400


async def test_another_program_can_set_faults(sandbox: Sandbox, vendor: VendorClient) -> None:
    reported = {"Actions": ["ListAgents"], "Times": 2, "After": 1, "Fault": "refuse", "With": {"code": 410000001}}
    assert await command(vendor, "/_sandbox/faults", reported) == (200, {"Faults": 1})
    assert [await vendor.code("ListAgents") for _ in range(4)] == [0, 410000001, 410000001, 0]
    await command(vendor, "/_sandbox/faults", {"Fault": "answer", "With": {"status": 418, "body": "tea"}})
    async with vendor.session.post(f"{vendor.url}/", data=b"{}") as got:
        assert (got.status, await got.text()) == (418, "tea")
    assert await command(vendor, "/_sandbox/faults", None, "DELETE") == (200, {"Faults": 0})
    for wrong in ({"Fault": "seed"}, {"Fault": "refuse"}, {"Fault": "refuse", "Actions": ["Nope"]}, {}):
        assert (await command(vendor, "/_sandbox/faults", wrong))[0] == 400
    assert len(sandbox.faults) == 0


async def test_another_program_can_change_an_account_and_say_who_is_where(sandbox: Sandbox, vendor: VendorClient) -> None:
    changes = {"CallbackUrl": "http://127.0.0.1:9/", "CallbackSecret": "c", "Quota": 1, "RateLimit": 5}
    assert await command(vendor, "/_sandbox/app", changes) == (200, {"AppId": sandbox.app_id})
    assert (sandbox.app.callback_url, sandbox.app.callback_secret) == ("http://127.0.0.1:9/", "c")
    assert (sandbox.app.quotas.streams, sandbox.app.rate_limit) == (1, 5)
    assert (await command(vendor, "/_sandbox/app", {"RateLimit": -1}))[0] == 400
    await command(vendor, "/_sandbox/app", {"CallbackUrl": None, "RateLimit": None})
    assert (sandbox.app.callback_url, sandbox.app.quotas.agents, sandbox.app.rate_limit) == (None, 1, None)
    await vendor.agent()
    identity = await vendor.voice()
    await command(vendor, "/_sandbox/presence", {"RoomId": "room-1", "UserId": "user"})
    await sandbox.clock.advance(1)
    assert (await command(vendor, "/_sandbox/speak", {"Text": "hi", "About": identity}))[0] == 200
    await sandbox.clock.advance(600)
    assert [message["Content"] for message in sandbox.app.instances[identity].conversation.messages] == ["hi", "You said: hi"]
    await command(vendor, "/_sandbox/presence", {"RoomId": "room-1", "UserId": "user", "Presence": "absent"})
    await sandbox.clock.advance(600)
    assert not sandbox.app.instances
    for path, wrong in (
        ("speak", {"Text": "hi", "About": identity}),
        ("presence", {"RoomId": "r", "UserId": "u", "Presence": "hiding"}),
        ("app", {"AppId": 9}),
        ("app", {"Colour": "red"}),
    ):
        status, answer = await command(vendor, f"/_sandbox/{path}", wrong)
        assert status == 400
        assert answer["Error"]


async def test_what_the_sandbox_does_not_know_is_not_found(vendor: VendorClient) -> None:
    for method, path in (("GET", "/_sandbox/nothing"), ("DELETE", "/_sandbox/state"), ("POST", "/_sandbox/")):
        async with vendor.session.request(method, f"{vendor.url}{path}") as got:
            assert got.status == 404
