"""Registered agents: the templates that instances are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from zego_aigc.schema.redaction import mask_map

__all__ = ["Agent"]


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
        masked: dict[str, Any] = mask_map(self.to_wire())
        return {**masked, "RegisteredAt": self.registered_at}
