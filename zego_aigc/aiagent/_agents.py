"""Agents: what is registered once, and instances are made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from zego_aigc.aiagent._asr import ASR
from zego_aigc.aiagent._llm import LLM
from zego_aigc.aiagent._results import AgentList, QueriedAgents
from zego_aigc.aiagent._tts import TTS
from zego_aigc.schema.actions import Action, Repeat, Service
from zego_aigc.schema.constraints import Items, Number, Text
from zego_aigc.schema.lifecycle import Lifecycle, Listing, Names, Recovery

__all__ = ["ListAgents", "QueryAgents", "RegisterAgent", "UnregisterAgent", "UpdateAgent"]

PAGES = "https://www.zegocloud.com/docs/aiagent-server/api-reference/agent-configuration-management"

AGENT_ID_CHARS = r"0-9A-Za-z!#$%&()+\-:;<=.>?@\[\]^_{}|~,"
"""What the id of a new agent may hold, as the inside of a character class."""

AgentId = Annotated[str, Text(min_chars=1, max_bytes=128)]


class UnregisterAgent(Action[None], frozen=True, kw_only=True):
    """Remove an agent, so that no more instances can be made from it."""

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.ENDS
    page: ClassVar[str] = f"{PAGES}/unregister-agent"

    agent_id: AgentId
    """The agent's id, at most 128 bytes."""


class UpdateAgent(Action[None], frozen=True, kw_only=True):
    """Change a registered agent. Each object that is given replaces the registered one whole, so give all its fields."""

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.OVERWRITES
    page: ClassVar[str] = f"{PAGES}/update-agent"

    agent_id: AgentId
    """The agent's id, at most 128 bytes."""
    name: Annotated[str, Text(max_chars=64)] | None = None
    """The new name, at most 64 characters (RegisterAgent takes 256 bytes)."""
    llm: LLM | None = None
    """The new language model, whole."""
    tts: TTS | None = None
    """The new voice, whole."""
    asr: ASR | None = None
    """The new speech recognition, whole."""


class ListAgents(Action[AgentList], frozen=True, kw_only=True):
    """List the registered agents, page by page. ``client.list_agents()`` turns the pages."""

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.READS
    page: ClassVar[str] = f"{PAGES}/list-agents"

    limit: Annotated[int, Number(0, 10)] | None = None
    """How many agents a page holds: 0 to 10, default 5; 0 means 5."""
    cursor: str | None = None
    """Where to go on: the cursor of the page before, empty or unset for the first page."""


class QueryAgents(Action[QueriedAgents], frozen=True, kw_only=True):
    """Look up registered agents by id. The answer holds their credentials; reprs mask them."""

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.READS
    page: ClassVar[str] = f"{PAGES}/query-agents"

    agent_ids: Annotated[Sequence[AgentId], Items(10)]
    """The agents' ids, at most 10."""


class RegisterAgent(Action[None], frozen=True, kw_only=True):
    """Register an agent: the model, the voice and the hearing that instances take when they bring none of their own.

    Done once. An id that is taken is refused with 410001008 (:class:`~zego_aigc.errors.AlreadyExists`). The service may
    accept wrong vendor settings: they surface later, as Exception callbacks of an instance.
    """

    service: ClassVar[Service] = Service.AI_AGENT
    repeat: ClassVar[Repeat] = Repeat.CREATES
    page: ClassVar[str] = f"{PAGES}/register-agent"
    lifecycle: ClassVar[Lifecycle | None] = Lifecycle(
        makes="agent",
        id_field="agent_id",
        id_in_request=True,
        ended_by=UnregisterAgent,
        removal_phase=1,
        recovery=Recovery.COMPARE,
        listing=Listing(QueryAgents, items="agents", ids="agent_ids", batch=10),
        updated_by=UpdateAgent,
        paths=Names(agent_id="agent_id"),
        unique=("agent_id",),
    )

    agent_id: Annotated[str, Text(min_chars=1, max_chars=128, max_bytes=128, chars=AGENT_ID_CHARS)]
    """An id of your choice for the agent: at most 128 bytes of letters, digits and ``!#$%&()+-:;<=.>?@[]^_{}|~,``."""
    name: Annotated[str, Text(max_chars=256, max_bytes=256)] | None = None
    """A name for people, at most 256 bytes. UpdateAgent takes 64 characters only."""
    llm: LLM | None = None
    """The language model. Without one, each instance has to bring its own."""
    tts: TTS | None = None
    """The voice. Without one, each instance has to bring its own."""
    asr: ASR | None = None
    """The speech recognition; default Tencent."""
