"""A register of what is live, so that what a dead process made is ended by another one instead of billing on.

A :class:`Registry` keeps one :class:`LiveRecord` for each create: noted before its first byte leaves, completed with its id,
struck off when it has ended. A record belongs to a process, its *member*, which shows with a heartbeat that it is alive.
Records of a member that has died are taken over by another and ended.

:class:`~zego_aigc.SQLiteRegistry` serves the processes of one machine; :class:`zego_aigc.redis.RedisRegistry` those of many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from zego_aigc.errors import TooManyLive

__all__ = ["LiveRecord", "Registry", "too_many_live"]

State = Literal["starting", "live", "unknown", "left"]
"""``starting``: the create may be under way. ``live``: its id is known. ``unknown``: it may or may not have been made.
``left``: a process that closed left it for the next one.

What is ``unknown`` does not count for its owner. It can only be waited out, for minutes: a lost answer or a killed process
would lock a person out who can do nothing about it.
"""


class LiveRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was made and has not ended, or may have been made. It holds no secret."""

    key: str
    """The register's own id of the record."""
    action: str
    """The vendor's name of the Action that makes it."""
    state: State = "starting"
    """``starting``, ``live``, ``unknown`` (it may have been made, and no answer said so), or ``left`` to the next process."""
    instance_id: str | None = None
    """The AgentInstanceId or TaskId, once it is known."""
    owner: str | None = None
    """For whom it was made, as given to the create: a user, say."""
    agent_id: str | None = None
    """The agent that an instance is of."""
    room_id: str | None = None
    """The RTC room."""
    stream_id: str | None = None
    """The stream that it publishes."""
    agent_user_id: str | None = None
    """The user that an instance is in the room."""
    since: float = 0.0
    """Unix time in seconds at which it was noted. For people: nothing is decided by it."""
    lives_unseen: float = 0.0
    """Seconds after which the service has ended it by itself, without use."""
    member: str = ""
    """The process that it belongs to; empty for what was left."""

    def to_dict(self) -> dict[str, object]:
        """The fields by their names, for a web framework's answer."""
        return msgspec.structs.asdict(self)


class Registry(Protocol):
    """Keeps records of what is live for the processes of one account.

    What is awaited is durable when it returns. Every method may raise :class:`~zego_aigc.errors.RegistryError`.
    """

    lease: float
    """Seconds without a heartbeat after which a member counts as dead."""

    clock: Callable[[], float]
    """Seconds, never running backwards: by it this process judges how long something has lasted."""

    @property
    def member(self) -> str:
        """This process's id, which changes when it is forked; empty before :meth:`join`."""
        ...

    async def join(self, account: str) -> None:
        """Become a member, with this process's first use. Joining again does nothing.

        Args:
            account: whose instances are meant: the AppId and its hosts. One register may serve several accounts.
        """
        ...

    async def add(self, record: LiveRecord, *, per_owner: int | None = None) -> None:
        """Note a create that is about to be sent.

        Args:
            record: what is known of it.
            per_owner: how many records its owner may have, this one included. Unknown ones do not count.

        Raises:
            TooManyLive: the owner has that many already.
        """
        ...

    async def made(self, record: LiveRecord, instance_id: str) -> None:
        """It was made. A record that another member took over or removed meanwhile is this one's again."""
        ...

    async def identify(self, key: str, instance_id: str) -> None:
        """A callback gave the id of what a record speaks of. It stays whose it is; an id that is known is left alone."""
        ...

    async def unknown(self, key: str) -> None:
        """It may or may not have been made."""
        ...

    async def remove(self, key: str) -> None:
        """It was not made, or has ended. An unknown key does nothing."""
        ...

    async def ended(self, instance_id: str) -> bool:
        """An instance or a task has ended, whichever process made it; False if no record had its id."""
        ...

    async def take(self, instance_id: str) -> LiveRecord | None:
        """Make a record this process's own, whichever process had it; None if no record has that id."""
        ...

    async def leave(self) -> Sequence[LiveRecord]:
        """Leave what is live to the next process, and stop being a member. Returns what was left."""
        ...

    async def live(self) -> Sequence[LiveRecord]:
        """All records of the account, oldest first."""
        ...

    async def beat(self) -> bool:
        """Show that this process is alive; False if it was taken for dead, and its records have gone to others."""
        ...

    async def take_abandoned(self, *, grace: float) -> Sequence[LiveRecord]:
        """Take over the records of members that have died, and those that were left for longer than `grace` seconds.

        Whether a member has died is observed, by this process's own clock: its heartbeat has not changed for a lease. So the
        first call of a process takes nothing, and machines with wrong clocks do no harm.
        """
        ...

    async def aclose(self) -> None:
        """Close the register. Records stay."""
        ...


def too_many_live(owner: str | None, most: int | None) -> TooManyLive:
    """What :meth:`Registry.add` raises."""
    message = f"{owner!r} has as many live instances as it may have ({most}): end one before the next is made. Nothing was sent"
    return TooManyLive(message, owner=owner, limit=most)
