"""Callbacks of both services: verified, typed, and handed to your coroutines in order.

:func:`parse_callback` is pure and enough for any framework. :class:`CallbackRouter` adds what a server needs around it: an
ASGI app, an aiohttp handler, replay protection, order, bounded queues and a graceful end.

The vendor's signature does **not** cover the body: see :mod:`zego_aigc.callbacks.parsing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zego_aigc.callbacks.errors import BadSignature, CallbackError, MalformedCallback, ReplayedCallback, StaleCallback
from zego_aigc.callbacks.events import (
    AgentEvent,
    AgentInstanceCreated,
    AgentInstanceDeleted,
    AgentInstanceMetaInfo,
    AgentInstanceStatus,
    AgentSpeakAction,
    ASRResult,
    DigitalHumanEvent,
    DriveEvent,
    DriveStatus,
    Event,
    ExceptionEvent,
    Interrupted,
    InterruptReason,
    LLMResult,
    StreamTaskEvent,
    StreamTaskStatus,
    UnknownEvent,
    UserAudioData,
    UserSpeakAction,
)
from zego_aigc.callbacks.parsing import EVENTS, parse_callback, sign

if TYPE_CHECKING:
    from zego_aigc.callbacks._answer import Answer
    from zego_aigc.callbacks.router import CallbackRouter

__all__ = [
    "EVENTS",
    "ASRResult",
    "AgentEvent",
    "AgentInstanceCreated",
    "AgentInstanceDeleted",
    "AgentInstanceMetaInfo",
    "AgentInstanceStatus",
    "AgentSpeakAction",
    "Answer",
    "BadSignature",
    "CallbackError",
    "CallbackRouter",
    "DigitalHumanEvent",
    "DriveEvent",
    "DriveStatus",
    "Event",
    "ExceptionEvent",
    "InterruptReason",
    "Interrupted",
    "LLMResult",
    "MalformedCallback",
    "ReplayedCallback",
    "StaleCallback",
    "StreamTaskEvent",
    "StreamTaskStatus",
    "UnknownEvent",
    "UserAudioData",
    "UserSpeakAction",
    "parse_callback",
    "sign",
]


def __getattr__(name: str) -> Any:
    # The router needs asyncio; who only parses does not.
    if name in {"Answer", "CallbackRouter"}:
        from zego_aigc.callbacks import router

        return getattr(router, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
