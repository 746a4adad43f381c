"""A budget of live instances, beside the limit of calls: an account may hold ten of a kind unless support raises that.

The service refuses the eleventh. A :class:`Quota` knows before: callers wait for a place, or fail at once.
:class:`~zego_aigc.LocalQuota` counts within one process, :class:`~zego_aigc.redis.RedisQuota` for all that share a Redis.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, Protocol

from zego_aigc.limits.capacity import Usage
from zego_aigc.schema.lifecycle import QuotaKind, makers_of

if TYPE_CHECKING:
    from zego_aigc.errors import ApiError

__all__ = ["Kind", "Quota", "Reservation", "ReservationState", "Usage", "quota_refusal"]

Kind = QuotaKind
"""What a budget counts: voice instances, digital human instances (live ones too), video stream tasks."""

ReservationState = Literal["making", "live", "unknown", "gone"]
"""What is known of a reservation's instance; ``gone`` when the place was given back or has expired."""


class Reservation(Protocol):
    """A place in a :class:`Quota`: for an instance being made, then for its life.

    The code that acquired it must report what came of it, with one of :meth:`live`, :meth:`release`, :meth:`full` or
    :meth:`unknown`.
    """

    @property
    def kind(self) -> Kind:
        """Which budget it draws on."""
        ...

    @property
    def state(self) -> ReservationState:
        """What is known of the instance; ``gone`` when the place was given back or has expired."""
        ...

    @property
    def instance_id(self) -> str | None:
        """The instance's id, once it is known."""
        ...

    def live(self, instance_id: str, *, expires_in: float = math.inf) -> None:
        """The instance was made, and holds the place until ``quota.ended(instance_id)`` or :meth:`release`.

        It may be said of one that was unknown, too, even if its place has expired: it lives, and counts.

        Args:
            instance_id: its AgentInstanceId or TaskId.
            expires_in: seconds after which it has ended by itself, if that is certain (a stream task's TTL).
        """
        ...

    def unknown(self, *, expires_in: float) -> None:
        """It is not known whether the instance was made, or whether it still lives, as after a delete that failed.

        The place stays taken until that is resolved, or for so many seconds.

        Args:
            expires_in: seconds after which the instance has surely ended, if it was made: MaxIdleTime where its user is not
                in the room.
        """
        ...

    def full(self) -> None:
        """The service refused to make the instance because the account is full: gives the place back, and takes note."""
        ...

    def release(self) -> None:
        """No instance was made, or it has ended: the place is free. Calling it again does nothing."""
        ...


class Quota(Protocol):
    """How many instances of each kind may live at a time.

    Share one among everything that makes instances of an AppId::

        reservation = await quota.acquire("digital_humans")
        try:
            instance = await client.call(CreateDigitalHumanAgentInstance(...))
        except BaseException:
            reservation.release()   # or .full(), when the service said so; or .unknown(expires_in=...)
            raise
        reservation.live(instance.agent_instance_id)
        ...
        quota.ended(instance.agent_instance_id)     # deleted, or the callback AgentInstanceDeleted came
    """

    async def acquire(self, kind: Kind, *, wait: bool = True, background: bool = False) -> Reservation:
        """A place for an instance that is about to be made.

        Args:
            kind: which budget.
            wait: whether to wait for a place while there is none. Cancelling the wait takes none.
            background: whether others may go first, such as a visitor before a fleet.

        Raises:
            QuotaExceeded: there is no place, or others wait for one, and `wait` is false. Nothing was sent.
            ConfigurationError: another event loop is using this quota.
            ValueError: no such kind.
        """
        ...

    def ended(self, instance_id: str) -> bool:
        """An instance was deleted or has ended by itself: its place is free. Saying so twice is harmless.

        Returns:
            whether the instance held a place. The ending of one that is not known yet is kept in mind, since a callback may
            be faster than the answer of the creation.
        """
        ...

    def adopt(self, kind: Kind, instance_id: str, *, expires_in: float = math.inf) -> Reservation:
        """Count an instance that lives already, such as one that an earlier process made. The budget may be overdrawn by it.

        Args:
            kind: which budget.
            instance_id: its AgentInstanceId or TaskId.
            expires_in: seconds after which it has ended by itself, if that is certain.
        """
        ...

    def full(self, kind: Kind) -> None:
        """The service refused a creation because the account is full. :meth:`Reservation.full` says it of one's own."""
        ...

    def usage(self, kind: Kind) -> Usage:
        """How a budget is used at the moment, as far as is known without asking anything."""
        ...

    def waiting(self, kind: Kind) -> int:
        """How many callers of this process wait for a place."""
        ...


def quota_refusal(kind: Kind, usage: Usage, *, others: str, gone: str | None = None) -> ApiError:
    """The error of a caller who does not want to wait: the one that the service would have answered with.

    Args:
        kind: which budget has no place.
        usage: how it is used.
        others: what else is known of its use, for the message: who waits, or where it was counted.
        gone: why the usage is not known, if it is not.
    """
    from zego_aigc.schema.codes import api_error

    if gone is not None:
        why = gone
    elif usage.full:
        why = "the service said that the account is full, and is probed with growing pauses since"
    elif usage.limit is not None and usage.used >= usage.limit:
        why = f"the budget of {usage.limit} is used up"
    else:
        why = "others wait for one"
    message = (
        f"no place for another instance in quota.{kind}: {why} ({usage.live} live, {usage.making} being made, "
        f"{usage.unknown} unknown{others}). Nothing was sent"
    )
    makers = dict(makers_of(kind))
    code = next(life.full_codes[0] for life in makers.values())
    return api_error(code, message, action=" or ".join(makers), attempts=0, status=0)
