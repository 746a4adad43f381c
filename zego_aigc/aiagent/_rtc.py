"""Where an agent meets its users: the RTC room and its streams, or a CDN."""

from __future__ import annotations

import os
from typing import Annotated, Self

from zego_aigc.errors import InvalidRequest, Problem
from zego_aigc.schema.actions import Wire
from zego_aigc.schema.constraints import ID_CHARS, RTC_CHARS, Secret, Text

__all__ = ["CDN", "RTC", "LiveRTC", "UpdateRTC"]


_USER_ID = Text(min_chars=1, max_chars=32, max_bytes=32, chars=ID_CHARS)
_ROOM_ID = Text(min_chars=1, max_chars=128, max_bytes=128, chars=RTC_CHARS)
_UNIQUE = Text(min_chars=1, max_chars=24, chars=ID_CHARS)

_NOT_TEXT = [("type", "must be text, such as str(user.id)")]


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

    @classmethod
    def for_user(cls, user_id: str, room_id: str | None = None, *, unique: str | None = None) -> Self:
        """Names for a conversation with a user, none of which anything else that runs has.

        Tell the user's client ``room_id`` and ``user_stream_id``: it joins the one and publishes the other.

        Args:
            user_id: the real user, who is passed as ``user_id`` of the create too.
            room_id: the room; a new one unless given.
            unique: what makes the names unique: random unless given; at most 24 letters and digits.

        Raises:
            InvalidRequest: the user or the room cannot be named so.
        """
        unique = os.urandom(8).hex() if unique is None else unique
        room = f"room-{unique}" if room_id is None else room_id
        named = (("UserId", _USER_ID, user_id), ("RTC.RoomId", _ROOM_ID, room), ("unique", _UNIQUE, unique))
        problems = [
            Problem(path, rule, f"{message} (got {value!r})")
            for path, text, value in named
            for rule, message in (text.problems(value) if isinstance(value, str) else _NOT_TEXT)  # pyright: ignore[reportUnnecessaryIsInstance]
        ]
        if problems:
            raise InvalidRequest(problems, action="RTC.for_user()")
        return cls(
            room_id=room,
            agent_stream_id=f"agent-{unique}",
            agent_user_id=f"agent-{unique}",
            user_stream_id=f"{user_id}-{unique}",
        )


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
