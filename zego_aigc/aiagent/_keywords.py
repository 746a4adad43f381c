"""The fields of the creates as keyword arguments, for functions that take them so: type checkers and editors then know them.

``tests/test_client_keywords.py`` sees that they are those of the structs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Required, TypedDict

from zego_aigc.aiagent._asr import ASR
from zego_aigc.aiagent._config import AdvancedConfig, CallbackConfig, DigitalHuman, LiveAdvancedConfig, LiveCallbackConfig
from zego_aigc.aiagent._history import MessageHistory
from zego_aigc.aiagent._llm import LLM
from zego_aigc.aiagent._rtc import CDN, RTC, LiveRTC
from zego_aigc.aiagent._tts import TTS
from zego_aigc.aiagent._vad import VAD

__all__ = ["AgentInstanceFields", "DigitalHumanAgentInstanceFields", "LiveDigitalHumanAgentInstanceFields"]


class AgentInstanceFields(TypedDict, total=False):
    """The fields of :class:`~zego_aigc.aiagent.CreateAgentInstance`."""

    agent_id: Required[str]
    user_id: Required[str]
    rtc: Required[RTC]
    llm: LLM | None
    tts: TTS | None
    asr: ASR | None
    vad: VAD | None
    message_history: MessageHistory | None
    callback_config: CallbackConfig | None
    advanced_config: AdvancedConfig | None
    extra: Mapping[str, Any] | None


class DigitalHumanAgentInstanceFields(AgentInstanceFields, total=False):
    """The fields of :class:`~zego_aigc.aiagent.CreateDigitalHumanAgentInstance`."""

    digital_human: Required[DigitalHuman]


class LiveDigitalHumanAgentInstanceFields(TypedDict, total=False):
    """The fields of :class:`~zego_aigc.aiagent.CreateLiveDigitalHumanAgentInstance`."""

    agent_id: Required[str]
    digital_human: Required[DigitalHuman]
    rtc: LiveRTC | None
    cdn: CDN | None
    tts: TTS | None
    callback_config: LiveCallbackConfig | None
    advanced_config: LiveAdvancedConfig | None
    extra: Mapping[str, Any] | None
