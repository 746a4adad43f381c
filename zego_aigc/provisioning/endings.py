"""How what an Action made is ended again."""

from __future__ import annotations

from typing import Any

from zego_aigc.errors import ApiError
from zego_aigc.schema.actions import Action
from zego_aigc.schema.codes import RETURN_CODES

__all__ = ["INSTANCES", "ending_of", "is_over"]

INSTANCES = (
    "CreateAgentInstance",
    "CreateDigitalHumanAgentInstance",
    "CreateLiveDigitalHumanAgentInstance",
)
"""Actions that make agent instances."""


def ending_of(action: str, made_id: str) -> Action[Any] | None:
    """The call that ends what an Action made; None for what leaves nothing behind."""
    from zego_aigc.aiagent import DeleteAgentInstance, UnregisterAgent
    from zego_aigc.digitalhuman import StopDigitalHumanStreamTask

    if action == "RegisterAgent":
        return UnregisterAgent(agent_id=made_id)
    if action in INSTANCES:
        return DeleteAgentInstance(agent_instance_id=made_id)
    if action == "CreateDigitalHumanStreamTask":
        return StopDigitalHumanStreamTask(task_id=made_id)
    return None


def is_over(error: ApiError) -> bool:
    """Whether a refused ending says that there is nothing left to end."""
    known = RETURN_CODES.get(error.code)
    return known is not None and known.why in {"gone", "register", "done", "closing"}
