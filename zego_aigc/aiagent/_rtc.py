"""Where an agent meets its users: the RTC room and its streams, or a CDN."""

from __future__ import annotations

from typing import Annotated

from zego_aigc.schema.actions import Wire
from zego_aigc.schema.constraints import RTC_CHARS, Secret, Text

__all__ = ["CDN", "RTC", "LiveRTC", "UpdateRTC"]


class RTC(Wire, frozen=True, kw_only=True):
    """The RTC room that an agent instance joins, and the names that it uses there.

    All ids may hold letters, digits, ``_``, ``-`` and ``.``.
    """

    room_id: Annotated[str, Text(min_chars=1, max_chars=128, max_bytes=128, chars=RTC_CHARS)]
    """The room to join, at most 128 bytes."""
    agent_stream_id: Annotated[str, Text(min_chars=1, max_chars=128, max_bytes=128, chars=RTC_CHARS)]
    """The stream that the agent publishes, at most 128 bytes. Unique among all running instances, in whatever room:
    with a stream id that is taken, the later instance fails to publish."""
    agent_user_id: Annotated[str, Text(min_chars=1, max_chars=32, max_bytes=32, chars=RTC_CHARS)]
    """The agent's user id, at most 32 bytes. Unique among all running instances and never that of a real user: with an
    id that is taken, the earlier holder is kicked out of its room (exception code 1203)."""
    user_stream_id: Annotated[str, Text(min_chars=1, max_chars=128, max_bytes=128, chars=RTC_CHARS)]
    """The stream that the human publishes and the agent listens to, at most 128 bytes."""
    stream_extra_info: Annotated[str, Text(max_chars=1024, max_bytes=1024)] | None = None
    """Free text attached to the agent's stream, which clients in the room can read; at most 1024 bytes."""


class LiveRTC(Wire, frozen=True, kw_only=True):
    """The RTC room that a live digital human broadcasts to (``RTC`` of CreateLiveDigitalHumanAgentInstance).

    It only publishes, so there is no stream of a user.
    """

    room_id: Annotated[str, Text(min_chars=1, max_chars=128, max_bytes=128, chars=RTC_CHARS)]
    """The room to join, at most 128 bytes."""
    agent_stream_id: Annotated[str, Text(min_chars=1, max_chars=128, max_bytes=128, chars=RTC_CHARS)]
    """The stream that the digital human publishes, at most 128 bytes; unique among all running instances."""
    agent_user_id: Annotated[str, Text(min_chars=1, max_chars=32, max_bytes=32, chars=RTC_CHARS)]
    """The digital human's user id, at most 32 bytes; unique among all running instances and all real users."""
    stream_extra_info: Annotated[str, Text(max_chars=1024, max_bytes=1024)] | None = None
    """Free text attached to the stream, which clients in the room can read; at most 1024 bytes."""


class UpdateRTC(Wire, frozen=True, kw_only=True):
    """What can change about RTC while an instance runs (``RTC`` of UpdateAgentInstance)."""

    user_stream_id: Annotated[str, Text(max_chars=128, max_bytes=128, chars=RTC_CHARS)] | None = None
    """The stream that the agent listens to from now on, at most 128 bytes."""


class CDN(Wire, frozen=True, kw_only=True):
    """Where a live digital human is pushed to instead of an RTC room."""

    url: Annotated[str, Text(min_chars=1), Secret()]
    """The RTMP address to push to. It holds the key of the platform's stream: treat it as a credential."""
