"""What is done about an entry that may have been done: the rules, by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from requests_made import register, stream, talking, voice

from zego_aigc import Action
from zego_aigc.aiagent import CreateLiveDigitalHumanAgentInstance, DigitalHuman, SendAgentInstanceTTS, UpdateAgent
from zego_aigc.provisioning.recovery import MARGIN, RecoveryAction, due, recovery_action

LIVE = CreateLiveDigitalHumanAgentInstance.from_wire(
    {"AgentId": "a", "CDN": {"Url": "rtmp://x"}, "DigitalHuman": DigitalHuman(digital_human_id="h").to_wire()}
)
SPEECH = SendAgentInstanceTTS(agent_instance_id="1", text="hello")


@pytest.mark.parametrize(
    ("action", "report", "wait"),
    [
        (register(), RecoveryAction.LOOK_UP, RecoveryAction.LOOK_UP),
        (stream(), RecoveryAction.LOOK_UP, RecoveryAction.LOOK_UP),
        (talking(), RecoveryAction.PROBE, RecoveryAction.PROBE),
        (voice(), RecoveryAction.GIVE_UP, RecoveryAction.WAIT_FOR_EXPIRY),
        (LIVE, RecoveryAction.GIVE_UP, RecoveryAction.WAIT_FOR_EXPIRY),
        (SPEECH, RecoveryAction.GIVE_UP, RecoveryAction.GIVE_UP),
        (UpdateAgent(agent_id="a"), RecoveryAction.REPEAT, RecoveryAction.REPEAT),
    ],
)
def test_each_action_has_its_recovery(action: Action[Any], report: RecoveryAction, wait: RecoveryAction) -> None:
    idle = 120 if report is not RecoveryAction.LOOK_UP and action is not SPEECH else None
    assert recovery_action(action, "report", idle=idle, probed=False) is report
    assert recovery_action(action, "wait", idle=idle, probed=False) is wait


def test_a_digital_human_that_a_probe_found_alive_is_left_or_waited_out() -> None:
    assert recovery_action(talking(), "report", idle=120, probed=True) is RecoveryAction.GIVE_UP
    assert recovery_action(talking(), "wait", idle=120, probed=True) is RecoveryAction.WAIT_FOR_EXPIRY


def test_nothing_is_sent_again_before_a_late_request_is_over_or_an_instance_has_idled_out() -> None:
    facts: dict[str, Any] = {"last_sent": 1000.0, "lookup_delay": 3.0, "idle": 120}
    assert due(RecoveryAction.GIVE_UP, **facts) == due(RecoveryAction.REPEAT, **facts) == 1000.0
    assert due(RecoveryAction.LOOK_UP, **facts) == due(RecoveryAction.PROBE, **facts) == 1003.0
    assert due(RecoveryAction.WAIT_FOR_EXPIRY, **facts) == 1123.0 + MARGIN
