"""Registered agents: the templates that instances are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zego_aigc.aiagent import QueryAgents, RegisterAgent, UnregisterAgent
from zego_aigc.sandbox.behaviour import answers
from zego_aigc.sandbox.refusal import Refusal

if TYPE_CHECKING:
    from zego_aigc.sandbox.app import App

__all__ = ["Agent", "find_agent"]


@dataclass(slots=True)
class Agent:
    """A registered agent, its objects in wire form as they were sent."""

    agent_id: str
    registered_at: float
    name: str = ""
    objects: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """``LLM``, ``TTS`` and ``ASR``, as far as given."""

    def to_wire(self) -> dict[str, Any]:
        """As QueryAgents and ListAgents show it, credentials included, as the vendor does."""
        return {"AgentId": self.agent_id, "Name": self.name, **self.objects}

    def to_json(self) -> dict[str, Any]:
        """For ``/_sandbox/state``; secrets masked."""
        from zego_aigc._secrets import mask_map

        masked: dict[str, Any] = mask_map(self.to_wire())
        return {**masked, "RegisteredAt": self.registered_at}


def find_agent(app: App, agent_id: str) -> Agent:
    """The agent of that id.

    Raises:
        Refusal: if none is registered.
    """
    if (agent := app.agents.get(agent_id)) is None:
        raise Refusal(410001009, f"no agent {agent_id!r} is registered")
    return agent


@answers(RegisterAgent)
def register(app: App, action: RegisterAgent) -> None:
    """Keep the agent; its id must be new."""
    if action.agent_id in app.agents:
        raise Refusal(410001008, f"an agent {action.agent_id!r} is registered already")
    objects = {name: value for name, value in action.to_wire().items() if name in {"LLM", "TTS", "ASR"}}
    app.agents[action.agent_id] = Agent(action.agent_id, app.clock.now(), action.name or "", objects)


@answers(UnregisterAgent)
def unregister(app: App, action: UnregisterAgent) -> None:
    """Forget the agent. Its running instances go on."""
    find_agent(app, action.agent_id)
    del app.agents[action.agent_id]


@answers(QueryAgents)
def query(app: App, action: QueryAgents) -> dict[str, Any]:
    """Those of the agents asked for that exist, in the order asked."""
    return {"Agents": [app.agents[agent_id].to_wire() for agent_id in action.agent_ids if agent_id in app.agents]}
