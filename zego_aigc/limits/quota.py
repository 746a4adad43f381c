"""A budget of live instances, beside the limit of calls: an account may hold ten of a kind unless support raises that.

The service refuses the eleventh. A :class:`Quota` knows before: callers wait for a place, or fail at once.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Literal

from zego_aigc.limits.capacity import Place, Places, Standing, Usage
from zego_aigc.limits.wait_queue import Line, hand_over

if TYPE_CHECKING:
    from collections.abc import Callable

    from zego_aigc.errors import ApiError

__all__ = ["KIND_OF_ACTION", "REFUSAL_CODES", "Hold", "Kind", "Quota", "Usage"]

Kind = Literal["agents", "digital_humans", "streams"]
"""What a budget counts: voice instances, digital human instances (live ones too), video stream tasks."""

KIND_OF_ACTION: dict[str, Kind] = {
    "CreateAgentInstance": "agents",
    "CreateDigitalHumanAgentInstance": "digital_humans",
    "CreateLiveDigitalHumanAgentInstance": "digital_humans",
    "CreateDigitalHumanStreamTask": "streams",
}
"""Which budget an Action draws on. Actions that are not in here make no instance."""

REFUSAL_CODES: dict[Kind, int] = {"agents": 410000011, "digital_humans": 410001031, "streams": 400000008}
"""What the service answers when it has no place left."""


class Quota:
    """How many instances of each kind may live at a time; callers wait for a place, first come, first served.

    Share one among everything in the process that makes instances of an AppId::

        hold = await quota.acquire("digital_humans")
        try:
            instance = await client.call(CreateDigitalHumanAgentInstance(...))
        except BaseException:
            hold.release()      # or hold.full(), when the service said so; or hold.unknown(expires_in=...)
            raise
        hold.live(instance.agent_instance_id)
        ...
        quota.ended(instance.agent_instance_id)     # deleted, or the callback AgentInstanceDeleted came

    The service's refusal is the truth, since others may use the account: while it says "full", one creation at a time is
    tried, after 1, 2, 4, 8, then every 15 seconds, and at once when an instance of ours ends.

    One event loop at a time may wait for places; the books outlive it.

    Args:
        agents: voice agent instances; None for no budget.
        digital_humans: digital human agent instances, live ones included; None for no budget.
        streams: digital human video stream tasks; None for no budget.
        clock: the time in seconds, never running backwards; ``time.monotonic`` unless given.

    Raises:
        ValueError: when a budget is negative.
    """

    def __init__(
        self,
        agents: int | None = 10,
        digital_humans: int | None = 10,
        streams: int | None = 10,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        clock = clock or time.monotonic
        self._budgets: dict[str, _Budget] = {
            "agents": _Budget("agents", Places(agents), clock),
            "digital_humans": _Budget("digital_humans", Places(digital_humans), clock),
            "streams": _Budget("streams", Places(streams), clock),
        }
        self._loop: asyncio.AbstractEventLoop | None = None

    async def acquire(self, kind: Kind, *, wait: bool = True) -> Hold:
        """A place for an instance that is about to be made.

        Args:
            kind: which budget.
            wait: whether to wait for a place while there is none. Cancelling the wait takes none.

        Raises:
            QuotaExceeded: there is no place, or others wait for one, and `wait` is false. Nothing was sent.
            ConfigurationError: another event loop is using this quota.
            ValueError: no such kind.
        """
        budget = self._budget(kind)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            hand_over("quota", self._loop, [each.line for each in self._budgets.values() if each.line])
            for each in self._budgets.values():
                each.line = _KindLine(loop, each)
            self._loop = loop
        if not budget.waiting and (hold := budget.take()) is not None:
            return hold
        if wait:
            assert budget.line is not None
            return await budget.line.wait()
        raise budget.refusal()

    def ended(self, instance_id: str) -> bool:
        """An instance was deleted or has ended by itself: its place is free. Telling twice is harmless.

        Returns:
            whether the instance held a place. The ending of one that is not known yet is kept in mind, since a callback may
            be faster than the answer of the creation.
        """
        # Every kind is told: only one knows the id, or none does yet, and then each keeps it in mind.
        return sum(budget.ended(instance_id) for budget in self._budgets.values()) > 0

    def adopt(self, kind: Kind, instance_id: str, *, expires_in: float = math.inf) -> Hold:
        """Count an instance that lives already, such as one that an earlier process made. The budget may be overdrawn by it.

        Args:
            kind: which budget.
            instance_id: its AgentInstanceId or TaskId.
            expires_in: seconds after which it has ended by itself, if that is certain.
        """
        budget = self._budget(kind)
        now = budget.clock()
        return Hold(budget, budget.places.adopt(instance_id, now, now + expires_in))

    def full(self, kind: Kind) -> None:
        """The service refused a creation because the account is full. :meth:`Hold.full` says it of one's own."""
        budget = self._budget(kind)
        budget.places.full(budget.clock())
        budget.serve()

    def usage(self, kind: Kind) -> Usage:
        """How a budget is used at the moment."""
        budget = self._budget(kind)
        return budget.places.usage(budget.clock())

    def waiting(self, kind: Kind) -> int:
        """How many callers wait for a place."""
        return self._budget(kind).waiting

    def _budget(self, kind: str) -> _Budget:
        try:
            return self._budgets[kind]
        except KeyError:
            raise ValueError(f"no such kind: {kind!r}; there are {', '.join(map(repr, self._budgets))}") from None

    def __repr__(self) -> str:
        budgets = ", ".join(f"{kind}={budget.places.limit}" for kind, budget in self._budgets.items())
        return f"Quota({budgets})"


class Hold:
    """A place in a :class:`Quota`: for an instance being made, then for its life.

    Whoever gets one must say what came of it, with one of :meth:`live`, :meth:`release`, :meth:`full` or :meth:`unknown`.
    """

    __slots__ = ("_budget", "_place")

    def __init__(self, budget: _Budget, place: Place) -> None:
        self._budget = budget
        self._place = place

    @property
    def kind(self) -> Kind:
        """Which budget it draws on."""
        return self._budget.kind

    @property
    def standing(self) -> Literal["making", "live", "unknown", "gone"]:
        """What is known of the instance; ``gone`` when the place was given back or has expired."""
        return self._place.standing.value

    @property
    def instance_id(self) -> str | None:
        """The instance's id, once it is known."""
        return self._place.instance_id

    def live(self, instance_id: str, *, expires_in: float = math.inf) -> None:
        """The instance was made, and holds the place until ``quota.ended(instance_id)`` or :meth:`release`.

        It may be said of one that was unknown, too, even if its place has expired: it lives, and counts.

        Args:
            instance_id: its AgentInstanceId or TaskId.
            expires_in: seconds after which it has ended by itself, if that is certain (a stream task's TTL).
        """
        budget = self._budget
        now = budget.clock()
        budget.places.made(self._place, instance_id, now, now + expires_in)
        budget.serve()

    def unknown(self, *, expires_in: float) -> None:
        """Nobody knows whether the instance was made. The place stays taken until that is resolved, or for so many seconds.

        Args:
            expires_in: seconds after which the instance has surely ended, if it was made: MaxIdleTime where its user is not
                in the room.
        """
        budget = self._budget
        budget.places.unknown(self._place, budget.clock() + expires_in)
        budget.serve()

    def full(self) -> None:
        """The service refused to make the instance because the account is full: gives the place back, and takes note."""
        budget = self._budget
        if self._place.standing is Standing.MAKING:
            budget.places.full(budget.clock())
        self.release()

    def release(self) -> None:
        """No instance was made, or it has ended: the place is free. Calling it again does nothing."""
        budget = self._budget
        budget.places.gone(self._place, budget.clock())
        budget.serve()

    def __repr__(self) -> str:
        return f"<Hold {self.kind} {self.standing} {self.instance_id or ''}".rstrip() + ">"


class _Budget:
    """One kind's places, and the line of those who wait for them."""

    __slots__ = ("clock", "kind", "line", "places")

    def __init__(self, kind: Kind, places: Places, clock: Callable[[], float]) -> None:
        self.kind: Kind = kind
        self.places: Places = places
        self.clock: Callable[[], float] = clock
        self.line: _KindLine | None = None

    @property
    def waiting(self) -> int:
        return self.line.waiting if self.line else 0

    def take(self) -> Hold | None:
        """A place, if one may be given out now."""
        place = self.places.take(self.clock())
        return None if place is None else Hold(self, place)

    def ended(self, instance_id: str) -> bool:
        """An instance is gone; True if it held a place here."""
        known = self.places.ended(instance_id, self.clock())
        self.serve()
        return known

    def serve(self) -> None:
        """Places may have come free: give them to those who wait."""
        if self.line is not None and self.line.waiting:
            self.line.serve()

    def refusal(self) -> ApiError:
        """What a caller sees who does not want to wait: the error that the service would have answered with."""
        from zego_aigc.schema.codes import api_error

        usage = self.places.usage(self.clock())
        if usage.full:
            why = "the service said that the account is full, and is asked with care since"
        elif usage.limit is not None and usage.used >= usage.limit:
            why = f"the budget of {usage.limit} is used up"
        else:
            why = "others wait for one"
        message = (
            f"no place for another instance in quota.{self.kind}: {why} ({usage.live} live, {usage.making} being made, "
            f"{usage.unknown} unknown, {self.waiting} waiting). Nothing was sent"
        )
        actions = " or ".join(action for action, kind in KIND_OF_ACTION.items() if kind == self.kind)
        return api_error(REFUSAL_CODES[self.kind], message, action=actions, attempts=0, status=0)


class _KindLine(Line[Hold]):
    """Those who wait for a place of one kind."""

    __slots__ = ("budget",)

    def __init__(self, loop: asyncio.AbstractEventLoop, budget: _Budget) -> None:
        super().__init__(loop)
        self.budget: _Budget = budget

    def take(self) -> Hold | None:
        """A place for whoever is first, if one may be given out now."""
        return self.budget.take()

    def delay(self) -> float | None:
        """Seconds until it is worth trying again; None if only an event can tell."""
        now = self.budget.clock()
        when = self.budget.places.next_time(now)
        return None if when is None else max(0.0, when - now)
