"""Who is in which room: the sandbox carries no media, so tests say it."""

from __future__ import annotations

import enum
from collections.abc import Callable

__all__ = ["Presence", "Rooms"]


class Presence(enum.Enum):
    """What the sandbox was told about a user in a room."""

    UNTOLD = "untold"
    """Nothing. The user is taken to speak when StartListening says so, and to be absent for MaxIdleTime."""
    ABSENT = "absent"
    PRESENT = "present"
    """In the room, without a stream."""
    PUBLISHING = "publishing"


class Rooms:
    """The rooms of an app.

    Args:
        changed: told ``(room_id, user_id)`` after every change.
    """

    def __init__(self, changed: Callable[[str, str], None]) -> None:
        self._presence: dict[tuple[str, str], Presence] = {}
        self._changed = changed

    def join(self, room_id: str, user_id: str, *, publishing: bool = True) -> None:
        """A real user enters a room and, unless told otherwise, publishes; agents there do not idle any more."""
        self._set(room_id, user_id, Presence.PUBLISHING if publishing else Presence.PRESENT)

    def leave(self, room_id: str, user_id: str) -> None:
        """A real user leaves a room; agents made for that user begin to idle."""
        self._set(room_id, user_id, Presence.ABSENT)

    def kick(self, user_id: str) -> None:
        """A user has to leave every room: an agent logs in under the same id."""
        for room_id, known in list(self._presence):
            if known == user_id:
                self.leave(room_id, user_id)

    def presence(self, room_id: str, user_id: str) -> Presence:
        """What was said last about a user in a room."""
        return self._presence.get((room_id, user_id), Presence.UNTOLD)

    def _set(self, room_id: str, user_id: str, presence: Presence) -> None:
        self._presence[room_id, user_id] = presence
        self._changed(room_id, user_id)
