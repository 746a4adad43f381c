"""Talking to a running instance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from zego_aigc.aiagent._history import Message
from zego_aigc.aiagent._results import AgentInstanceMsgList, QueriedAgentInstanceStatus, Round
from zego_aigc.schema.actions import Action, Repeat, Service
from zego_aigc.schema.constraints import ID_CHARS, Deprecated, OneOf, Text

__all__ = [
    "AddAgentInstanceMsg",
    "GetAgentInstanceMsgList",
    "InterruptAgentInstance",
    "QueryAgentInstanceStatus",
    "ResetAgentInstanceMsgList",
    "SendAgentInstanceLLM",
    "SendAgentInstanceTTS",
    "StartListening",
    "StopListening",
]

PAGES = "https://www.zegocloud.com/docs/aiagent-server/api-reference/agent-instance-control"

AgentInstanceId = Annotated[str, Text(min_chars=1)]
Priority = Annotated[Literal["Low", "Medium", "High"], OneOf(("Low", "Medium", "High"))]
SamePriorityOption = Annotated[Literal["ClearAndInterrupt", "Enqueue"], OneOf(("ClearAndInterrupt", "Enqueue"))]
UserId = Annotated[str, Text(max_bytes=32, chars=ID_CHARS)]


class SendAgentInstanceLLM(Action[Round], frozen=True, kw_only=True):
    """Ask the agent something on the user's behalf; it speaks its answer.

    Refused with 410001013 while the agent listens in walkie-talkie mode. After a lost answer it is not sent again: the
    agent would answer twice.
    """

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.ONCE
    page: ClassVar[str] = f"{PAGES}/send-agent-instance-llm"

    agent_instance_id: AgentInstanceId
    """The instance's id."""
    text: str
    """The question, as if the user had said it."""
    system_prompt: str | None = None
    """A system prompt for this turn only."""
    add_question_to_history: bool | None = None
    """Whether the question stays in the history; default ``False``."""
    add_answer_to_history: bool | None = None
    """Whether the answer stays in the history; default ``True`` by the reference, ``False`` by a guide: set it."""
    priority: Priority | None = None
    """``Low``, ``Medium`` (default) or ``High``, which is spoken whoever is talking."""
    same_priority_option: SamePriorityOption | None = None
    """What becomes of speech of the same priority: ``ClearAndInterrupt`` (default) drops it, ``Enqueue`` waits for it,
    five deep."""


class SendAgentInstanceTTS(Action[Round], frozen=True, kw_only=True):
    """Have the agent say something.

    Fails when the instance was made with DisableTTS; refused with 410001013 while the agent listens in walkie-talkie
    mode. After a lost answer it is not sent again: the agent would say it twice.
    """

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.ONCE
    page: ClassVar[str] = f"{PAGES}/send-agent-instance-tts"

    agent_instance_id: AgentInstanceId
    """The instance's id."""
    text: Annotated[str, Text(max_chars=300)]
    """What to say, at most 300 characters."""
    add_history: bool | None = None
    """Whether it stays in the history, as something that the agent said; default ``True``."""
    interrupt_mode: Annotated[int, OneOf((0, 1)), Deprecated("Priority and SamePriorityOption")] | None = None
    """0 is the same as Priority ``Medium`` (default), 1 as ``High``, both with ``ClearAndInterrupt``. Newer pages have
    those two fields instead."""
    priority: Priority | None = None
    """``Low``, ``Medium`` (default) or ``High``, which is spoken whoever is talking."""
    same_priority_option: SamePriorityOption | None = None
    """What becomes of speech of the same priority: ``ClearAndInterrupt`` (default) drops it, ``Enqueue`` waits for it,
    five deep."""


class QueryAgentInstanceStatus(Action[QueriedAgentInstanceStatus], frozen=True, kw_only=True):
    """Ask what an instance is doing: idling, listening, thinking or speaking."""

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.READS
    page: ClassVar[str] = f"{PAGES}/query-agent-instance-status"

    agent_instance_id: AgentInstanceId
    """The instance's id."""


class InterruptAgentInstance(Action[Round], frozen=True, kw_only=True):
    """Cut what the agent is saying. After a lost answer it is not sent again: it would cut newer speech."""

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.ONCE
    page: ClassVar[str] = f"{PAGES}/interrupt-agent-instance"

    agent_instance_id: AgentInstanceId
    """The instance's id."""


class GetAgentInstanceMsgList(Action[AgentInstanceMsgList], frozen=True, kw_only=True):
    """Read what an instance remembers, oldest first."""

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.READS
    page: ClassVar[str] = f"{PAGES}/get-agent-instance-msg-list"

    agent_instance_id: AgentInstanceId
    """The instance's id."""


class ResetAgentInstanceMsgList(Action[None], frozen=True, kw_only=True):
    """Make an instance forget. After a lost answer it is not sent again: it would erase newer messages."""

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.ONCE
    page: ClassVar[str] = f"{PAGES}/reset-agent-instance-msg-list"

    agent_instance_id: AgentInstanceId
    """The instance's id."""


class AddAgentInstanceMsg(Action[None], frozen=True, kw_only=True):
    """Add messages to what an instance remembers, silently: no model call, no subtitles, no round, nothing in ZIM.

    After a lost answer it is not sent again: the messages would stand there twice.
    """

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.ONCE
    page: ClassVar[str] = f"{PAGES}/add-agent-instance-msg"

    agent_instance_id: AgentInstanceId
    """The instance's id."""
    messages: Sequence[Message] | None = None
    """The messages, oldest first. The vendor prints no limit."""


class StartListening(Action[Round], frozen=True, kw_only=True):
    """Walkie-talkie: the user has pressed the button, and the agent listens.

    For instances made with CommunicationMode 2; others answer 410001042. The user must be publishing (410001046).
    With a Sequence a lost call is repeated, since the service drops what is outdated (410001043). If it drops the repeat,
    the earlier attempt has arrived or a newer call has: OutcomeUnknown.
    """

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.ONCE
    page: ClassVar[str] = f"{PAGES}/start-listening"

    agent_instance_id: AgentInstanceId
    """The instance's id."""
    user_id: UserId | None = None
    """Who speaks: at most 32 bytes of letters, digits, ``-`` and ``_``; default the UserId that the instance was made
    with."""
    sequence: int | None = None
    """A counter of yours over StartListening and StopListening, per user or device: 1, 2, 3 and so on, up to 64 bits.
    A number that is not above the last is dropped; without one, the order of arrival counts."""

    def repeatable(self) -> Repeat:
        """Numbered requests may be sent again: the service drops what is outdated."""
        return self.repeat if self.sequence is None else Repeat.OVERWRITES


class StopListening(Action[Round], frozen=True, kw_only=True):
    """Walkie-talkie: the user has let go of the button, and the agent answers.

    With a Sequence a lost call is repeated, since the service drops what is outdated (410001043). If it drops the repeat,
    the earlier attempt has arrived or a newer call has: OutcomeUnknown.
    """

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.ONCE
    page: ClassVar[str] = f"{PAGES}/stop-listening"

    agent_instance_id: AgentInstanceId
    """The instance's id."""
    user_id: UserId | None = None
    """Who spoke: at most 32 bytes of letters, digits, ``-`` and ``_``; default the UserId that the instance was made
    with."""
    sequence: int | None = None
    """The same counter as for StartListening."""

    def repeatable(self) -> Repeat:
        """Numbered requests may be sent again: the service drops what is outdated."""
        return self.repeat if self.sequence is None else Repeat.OVERWRITES
