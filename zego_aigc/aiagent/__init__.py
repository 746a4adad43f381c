"""The AI Agent service: agents, and instances of them that join an RTC room and talk.

The usual order: :class:`RegisterAgent` once, :class:`CreateDigitalHumanAgentInstance` (or its two siblings) for each
conversation, :class:`DeleteAgentInstance` at its end.
"""

from __future__ import annotations

from zego_aigc.aiagent._agents import ListAgents, QueryAgents, RegisterAgent, UnregisterAgent, UpdateAgent
from zego_aigc.aiagent._asr import ASR, ASROptions, RegisteredASR
from zego_aigc.aiagent._config import (
    AdvancedConfig,
    CallbackConfig,
    CommunicationMode,
    DigitalHuman,
    InterruptMode,
    LiveAdvancedConfig,
    LiveCallbackConfig,
    LLMMetaInfo,
)
from zego_aigc.aiagent._control import (
    AddAgentInstanceMsg,
    GetAgentInstanceMsgList,
    InterruptAgentInstance,
    QueryAgentInstanceStatus,
    ResetAgentInstanceMsgList,
    SendAgentInstanceLLM,
    SendAgentInstanceTTS,
    StartListening,
    StopListening,
)
from zego_aigc.aiagent._history import ZIM, HistoryMessage, Message, MessageHistory, SyncMode
from zego_aigc.aiagent._instances import (
    CreateAgentInstance,
    CreateDigitalHumanAgentInstance,
    CreateLiveDigitalHumanAgentInstance,
    DeleteAgentInstance,
    UpdateAgentInstance,
)
from zego_aigc.aiagent._llm import LLM, LLMOptions, RegisteredLLM
from zego_aigc.aiagent._results import (
    AgentInstanceMsgList,
    AgentList,
    CreatedAgentInstance,
    CreatedDigitalHumanAgentInstance,
    DigitalHumanStream,
    DigitalHumanStreams,
    EncodedDigitalHumanConfig,
    QueriedAgentInstanceStatus,
    QueriedAgents,
    RegisteredAgent,
    Round,
)
from zego_aigc.aiagent._rtc import CDN, RTC, LiveRTC, UpdateRTC
from zego_aigc.aiagent._tts import TTS, FilterText, RegisteredTTS, TTSOptions
from zego_aigc.aiagent._vad import VAD, SensitiveConfig, SensitiveLevel, TurnDetectConfig, VoiceDetectConfig

__all__ = [
    "ASR",
    "CDN",
    "LLM",
    "RTC",
    "TTS",
    "VAD",
    "ZIM",
    "ASROptions",
    "AddAgentInstanceMsg",
    "AdvancedConfig",
    "AgentInstanceMsgList",
    "AgentList",
    "CallbackConfig",
    "CommunicationMode",
    "CreateAgentInstance",
    "CreateDigitalHumanAgentInstance",
    "CreateLiveDigitalHumanAgentInstance",
    "CreatedAgentInstance",
    "CreatedDigitalHumanAgentInstance",
    "DeleteAgentInstance",
    "DigitalHuman",
    "DigitalHumanStream",
    "DigitalHumanStreams",
    "EncodedDigitalHumanConfig",
    "FilterText",
    "GetAgentInstanceMsgList",
    "HistoryMessage",
    "InterruptAgentInstance",
    "InterruptMode",
    "LLMMetaInfo",
    "LLMOptions",
    "ListAgents",
    "LiveAdvancedConfig",
    "LiveCallbackConfig",
    "LiveRTC",
    "Message",
    "MessageHistory",
    "QueriedAgentInstanceStatus",
    "QueriedAgents",
    "QueryAgentInstanceStatus",
    "QueryAgents",
    "RegisterAgent",
    "RegisteredASR",
    "RegisteredAgent",
    "RegisteredLLM",
    "RegisteredTTS",
    "ResetAgentInstanceMsgList",
    "Round",
    "SendAgentInstanceLLM",
    "SendAgentInstanceTTS",
    "SensitiveConfig",
    "SensitiveLevel",
    "StartListening",
    "StopListening",
    "SyncMode",
    "TTSOptions",
    "TurnDetectConfig",
    "UnregisterAgent",
    "UpdateAgent",
    "UpdateAgentInstance",
    "UpdateRTC",
    "VoiceDetectConfig",
]
