"""What the AI Agent service returns."""

# ruff: noqa: PYI051 - known names help completion; any other string passes too
from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Literal

import msgspec

from zego_aigc.aiagent._asr import RegisteredASR
from zego_aigc.aiagent._history import HistoryMessage
from zego_aigc.aiagent._llm import RegisteredLLM
from zego_aigc.aiagent._tts import RegisteredTTS
from zego_aigc.schema.actions import Result
from zego_aigc.schema.decoding import declared

__all__ = [
    "AgentInstanceMsgList",
    "AgentList",
    "CreatedAgentInstance",
    "CreatedDigitalHumanAgentInstance",
    "DigitalHumanStream",
    "DigitalHumanStreams",
    "EncodedDigitalHumanConfig",
    "QueriedAgentInstanceStatus",
    "QueriedAgents",
    "RegisteredAgent",
    "Round",
]


class DigitalHumanStream(Result, frozen=True, kw_only=True):
    """A video stream of a digital human."""

    room_id: str = ""
    """The RTC room that it is published to."""
    stream_id: str = ""
    """The stream's id."""
    encode_code: str = ""
    """The video codec, such as ``H264``."""
    config_id: str = ""
    """The kind of client that it is for: ``mobile`` or ``web``."""


class DigitalHumanStreams(Result, frozen=True, kw_only=True):
    """What a :class:`EncodedDigitalHumanConfig` says inside."""

    digital_human_id: str = ""
    """Which digital human it is."""
    streams: Sequence[DigitalHumanStream] = ()
    """Its video streams."""


class EncodedDigitalHumanConfig(str):
    """What the client SDK needs to show a digital human, as base64 of JSON: hand it on unchanged.

    The shape inside is seen, not promised by the vendor.
    """

    __slots__ = ()

    def decode(self) -> DigitalHumanStreams:
        """What it says inside.

        Raises:
            ValueError: it is not base64 of JSON in the shape that is known.
        """
        try:
            text = base64.b64decode(self + "=" * (-len(self) % 4), validate=True)
            return msgspec.convert(declared(DigitalHumanStreams, msgspec.json.decode(text)), DigitalHumanStreams)
        except (ValueError, msgspec.MsgspecError) as error:
            raise ValueError(f"the DigitalHumanConfig cannot be read: {error}") from error


class CreatedAgentInstance(Result, frozen=True, kw_only=True):
    """A new agent instance. It is in the room and heard only once AgentInstanceCreated has come."""

    agent_instance_id: str
    """The instance's id, which every later call on it needs."""


class CreatedDigitalHumanAgentInstance(CreatedAgentInstance, frozen=True, kw_only=True):
    """A new agent instance with a digital human."""

    digital_human_config: EncodedDigitalHumanConfig = EncodedDigitalHumanConfig("")
    """What the client SDK needs to show the digital human: hand it on unchanged. ``decode()`` shows what is inside."""


class RegisteredAgent(Result, frozen=True, kw_only=True):
    """An agent as it is registered. Its credentials are in it; reprs mask them."""

    agent_id: str
    """The agent's id."""
    name: str = ""
    """The agent's name."""
    llm: RegisteredLLM | None = None
    """Its language model, ApiKey included."""
    tts: RegisteredTTS | None = None
    """Its voice, the vendor's credentials included."""
    asr: RegisteredASR | None = None
    """Its speech recognition."""


class AgentList(Result, frozen=True, kw_only=True):
    """A page of agents."""

    total: int = 0
    """How many agents there are on all pages."""
    agents: Sequence[RegisteredAgent] = ()
    """The agents of this page."""
    cursor: str = ""
    """What to pass for the next page; empty on the last."""


class QueriedAgents(Result, frozen=True, kw_only=True):
    """The agents that were asked for, as far as they exist."""

    agents: Sequence[RegisteredAgent] = ()
    """The agents."""


class Round(Result, frozen=True, kw_only=True):
    """A turn of the conversation. All callbacks of that exchange carry its number."""

    round: int = 0
    """The turn's number, up to 64 bits. Numbers grow within an instance and never repeat; they are given out at once,
    for queued speech too."""


class QueriedAgentInstanceStatus(Result, frozen=True, kw_only=True):
    """What an instance is doing."""

    status: Literal["IDLE", "LISTENING", "THINKING", "SPEAKING"] | str = ""
    """``IDLE``, ``LISTENING``, ``THINKING`` or ``SPEAKING``; the vendor may add others."""


class AgentInstanceMsgList(Result, frozen=True, kw_only=True):
    """What an instance remembers."""

    total: int = 0
    """How many messages there are."""
    message_list: Sequence[HistoryMessage] = ()
    """The messages, oldest first."""
