"""What was said before a conversation begins."""

# ruff: noqa: PYI051 - known names help completion; any other string passes too
from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, Self

from zego_aigc.schema.actions import Wire
from zego_aigc.schema.constraints import Advice, Items, Number, OneOf

__all__ = ["ZIM", "HistoryMessage", "Message", "MessageHistory", "SyncMode"]


class SyncMode(enum.IntEnum):
    """Where an instance takes its history from."""

    ZIM = 0
    """From the in-app chat (ZIM)."""
    MESSAGES = 1
    """From Messages."""


class Message(Wire, frozen=True, kw_only=True):
    """One message of a conversation."""

    role: Annotated[Literal["user", "assistant"] | str, OneOf(("user", "assistant"))]
    """Who said it: ``user`` or ``assistant`` (the agent)."""
    content: str
    """What was said."""

    @classmethod
    def user(cls, content: str) -> Self:
        """A message of the user."""
        return cls(role="user", content=content)

    @classmethod
    def assistant(cls, content: str) -> Self:
        """A message of the agent."""
        return cls(role="assistant", content=content)


class HistoryMessage(Message, frozen=True, kw_only=True):
    """A message as the service returns it, with nothing required. It is a :class:`Message`."""

    role: Literal["user", "assistant"] | str = ""
    """Who said it: ``user`` or ``assistant`` (the agent)."""
    content: str = ""
    """What was said."""


class ZIM(Wire, frozen=True, kw_only=True):
    """The in-app chat that an instance shares its history with. The project needs ZIM, and the bot to be registered."""

    robot_id: str | None = None
    """The bot's id (``UserInfo.UserId`` of its registration, such as ``@RBT#1``); a random one when empty."""
    load_message_count: Annotated[int, Number(0, 500)] | None = None
    """How many messages to fetch from the chat: 0 to 500, default MessageHistory.WindowSize."""


class MessageHistory(Wire, frozen=True, kw_only=True):
    """What an instance remembers from before."""

    sync_mode: Annotated[int, OneOf((0, 1))] | None = None
    """A :class:`SyncMode`: 0 takes the history from the in-app chat (default), 1 from Messages."""
    messages: Annotated[Sequence[Message], Items(100)] | None = None
    """The history itself, oldest first, at most 100 messages. For SyncMode 1."""
    window_size: Annotated[int, Number(0, 500)] | None = None
    """How many of the latest messages the model is sent: 0 to 500, default 20; the vendor advises 10 to 30."""
    zim: ZIM | None = None
    """The in-app chat. For SyncMode 0."""

    def rules(self) -> Iterable[Advice]:
        """Rules between the fields.

        - Advice: Messages count only with SyncMode 1, ZIM only with SyncMode 0.
        """
        if self.sync_mode == SyncMode.MESSAGES:
            if self.zim is not None:
                return (Advice("MessageHistory.ZIM has an effect only with SyncMode 0"),)
        elif self.messages:
            return (Advice("MessageHistory.Messages has an effect only with SyncMode 1"),)
        return ()
