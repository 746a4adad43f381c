"""One thing that a fleet should have: an Action, the key it is known by, and what must exist before it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from zego_aigc._secrets import masked_wire
from zego_aigc.actions import Action

__all__ = ["DEFAULT_IDLE", "Entry", "Names", "default_key", "digest", "idle_time", "names"]


class Entry(msgspec.Struct, frozen=True):
    """An Action to carry out once, under a key that stays the same from run to run.

    ``Entry(RegisterAgent(agent_id="host"))`` has the key ``RegisterAgent:host``. An instance waits by itself for the
    agent that the same fleet registers; `after` is for everything else.
    """

    action: Action[Any]
    """What to do."""
    key: str | None = None
    """By what the journal knows it. Default: the Action's name with its stream id, its agent id, or a digest."""
    after: Sequence[str] = ()
    """Keys of entries that must be done first."""


class Names(NamedTuple):
    """The names in a request that must be unique, or that refer to something."""

    agent_id: str | None = None
    stream_id: str | None = None
    """The stream that the agent or the digital human publishes."""
    agent_user_id: str | None = None
    user_id: str | None = None
    """The real user."""
    room_id: str | None = None


def names(action: Action[Any]) -> Names:
    """The names in a request, whichever Action it is."""
    rtc = getattr(action, "rtc", None) or getattr(action, "rtc_config", None)
    return Names(
        agent_id=getattr(action, "agent_id", None),
        stream_id=getattr(rtc, "agent_stream_id", None) or getattr(rtc, "stream_id", None),
        agent_user_id=getattr(rtc, "agent_user_id", None),
        user_id=getattr(action, "user_id", None),
        room_id=getattr(rtc, "room_id", None),
    )


def default_key(action: Action[Any], spec: str) -> str:
    """The key of an entry that was given none; `spec` is its :func:`digest`."""
    name = type(action).__name__
    known = names(action)
    if name == "RegisterAgent":
        return f"{name}:{known.agent_id}"
    return f"{name}:{known.stream_id or spec[:16]}"


def digest(action: Action[Any]) -> str:
    """32 hex digits that change when the request does, its secrets apart: a rotated ApiKey is the same spec."""
    shown = masked_wire(type(action), action.to_wire())
    text = msgspec.json.encode([type(action).__name__, shown], order="deterministic")
    return hashlib.sha256(text).hexdigest()[:32]


DEFAULT_IDLE = {
    "CreateAgentInstance": 120,
    "CreateDigitalHumanAgentInstance": 120,
    "CreateLiveDigitalHumanAgentInstance": 900,
    "CreateDigitalHumanStreamTask": 900,
}
"""The vendor's MaxIdleTime in seconds, where a request sets none."""


def idle_time(action: Action[Any]) -> int | None:
    """After how many idle seconds what this Action makes ends by itself; None for what stays."""
    default = DEFAULT_IDLE.get(type(action).__name__)
    if default is None:
        return None
    advanced = getattr(action, "advanced_config", None)
    return getattr(action, "max_idle_time", None) or getattr(advanced, "max_idle_time", None) or default
