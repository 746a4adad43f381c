"""Every request that the vendor's pages print is accepted.

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
