"""Every return code of the vendor's pages, as a call to the sandbox meets it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sandbox_fixtures import sandbox, vendor
from vendor_client import LLM, RTC, VendorClient, digital_human

from zego_aigc.sandbox import Catalogue, Human, Sandbox
from zego_aigc.schema.actions import Service
from zego_aigc.schema.codes import RETURN_CODES

__all__ = ["sandbox", "vendor"]

pytestmark = pytest.mark.anyio

Cause = Callable[[Sandbox, VendorClient], Awaitable[int]]

STREAM = {"DigitalHumanConfig": {"DigitalHumanId": "h"}, "RTCConfig": {"RoomId": "r", "StreamId": "s"}}
VOICE_AGENT = {"AgentId": "agent", "UserId": "user", "RTC": RTC}


def call(action: str, body: Any = None, **changes: str | None) -> Cause:
    """One call is enough."""
    return lambda _, vendor: vendor.code(action, body, **changes)


def refused_by_fault(code: int, action: str) -> Cause:
    """What no request can bring about: the vendor's own troubles, as a fault."""

    async def cause(sandbox: Sandbox, vendor: VendorClient) -> int:
        sandbox.faults.on(action).refuse(code)
        await vendor.agent()
        await sandbox.clock.advance(1)
        return await vendor.code(action, {**VOICE_AGENT, **digital_human(), **STREAM, "AgentInstanceId": "1", "Text": "x"})

    return cause


def standing(code: int, action: str) -> Cause:
    """What the account may not do."""

    async def cause(sandbox: Sandbox, vendor: VendorClient) -> int:
        sandbox.app.refusals[action] = code
        return await vendor.code(action)

    return cause


def after(*steps: tuple[str, Any] | Callable[[Sandbox], object], then: tuple[str, Any]) -> Cause:
    """Calls that succeed (the first registers an agent), or changes of the sandbox, and then one that is refused.

    In bodies, ``instance`` and ``task`` stand for the newest ones.
    """

    async def cause(sandbox: Sandbox, vendor: VendorClient) -> int:
        def body(fields: Any) -> Any:
            ids = {"instance": next(reversed(sandbox.app.instances), ""), "task": next(reversed(sandbox.app.tasks), "")}
            return {key: ids.get(value, value) if isinstance(value, str) else value for key, value in fields.items()}

        await vendor.agent()
        for step in steps:
            if isinstance(step, tuple):
                await vendor.do(step[0], body(step[1]))
            else:
                step(sandbox)
            await sandbox.clock.advance(1)
        return await vendor.code(then[0], body(then[1]))

    return cause


def setting(name: str, value: Any) -> Callable[[Sandbox], None]:
    return lambda sandbox: setattr(sandbox.app, name, value)


def quota(kind: str) -> Callable[[Sandbox], None]:
    return lambda sandbox: setattr(sandbox.app.quotas, kind, 0)


def rate(action: str) -> Callable[[Sandbox], None]:
    return lambda sandbox: sandbox.app.rate_limits.update({action: 0})


INSTANCE = {"AgentInstanceId": "instance"}
TASK = {"TaskId": "task"}
WALKIE = ("CreateAgentInstance", {**VOICE_AGENT, "AdvancedConfig": {"CommunicationMode": 2}})
LIVE = ("CreateLiveDigitalHumanAgentInstance", {**digital_human(), "UserId": None})
HUMANS = Catalogue([Human(digital_human_id="h"), Human(digital_human_id="theirs", owner=9)], closed=True)
TEXT = {"TaskId": "task", "Text": "x", "TTSConfig": {"TimbreId": "t"}}
TRIAL = {
    "AgentId": "a",
    "LLM": {"Url": "https://api.stepfun.com/v1/chat/completions", "Model": "step-2-16k", "ApiKey": "zego_test"},
}
TRIAL_VOICE = {"AgentId": "a", "TTS": {"Vendor": "Aliyun", "Params": {"app": {"app_key": "zego_test"}}}}

CAUSES: dict[int, Cause] = {
    # the gateway; the first of them and 100000012 take a client that breaks HTTP, in test_sandbox_calling.py
    100000001: call("ListAgents", AppId="x"),
    100000002: call("ListAgents", Timestamp=None),
    100000003: call("ListAgents", Timestamp="x"),
    100000004: call("ListAgents", Timestamp="1"),
    100000005: call("ListAgents", Signature="x"),
    100000006: call("ListAgents", Action=None),
    100000007: call("MakeCoffee"),
    100000008: call("ListAgents", SignatureNonce=None),
    100000009: call("ListAgents", Signature=None),
    100000010: call("ListAgents", AppId="1"),
    100000011: after(setting("configured", value=False), then=("ListAgents", {})),
    100000013: call("ListAgents", SignatureVersion=None),
    100000014: call("ListAgents", SignatureVersion="1"),
    100000015: refused_by_fault(100000015, "ListAgents"),
    100000017: after(setting("services", value={Service.DIGITAL_HUMAN}), then=("ListAgents", {})),
    # Digital Human
    400000001: call("CreateDigitalHumanStreamTask"),
    400000002: standing(400000002, "GetDigitalHumanList"),
    400000003: after(setting("catalogue", HUMANS), then=("GetDigitalHumanInfo", {"DigitalHumanId": "nobody"})),
    400000004: after(("CreateDigitalHumanStreamTask", STREAM), setting("catalogue", HUMANS), then=("DriveByText", TEXT)),
    400000005: call("StopDigitalHumanStreamTask", {"TaskId": "none"}),
    400000006: after(
        lambda sandbox: setattr(sandbox.app.pace, "stream_start", 60),
        ("CreateDigitalHumanStreamTask", STREAM),
        then=("DriveByWsStream", TASK),
    ),
    400000007: after(
        ("CreateDigitalHumanStreamTask", STREAM),
        ("StopDigitalHumanStreamTask", TASK),
        then=("StopDigitalHumanStreamTask", TASK),
    ),
    400000008: after(quota("streams"), then=("CreateDigitalHumanStreamTask", STREAM)),
    400000009: after(
        ("CreateDigitalHumanStreamTask", STREAM), then=("DriveByText", {**TEXT, "TTSConfig": {"TimbreId": "voice-elias"}})
    ),
    400000010: refused_by_fault(400000010, "CreateDigitalHumanStreamTask"),
    400000015: after(("CreateDigitalHumanStreamTask", STREAM), then=("CreateDigitalHumanStreamTask", STREAM)),
    400000016: refused_by_fault(400000016, "CreateDigitalHumanStreamTask"),
    400010000: refused_by_fault(400010000, "GetDigitalHumanList"),
    400010001: standing(400010001, "GetDigitalHumanList"),
    400010002: refused_by_fault(400010002, "GetDigitalHumanList"),
    400010007: refused_by_fault(400010007, "CreateDigitalHumanStreamTask"),
    400010009: after(rate("GetDigitalHumanList"), then=("GetDigitalHumanList", {})),
    # AI Agent
    410000001: refused_by_fault(410000001, "ListAgents"),
    410000002: standing(410000002, "ListAgents"),
    410000003: call("RegisterAgent"),
    410000004: call("RegisterAgent", b"{"),
    410000005: standing(410000005, "ListAgents"),
    410000006: standing(410000006, "ListAgents"),
    410000009: refused_by_fault(410000009, "ListAgents"),
    410000010: refused_by_fault(410000010, "CreateAgentInstance"),
    410000011: after(quota("agents"), then=("CreateAgentInstance", VOICE_AGENT)),
    410000014: after(then=("CreateDigitalHumanAgentInstance", {**digital_human(), "DigitalHuman": {"EncodeCode": "AV1"}})),
    410001002: call("DeleteAgentInstance", {"AgentInstanceId": "1"}),
    410001003: refused_by_fault(410001003, "CreateAgentInstance"),
    410001004: refused_by_fault(410001004, "UpdateAgentInstance"),
    410001005: refused_by_fault(410001005, "DeleteAgentInstance"),
    410001006: refused_by_fault(410001006, "SendAgentInstanceLLM"),
    410001007: refused_by_fault(410001007, "SendAgentInstanceTTS"),
    410001008: after(then=("RegisterAgent", {"AgentId": "agent"})),
    410001009: call("UnregisterAgent", {"AgentId": "nobody"}),
    410001010: refused_by_fault(410001010, "CreateAgentInstance"),
    410001011: refused_by_fault(410001011, "UpdateAgentInstance"),
    410001013: after(WALKIE, ("StartListening", INSTANCE), then=("SendAgentInstanceTTS", {**INSTANCE, "Text": "x"})),
    410001016: after(WALKIE, lambda sandbox: sandbox.app.rooms.leave("room-1", "user"), then=("StartListening", INSTANCE)),
    410001022: refused_by_fault(410001022, "GetAgentInstanceMsgList"),
    410001023: refused_by_fault(410001023, "ResetAgentInstanceMsgList"),
    410001024: refused_by_fault(410001024, "InterruptAgentInstance"),
    410001025: refused_by_fault(410001025, "CreateDigitalHumanAgentInstance"),
    410001026: after(then=("CreateDigitalHumanAgentInstance", {**digital_human(), "DigitalHuman": {"ConfigId": "fridge"}})),
    410001027: after(
        setting("catalogue", HUMANS),
        then=("CreateDigitalHumanAgentInstance", {**digital_human(), "DigitalHuman": {"DigitalHumanId": "nobody"}}),
    ),
    410001028: refused_by_fault(410001028, "CreateDigitalHumanAgentInstance"),
    410001029: after(rate("ListAgents"), then=("ListAgents", {})),
    410001030: after(
        ("CreateDigitalHumanAgentInstance", digital_human()), then=("CreateDigitalHumanAgentInstance", digital_human())
    ),
    410001031: after(quota("digital_humans"), then=("CreateDigitalHumanAgentInstance", digital_human())),
    410001032: refused_by_fault(410001032, "CreateDigitalHumanAgentInstance"),
    410001033: after(setting("trials_ended", {"LLM"}), then=("RegisterAgent", TRIAL)),
    410001034: after(setting("trials_ended", {"TTS"}), then=("RegisterAgent", TRIAL_VOICE)),
    410001035: standing(410001035, "RegisterAgent"),
    410001041: after(
        ("CreateAgentInstance", VOICE_AGENT),
        ("SendAgentInstanceTTS", {**INSTANCE, "Text": "x" * 300}),
        ("DeleteAgentInstance", {**INSTANCE, "GracefulShutdown": True}),
        then=("InterruptAgentInstance", INSTANCE),
    ),
    410001042: after(("CreateAgentInstance", VOICE_AGENT), then=("StartListening", INSTANCE)),
    410001043: after(
        WALKIE, ("StartListening", {**INSTANCE, "Sequence": 2}), then=("StopListening", {**INSTANCE, "Sequence": 2})
    ),
    410001044: refused_by_fault(410001044, "StartListening"),
    410001045: refused_by_fault(410001045, "StopListening"),
    410001046: after(
        WALKIE,
        lambda sandbox: sandbox.app.rooms.join("room-1", "user", publishing=False),
        then=("StartListening", INSTANCE),
    ),
    410001047: call(
        "RegisterAgent", {"AgentId": "a", "LLM": {**LLM, "Url": "https://llm.invalid/elsewhere", "ApiKey": "zego_test"}}
    ),
    410001048: after(
        setting("catalogue", HUMANS),
        then=("CreateDigitalHumanAgentInstance", {**digital_human(), "DigitalHuman": {"DigitalHumanId": "theirs"}}),
    ),
    410001049: after(LIVE, then=("SendAgentInstanceLLM", {**INSTANCE, "Text": "x"})),
}


@pytest.mark.parametrize("code", CAUSES)
async def test_each_code_is_met_by_a_call(sandbox: Sandbox, vendor: VendorClient, code: int) -> None:
    assert await CAUSES[code](sandbox, vendor) == code
    refused = list(sandbox.recording.select(code=code))
    assert refused[-1].message.startswith(RETURN_CODES[code].name)


def test_no_code_is_left_out() -> None:
    elsewhere = {0, 100000000, 100000012}
    assert CAUSES.keys() | elsewhere == RETURN_CODES.keys()
