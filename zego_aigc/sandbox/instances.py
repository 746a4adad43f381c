"""Agent instances: voice, digital human and live digital human; from creation to their end."""

from __future__ import annotations

import base64
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from zego_aigc.aiagent import CreateDigitalHumanAgentInstance, DeleteAgentInstance
from zego_aigc.sandbox.agents import find_agent
from zego_aigc.sandbox.app import check_quota
from zego_aigc.sandbox.behaviour import answers
from zego_aigc.sandbox.refusal import Refusal

if TYPE_CHECKING:
    from zego_aigc.aiagent import DigitalHuman
    from zego_aigc.sandbox.app import App

__all__ = ["Instance", "Kind", "find_instance"]


class Kind(enum.Enum):
    """What an instance is; decides which quota it counts against and which calls it takes."""

    VOICE = "voice"
    DIGITAL_HUMAN = "digital human"
    LIVE = "live digital human"


@dataclass(slots=True, kw_only=True)
class Instance:
    """A running agent instance."""

    instance_id: str
    kind: Kind
    agent_id: str
    user_id: str
    room_id: str
    agent_stream_id: str
    agent_user_id: str
    created_at: float

    def to_json(self) -> dict[str, Any]:
        """For ``/_sandbox/state``."""
        return {
            "AgentInstanceId": self.instance_id,
            "Kind": self.kind.value,
            "AgentId": self.agent_id,
            "UserId": self.user_id,
            "RoomId": self.room_id,
            "AgentStreamId": self.agent_stream_id,
            "AgentUserId": self.agent_user_id,
            "CreatedAt": self.created_at,
        }


def find_instance(app: App, instance_id: str) -> Instance:
    """The instance of that id.

    Raises:
        Refusal: if none is running.
    """
    if (instance := app.instances.get(instance_id)) is None:
        raise Refusal(410001002, f"no agent instance {instance_id!r} is running")
    return instance


@answers(CreateDigitalHumanAgentInstance)
def create_digital_human(app: App, action: CreateDigitalHumanAgentInstance) -> dict[str, Any]:
    """Start a digital human that talks with one user."""
    find_agent(app, action.agent_id)
    rtc = action.rtc
    if any(instance.agent_stream_id == rtc.agent_stream_id for instance in app.instances.values()):
        raise Refusal(410001030, f"RTC.AgentStreamId {rtc.agent_stream_id!r} is in use")
    live = sum(1 for instance in app.instances.values() if instance.kind is not Kind.VOICE)
    check_quota(live, app.quotas.digital_humans, 410001031, "digital human instances")
    instance = Instance(
        instance_id=app.snowflake(),
        kind=Kind.DIGITAL_HUMAN,
        agent_id=action.agent_id,
        user_id=action.user_id,
        room_id=rtc.room_id,
        agent_stream_id=rtc.agent_stream_id,
        agent_user_id=rtc.agent_user_id,
        created_at=app.clock.now(),
    )
    for earlier in [other for other in app.instances.values() if other.agent_user_id == rtc.agent_user_id]:
        del app.instances[earlier.instance_id]
    app.instances[instance.instance_id] = instance
    return {
        "AgentInstanceId": instance.instance_id,
        "DigitalHumanConfig": digital_human_config(action.digital_human, rtc.room_id, rtc.agent_stream_id),
    }


@answers(DeleteAgentInstance)
def delete(app: App, action: DeleteAgentInstance) -> None:
    """End the instance."""
    find_instance(app, action.agent_instance_id)
    del app.instances[action.agent_instance_id]


def digital_human_config(human: DigitalHuman, room_id: str, stream_id: str) -> str:
    """What the client SDK is handed, in the shape that the vendor's example decodes to."""
    stream = {
        "RoomId": room_id,
        "StreamId": stream_id,
        "EncodeCode": human.encode_code or "H264",
        "ConfigId": human.config_id or "web",
    }
    config = {"DigitalHumanId": human.digital_human_id, "Streams": [stream]}
    return base64.b64encode(msgspec.json.encode(config)).decode()
