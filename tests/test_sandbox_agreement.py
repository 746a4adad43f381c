"""What is known of the vendor's services, line by line, and the sandbox: they agree.

Each test states a fact in its own words, from the guides, the code pages and the vendor's own servers.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import aiohttp
import pytest
from sandbox_fixtures import NOW, eventually, vendor
from vendor_client import LLM, TTS, VendorClient, digital_human

from zego_aigc.sandbox import Catalogue, Pace, Sandbox

__all__ = ["vendor"]

pytestmark = pytest.mark.anyio

ON = dict.fromkeys(["ASRResult", "LLMResult", "Interrupted", "UserSpeakAction", "AgentInstanceStatus", "UserAudioData"], 1)

META = {"LLMMetaInfo": {"BeginCharacters": "[[", "EndCharacters": "]]", "SendMetaKeys": ["mood", "page"]}}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(time=NOW, rate_limit=None, pace=Pace(join=0.2, think=1, character=0.1)) as running:
        yield running


async def agent(sandbox: Sandbox, vendor: VendorClient, **fields: Any) -> str:
    """A voice instance with all switches on, in its room."""
    if "agent" not in sandbox.app.agents:
        await vendor.agent()
    identity = await vendor.voice(CallbackConfig=ON, **fields)
    await sandbox.clock.advance(0.3)
    return identity


async def say(vendor: VendorClient, identity: str, text: str, **options: Any) -> int:
    round_: int = (await vendor.do("SendAgentInstanceTTS", {"AgentInstanceId": identity, "Text": text, **options}))["Round"]
    return round_


async def ask(vendor: VendorClient, identity: str, text: str, **options: Any) -> int:
    round_: int = (await vendor.do("SendAgentInstanceLLM", {"AgentInstanceId": identity, "Text": text, **options}))["Round"]
    return round_


def story(sandbox: Sandbox) -> list[str]:
    """The callbacks of conversations so far, each as its name or status and its round: ``"IDLE 3"``."""
    lines: list[str] = []
    for one in sandbox.outbox.deliveries:
        data = one.body.get("Data", {})
        if one.event not in {"AgentInstanceCreated", "AgentInstanceDeleted", "UserAudioData"}:
            name = data.get("Status") or (data.get("Action") if one.event == "UserSpeakAction" else None) or one.event
            lines.append(f"{name} {data.get('Round')}")
    return lines


def data_of(sandbox: Sandbox, event: str) -> list[Any]:
    return [one.body["Data"] for one in sandbox.outbox.deliveries if one.event == event]


# --- rounds ----------------------------------------------------------------------------------------------------------


async def test_the_order_of_a_round_that_a_user_starts(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.app.reply = lambda _: '[[{"mood": "glad"}]]Good day. Come in.'
    await agent(sandbox, vendor, AdvancedConfig=META)
    sandbox.user_speaks("Hello")
    await sandbox.clock.advance(30)
    assert story(sandbox) == [
        "SPEAK_BEGIN 1", "LISTENING 1", "SPEAK_END 1", "ASRResult 1", "THINKING 1", "LLMResult 1", "LLMResult 1", "SPEAKING 1",
        "AgentInstanceMetaInfo 1", "IDLE 1",
    ]  # fmt: skip


async def test_the_order_of_a_round_that_a_call_starts(sandbox: Sandbox, vendor: VendorClient) -> None:
    identity = await agent(sandbox, vendor, AdvancedConfig=META)
    await say(vendor, identity, 'Good day. [[{"page": 2}]]Come in.')
    assert story(sandbox) == ["SPEAKING 1"]
    await sandbox.clock.advance(0.5)
    assert story(sandbox) == ["SPEAKING 1"]  # the sentence that it belongs to is not spoken yet
    await sandbox.clock.advance(30)
    assert story(sandbox) == ["SPEAKING 1", "AgentInstanceMetaInfo 1", "IDLE 1"]
    assert data_of(sandbox, "AgentInstanceMetaInfo") == [{"Round": 1, "MetaInfo": {"page": 2}}]


async def test_the_order_when_a_user_cuts_in(sandbox: Sandbox, vendor: VendorClient) -> None:
    identity = await agent(sandbox, vendor)
    for text in ("one", "two"):
        await say(vendor, identity, text)
        await sandbox.clock.advance(5)
    await say(vendor, identity, "x" * 100)
    sandbox.outbox.deliveries.clear()
    sandbox.user_speaks("Wait")
    await sandbox.clock.advance(2)
    assert story(sandbox) == [
        "SPEAK_BEGIN 4", "Interrupted 3", "IDLE 3", "LISTENING 4", "SPEAK_END 4", "ASRResult 4", "THINKING 4",
    ]  # fmt: skip
    assert data_of(sandbox, "Interrupted")[0]["Reason"] == 1


@pytest.mark.parametrize(
    ("action", "reason"), [("SendAgentInstanceLLM", 2), ("SendAgentInstanceTTS", 3), ("InterruptAgentInstance", 4)]
)
async def test_interrupted_names_the_round_that_was_cut_and_idle_ends_it(
    sandbox: Sandbox, vendor: VendorClient, action: str, reason: int
) -> None:
    identity = await agent(sandbox, vendor)
    await say(vendor, identity, "x" * 100)
    answer = await vendor.do(action, {"AgentInstanceId": identity, "Text": "now"})
    assert story(sandbox)[:3] == ["SPEAKING 1", "Interrupted 1", "IDLE 1"]
    assert data_of(sandbox, "Interrupted")[0]["Reason"] == reason
    assert answer["Round"] == (1 if reason == 4 else 2)


async def test_every_status_carries_the_round_that_it_belongs_to_and_each_round_ends_idle(
    sandbox: Sandbox, vendor: VendorClient
) -> None:
    identity = await agent(sandbox, vendor)
    await say(vendor, identity, "one")
    await ask(vendor, identity, "two", SamePriorityOption="Enqueue")
    await sandbox.clock.advance(30)
    sandbox.user_speaks("three")
    await sandbox.clock.advance(30)
    statuses = data_of(sandbox, "AgentInstanceStatus")
    assert all(status["Round"] for status in statuses)
    assert [status["Round"] for status in statuses if status["Status"] == "IDLE"] == [1, 2, 3]


# --- who is heard ----------------------------------------------------------------------------------------------------


async def test_before_it_is_in_its_room_the_agent_does_not_answer_whatever_was_sent(
    sandbox: Sandbox, vendor: VendorClient
) -> None:
    await vendor.agent()
    identity = await vendor.voice(CallbackConfig=ON)
    rounds = [await say(vendor, identity, "hello"), await ask(vendor, identity, "hello?")]
    sandbox.user_speaks("hello?")
    await sandbox.clock.advance(30)
    assert rounds == [1, 2]
    assert story(sandbox) == []
    assert await say(vendor, identity, "now") > 2
    assert story(sandbox) != []


@pytest.mark.parametrize(("priority", "spoken"), [("Low", False), ("Medium", False), ("High", True)])
async def test_only_high_priority_is_spoken_while_the_user_speaks(
    sandbox: Sandbox, vendor: VendorClient, priority: str, spoken: bool
) -> None:
    identity = await agent(sandbox, vendor)
    sandbox.user_speaks("I was saying", seconds=2)
    round_ = await say(vendor, identity, "Attention", Priority=priority)
    await sandbox.clock.advance(1)
    assert (f"SPEAKING {round_}" in story(sandbox)) is spoken
    await sandbox.clock.advance(30)
    assert f"SPEAKING {round_}" in story(sandbox)  # the others have waited for their turn


@pytest.mark.parametrize("priority", ["Low", "Medium"])
async def test_lower_priorities_give_way_to_the_users_speech_and_high_does_not(
    sandbox: Sandbox, vendor: VendorClient, priority: str
) -> None:
    identity = await agent(sandbox, vendor)
    await say(vendor, identity, "x" * 100, Priority=priority)
    sandbox.user_speaks("Wait")
    assert len(data_of(sandbox, "Interrupted")) == 1
    await say(vendor, identity, "x" * 100, Priority="High")
    sandbox.user_speaks("Wait")
    assert len(data_of(sandbox, "Interrupted")) == 1


async def test_speech_that_is_not_understood_is_exception_1004(sandbox: Sandbox, vendor: VendorClient) -> None:
    await agent(sandbox, vendor)
    sandbox.user_speaks("")
    await sandbox.clock.advance(5)
    assert story(sandbox) == ["SPEAK_BEGIN 1", "LISTENING 1", "SPEAK_END 1", "Exception 1", "IDLE 1"]
    assert data_of(sandbox, "Exception")[0]["Code"] == 1004


# --- what is spoken --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text", "spoken"),
    [
        ({}, "Hello (smiles) there.", "Hello (smiles) there."),
        ({"FilterText": [{"BeginCharacters": "(", "EndCharacters": ")"}]}, "Hello (smiles. Twice.) there.", "Hello  there."),
        ({"FilterText": [{"BeginCharacters": "(", "EndCharacters": ")"}]}, "Hello (and no end", "Hello "),
        ({"TerminatorText": "#"}, "Hello.# Not this. Nor this.", "Hello."),
        ({"CharacterFilter": ["*", "_"]}, "**Hello** _there_.", "Hello there."),
    ],
)  # fmt: skip
async def test_what_tts_filters_is_not_spoken(
    sandbox: Sandbox, vendor: VendorClient, options: dict[str, Any], text: str, spoken: str
) -> None:
    identity = await agent(sandbox, vendor, TTS={**TTS, **options})
    await say(vendor, identity, text)
    await sandbox.clock.advance(len(spoken) * 0.1 - 0.05)
    await vendor.do("InterruptAgentInstance", {"AgentInstanceId": identity})
    assert data_of(sandbox, "Interrupted")[0]["PlayedText"] == spoken[:-1]


async def test_metadata_is_taken_out_of_what_is_said_and_of_the_context(sandbox: Sandbox, vendor: VendorClient) -> None:
    identity = await agent(sandbox, vendor, AdvancedConfig=META)
    await say(vendor, identity, '[[{"mood": "glad"}]]')
    await say(vendor, identity, '[[{"mood": "sad", "other": 1}]]Oh.')
    await sandbox.clock.advance(5)
    assert [event["MetaInfo"] for event in data_of(sandbox, "AgentInstanceMetaInfo")] == [{"mood": "glad"}, {"mood": "sad"}]
    messages = await vendor.do("GetAgentInstanceMsgList", {"AgentInstanceId": identity})
    assert [message["Content"] for message in messages["MessageList"]] == ["Oh."]


# --- refused for good ------------------------------------------------------------------------------------------------

PASSING = {410000001, 410000009, 410001003, 410001006, 410001007, 410001032}
"""Codes for passing failures, after which a client sends again."""


async def test_a_full_queue_and_an_agent_without_voice_refuse_for_good(sandbox: Sandbox, vendor: VendorClient) -> None:
    identity = await agent(sandbox, vendor)
    for _ in range(6):
        await say(vendor, identity, "x" * 100, SamePriorityOption="Enqueue")
    body = {"AgentInstanceId": identity, "Text": "x", "SamePriorityOption": "Enqueue"}
    assert await vendor.code("SendAgentInstanceTTS", body) not in PASSING | {0}
    mute = await vendor.voice(AdvancedConfig={"DisableTTS": True}, rtc={"AgentStreamId": "s2", "AgentUserId": "a2"})
    await sandbox.clock.advance(1)
    assert await vendor.code("SendAgentInstanceTTS", {"AgentInstanceId": mute, "Text": "x"}) not in PASSING | {0}


@pytest.mark.parametrize(
    ("url", "model", "code"),
    [
        ("https://api.minimax.chat/v1/text/chatcompletion_v2", "MiniMax-Text-01", 0),
        ("https://api.minimax.chat/v1/text/chatcompletion_v2", "zego_test", 0),
        ("https://ark.overseas.example/api/v3/chat/completions", "a-newer-model", 0),
        ("https://dashscope.overseas.example/compatible-mode/v1/chat/completions", "qwen-plus", 0),
        ("https://my.example/answer", "qwen-plus", 410001047),
    ],
)
async def test_the_trial_key_is_judged_by_the_address_alone(vendor: VendorClient, url: str, model: str, code: int) -> None:
    llm = {"Url": url, "Model": model, "ApiKey": "zego_test"}
    assert await vendor.code("RegisterAgent", {"AgentId": "a", "LLM": llm}) == code


@pytest.mark.parametrize(
    "human",
    [
        "63c3aa64-1d80-4b04-a0be-1c65614eb7eb",  # printed as public
        "416dc43c-0d00-40c9-a0ca-efdf234508bf",  # of the example servers
        "7a08e6e1-d6a9-43c9-a99f-8be184468d1b",
    ],
)
async def test_the_digital_humans_and_the_voice_of_the_vendors_quick_starts_exist(
    sandbox: Sandbox, vendor: VendorClient, human: str
) -> None:
    sandbox.app.catalogue = Catalogue(closed=True)
    await vendor.agent()
    assert await vendor.code("GetDigitalHumanInfo", {"DigitalHumanId": human}) == 0
    body = digital_human(DigitalHuman={"DigitalHumanId": human})
    assert await vendor.code("CreateDigitalHumanAgentInstance", body) == 0
    task = await vendor.task(DigitalHumanConfig={"DigitalHumanId": human})
    await sandbox.clock.advance(1)
    speech = {"Text": "x", "TTSConfig": {"TimbreId": "0f50d026-aeed-4af9-9b31-ada92084a41a"}}
    assert await vendor.code("DriveByText", {"TaskId": task, **speech}) == 0


@pytest.mark.parametrize("colour", ["#000000", "#00000000"])
async def test_a_background_may_be_transparent(vendor: VendorClient, colour: str) -> None:
    config = {"DigitalHumanId": "h", "BackgroundColor": colour}
    body = {"DigitalHumanConfig": config, "RTCConfig": {"RoomId": "r", "StreamId": "s"}}
    assert await vendor.code("CreateDigitalHumanStreamTask", body) == 0


async def test_what_older_client_sdks_render_with_is_given(sandbox: Sandbox, vendor: VendorClient) -> None:
    info = await vendor.do("GetDigitalHumanRenderInfo", {"DigitalHumanId": "63c3aa64-1d80-4b04-a0be-1c65614eb7eb"})
    assert {key: type(value) for key, value in info.items()} == {
        "ClientInferencePackageUrl": str,
        "IsSupportSmallImageMode": bool,
    }
    sandbox.app.catalogue = Catalogue(closed=True)
    assert await vendor.code("GetDigitalHumanRenderInfo", {"DigitalHumanId": "unheard-of"}) == 400000003


async def test_keys_that_only_older_pages_and_the_vendors_own_servers_have_are_let_through(vendor: VendorClient) -> None:
    config = {"DigitalHumanId": "h", "BackgroundColor": "#000000", "Layout": {"Top": 1}}
    body = {
        "DigitalHumanConfig": config,
        "RTCConfig": {"RoomId": "r", "StreamId": "s"},
        "ExtraConfig": {"OutputMode": 2},
        "VideoConfig": {"Width": 720},
        "Assets": [],
    }
    assert await vendor.code("CreateDigitalHumanStreamTask", body) == 0


async def test_null_counts_as_absent(vendor: VendorClient) -> None:
    body = {"AgentId": "a", "Name": None, "LLM": None, "TTS": None, "ASR": None}
    assert await vendor.code("RegisterAgent", body) == 0


# --- codes -----------------------------------------------------------------------------------------------------------


async def test_the_codes_of_the_gateway_are_met_as_their_page_has_them(sandbox: Sandbox, vendor: VendorClient) -> None:
    faults: list[tuple[dict[str, str | None], int]] = [
        ({"AppId": "x"}, 100000001),
        ({"AppId": "4294967296"}, 100000001),
        ({"Timestamp": None}, 100000002),
        ({"Timestamp": "soon"}, 100000003),
        ({"Timestamp": str(int(sandbox.clock.now()) - 601)}, 100000004),
        ({"Signature": "0" * 32}, 100000005),
        ({"Action": None}, 100000006),
        ({"Action": "NoSuchAction"}, 100000007),
        ({"SignatureNonce": None}, 100000008),
        ({"Signature": None}, 100000009),
        ({"AppId": "7"}, 100000010),
        ({"SignatureVersion": None}, 100000013),
        ({"SignatureVersion": "1.0"}, 100000014),
    ]
    for changes, code in faults:
        assert await vendor.code("ListAgents", None, **changes) == code, changes
    assert await vendor.code("ListAgents", None, Timestamp=str(int(sandbox.clock.now()) - 595)) == 0


async def test_a_repeated_end_says_gone_or_done(sandbox: Sandbox, vendor: VendorClient) -> None:
    identity = await agent(sandbox, vendor)
    await vendor.do("DeleteAgentInstance", {"AgentInstanceId": identity})
    assert await vendor.code("DeleteAgentInstance", {"AgentInstanceId": identity}) == 410001002
    task = {"TaskId": await vendor.task()}
    await vendor.do("StopDigitalHumanStreamTask", task)
    assert await vendor.code("StopDigitalHumanStreamTask", task) == 400000007
    assert await vendor.code("StopDigitalHumanStreamTask", {"TaskId": "none"}) == 400000005


async def test_one_counter_of_a_walkie_talkie_goes_over_start_and_stop(sandbox: Sandbox, vendor: VendorClient) -> None:
    identity = await agent(sandbox, vendor, AdvancedConfig={"CommunicationMode": 2})
    for sequence, action, code in (
        (1, "StartListening", 0), (2, "StopListening", 0), (2, "StartListening", 410001043), (3, "StartListening", 0),
    ):  # fmt: skip
        assert await vendor.code(action, {"AgentInstanceId": identity, "Sequence": sequence}) == code
    assert await vendor.code("SendAgentInstanceTTS", {"AgentInstanceId": identity, "Text": "x"}) == 410001013


# --- the context -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "seen"),
    [
        ({}, 20),
        ({"WindowSize": 3}, 3),
        ({"SyncMode": 0, "WindowSize": 3, "ZIM": {"RobotId": "@RBT#1", "LoadMessageCount": 5}}, 5),
        ({"ZIM": {"LoadMessageCount": 0}}, 0),
        ({"ZIM": {"LoadMessageCount": 500}}, 30),
    ],
)
async def test_sync_mode_0_begins_with_what_the_users_zim_chat_holds(
    sandbox: Sandbox, vendor: VendorClient, history: dict[str, Any], seen: int
) -> None:
    sandbox.app.zim_history["user"] = [{"Role": "user", "Content": str(number)} for number in range(30)]
    identity = await agent(sandbox, vendor, MessageHistory=history)
    messages = await vendor.do("GetAgentInstanceMsgList", {"AgentInstanceId": identity})
    assert [message["Content"] for message in messages["MessageList"]] == [str(number) for number in range(30 - seen, 30)]


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("too", [False, True])
async def test_an_absent_user_is_reported_by_the_deletion_and_where_asked_for_by_an_exception_too(
    sandbox: Sandbox, vendor: VendorClient, too: bool
) -> None:
    sandbox.app.exceptions_at_end = too
    await agent(sandbox, vendor)
    await sandbox.clock.advance(130)
    assert [data["Code"] for data in data_of(sandbox, "AgentInstanceDeleted")] == [1202]
    assert [data["Code"] for data in data_of(sandbox, "Exception")] == [1202] * too


async def test_a_deletion_by_a_call_is_no_exception(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.app.exceptions_at_end = True
    identity = await agent(sandbox, vendor)
    await vendor.do("DeleteAgentInstance", {"AgentInstanceId": identity})
    assert data_of(sandbox, "Exception") == []


# --- PCM -------------------------------------------------------------------------------------------------------------


def statuses(sandbox: Sandbox) -> list[tuple[str, int]]:
    return [
        (one.body["Detail"]["DriveId"], one.body["Detail"]["Status"]) for one in sandbox.outbox.deliveries if one.event == "4"
    ]


async def test_a_pcm_drive_ends_when_what_was_sent_has_been_spoken(sandbox: Sandbox, vendor: VendorClient) -> None:
    task = await vendor.task()
    await sandbox.clock.advance(1)
    drive = await vendor.do("DriveByWsStream", {"TaskId": task})
    identity = drive["DriveId"]
    async with vendor.session.ws_connect(drive["WssAddress"]) as socket:
        await socket.send_json({"Action": "Start", "Payload": {"DriveId": identity, "SampleRate": 16000}})
        for _ in range(10):
            await socket.send_bytes(bytes(32000))  # a second each
        await socket.send_json({"Action": "Stop", "Payload": {"DriveId": identity}})
        await eventually(lambda: sandbox.drives[identity].stopped)
        await sandbox.clock.advance(8.5)
        assert statuses(sandbox) == [(identity, 1), (identity, 2)]
        await sandbox.clock.advance(2)
        assert statuses(sandbox)[2:] == [(identity, 4)]


async def test_a_socket_takes_one_drive_after_the_other(sandbox: Sandbox, vendor: VendorClient) -> None:
    task = await vendor.task()
    await sandbox.clock.advance(1)
    drive = await vendor.do("DriveByWsStream", {"TaskId": task})
    identities = [drive["DriveId"]]
    async with vendor.session.ws_connect(drive["WssAddress"]) as socket:
        for turn in range(3):
            identity = identities[-1]
            await socket.send_json({"Action": "Start", "Payload": {"DriveId": identity}})
            await socket.send_bytes(bytes(3200 * (turn + 1)))
            await socket.send_json({"Action": "Stop", "Payload": {"DriveId": identity}})
            await eventually(partial(getattr, sandbox.drives[identity], "stopped"))
            await sandbox.clock.advance(1)
            identities.append((await vendor.do("DriveByWsStream", {"TaskId": task}))["DriveId"])
        await socket.send_json({"Action": "Start", "Payload": {"DriveId": identities[0]}})
        async with asyncio.timeout(60):
            closing = await socket.receive()
        assert "DriveId must be that of the task's new drive" in str(closing.extra)
    assert [len(sandbox.drives[identity].pcm) for identity in identities] == [3200, 6400, 9600, 0]
    assert [status for _, status in statuses(sandbox)] == [1, 2, 4] * 3 + [1]


async def test_a_pcm_address_looks_like_the_vendors_and_both_services_may_be_called_over_tls() -> None:
    async with Sandbox(tls=True, rate_limit=None) as sandbox, aiohttp.ClientSession() as session:
        vendor = VendorClient(sandbox.url, sandbox.app_id, sandbox.server_secret, session, sandbox.clock.now)
        task = await vendor.task()
        await sandbox.clock.advance(1)
        drive = await vendor.do("DriveByWsStream", {"TaskId": task})
        assert drive["WssAddress"].startswith("wss://127.0.0.1:")
        assert "/ws?Token=" in drive["WssAddress"]
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.ws_connect(drive["WssAddress"])
        trusting = ssl.create_default_context(cadata=sandbox.certificate)
        async with session.ws_connect(drive["WssAddress"], ssl=trusting) as socket:
            await socket.send_json({"Action": "Start", "Payload": {"DriveId": drive["DriveId"]}})
            await socket.send_bytes(bytes(32000))
            await eventually(lambda: sandbox.drives[drive["DriveId"]].pcm)
        async with vendor.session.get(f"{sandbox.url}/_sandbox/certificate.pem") as got:
            assert await got.text() == sandbox.certificate
        query = vendor.query("ListAgents")
        async with vendor.session.post(f"{sandbox.https_url}/", params=query, json={}, ssl=trusting) as got:
            assert (await got.json())["Code"] == 0
        async with vendor.session.get(f"{sandbox.url}/_sandbox/state") as got:
            assert drive["WssAddress"].partition("Token=")[2] not in json.dumps(await got.json())


# --- callbacks -------------------------------------------------------------------------------------------------------


async def test_agent_callbacks_have_a_number_as_timestamp_and_digital_human_ones_a_string(
    sandbox: Sandbox, vendor: VendorClient
) -> None:
    await agent(sandbox, vendor)
    await vendor.task()
    agents, tasks = ([one.body for one in sandbox.outbox.deliveries if ("Event" in one.body) is kind] for kind in (True, False))
    assert all(type(body["Timestamp"]) is int and body["Timestamp"] > 10**12 for body in agents)
    assert all(type(body["Timestamp"]) is str and type(body["EventTime"]) is int for body in tasks)
    assert all(body["Sequence"] > 2**53 for body in agents)


async def test_an_account_that_holds_as_many_as_it_may_says_so_by_kind(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.app.quotas.agents = sandbox.app.quotas.digital_humans = sandbox.app.quotas.streams = 0
    await vendor.agent()
    voice = {key: value for key, value in digital_human().items() if key != "DigitalHuman"}
    stream = {"DigitalHumanConfig": {"DigitalHumanId": "h"}, "RTCConfig": {"RoomId": "r", "StreamId": "s"}}
    assert await vendor.code("CreateAgentInstance", voice) == 410000011
    assert await vendor.code("CreateDigitalHumanAgentInstance", digital_human()) == 410001031
    assert await vendor.code("CreateDigitalHumanStreamTask", stream) == 400000008


async def test_credentials_are_echoed_by_the_queries_as_the_vendor_echoes_them(vendor: VendorClient) -> None:
    await vendor.agent()
    (shown,) = (await vendor.do("QueryAgents", {"AgentIds": ["agent"]}))["Agents"]
    assert shown["LLM"]["ApiKey"] == LLM["ApiKey"]
