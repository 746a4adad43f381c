"""Callbacks of both services: verified, typed, and handed to your coroutines in order.

:func:`parse_callback` is pure and enough for any framework. :class:`CallbackRouter` adds what a server needs around it: an
ASGI app, an aiohttp handler, replay protection, order, bounded queues and a graceful end.

The vendor's signature does **not** cover the body: see :mod:`zego_aigc.callbacks.signature`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

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
    UnknownEvent,
    UserAudioData,
    UserSpeakAction,
)
from zego_aigc.callbacks.parsing import EVENTS, dump_event, load_event, parse_callback
from zego_aigc.callbacks.signature import sign
from zego_aigc.schema.missing_names import missing_export

if TYPE_CHECKING:
    from zego_aigc.callbacks._answer import Answer
    from zego_aigc.callbacks._counters import RouterStats
    from zego_aigc.callbacks._replays import LocalSeen, Seen
    from zego_aigc.callbacks.router import CallbackRouter
    from zego_aigc.callbacks.sse import ServerSentEvents
    from zego_aigc.callbacks.subscriptions import Subscription

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
    "LocalSeen",
    "MalformedCallback",
    "ReplayedCallback",
    "RouterStats",
    "Seen",
    "ServerSentEvents",
    "StaleCallback",
    "StreamTaskEvent",
    "Subscription",
    "UnknownEvent",
    "UserAudioData",
    "UserSpeakAction",
    "dump_event",
    "load_event",
    "parse_callback",
    "sign",
]


_LATE = {
    "Answer": "_answer",
    "CallbackRouter": "router",
    "LocalSeen": "_replays",
    "RouterStats": "_counters",
    "Seen": "_replays",
    "ServerSentEvents": "sse",
    "Subscription": "subscriptions",
}
"""The modules of what needs asyncio; those who only parse do not."""


if not TYPE_CHECKING:  # to a type checker, a name that is not there stays the mistake that it is

    def __getattr__(name):  # noqa: ANN001, ANN202 - as every module's
        if name in _LATE:
            return getattr(import_module(f"zego_aigc.callbacks.{_LATE[name]}"), name)
        raise missing_export(__name__, name)
