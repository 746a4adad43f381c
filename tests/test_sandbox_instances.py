"""Agents and their instances in the sandbox: registration, creation, quotas, uniqueness, updates, and every way to end."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from sandbox_fixtures import sandbox, vendor
from vendor_client import LLM, RTC, TTS, VendorClient, digital_human

from zego_aigc.sandbox import Catalogue, Human, Sandbox
from zego_aigc.sandbox.rooms import Presence

__all__ = ["sandbox", "vendor"]

pytestmark = pytest.mark.anyio


def ended(sandbox: Sandbox) -> list[tuple[str, int]]:
    """Which instances have ended and why, as callbacks tell it."""
    return [
        (delivery.about, delivery.body["Data"]["Code"])
        for delivery in sandbox.outbox.deliveries
        if delivery.event == "AgentInstanceDeleted"
    ]


# --- agents ----------------------------------------------------------------------------------------------------------


async def test_an_agent_id_can_be_registered_once(vendor: VendorClient) -> None:
    await vendor.agent("a")
    assert await vendor.code("RegisterAgent", {"AgentId": "a"}) == 410001008
    await vendor.do("UnregisterAgent", {"AgentId": "a"})
    assert await vendor.code("UnregisterAgent", {"AgentId": "a"}) == 410001009
    await vendor.agent("a")


async def test_an_update_replaces_each_given_object_whole(vendor: VendorClient) -> None:
    await vendor.agent("a")
    await vendor.do("UpdateAgent", {"AgentId": "a", "LLM": {"Url": "https://other.invalid", "Model": "x"}})
    (agent,) = (await vendor.do("QueryAgents", {"AgentIds": ["nobody", "a"]}))["Agents"]
    assert agent == {
        "AgentId": "a",
        "Name": "Guide",
        "LLM": {"Url": "https://other.invalid", "Model": "x"},
        "TTS": TTS,
    }
    assert await vendor.code("UpdateAgent", {"AgentId": "nobody"}) == 410001009


async def test_a_list_of_agents_is_paged_by_a_cursor(vendor: VendorClient) -> None:
    for number in range(12):
        await vendor.agent(f"a{number}")
    seen: list[str] = []
    cursor = ""
    while True:
        page = await vendor.do("ListAgents", {"Limit": 0, "Cursor": cursor})
        assert page["Total"] == 12
        assert len(page["Agents"]) <= 5
        seen += [agent["AgentId"] for agent in page["Agents"]]
        if not (cursor := page["Cursor"]):
            break
    assert seen == [f"a{number}" for number in range(12)]
    assert await vendor.code("ListAgents", {"Cursor": "never given"}) == 410000003
    assert await vendor.code("ListAgents", {"Limit": 11}) == 410000003


# --- creation --------------------------------------------------------------------------------------------------------


async def test_a_digital_human_comes_with_what_its_client_needs(vendor: VendorClient) -> None:
    await vendor.agent()
    face = {"DigitalHumanId": "h", "ConfigId": "mobile", "EncodeCode": "VP8"}
    data = await vendor.do("CreateDigitalHumanAgentInstance", digital_human(DigitalHuman=face))
    assert int(data["AgentInstanceId"]) > 2**53
    assert json.loads(base64.b64decode(data["DigitalHumanConfig"])) == {
        "DigitalHumanId": "h",
        "Streams": [{"RoomId": "room-1", "StreamId": "stream-1", "EncodeCode": "VP8", "ConfigId": "mobile"}],
    }


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"AgentId": "nobody"}, 410001009),
        ({"UserId": None}, 410000003),
        ({"UserId": "dotted.user"}, 410000003),
        ({"RTC": None}, 410000003),
        ({"DigitalHuman": None}, 410000003),
        ({"DigitalHuman": {"DigitalHumanId": "h", "EncodeCode": "AV1"}}, 410000014),
        ({"DigitalHuman": {"DigitalHumanId": 5}}, 410000014),
        ({"DigitalHuman": {"DigitalHumanId": "h", "ConfigId": "fridge"}}, 410001026),
        ({"DigitalHuman": {"DigitalHumanId": "unheard-of"}}, 410001027),
        ({"DigitalHuman": {"DigitalHumanId": "not-yours"}}, 410001048),
        ({"DigitalHuman": {"DigitalHumanId": "mine"}}, 0),
        ({"AdvancedConfig": {"DisableTTS": True}}, 410000003),
        ({"AdvancedConfig": {"MaxIdleTime": 9}}, 410000003),
        ({"LLM": {**LLM, "Url": "https://llm.invalid/elsewhere", "ApiKey": "zego_test"}}, 410001047),
        ({"LLM": {**LLM, "Model": "zego_test", "ApiKey": "zego_test"}}, 0),
    ],
)
async def test_what_is_wrong_with_a_digital_human_has_its_code(
    sandbox: Sandbox, vendor: VendorClient, change: dict[str, Any], code: int
) -> None:
    own = [Human(digital_human_id=name, owner=owner) for name, owner in (("h", 0), ("mine", sandbox.app_id), ("not-yours", 9))]
    sandbox.app.catalogue = Catalogue(own, closed=True)
    await vendor.agent()
    assert await vendor.code("CreateDigitalHumanAgentInstance", {**digital_human(), **change}) == code
    assert len(sandbox.app.instances) == (code == 0)


async def test_the_trial_key_works_with_the_listed_models_until_the_trial_ends(sandbox: Sandbox, vendor: VendorClient) -> None:
    llm = {"Url": "https://api.stepfun.com/v1/chat/completions", "Model": "step-2-16k", "ApiKey": "zego_test"}
    tts = {"Vendor": "MiniMax", "Params": {"app": {"api_key": "zego_test"}}}
    assert await vendor.code("RegisterAgent", {"AgentId": "a", "LLM": llm, "TTS": tts}) == 0
    sandbox.app.trials_ended |= {"LLM"}
    assert await vendor.code("RegisterAgent", {"AgentId": "b", "LLM": llm}) == 410001033
    assert await vendor.code("RegisterAgent", {"AgentId": "b", "TTS": tts}) == 0
    sandbox.app.trials_ended |= {"TTS"}
    assert await vendor.code("RegisterAgent", {"AgentId": "c", "TTS": tts}) == 410001034


async def test_each_kind_has_a_quota_of_its_own(sandbox: Sandbox, vendor: VendorClient) -> None:
    sandbox.app.quotas.agents = 2
    sandbox.app.quotas.digital_humans = 2
    await vendor.agent()
    for number in range(2):
        await vendor.voice(rtc={"AgentStreamId": f"v{number}", "AgentUserId": f"v{number}"})
    voice = {"AgentId": "agent", "UserId": "user", "RTC": RTC}
    assert await vendor.code("CreateAgentInstance", voice) == 410000011
    first = (await vendor.do("CreateDigitalHumanAgentInstance", digital_human(7)))["AgentInstanceId"]
    await vendor.live()
    assert await vendor.code("CreateDigitalHumanAgentInstance", digital_human(2)) == 410001031
    assert await vendor.code("CreateAgentInstance", voice) == 410000011
    await vendor.do("DeleteAgentInstance", {"AgentInstanceId": first})
    assert await vendor.code("CreateDigitalHumanAgentInstance", digital_human(2)) == 0


async def test_a_digital_humans_stream_id_is_unique_among_the_living(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    body = digital_human(1)
    first = (await vendor.do("CreateDigitalHumanAgentInstance", body))["AgentInstanceId"]
    assert await vendor.code("CreateDigitalHumanAgentInstance", body) == 410001030
    assert list(sandbox.app.instances) == [first]
    await vendor.task("taken")
    taken = {**digital_human(3)["RTC"], "AgentStreamId": "taken"}
    assert await vendor.code("CreateDigitalHumanAgentInstance", digital_human(3, RTC=taken)) == 410001030
    await vendor.do("DeleteAgentInstance", {"AgentInstanceId": first})
    assert await vendor.code("CreateDigitalHumanAgentInstance", body) == 0


async def test_a_voice_agent_with_a_stream_id_in_use_is_created_and_fails_to_publish(
    sandbox: Sandbox, vendor: VendorClient
) -> None:
    await vendor.agent()
    first = await vendor.voice(rtc={"AgentUserId": "one"})
    second = await vendor.voice(rtc={"AgentUserId": "two"})
    assert set(sandbox.app.instances) == {first, second}
    await sandbox.clock.advance(1)
    assert set(sandbox.app.instances) == {first}
    assert ended(sandbox) == [(second, 1206)]


async def test_an_agent_user_id_in_use_kicks_the_earlier_instance(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    first = await vendor.voice()
    second = await vendor.voice()
    assert list(sandbox.app.instances) == [second]
    assert ended(sandbox) == [(first, 1203)]
    assert await vendor.code("QueryAgentInstanceStatus", {"AgentInstanceId": first}) == 410001002
    await sandbox.clock.advance(1)
    assert list(sandbox.app.instances) == [second]


async def test_an_agent_and_a_real_user_of_one_id_kick_each_other(sandbox: Sandbox, vendor: VendorClient) -> None:
    rooms = sandbox.app.rooms
    await vendor.agent()
    rooms.join("elsewhere", "agent-1")
    first = await vendor.voice()
    assert rooms.presence("elsewhere", "agent-1") is Presence.ABSENT
    rooms.leave("elsewhere", "agent-1")
    assert list(sandbox.app.instances) == [first]
    rooms.join("elsewhere", "agent-1", publishing=False)
    assert ended(sandbox) == [(first, 1203)]


# --- updates ---------------------------------------------------------------------------------------------------------


async def test_an_update_of_an_instance_leaves_the_voices_vendor_and_filters(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    identity = await vendor.voice(TTS={**TTS, "TerminatorText": "#"})
    new = {"Vendor": "Aliyun", "Params": {"app": {}, "voice": "x"}, "TerminatorText": "!", "CharacterFilter": ["a"]}
    rtc = {"UserStreamId": "elsewhere"}
    await vendor.do("UpdateAgentInstance", {"AgentInstanceId": identity, "TTS": new, "RTC": rtc, "LLM": LLM})
    instance = sandbox.app.instances[identity]
    assert instance.config["TTS"] == {"Vendor": "MiniMax", "TerminatorText": "#", "Params": {"app": {}, "voice": "x"}}
    assert instance.user_stream_id == "elsewhere"
    assert await vendor.code("UpdateAgentInstance", {"AgentInstanceId": "nobody"}) == 410001002


# --- the end ---------------------------------------------------------------------------------------------------------


async def test_a_deleted_instance_is_gone(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    identity = await vendor.voice()
    await vendor.do("DeleteAgentInstance", {"AgentInstanceId": identity})
    assert await vendor.code("DeleteAgentInstance", {"AgentInstanceId": identity}) == 410001002
    assert ended(sandbox) == [(identity, 0)]


async def test_a_graceful_shutdown_waits_for_the_speech_to_end_and_refuses_other_calls(
    sandbox: Sandbox, vendor: VendorClient
) -> None:
    await vendor.agent()
    identity = await vendor.voice()
    await sandbox.clock.advance(1)
    await vendor.do("SendAgentInstanceTTS", {"AgentInstanceId": identity, "Text": "x" * 50})
    await vendor.do("DeleteAgentInstance", {"AgentInstanceId": identity, "GracefulShutdown": True})
    for action in ("SendAgentInstanceTTS", "SendAgentInstanceLLM"):
        assert await vendor.code(action, {"AgentInstanceId": identity, "Text": "x"}) == 410001041
    for action in ("QueryAgentInstanceStatus", "DeleteAgentInstance", "InterruptAgentInstance", "UpdateAgentInstance"):
        assert await vendor.code(action, {"AgentInstanceId": identity}) == 410001041
    await sandbox.clock.advance(4)
    assert identity in sandbox.app.instances
    await sandbox.clock.advance(1)
    assert ended(sandbox) == [(identity, 0)]


async def test_a_graceful_shutdown_waits_no_longer_than_its_timeout(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    identity = await vendor.voice()
    await sandbox.clock.advance(1)
    await vendor.do("SendAgentInstanceTTS", {"AgentInstanceId": identity, "Text": "x" * 300})
    order = {"AgentInstanceId": identity, "GracefulShutdown": True, "GracefulShutdownTimeout": 10}
    await vendor.do("DeleteAgentInstance", order)
    await sandbox.clock.advance(9.5)
    assert identity in sandbox.app.instances
    await sandbox.clock.advance(0.6)
    assert identity not in sandbox.app.instances


async def test_a_graceful_shutdown_of_an_idle_instance_is_immediate(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    identity = await vendor.voice()
    await vendor.do("DeleteAgentInstance", {"AgentInstanceId": identity, "GracefulShutdown": True})
    assert not sandbox.app.instances


@pytest.mark.parametrize(("advanced", "seconds"), [(None, 120), ({"MaxIdleTime": 10}, 10), ({"MaxIdleTime": 1800}, 1800)])
async def test_an_instance_whose_user_stays_away_ends_by_itself(
    sandbox: Sandbox, vendor: VendorClient, advanced: dict[str, Any] | None, seconds: float
) -> None:
    await vendor.agent()
    identity = await vendor.voice(AdvancedConfig=advanced)
    await sandbox.clock.advance(seconds - 1)
    assert identity in sandbox.app.instances
    await sandbox.clock.advance(2)
    assert ended(sandbox) == [(identity, 1202)]


async def test_an_instance_lives_while_its_user_is_in_the_room(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    identity = await vendor.voice()
    sandbox.app.rooms.join("room-1", "user")
    await sandbox.clock.advance(7200)
    assert identity in sandbox.app.instances
    sandbox.app.rooms.leave("room-1", "user")
    await sandbox.clock.advance(119)
    assert identity in sandbox.app.instances
    await sandbox.clock.advance(2)
    assert ended(sandbox) == [(identity, 1202)]


async def test_a_live_digital_human_idles_when_nothing_is_sent_to_it(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    identity = await vendor.live()
    await sandbox.clock.advance(800)
    await vendor.do("SendAgentInstanceTTS", {"AgentInstanceId": identity, "Text": "still here"})
    await sandbox.clock.advance(800)
    assert identity in sandbox.app.instances
    await sandbox.clock.advance(101)
    assert ended(sandbox) == [(identity, 1202)]


async def test_a_live_digital_human_goes_to_a_room_or_a_cdn_and_takes_few_calls(sandbox: Sandbox, vendor: VendorClient) -> None:
    await vendor.agent()
    body = {"AgentId": "agent", "DigitalHuman": {"DigitalHumanId": "h"}}
    assert await vendor.code("CreateLiveDigitalHumanAgentInstance", body) == 410000003
    identity = await vendor.live(CDN={"Url": "rtmp://cdn.invalid/live"})
    assert sandbox.app.instances[identity].room_id == ""
    question = {"AgentInstanceId": identity, "Text": "x"}
    assert await vendor.code("SendAgentInstanceLLM", question) == 410001049
    for action in ("UpdateAgentInstance", "GetAgentInstanceMsgList", "ResetAgentInstanceMsgList", "AddAgentInstanceMsg"):
        assert await vendor.code(action, {"AgentInstanceId": identity}) == 410001049
    for action in ("StartListening", "StopListening"):
        assert await vendor.code(action, {"AgentInstanceId": identity}) == 410001049
    assert await vendor.code("SendAgentInstanceTTS", question) == 0
    assert await vendor.code("QueryAgentInstanceStatus", {"AgentInstanceId": identity}) == 0
    assert await vendor.code("DeleteAgentInstance", {"AgentInstanceId": identity}) == 0
