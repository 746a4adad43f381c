"""Every request that the vendor's pages print is accepted, and every answer has the fields that they print.

``data/printed_requests.json`` has the bodies of all that stood in the pages of both services, English and Chinese, in August
2026: 165, of which 81 differ in more than texts, ids and keys; those are ours. What is printed as a part only, such as a TTS
object, stands in a whole request. Some examples spell names otherwise than the reference does.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from sandbox_fixtures import sandbox, vendor
from vendor_client import VendorClient

from zego_aigc import ACTIONS, InvalidRequest
from zego_aigc.aiagent import LLM, RegisterAgent
from zego_aigc.sandbox import Sandbox

__all__ = ["sandbox", "vendor"]

pytestmark = pytest.mark.anyio

PRINTED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "printed_requests.json").read_text())

VISIT = {
    "AgentId": "guide",
    "UserId": "visitor",
    "RTC": {"RoomId": "lift", "AgentStreamId": "lift-out", "AgentUserId": "lift-bot", "UserStreamId": "visitor-lift"},
    "AdvancedConfig": {"CommunicationMode": 2},
}
SCREEN = {"DigitalHumanConfig": {"DigitalHumanId": "human"}, "RTCConfig": {"RoomId": "lift", "StreamId": "lift-screen"}}


def spelt_alike(value: Any) -> Any:
    """Names in lower case, and the older name of RTC replaced."""
    if isinstance(value, dict):
        return {key.lower().replace("rtcinfo", "rtc"): spelt_alike(inner) for key, inner in value.items()}
    return [spelt_alike(inner) for inner in value] if isinstance(value, list) else value


def name(case: dict[str, Any]) -> str:
    return f"{case['Action']}-{PRINTED.index(case)}"


async def addressed(sandbox: Sandbox, vendor: VendorClient, case: dict[str, Any]) -> dict[str, Any]:
    """The body, and what it speaks of made beforehand."""
    body: dict[str, Any] = dict(case["Body"])
    if case["Action"] != "RegisterAgent":
        await vendor.agent("guide")
    if "AgentInstanceId" in body:
        body["AgentInstanceId"] = (await vendor.do("CreateAgentInstance", VISIT))["AgentInstanceId"]
    if "TaskId" in body:
        body["TaskId"] = (await vendor.do("CreateDigitalHumanStreamTask", SCREEN))["TaskId"]
        await sandbox.clock.advance(1)
    return body


def test_none_of_the_printed_requests_is_left_out() -> None:
    assert sum(case["Printed"] for case in PRINTED) == 165
    bodiless, without_page = "QueryDigitalHumanStreamTasks", "GetDigitalHumanRenderInfo"
    assert ACTIONS.keys() - {case["Action"] for case in PRINTED} == {bodiless, without_page}


@pytest.mark.parametrize("case", PRINTED, ids=name)
async def test_a_printed_request_is_accepted(sandbox: Sandbox, vendor: VendorClient, case: dict[str, Any]) -> None:
    body = await addressed(sandbox, vendor, case)
    await vendor.do(case["Action"], body)
    (*_, received) = sandbox.received(ACTIONS[case["Action"]])
    assert spelt_alike(received.to_wire()) == spelt_alike(body)


@pytest.mark.parametrize("case", PRINTED, ids=name)
def test_the_library_reads_and_writes_a_printed_request_as_it_is(case: dict[str, Any]) -> None:
    action, body = ACTIONS[case["Action"]], case["Body"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on values that are printed and not listed
        if "RtcInfo" in body or "text" in body or "vendor" in body.get("TTS", {}):
            with pytest.raises(InvalidRequest, match=r"(RTC|Text|TTS\.Vendor): is required"):  # the reference alone
                action.from_wire(body)
        else:
            assert action.from_wire(body).to_wire() == body


ANSWERED: dict[str, set[str]] = {
    "RegisterAgent": set(),
    "UpdateAgent": set(),
    "ListAgents": {"Total", "Agents", "Cursor"},
    "QueryAgents": {"Agents"},
    "CreateAgentInstance": {"AgentInstanceId"},
    "CreateDigitalHumanAgentInstance": {"AgentInstanceId", "DigitalHumanConfig"},
    "CreateLiveDigitalHumanAgentInstance": {"AgentInstanceId", "DigitalHumanConfig"},
    "UpdateAgentInstance": set(),
    "SendAgentInstanceLLM": {"Round"},
    "SendAgentInstanceTTS": {"Round"},
    "InterruptAgentInstance": {"Round"},
    "StartListening": {"Round"},
    "StopListening": {"Round"},
    "QueryAgentInstanceStatus": {"Status"},
    "GetAgentInstanceMsgList": {"Total", "MessageList"},
    "AddAgentInstanceMsg": set(),
    "ResetAgentInstanceMsgList": set(),
    "DeleteAgentInstance": set(),
    "UnregisterAgent": set(),
    "GetDigitalHumanList": {"Total", "DigitalHumans"},
    "GetDigitalHumanInfo": {"DigitalHumanId", "Name", "AvatarUrl", "IsPublic", "Actions"},
    "GetTimbreList": {"Total", "Timbres"},
    "CreateDigitalHumanStreamTask": {"TaskId"},
    "GetDigitalHumanStreamTaskStatus": {"Status", "RoomId", "StreamId", "CreateTime"},
    "DriveByText": {"DriveId"},
    "DriveByAudio": {"DriveId"},
    "DriveByRTCStream": {"DriveId"},
    "DriveByWsStream": {"DriveId", "WssAddress"},
    "DoAction": set(),
    "InterruptDriveTask": set(),
    "StopDigitalHumanStreamTask": set(),
}
"""What stands in the Data that the pages print for each Action, in August 2026."""

LISTED: dict[tuple[str, str], set[str]] = {
    ("GetAgentInstanceMsgList", "MessageList"): {"Role", "Content"},
    ("GetDigitalHumanList", "DigitalHumans"): {"DigitalHumanId", "Name", "AvatarUrl", "IsPublic", "Actions"},
    ("GetDigitalHumanInfo", "Actions"): {"Action", "PreviewUrl"},
    ("GetTimbreList", "Timbres"): {"TimbreId", "Name", "AvatarUrl"},
}
"""And in each item of a list there."""


@pytest.mark.parametrize("action", ANSWERED)
async def test_an_answer_has_the_fields_that_are_printed(sandbox: Sandbox, vendor: VendorClient, action: str) -> None:
    case = next(case for case in PRINTED if case["Action"] == action)
    body = await addressed(sandbox, vendor, case)
    if action == "GetAgentInstanceMsgList":
        await vendor.do("AddAgentInstanceMsg", {**body, "Messages": [{"Role": "user", "Content": "Hi"}]})
    if action in {"GetDigitalHumanInfo", "GetTimbreList"}:
        body["DigitalHumanId"] = "e583d35f-9793-42b4-ab1b-189a35b88d1c"  # one that is listed, with a voice of its own
    answer = await vendor.call(action, body)
    assert answer.keys() - {"Data"} == {"Code", "Message", "RequestId"}
    assert answer.get("Data", {}).keys() == ANSWERED[action]
    for (of, name), fields in LISTED.items():
        if of == action:
            assert answer["Data"][name][0].keys() == fields


async def test_names_count_in_any_case_and_the_declared_ones_first(sandbox: Sandbox, vendor: VendorClient) -> None:
    llm = {"url": "https://llm.invalid", "MODEL": "m", "Params": {"model": "passed on as it is"}}
    await vendor.do("RegisterAgent", {"agentid": "warden", "AgentId": "guide", "name": "Guide", "llm": llm, "zim": 1})
    (received,) = sandbox.received(RegisterAgent)
    assert received == RegisterAgent(
        agent_id="guide",
        name="Guide",
        llm=LLM(url="https://llm.invalid", model="m", params={"model": "passed on as it is"}),
        extra={"agentid": "warden", "zim": 1},
    )
