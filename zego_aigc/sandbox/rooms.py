"""Which users are in which rooms: the sandbox carries no media, so tests set it."""

from __future__ import annotations

import enum
from collections.abc import Callable

__all__ = ["Presence", "Rooms"]


class Presence(enum.Enum):
    """Whether a user is in a room, as far as the sandbox knows."""

    UNKNOWN = "unknown"
    """Nothing was said. The user is taken to speak when StartListening says so, and to be absent for MaxIdleTime."""
    ABSENT = "absent"
    PRESENT = "present"
    """In the room, without a stream."""
    PUBLISHING = "publishing"


class Rooms:
    """The rooms of an app."""

    def __init__(self) -> None:
        self._presence: dict[tuple[str, str], Presence] = {}
        self.on_change: Callable[[str, str], None] = lambda _room_id, _user_id: None
        """Called with room and user id after every change."""

    def join(self, room_id: str, user_id: str, *, publishing: bool = True) -> None:
        """A real user enters a room and publishes by default; agents there do not idle any more."""
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
        return self._presence.get((room_id, user_id), Presence.UNKNOWN)

    def _set(self, room_id: str, user_id: str, presence: Presence) -> None:
        self._presence[room_id, user_id] = presence
        self.on_change(room_id, user_id)
