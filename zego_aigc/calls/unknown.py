"""What to say and what to do about a call whose outcome is unknown. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zego_aigc.errors import OutcomeUnknown
from zego_aigc.schema.lifecycle import Recovery

if TYPE_CHECKING:
    from zego_aigc.schema.lifecycle import Lifecycle

__all__ = ["outcome_unknown", "unknown_advice"]


def outcome_unknown(action: Any, name: str, cause: object, *, attempts: int = 0) -> OutcomeUnknown:
    """The error for an Action that may have been carried out and must not be twice.

    Args:
        action: the struct, or the :class:`~zego_aigc.calls.request.RawAction`.
        name: its vendor name.
        cause: what happened.
        attempts: how many times it was tried.
    """
    advice = unknown_advice(action)
    return OutcomeUnknown(
        f"{name} may or may not have been carried out, and a repeat could do harm: {cause}. {advice}",
        action=action,
        attempts=attempts,
        advice=advice,
    )


def unknown_advice(action: Any) -> str:
    """What settles whether an Action was carried out, in a sentence or two.

    Args:
        action: the struct, or the :class:`~zego_aigc.calls.request.RawAction`.
    """
    life: Lifecycle | None = getattr(action, "lifecycle", None)
    if life is None:
        return "Look whether it had its effect before you send it again: then it happens twice"
    if life.recovery is Recovery.COMPARE:
        return "Ask client.is_registered(error.action) whether it was"
    if life.recovery is Recovery.FIND:
        return "Ask client.look_up(error.action) for what it made, if it did"
    room, idle = life.names(action).room_id, life.idle_time(action)
    where = f" for room {room!r}" if room else ""
    advice = f"Give callbacks to client.observe(): AgentInstanceCreated{where} brings the id, and on_orphan is called with it"
    return advice if idle is None else f"{advice}. If it was, it ends by itself when it has been without its user for {idle} s"
