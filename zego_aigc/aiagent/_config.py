"""How an agent instance behaves, what it reports, and the digital human that gives it a face."""

# ruff: noqa: PYI051 - known names help completion; any other string passes too
from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

from zego_aigc.errors import Problem
from zego_aigc.schema.actions import Wire
from zego_aigc.schema.constraints import Advice, Deprecated, Number, OneOf, Text

__all__ = [
    "AdvancedConfig",
    "CallbackConfig",
    "CommunicationMode",
    "DigitalHuman",
    "InterruptMode",
    "LLMMetaInfo",
    "LiveAdvancedConfig",
    "LiveCallbackConfig",
]

Switch = Annotated[Literal[0, 1], OneOf((0, 1))]
"""0 off, 1 on."""

Mark = Annotated[str, Text(min_chars=1, pattern=r"[\s\S]*\S[\s\S]*", form="something other than blanks")]


class InterruptMode(enum.IntEnum):
    """What a user's speech does to an agent that is speaking."""

    INTERRUPT = 0
    """It cuts the agent."""
    DO_NOT_INTERRUPT = 1
    """The agent goes on."""


class CommunicationMode(enum.IntEnum):
    """How user and agent take turns."""

    FULL_DUPLEX = 0
    """Both may speak at any time."""
    WALKIE_TALKIE = 2
    """The agent hears the user only between StartListening and StopListening."""


class CallbackConfig(Wire, frozen=True, kw_only=True):
    """Which callbacks of an instance reach your server: 1 switches one on, 0 is the default.

    Exception, AgentInstanceCreated and AgentInstanceDeleted always come.
    """

    asr_result: Switch | None = None
    """What the recogniser heard."""
    llm_result: Switch | None = None
    """What the model answered, a callback a sentence."""
    interrupted: Switch | None = None
    """That the agent was cut."""
    user_speak_action: Switch | None = None
    """That the user begins or ends to speak."""
    agent_instance_status: Switch | None = None
    """That the agent idles, listens, thinks or speaks."""
    user_audio_data: Switch | None = None
    """The beginning of what the user said, as audio."""
    host_tag: str | None = None
    """Which of two registered callback addresses to use; ZEGOCLOUD's support gives the value."""
    agent_speak_action: Annotated[Literal[0, 1], OneOf((0, 1)), Deprecated("CallbackConfig.AgentInstanceStatus")] | None = None
    """That the agent begins or ends to speak. Newer pages have AgentInstanceStatus instead."""


class LiveCallbackConfig(Wire, frozen=True, kw_only=True):
    """Which callbacks of a live digital human reach your server (``CallbackConfig`` of its create call)."""

    interrupted: Switch | None = None
    """That the agent was cut: 0 off (default), 1 on."""
    agent_instance_status: Switch | None = None
    """That the agent idles, thinks or speaks: 0 off (default), 1 on."""
    host_tag: str | None = None
    """Which of two registered callback addresses to use; ZEGOCLOUD's support gives the value."""


class LLMMetaInfo(Wire, frozen=True, kw_only=True):
    """Metadata that the model puts, as JSON between two marks, at the beginning of a sentence.

    It is cut out of what is spoken, so FilterText need not name the marks again.
    """

    begin_characters: Mark | None = None
    """The opening mark: not blank, and uncommon in speech."""
    end_characters: Mark | None = None
    """The closing mark: not blank, and uncommon in speech."""
    send_meta_keys: Sequence[str] | None = None
    """The keys of the metadata that AgentInstanceMetaInfo callbacks report. With TTS of MiniMax and ByteDance only."""


class AdvancedConfig(Wire, frozen=True, kw_only=True):
    """How a conversational instance behaves."""

    interrupt_mode: Annotated[int, OneOf((0, 1))] | None = None
    """An :class:`InterruptMode`: 0 the user's speech cuts the agent at once (default), 1 it does not."""
    max_idle_time: Annotated[int, Number(10, 1800)] | None = None
    """How long the user may be out of the room before the instance is deleted (code 1202), in seconds: 10 to 1800,
    default 120."""
    disable_tts: bool | None = None
    """Whether to leave speech synthesis out; default ``False``. ``True`` makes SendAgentInstanceTTS and the creation of a
    digital human fail."""
    communication_mode: Annotated[int, OneOf((0, 2))] | None = None
    """A :class:`CommunicationMode`: 0 full duplex (default), 2 walkie-talkie."""
    llm_meta_info: LLMMetaInfo | None = None
    """Metadata in the model's answers."""
    add_asr_info: bool | None = None
    """Whether what the recogniser tags (such as emotion) is passed on; default ``False``."""
    tts_param_paths: Mapping[str, str] | None = None
    """Metadata that steers the voice: from a metadata key to a dotted path in the TTS vendor's request. A bad value may
    silence the agent."""

    def rules(self) -> Iterable[Problem]:
        """Rules between the fields.

        - TTSParamPaths holds strings.
        """
        return _paths_problems(self.tts_param_paths or {})


class LiveAdvancedConfig(Wire, frozen=True, kw_only=True):
    """How a live digital human behaves (``AdvancedConfig`` of its create call)."""

    max_idle_time: Annotated[int, Number(30, 86400)] | None = None
    """How long the instance may go without SendAgentInstanceTTS before it is deleted, in seconds: 30 to 86400,
    default 900."""
    disable_tts: bool | None = None
    """Default ``False``; ``True`` makes the creation fail."""
    tts_param_paths: Mapping[str, str] | None = None
    """Metadata that steers the voice: from a metadata key to a dotted path in the TTS vendor's request."""

    def rules(self) -> Iterable[Problem]:
        """Rules between the fields.

        - TTSParamPaths holds strings.
        """
        return _paths_problems(self.tts_param_paths or {})


def _paths_problems(paths: Mapping[str, object]) -> Iterable[Problem]:
    for key, path in paths.items():
        if not isinstance(path, str):
            yield Problem(f"TTSParamPaths.{key}", "type", "must be a string: a dotted path")


class DigitalHuman(Wire, frozen=True, kw_only=True):
    """The digital human that gives an agent its face."""

    digital_human_id: str | None = None
    """Which digital human, an id from GetDigitalHumanList. Newer pages require it."""
    config_id: Literal["mobile", "web"] | str | None = None
    """The kind of client that shows it: ``mobile`` or ``web``."""
    encode_code: Literal["H264", "VP8"] | str | None = None
    """The video codec: ``H264`` (default) or ``VP8``."""

    def rules(self) -> Iterable[Advice]:
        """Rules between the fields.

        - Advice: newer pages require DigitalHumanId.
        """
        if self.digital_human_id:
            return ()
        return (Advice("DigitalHuman.DigitalHumanId is not set: the vendor's newer pages require it"),)
