"""What is done about an entry that may have been done: the rules, by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from requests_made import register, stream, talking, voice

from zego_aigc import Action
from zego_aigc.aiagent import CreateLiveDigitalHumanAgentInstance, DigitalHuman, SendAgentInstanceTTS, UpdateAgent
from zego_aigc.provisioning.recovery import MARGIN, Remedy, due, remedy

LIVE = CreateLiveDigitalHumanAgentInstance.from_wire(
    {"AgentId": "a", "CDN": {"Url": "rtmp://x"}, "DigitalHuman": DigitalHuman(digital_human_id="h").to_wire()}
)
SPEECH = SendAgentInstanceTTS(agent_instance_id="1", text="hello")


@pytest.mark.parametrize(
    ("action", "report", "wait"),
    [
        (register(), Remedy.LOOK_UP, Remedy.LOOK_UP),
        (stream(), Remedy.LOOK_UP, Remedy.LOOK_UP),
        (talking(), Remedy.PROBE, Remedy.PROBE),
        (voice(), Remedy.LEAVE, Remedy.OUTWAIT),
        (LIVE, Remedy.LEAVE, Remedy.OUTWAIT),
        (SPEECH, Remedy.LEAVE, Remedy.LEAVE),
        (UpdateAgent(agent_id="a"), Remedy.AGAIN, Remedy.AGAIN),
    ],
)
def test_each_action_has_its_remedy(action: Action[Any], report: Remedy, wait: Remedy) -> None:
    idle = 120 if report is not Remedy.LOOK_UP and action is not SPEECH else None
    assert remedy(action, "report", idle=idle, probed=False) is report
    assert remedy(action, "wait", idle=idle, probed=False) is wait


def test_a_digital_human_that_a_probe_found_alive_is_left_or_waited_out() -> None:
    assert remedy(talking(), "report", idle=120, probed=True) is Remedy.LEAVE
    assert remedy(talking(), "wait", idle=120, probed=True) is Remedy.OUTWAIT


def test_nothing_is_sent_again_before_a_late_request_is_over_or_an_instance_has_idled_out() -> None:
    facts: dict[str, Any] = {"last_sent": 1000.0, "settle": 3.0, "idle": 120}
    assert due(Remedy.LEAVE, **facts) == due(Remedy.AGAIN, **facts) == 1000.0
    assert due(Remedy.LOOK_UP, **facts) == due(Remedy.PROBE, **facts) == 1003.0
    assert due(Remedy.OUTWAIT, **facts) == 1123.0 + MARGIN
