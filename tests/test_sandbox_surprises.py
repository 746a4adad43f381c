"""Where the vendor's pages contradict each other or surprise: what the sandbox takes, gives and refuses then.

What both of two pages say is accepted. Where they cannot both be right, docs/testing.md lists what the sandbox does as a guess.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from sandbox_fixtures import sandbox, vendor
from vendor_client import LLM, RTC, TTS, VendorClient, digital_human

from zego_aigc.sandbox import Sandbox

__all__ = ["sandbox", "vendor"]

pytestmark = pytest.mark.anyio

VOICE: dict[str, Any] = {"AgentId": "agent", "UserId": "user", "RTC": RTC}

LIVE: dict[str, Any] = {
    "AgentId": "agent",
    "RTC": {"RoomId": "r", "AgentStreamId": "s", "AgentUserId": "b"},
    "DigitalHuman": {"DigitalHumanId": "h"},
}

STREAM: dict[str, Any] = {"DigitalHumanConfig": {"DigitalHumanId": "h"}, "RTCConfig": {"RoomId": "r", "StreamId": "s"}}


def without(body: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != key}


# --- older pages against newer ones ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"LLM": without(LLM, "ApiKey")},
        {"LLM": {**LLM, "Vendor": "OpenAIResponses"}},
        {"DigitalHuman": {}},
        {"DigitalHuman": {"DigitalHumanId": "h", "EncodeCode": "VP8"}},
        {"TTS": {"Vendor": "ByteDance", "Params": {"app": {"appid": "a", "token": "t", "cluster": "volcano_tts"}}}},
        {"TTS": {**TTS, "Url": "wss://tts.invalid", "CharacterFilter": ["*"]}},
        {"TTS": {"Vendor": "ByteDanceV3", "Params": {"app": {}, "req_params": {"audio_params": {"speed_ratio": 1}}}}},
        {"ASR": {"Vendor": "AliyunGummy", "Params": {}}},
        {"ASR": {"VADSilenceSegmentation": 700, "PauseInterval": 1200}},
        {"VAD": {"TurnDetectConfig": {"SilenceSegmentation": 700, "PauseInterval": 1200}}},
        {"RTC": {**RTC, "StreamExtraInfo": "x"}},
        {"RTC": {key: f"{value}.dot" for key, value in RTC.items()}},
        {"CallbackConfig": {"AgentSpeakAction": 1, "AgentInstanceStatus": 1, "HostTag": "eu"}},
        {"AdvancedConfig": {"AddASRInfo": True, "TTSParamPaths": {"mood": "voice_setting.emotion"}}},
        {"MessageHistory": {"WindowSize": 500}},
        {"MessageHistory": {"WindowSize": 0}},
    ],
)
async def test_what_one_page_has_and_another_has_not_is_accepted(vendor: VendorClient, fields: dict[str, Any]) -> None:
    await vendor.agent()
    assert await vendor.code("CreateDigitalHumanAgentInstance", digital_human(**fields)) == 0


@pytest.mark.parametrize("action", ["RegisterAgent", "UpdateAgent", "UpdateAgentInstance"])
async def test_speech_segmentation_is_set_by_the_deprecated_fields_where_no_other_is_printed(
    vendor: VendorClient, action: str
) -> None:
    await vendor.agent()
    about = {"AgentInstanceId": await vendor.voice()} if action == "UpdateAgentInstance" else {"AgentId": "agent"}
    asr = {"VADSilenceSegmentation": 700, "PauseInterval": 1200, "VADSensitiveLevel": 3, "VADMinSpeechDur": 100}
    expected = 410001008 if action == "RegisterAgent" else 0  # well formed, and registered already
    assert await vendor.code(action, {**about, "ASR": asr}) == expected


# --- limits that differ ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "body", "code"),
    [
        ("RegisterAgent", {"AgentId": "new", "Name": "n" * 256}, 0),
        ("RegisterAgent", {"AgentId": "new", "Name": "é" * 129}, 410000003),  # 258 bytes
        ("UpdateAgent", {"AgentId": "agent", "Name": "é" * 64}, 0),
        ("UpdateAgent", {"AgentId": "agent", "Name": "n" * 65}, 410000003),
        ("CreateAgentInstance", {**VOICE, "AdvancedConfig": {"MaxIdleTime": 1801}}, 410000003),
        ("CreateAgentInstance", {**VOICE, "AdvancedConfig": {"MaxIdleTime": 10}}, 0),
        ("CreateLiveDigitalHumanAgentInstance", {**LIVE, "AdvancedConfig": {"MaxIdleTime": 10}}, 410000003),
        ("CreateLiveDigitalHumanAgentInstance", {**LIVE, "AdvancedConfig": {"MaxIdleTime": 86400}}, 0),
        ("CreateDigitalHumanStreamTask", {**STREAM, "MaxIdleTime": 10}, 400000001),
        ("CreateDigitalHumanStreamTask", {**STREAM, "MaxIdleTime": 86400}, 0),
        ("CreateAgentInstance", {**VOICE, "UserId": "with.dot"}, 410000003),  # only ids within RTC have it
        ("CreateAgentInstance", {**VOICE, "RTC": {**RTC, "AgentUserId": "@RBT#38475_1"}}, 410000003),
        ("CreateDigitalHumanAgentInstance", digital_human(AdvancedConfig={"DisableTTS": True}), 410000003),
        ("CreateLiveDigitalHumanAgentInstance", {**LIVE, "AdvancedConfig": {"DisableTTS": True}}, 410000003),
        ("CreateAgentInstance", {**VOICE, "AdvancedConfig": {"DisableTTS": True}}, 0),
    ],
)
async def test_each_limit_is_that_of_its_own_page(vendor: VendorClient, action: str, body: dict[str, Any], code: int) -> None:
    await vendor.agent()
    assert await vendor.code(action, body) == code


async def test_what_is_answered_goes_into_the_context_unless_the_call_says_otherwise(
    sandbox: Sandbox, vendor: VendorClient
) -> None:
    await vendor.agent()
    identity = {"AgentInstanceId": await vendor.voice()}
    await sandbox.clock.advance(1)
    for text, fields in (("kept", {}), ("not kept", {"AddAnswerToHistory": False})):
        await vendor.do("SendAgentInstanceLLM", {**identity, "Text": text, **fields})
        await sandbox.clock.advance(20)
    messages = (await vendor.do("GetAgentInstanceMsgList", identity))["MessageList"]
    assert messages == [{"Role": "assistant", "Content": "You said: kept"}]


# --- what comes back -------------------------------------------------------------------------------------------------


async def test_results_stand_in_data_and_every_answer_has_a_request_id(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    live = await vendor.call("CreateLiveDigitalHumanAgentInstance", LIVE)
    assert live["Data"].keys() == {"AgentInstanceId", "DigitalHumanConfig"}
    config = json.loads(base64.b64decode(live["Data"]["DigitalHumanConfig"]))
    assert config.keys() == {"DigitalHumanId", "Streams"}
    task = {"TaskId": await vendor.task("screen")}
    await sandbox.clock.advance(1)
    drive = await vendor.call("DriveByText", {**task, "Text": "x", "TTSConfig": {"TimbreId": "voice-calm"}})
    done = await vendor.call("DoAction", {**task, "Action": "wave"})
    refused = await vendor.call("StopDigitalHumanStreamTask", {"TaskId": "none"})
    assert drive.keys() == {"Code", "Message", "RequestId", "Data"}
    assert drive["Data"].keys() == {"DriveId"}
    assert "Data" not in done
    assert len({answer["RequestId"] for answer in (live, drive, done, refused)}) == 4


async def test_ids_are_strings_beyond_what_a_double_holds(vendor: VendorClient) -> None:
    await vendor.agent()
    identity = await vendor.voice()
    assert int(identity) > 2**53


async def test_a_status_comes_under_its_own_name_and_in_capitals(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    identity = await vendor.voice(CallbackConfig={"AgentInstanceStatus": 1, "AgentSpeakAction": 1})
    await sandbox.clock.advance(1)
    await vendor.do("SendAgentInstanceTTS", {"AgentInstanceId": identity, "Text": "Hello"})
    await sandbox.clock.advance(5)
    reported = [(one.event, one.body["Data"]) for one in sandbox.outbox.deliveries]
    assert ("AgentInstanceStatus", {"Status": "SPEAKING", "Round": 1}) in reported
    assert ("AgentSpeakAction", {"Action": "SPEAK_BEGIN"}) in reported
    assert all({"Event", "Nonce", "Timestamp", "Signature"} <= one.body.keys() for one in sandbox.outbox.deliveries)


# --- what a lost answer leads to -------------------------------------------------------------------------------------


async def test_a_create_that_is_sent_again_is_carried_out_again(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    first, second = [await vendor.voice(), await vendor.voice()]
    assert list(sandbox.app.instances) == [second]  # the first was put out of the room
    assert first != second
    assert await vendor.code("CreateDigitalHumanAgentInstance", digital_human()) == 0
    assert await vendor.code("CreateDigitalHumanAgentInstance", digital_human()) == 410001030
    await vendor.task("screen")
    again = {**STREAM, "RTCConfig": {"RoomId": "r", "StreamId": "screen"}}
    assert await vendor.code("CreateDigitalHumanStreamTask", again) == 400000015


async def test_an_action_that_only_older_pages_have_is_not_known(vendor: VendorClient) -> None:
    assert await vendor.code("GetDriveStatus", {"TaskId": "t"}) == 100000007
    assert await vendor.code("CreateVideoGenerationTask", {}) == 100000007
