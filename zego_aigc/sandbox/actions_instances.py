"""Behaviour of the Actions that create, update and delete agent instances."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from zego_aigc.aiagent import (
    CreateAgentInstance,
    CreateDigitalHumanAgentInstance,
    CreateLiveDigitalHumanAgentInstance,
    DeleteAgentInstance,
    UpdateAgentInstance,
)
from zego_aigc.sandbox.actions_agents import check_trial
from zego_aigc.sandbox.instances import EndReason, Instance, InstanceKind
from zego_aigc.sandbox.refusal import Refusal
from zego_aigc.sandbox.registry import answers

if TYPE_CHECKING:
    from zego_aigc.aiagent import DigitalHuman
    from zego_aigc.sandbox.app import App

FIXED_TTS = ("Vendor", "FilterText", "TerminatorText", "CharacterFilter")
"""What an update of a running instance leaves as it is."""


@answers(CreateAgentInstance)
def create_voice(app: App, action: CreateAgentInstance) -> dict[str, Any]:
    """Start an agent that talks with one user."""
    config = _effective(app, action)
    app.check_quota(CreateAgentInstance)
    instance = Instance(app, app.instances, InstanceKind.VOICE, action, config, app.clock.now())
    instance.start()
    return {"AgentInstanceId": instance.instance_id}


@answers(CreateDigitalHumanAgentInstance)
def create_digital_human(app: App, action: CreateDigitalHumanAgentInstance) -> dict[str, Any]:
    """Start a digital human that talks with one user."""
    return _create_with_face(app, InstanceKind.DIGITAL_HUMAN, action, _effective(app, action))


@answers(CreateLiveDigitalHumanAgentInstance)
def create_live(app: App, action: CreateLiveDigitalHumanAgentInstance) -> dict[str, Any]:
    """Start a digital human that presents to an audience."""
    return _create_with_face(app, InstanceKind.LIVE, action, _effective(app, action))


def _create_with_face(
    app: App,
    kind: InstanceKind,
    action: CreateDigitalHumanAgentInstance | CreateLiveDigitalHumanAgentInstance,
    config: Mapping[str, Any],
) -> dict[str, Any]:
    _check_face(app, action.digital_human)
    instance = Instance(app, app.instances, kind, action, config, app.clock.now())
    if app.stream_ids.holder(instance.agent_stream_id) is not None:
        raise Refusal(410001030, f"RTC.AgentStreamId {instance.agent_stream_id!r} is in use")
    app.check_quota(type(action))
    instance.start()
    return {
        "AgentInstanceId": instance.instance_id,
        "DigitalHumanConfig": _digital_human_config(app, action.digital_human, instance),
    }


@answers(UpdateAgentInstance)
def update(app: App, action: UpdateAgentInstance) -> None:
    """Replace LLM, TTS or ASR whole, or listen to another stream."""
    instance = app.find_instance(action.agent_instance_id)
    instance.check_not_live("UpdateAgentInstance")
    check_trial(app, action)
    new = action.to_wire()
    if "TTS" in new and (old := instance.config.get("TTS")) is not None:
        kept = {key: old[key] for key in FIXED_TTS if key in old}
        new["TTS"] = {**{key: value for key, value in new["TTS"].items() if key not in FIXED_TTS}, **kept}
    instance.config.update({name: new[name] for name in ("LLM", "TTS", "ASR") if name in new})
    if action.rtc is not None and action.rtc.user_stream_id:
        instance.user_stream_id = action.rtc.user_stream_id


@answers(DeleteAgentInstance)
def delete(app: App, action: DeleteAgentInstance) -> None:
    """End the instance: at once, or gracefully."""
    instance = app.find_instance(action.agent_instance_id)
    now = app.clock.now()
    if action.graceful_shutdown:
        instance.close(action.graceful_shutdown_timeout or 30, now)
    else:
        instance.end(EndReason.DELETED, now)


def _effective(app: App, action: Any) -> dict[str, Any]:
    """LLM, TTS and ASR of a new instance: those given, else those registered.

    Where neither is, the instance is created all the same: as with other vendor settings that cannot work, the vendor
    sends an Exception callback when the agent is to speak.

    Raises:
        Refusal: if the agent does not exist, or a trial has ended.
    """
    agent = app.find_agent(action.agent_id)
    check_trial(app, action)
    given = action.to_wire()
    return {**agent.objects, **{name: given[name] for name in ("LLM", "TTS", "ASR") if name in given}}


def _check_face(app: App, human: DigitalHuman) -> None:
    if human.config_id not in {None, "mobile", "web"}:
        raise Refusal(410001026, f"DigitalHuman.ConfigId: must be mobile or web (got {human.config_id!r})")
    if human.encode_code not in {None, "H264", "VP8"}:
        raise Refusal(410000014, f"DigitalHuman.EncodeCode: must be H264 or VP8 (got {human.encode_code!r})")
    if human.digital_human_id is None:
        return  # older pages of the vendor have it optional
    match app.catalogue.owner(human.digital_human_id):
        case None:
            raise Refusal(410001027, f"DigitalHuman.DigitalHumanId: there is no {human.digital_human_id!r}")
        case owner if owner not in {0, app.app_id}:
            raise Refusal(410001048, f"DigitalHuman.DigitalHumanId: {human.digital_human_id!r} belongs to another app")
        case _:
            pass


def _digital_human_config(app: App, human: DigitalHuman, instance: Instance) -> str:
    """What the client SDK is handed, in the shape that the vendor's example decodes to."""
    stream = {
        "RoomId": instance.room_id,
        "StreamId": instance.agent_stream_id,
        "EncodeCode": human.encode_code or "H264",
        "ConfigId": human.config_id or "web",
    }
    config = {"DigitalHumanId": human.digital_human_id or app.catalogue.default, "Streams": [stream]}
    return base64.b64encode(msgspec.json.encode(config)).decode()
