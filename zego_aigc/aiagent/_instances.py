"""Agent instances: agents that have joined a room and talk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Annotated, ClassVar

from zego_aigc.aiagent._asr import ASR, TENCENT_LONGEST_SILENCE
from zego_aigc.aiagent._config import AdvancedConfig, CallbackConfig, DigitalHuman, LiveAdvancedConfig, LiveCallbackConfig
from zego_aigc.aiagent._control import QueryAgentInstanceStatus
from zego_aigc.aiagent._history import MessageHistory
from zego_aigc.aiagent._llm import LLM
from zego_aigc.aiagent._results import CreatedAgentInstance, CreatedDigitalHumanAgentInstance
from zego_aigc.aiagent._rtc import CDN, RTC, LiveRTC, UpdateRTC
from zego_aigc.aiagent._tts import TTS
from zego_aigc.aiagent._vad import VAD
from zego_aigc.errors import Problem
from zego_aigc.schema.actions import Action, Repeat, Service
from zego_aigc.schema.constraints import ID_CHARS, Advice, Number, Text
from zego_aigc.schema.lifecycle import Lifecycle, Names, Recovery, StatusQuery

__all__ = [
    "CreateAgentInstance",
    "CreateDigitalHumanAgentInstance",
    "CreateLiveDigitalHumanAgentInstance",
    "DeleteAgentInstance",
    "UpdateAgentInstance",
]

PAGES = "https://www.zegocloud.com/docs/aiagent-server/api-reference/agent-instance-management"

AgentId = Annotated[str, Text(min_chars=1, max_bytes=128)]
AgentInstanceId = Annotated[str, Text(min_chars=1)]
UserId = Annotated[str, Text(min_chars=1, max_chars=32, max_bytes=32, chars=ID_CHARS)]


class DeleteAgentInstance(Action[None], frozen=True, kw_only=True):
    """End an instance: it leaves the room."""

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.ENDS
    page: ClassVar[str] = f"{PAGES}/delete-agent-instance"

    agent_instance_id: AgentInstanceId
    """The instance's id."""
    graceful_shutdown: bool | None = None
    """Whether the agent may first finish what it is saying; default ``False``. Other calls on the instance are refused
    with 410001041 meanwhile."""
    graceful_shutdown_timeout: Annotated[int, Number(1, 120)] | None = None
    """How long it may take to finish, in seconds: 1 to 120, default 30. With GracefulShutdown only."""

    def rules(self) -> Iterable[Advice]:
        """Rules between the fields.

        - Advice: GracefulShutdownTimeout has an effect only with GracefulShutdown.
        """
        if self.graceful_shutdown_timeout is None or self.graceful_shutdown:
            return ()
        return (Advice("GracefulShutdownTimeout has an effect only with GracefulShutdown"),)


_instance = partial(
    Lifecycle,
    id_field="agent_instance_id",
    ended_by=DeleteAgentInstance,
    max_idle_time_path="advanced_config.max_idle_time",
    status=StatusQuery(QueryAgentInstanceStatus),
    unique=("stream_id", "agent_user_id"),
)
"""What the lifecycles of all agent instances have in common."""

_CONVERSATION = Names(
    agent_id="agent_id",
    stream_id="rtc.agent_stream_id",
    agent_user_id="rtc.agent_user_id",
    user_id="user_id",
    room_id="rtc.room_id",
)
"""Where the names stand in the two conversational creates."""


class CreateAgentInstance(Action[CreatedAgentInstance], frozen=True, kw_only=True):
    """Create an instance of an agent that joins an RTC room and talks with a user.

    LLM, TTS and ASR default to those that the agent was registered with. The instance ends when it is deleted, or by
    itself when the user has been out of the room for AdvancedConfig.MaxIdleTime. An account holds 10 instances unless
    support has raised that.

    There is no look-up: if the answer is lost, :class:`~zego_aigc.errors.OutcomeUnknown` is raised.
    """

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.CREATES
    page: ClassVar[str] = f"{PAGES}/create-agent-instance"
    lifecycle: ClassVar[Lifecycle | None] = _instance(
        makes="agent instance",
        quota="agents",
        full_codes=(410000011,),
        max_idle_time=120,
        recovery=Recovery.WAIT,
        paths=_CONVERSATION,
    )

    agent_id: AgentId
    """The registered agent, at most 128 bytes."""
    user_id: UserId
    """The real user in the room: at most 32 bytes of letters, digits, ``-`` and ``_``."""
    rtc: RTC
    """The room, and the names that the agent uses there."""
    llm: LLM | None = None
    """The language model; default the registered one."""
    tts: TTS | None = None
    """The voice; default the registered one."""
    asr: ASR | None = None
    """The speech recognition; default the registered one."""
    vad: VAD | None = None
    """What counts as speech, and where an utterance ends."""
    message_history: MessageHistory | None = None
    """What the instance remembers from before."""
    callback_config: CallbackConfig | None = None
    """Which callbacks reach your server."""
    advanced_config: AdvancedConfig | None = None
    """How the instance behaves."""

    def rules(self) -> Iterable[Problem | Advice]:
        """Rules between the fields.

        - RTC.AgentUserId is not UserId.
        - Advice: Tencent may take a VAD.TurnDetectConfig.SilenceSegmentation of at most 1500.
        - Advice: AdvancedConfig.LLMMetaInfo.SendMetaKeys wants TTS of MiniMax or ByteDance.
        """
        return _conversation_rules(self)


class CreateDigitalHumanAgentInstance(Action[CreatedDigitalHumanAgentInstance], frozen=True, kw_only=True):
    """Create an instance of an agent that talks with a user in an RTC room, with a digital human as its face.

    LLM, TTS and ASR default to those that the agent was registered with. The instance ends when it is deleted, or by
    itself when the user has been out of the room for AdvancedConfig.MaxIdleTime. An account holds 10 digital human
    instances unless support has raised that.

    There is no look-up: if the answer is lost, :class:`~zego_aigc.errors.OutcomeUnknown` is raised. To the client SDK
    the digital human is the room's user ``ai_agent_<AgentInstanceId>``.
    """

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.CREATES
    page: ClassVar[str] = f"{PAGES}/create-digital-human-agent-instance"
    lifecycle: ClassVar[Lifecycle | None] = _instance(
        makes="agent instance",
        quota="digital_humans",
        full_codes=(410001031, 410001025),  # the second by the vendor's own quick-start server
        max_idle_time=120,
        recovery=Recovery.RESEND,
        paths=_CONVERSATION,
    )

    agent_id: AgentId
    """The registered agent, at most 128 bytes."""
    user_id: UserId
    """The real user in the room: at most 32 bytes of letters, digits, ``-`` and ``_``."""
    rtc: RTC
    """The room, and the names that the agent uses there."""
    llm: LLM | None = None
    """The language model; default the registered one."""
    tts: TTS | None = None
    """The voice; default the registered one."""
    asr: ASR | None = None
    """The speech recognition; default the registered one."""
    vad: VAD | None = None
    """What counts as speech, and where an utterance ends."""
    message_history: MessageHistory | None = None
    """What the instance remembers from before."""
    callback_config: CallbackConfig | None = None
    """Which callbacks reach your server."""
    advanced_config: AdvancedConfig | None = None
    """How the instance behaves. DisableTTS must not be set."""
    digital_human: DigitalHuman
    """The face."""

    def rules(self) -> Iterable[Problem | Advice]:
        """Rules between the fields.

        - AdvancedConfig.DisableTTS is not true.
        - RTC.AgentUserId is not UserId.
        - Advice: Tencent may take a VAD.TurnDetectConfig.SilenceSegmentation of at most 1500.
        - Advice: AdvancedConfig.LLMMetaInfo.SendMetaKeys wants TTS of MiniMax or ByteDance.
        """
        if self.advanced_config is not None and self.advanced_config.disable_tts:
            yield _disabled_tts()
        yield from _conversation_rules(self)


class CreateLiveDigitalHumanAgentInstance(Action[CreatedDigitalHumanAgentInstance], frozen=True, kw_only=True):
    """Create a digital human that broadcasts: it speaks what SendAgentInstanceTTS tells it and listens to nobody.

    It goes to an RTC room or to a CDN; one of the two is needed. It ends with DeleteAgentInstance, or by itself when
    nothing has been sent to it for AdvancedConfig.MaxIdleTime. Other calls on it may be refused with 410001049.

    There is no look-up: if the answer is lost, :class:`~zego_aigc.errors.OutcomeUnknown` is raised.
    """

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.CREATES
    page: ClassVar[str] = f"{PAGES}/create-live-digital-human-agent-instance"
    lifecycle: ClassVar[Lifecycle | None] = _instance(
        makes="live digital human",
        quota="digital_humans",
        full_codes=(410001031, 410001025),
        max_idle_time=900,
        recovery=Recovery.WAIT,  # with a CDN there is no stream id that could be taken
        paths=Names(
            agent_id="agent_id",
            stream_id="rtc.agent_stream_id",
            agent_user_id="rtc.agent_user_id",
            room_id="rtc.room_id",
        ),
    )

    agent_id: AgentId
    """The registered agent, at most 128 bytes."""
    rtc: LiveRTC | None = None
    """The room to broadcast to, and the names that the digital human uses there."""
    cdn: CDN | None = None
    """The address to push to. With both, it wins over RTC."""
    tts: TTS | None = None
    """The voice; default the registered one."""
    callback_config: LiveCallbackConfig | None = None
    """Which callbacks reach your server."""
    advanced_config: LiveAdvancedConfig | None = None
    """How the instance behaves. DisableTTS must not be set."""
    digital_human: DigitalHuman
    """The digital human."""

    def rules(self) -> Iterable[Problem | Advice]:
        """Rules between the fields.

        - RTC or CDN is given.
        - AdvancedConfig.DisableTTS is not true.
        - Advice: RTC has no effect beside CDN.
        """
        if self.advanced_config is not None and self.advanced_config.disable_tts:
            yield _disabled_tts()
        if self.rtc is None and self.cdn is None:
            yield Problem("RTC", "live_target", "is required unless CDN is given")
        elif self.rtc is not None and self.cdn is not None:
            yield Advice("RTC has no effect beside CDN")


class UpdateAgentInstance(Action[None], frozen=True, kw_only=True):
    """Change a running instance. LLM, TTS and ASR replace the present object whole, so give all its fields.

    Of TTS, Vendor, FilterText, TerminatorText and CharacterFilter do not change; of ASR, only hot words and language are
    promised to.
    """

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.OVERWRITES
    page: ClassVar[str] = f"{PAGES}/update-agent-instance"

    agent_instance_id: AgentInstanceId
    """The instance's id."""
    rtc: UpdateRTC | None = None
    """The stream that the agent listens to."""
    llm: LLM | None = None
    """The new language model, whole."""
    tts: TTS | None = None
    """The new voice, whole."""
    asr: ASR | None = None
    """The new speech recognition, whole."""


def _disabled_tts() -> Problem:
    return Problem("AdvancedConfig.DisableTTS", "disable_tts", "must not be true: a digital human needs a voice")


def _conversation_rules(
    create: CreateAgentInstance | CreateDigitalHumanAgentInstance,
) -> Iterator[Problem | Advice]:
    """Rules between the objects of the two conversational creates."""
    if create.rtc.agent_user_id == create.user_id:
        yield Problem("RTC.AgentUserId", "unique_agent_ids", "must not be the user's UserId: one would kick the other out")
    if create.asr is not None and create.vad is not None and create.vad.turn_detect_config is not None:
        silence = create.vad.turn_detect_config.silence_segmentation
        if silence is not None and silence > TENCENT_LONGEST_SILENCE and create.asr.hears_with_tencent:
            yield Advice(f"VAD.TurnDetectConfig.SilenceSegmentation: Tencent may take at most {TENCENT_LONGEST_SILENCE} ms")
    meta = create.advanced_config and create.advanced_config.llm_meta_info
    if meta and meta.send_meta_keys and create.tts is not None and not create.tts.vendor.startswith(("MiniMax", "ByteDance")):
        yield Advice("AdvancedConfig.LLMMetaInfo.SendMetaKeys has an effect only with TTS of MiniMax and ByteDance")
