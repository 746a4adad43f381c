"""What the vendor reports: one struct for each event, and :class:`UnknownEvent` for those to come.

An event is the vendor's envelope with its ``Data`` (AI Agent) or ``Detail`` (Digital Human) inside, under the vendor's names::

    event.agent_instance_id     # AgentInstanceId, in the envelope
    event.data.text             # Data.Text

Every field of ``Data`` and ``Detail`` may be absent: the vendor's own examples leave some out. A number or an id that is absent
is None, and a text is empty; the same holds for one of another type, and ``event.problem`` then says so.

Vendor's pages:
https://www.zegocloud.com/docs/aiagent-server/callbacks/receiving-callback
https://www.zegocloud.com/docs/aigc-digital-human-server/streaming-apis/receiving-callback
"""

# ruff: noqa: PYI051 - known names beside str are for completion: the vendor adds names without asking
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from zego_aigc.digitalhuman import TaskStatus
from zego_aigc.schema.actions import Result
from zego_aigc.schema.constraints import Secret
from zego_aigc.schema.decoding import OpenNumber, utc

if TYPE_CHECKING:
    from datetime import datetime

    from zego_aigc.schema.codes import ExceptionCode

__all__ = [
    "ASRResult",
    "ASRResultData",
    "AgentEvent",
    "AgentInstanceCreated",
    "AgentInstanceCreatedData",
    "AgentInstanceDeleted",
    "AgentInstanceDeletedData",
    "AgentInstanceMetaInfo",
    "AgentInstanceMetaInfoData",
    "AgentInstanceStatus",
    "AgentInstanceStatusData",
    "AgentSpeakAction",
    "AgentSpeakActionData",
    "DigitalHumanEvent",
    "DriveDetail",
    "DriveEvent",
    "DriveStatus",
    "Event",
    "ExceptionData",
    "ExceptionEvent",
    "InterruptReason",
    "Interrupted",
    "InterruptedData",
    "LLMResult",
    "LLMResultData",
    "LatencyData",
    "StreamTaskDetail",
    "StreamTaskEvent",
    "UnknownEvent",
    "UserAudioData",
    "UserAudioDataData",
    "UserSpeakAction",
    "UserSpeakActionData",
]

# --- envelopes ---------------------------------------------------------------------------------------------------


class Event(Result, frozen=True, kw_only=True):
    """Base of all events. Register a handler for it to get every one."""

    app_id: int = 0
    """The project's AppId."""
    nonce: str
    """The random text that the signature is made with."""
    timestamp: int
    """When the callback was sent, as received: Unix time in milliseconds, or in seconds in some of the vendor's examples."""
    signature: Annotated[str, Secret()]
    """What the sender is known by. It covers secret, timestamp and nonce, and not the rest of the event."""
    problem: str = ""
    """What of the event could not be read, and so stands as if it were absent; empty where all was read."""

    @property
    def sent_at(self) -> datetime | None:
        """When the callback was sent, as an aware datetime."""
        return utc(self.timestamp)

    @property
    def subject(self) -> str:
        """The agent instance or the stream task that the event is about; events of one subject are handled in order."""
        return ""

    @property
    def order(self) -> int | None:
        """What the events of one subject are ordered by, where the vendor says."""
        return None


class AgentEvent(Event, frozen=True, kw_only=True):
    """Base of the AI Agent service's events."""

    event: str
    """The vendor's name of the event."""
    agent_instance_id: str
    """The agent instance that the event is about."""
    agent_user_id: str | None = None
    """The user id that the agent has in the room."""
    agent_id: str | None = None
    """The registered agent that the instance was made from."""
    name: str | None = None
    """The registered agent's name."""
    room_id: str | None = None
    """The RTC room that the instance is in."""
    sequence: int | None = None
    """Grows from event to event of an instance. Gaps are normal."""

    @property
    def subject(self) -> str:
        """The agent instance."""
        return self.agent_instance_id

    @property
    def order(self) -> int | None:
        """The Sequence."""
        return self.sequence


class DigitalHumanEvent(Event, frozen=True, kw_only=True):
    """Base of the Digital Human service's events."""

    event_type: int
    """The vendor's number of the event: 3 for a stream task, 4 for a drive."""
    event_time: int | None = None
    """When it happened: Unix time in milliseconds."""
    task_id: str
    """The stream task that the event is about."""

    @property
    def happened_at(self) -> datetime | None:
        """When it happened, as an aware datetime."""
        return utc(self.event_time)

    @property
    def subject(self) -> str:
        """The stream task."""
        return self.task_id


class UnknownEvent(Event, frozen=True, kw_only=True):
    """An event that this library does not know, or one that does not say what it is about: nothing is lost."""

    event: str
    """The vendor's name of the event, or its number as text."""
    agent_instance_id: str | None = None
    """The agent instance, where there is one."""
    task_id: str | None = None
    """The stream task, where there is one."""
    sequence: int | None = None
    """The place among the instance's events, where there is one."""
    data: Mapping[str, Any]
    """What stands under ``Data`` or ``Detail``."""
    body: Mapping[str, Any]
    """The whole envelope as received, apart from its signature."""

    @property
    def subject(self) -> str:
        """The agent instance or the stream task."""
        return self.agent_instance_id or self.task_id or ""

    @property
    def order(self) -> int | None:
        """The Sequence."""
        return self.sequence


# --- AI Agent ----------------------------------------------------------------------------------------------------


class ASRResultData(Result, frozen=True, kw_only=True):
    """``Data`` of :class:`ASRResult`."""

    user_id: str | None = None
    """Who spoke."""
    round: int | None = None
    """The exchange that the words belong to; everything that follows from them carries the same number."""
    text: str = ""
    """What the recogniser heard."""


class ASRResult(AgentEvent, frozen=True, kw_only=True):
    """The recogniser heard something. Switched on by ``CallbackConfig.ASRResult``."""

    data: ASRResultData
    """What was heard."""


class LLMResultData(Result, frozen=True, kw_only=True):
    """``Data`` of :class:`LLMResult`."""

    round: int | None = None
    """The exchange that the answer belongs to."""
    text: str = ""
    """One sentence of the answer."""


class LLMResult(AgentEvent, frozen=True, kw_only=True):
    """The model answered a sentence; none follow after an interruption. Switched on by ``CallbackConfig.LLMResult``."""

    data: LLMResultData
    """What was answered."""


class ExceptionData(Result, frozen=True, kw_only=True):
    """``Data`` of :class:`ExceptionEvent`."""

    code: int | None = None
    """The vendor's exception code, such as 2203."""
    message: str = ""
    """What went wrong, in the vendor's or its provider's words."""
    round: int | None = None
    """The exchange in which it went wrong."""

    @property
    def known(self) -> ExceptionCode | None:
        """What the library knows of the code: ``name``, ``domain`` and ``advice``."""
        from zego_aigc.schema.codes import EXCEPTION_CODES

        return None if self.code is None else EXCEPTION_CODES.get(self.code)


class ExceptionEvent(AgentEvent, frozen=True, kw_only=True):
    """``Exception``: something went wrong while an instance ran. Always sent."""

    data: ExceptionData
    """What went wrong."""


class InterruptReason(OpenNumber):
    """What cut the agent."""

    USER_SPEECH = 1
    """The user spoke."""
    SEND_LLM = 2
    """A SendAgentInstanceLLM call."""
    SEND_TTS = 3
    """A SendAgentInstanceTTS call."""
    INTERRUPT_CALL = 4
    """An InterruptAgentInstance call."""


class InterruptedData(Result, frozen=True, kw_only=True):
    """``Data`` of :class:`Interrupted`."""

    round: int | None = None
    """The exchange that was cut, not the one that cut it."""
    reason: InterruptReason | None = None
    """What cut it."""
    played_text: str | None = None
    """What had been spoken by then."""


class Interrupted(AgentEvent, frozen=True, kw_only=True):
    """The agent was cut. Switched on by ``CallbackConfig.Interrupted``."""

    data: InterruptedData
    """What was cut, and by what."""


class UserSpeakActionData(Result, frozen=True, kw_only=True):
    """``Data`` of :class:`UserSpeakAction`."""

    user_id: str | None = None
    """Who speaks."""
    action: Literal["SPEAK_BEGIN", "SPEAK_END"] | str = ""
    """Whether speech begins or ends."""
    round: int | None = None
    """The exchange that the speech belongs to."""


class UserSpeakAction(AgentEvent, frozen=True, kw_only=True):
    """The user begins or ends to speak. Switched on by ``CallbackConfig.UserSpeakAction``."""

    data: UserSpeakActionData
    """Who, and which of the two."""


class AgentInstanceStatusData(Result, frozen=True, kw_only=True):
    """``Data`` of :class:`AgentInstanceStatus`."""

    status: Literal["IDLE", "LISTENING", "THINKING", "SPEAKING"] | str = ""
    """What the agent does now."""
    round: int | None = None
    """The exchange in which it does so."""


class AgentInstanceStatus(AgentEvent, frozen=True, kw_only=True):
    """The agent does something else now. Switched on by ``CallbackConfig.AgentInstanceStatus``."""

    data: AgentInstanceStatusData
    """What it does."""


class AgentSpeakActionData(Result, frozen=True, kw_only=True):
    """``Data`` of :class:`AgentSpeakAction`."""

    action: Literal["SPEAK_BEGIN", "SPEAK_END"] | str = ""
    """Whether speech begins or ends."""


class AgentSpeakAction(AgentEvent, frozen=True, kw_only=True):
    """The agent begins or ends to speak. Deprecated by the vendor in favour of :class:`AgentInstanceStatus`."""

    data: AgentSpeakActionData
    """Which of the two."""


class UserAudioDataData(Result, frozen=True, kw_only=True):
    """``Data`` of :class:`UserAudioData`."""

    user_id: str | None = None
    """Who spoke."""
    round: int | None = None
    """The exchange that the speech belongs to."""
    sample_rate: int = 16000
    """Samples a second."""
    format: str = "pcm"
    """How the samples are coded."""
    audio: bytes = b""
    """The samples, decoded from base64: the first 1 to 1.5 s of what was said."""

    def __repr__(self) -> str:
        return (
            f"UserAudioDataData(user_id={self.user_id!r}, round={self.round}, sample_rate={self.sample_rate}, "
            f"format={self.format!r}, audio=<{len(self.audio)} bytes>)"
        )

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [*super().__rich_repr__()[:-1], ("audio", f"<{len(self.audio)} bytes>")]


class UserAudioData(AgentEvent, frozen=True, kw_only=True):
    """The beginning of what a user said, if it lasted a second. Switched on by ``CallbackConfig.UserAudioData``."""

    data: UserAudioDataData
    """The audio."""


class AgentInstanceCreatedData(Result, frozen=True, kw_only=True):
    """``Data`` of :class:`AgentInstanceCreated`."""

    created_timestamp: int | None = None
    """When the instance came up: Unix time in milliseconds."""

    @property
    def created_at(self) -> datetime | None:
        """When the instance came up, as an aware datetime."""
        return utc(self.created_timestamp)


class AgentInstanceCreated(AgentEvent, frozen=True, kw_only=True):
    """The instance is in the room and publishes: from now on it hears and can be heard. Always sent."""

    data: AgentInstanceCreatedData
    """When."""


class LatencyData(Result, frozen=True, kw_only=True):
    """How fast an instance was, on average over its life."""

    llm_ttft: float | None = None
    """From the question to the model's first token, in milliseconds."""
    llm_tps: float | None = None
    """The model's tokens a second."""
    tts_audio_first_frame_time: float | None = None
    """From the text to the first audio, in milliseconds."""
    total_cost: float | None = None
    """From the end of the user's speech to the beginning of the agent's, in milliseconds."""


class AgentInstanceDeletedData(Result, frozen=True, kw_only=True):
    """``Data`` of :class:`AgentInstanceDeleted`."""

    code: int | None = None
    """Why: 0 for a DeleteAgentInstance call, otherwise an exception code such as 1202 (the user was absent)."""
    deleted_timestamp: int | None = None
    """When the instance ended: Unix time in milliseconds."""
    latency_data: LatencyData | None = None
    """How fast it was."""

    @property
    def deleted_at(self) -> datetime | None:
        """When the instance ended, as an aware datetime."""
        return utc(self.deleted_timestamp)

    @property
    def known(self) -> ExceptionCode | None:
        """What the library knows of the code: ``name``, ``domain`` and ``advice``; ``None`` for 0."""
        from zego_aigc.schema.codes import EXCEPTION_CODES

        return None if self.code is None else EXCEPTION_CODES.get(self.code)


class AgentInstanceDeleted(AgentEvent, frozen=True, kw_only=True):
    """The instance has ended, by a call or by itself. Always sent."""

    data: AgentInstanceDeletedData
    """Why and when."""


class AgentInstanceMetaInfoData(Result, frozen=True, kw_only=True):
    """``Data`` of :class:`AgentInstanceMetaInfo`."""

    round: int | None = None
    """The exchange that the metadata belongs to."""
    meta_info: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])
    """What the model wrote between the marks, for the keys asked for."""


class AgentInstanceMetaInfo(AgentEvent, frozen=True, kw_only=True):
    """Metadata that the model put into its answer. Switched on by ``AdvancedConfig.LLMMetaInfo.SendMetaKeys``."""

    data: AgentInstanceMetaInfoData
    """The metadata."""


# --- Digital Human -----------------------------------------------------------------------------------------------


class StreamTaskDetail(Result, frozen=True, kw_only=True):
    """``Detail`` of :class:`StreamTaskEvent`."""

    status: TaskStatus | None = None
    """Where the task stands."""
    room_id: str | None = None
    """The room that it streams into."""
    stream_id: str | None = None
    """The stream that it publishes."""
    fail_reason: str | None = None
    """Why it failed, with status INIT_FAILED only."""


class StreamTaskEvent(DigitalHumanEvent, frozen=True, kw_only=True):
    """EventType 3: a stream task has moved on."""

    detail: StreamTaskDetail
    """Where it stands."""


class DriveStatus(OpenNumber):
    """Where a drive stands."""

    QUEUED = 1
    """It waits for others to be spoken."""
    DRIVING = 2
    """The digital human begins to speak."""
    FAILED = 3
    """It could not be spoken."""
    ENDED = 4
    """The digital human has ended to speak."""


class DriveDetail(Result, frozen=True, kw_only=True):
    """``Detail`` of :class:`DriveEvent`."""

    drive_id: str | None = None
    """The drive, as the Drive call returned it."""
    status: DriveStatus | None = None
    """Where it stands."""


class DriveEvent(DigitalHumanEvent, frozen=True, kw_only=True):
    """EventType 4: a drive has moved on."""

    detail: DriveDetail
    """Where it stands."""
