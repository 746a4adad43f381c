"""What is done about an entry that may have been done: the rules, by themselves."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import msgspec
import pytest
from requests_made import register, stream, talking, voice

from zego_aigc import Action
from zego_aigc.aiagent import (
    CreateLiveDigitalHumanAgentInstance,
    DigitalHuman,
    Message,
    MessageHistory,
    SendAgentInstanceTTS,
    UpdateAgent,
)
from zego_aigc.provisioning.entry import described, is_described
from zego_aigc.provisioning.listings import whose
from zego_aigc.provisioning.outage import Circuit
from zego_aigc.provisioning.recovery import MARGIN, RecoveryAction, delay, left_of, recovery_action
from zego_aigc.provisioning.service_clock import ServiceClock

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
    facts: dict[str, Any] = {"last_sent": 1000.0, "now": 1001.0, "lookup_delay": 3.0, "idle": 120}
    assert delay(RecoveryAction.GIVE_UP, **facts) == delay(RecoveryAction.REPEAT, **facts) == 0.0
    assert delay(RecoveryAction.LOOK_UP, **facts) == delay(RecoveryAction.PROBE, **facts) == 2.0
    assert delay(RecoveryAction.WAIT_FOR_EXPIRY, **facts) == 122.0 + MARGIN


@pytest.mark.parametrize("step", [-3600.0, -10.0, 0.0, 10.0, 3600.0])
def test_no_wait_is_longer_than_its_own_length_however_the_clock_is_set(step: float) -> None:
    assert left_of(5.0, since=1000.0, now=1000.0 + step) == (0.0 if step >= 5 else 5.0)
    assert left_of(5.0, since=1000.0, now=1002.0) == 3.0


def test_the_time_is_the_services_once_it_has_answered_and_a_clock_that_is_set_changes_nothing() -> None:
    wall, monotonic = 1_000_010.0, 50.0
    clock = ServiceClock(wall=lambda: wall, monotonic=lambda: monotonic)
    assert clock.now() == 1_000_010.0
    assert clock.observe(formatdate(1_000_000, usegmt=True)) == pytest.approx(-10.0)
    wall -= 3600
    monotonic += 5
    assert clock.now() == 1_000_005.0
    assert clock.observe(formatdate(1_000_005, usegmt=True)) == 0.0
    assert clock.observe(formatdate(1_000_004, usegmt=True)) == 0.0, "an answer that took its time"
    assert clock.now() == 1_000_005.0


def test_what_lives_under_our_names_is_ours_or_unsure() -> None:
    assert whose(1000.0, 1001.5) == 0.0, "in whole seconds"
    assert whose(1000.0, 990.0) == 0.0
    assert whose(1000.0, None) == 0.0
    assert whose(990.0, 1000.0) == 10.0


def test_the_first_loss_opens_a_circuit_and_one_request_goes_ahead_once_a_probe_is_answered() -> None:
    circuit = Circuit()
    for _ in range(3):
        assert not circuit.is_blocked(0.0)
        circuit.sent(0.0)
    circuit.answered(0.1)
    circuit.lost(0.2)
    assert circuit.is_blocked(0.3)
    assert circuit.pause() == 0.0, "it may have been a chance one"
    circuit.lost(0.4)
    assert circuit.pause() == 0.0, "what was in flight is lost by the same outage"
    circuit.probe_lost(0.5)
    circuit.probe_lost(0.6)
    assert (circuit.pause(), circuit.since) == (2.0, 0.2)
    circuit.probe_answered()
    assert not circuit.is_blocked(0.6)
    circuit.sent(0.6)
    assert circuit.is_blocked(0.7), "one goes ahead"
    circuit.answered(0.8)
    assert not circuit.is_blocked(0.9)
    circuit.sent(1.0)
    assert not circuit.is_blocked(10.0)
    assert circuit.is_blocked(12.0), "nothing is answered"


def test_what_a_long_request_asked_for_is_told_from_another_to_the_last_item_of_its_lists() -> None:
    said = [Message(role="user", content=f"{number} " * 500) for number in range(5)]
    asked = msgspec.structs.replace(voice(), message_history=MessageHistory(sync_mode=1, messages=said))
    spec = described(asked)[1]
    assert len(spec) < 4096
    kept = asked.to_wire()
    assert is_described(spec, kept)
    kept["MessageHistory"]["Messages"][4]["Content"] += "!"
    assert not is_described(spec, kept)
    del kept["MessageHistory"]["Messages"][4]
    assert not is_described(spec, kept)


def test_what_is_kept_of_a_request_holds_no_secret_of_fields_to_come_either() -> None:
    digits, spec = described(register("a", ApiKey="sk-1", Later={"Token": "secret"}))
    assert spec == '{"AgentId":"a","ApiKey":"***","Later":{"Token":"***"},"Name":"Guide"}'
    assert digits == described(register("a", ApiKey="sk-2", Later={"Token": "another"}))[0], "a rotated one is the same request"
