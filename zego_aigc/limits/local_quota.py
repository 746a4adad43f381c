"""The budget of live instances kept within one process: callers wait for a place, the foreground before the background."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from zego_aigc.limits.capacity import CapacityLedger, Slot, SlotState, Usage
from zego_aigc.limits.quota import quota_refusal
from zego_aigc.limits.wait_queue import WaitQueue, rebind_to_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from zego_aigc.limits.quota import Kind, ReservationState

__all__ = ["LocalQuota", "LocalReservation"]


class LocalQuota:
    """How many instances of each kind may live at a time; callers wait for a place.

    The foreground goes first; while the background waits, at least one place in ten is for it; within a line callers are served
    in the order of their coming.

    It is a :class:`~zego_aigc.Quota`, which shows how one is used. The service's refusal is the truth, since others may use the
    account: while it says "full", one creation at a time is tried, after 1, 2, 4, 8, then every 15 seconds, and at once when
    an instance of ours ends.

    One event loop at a time may wait for places; the counts survive a change of event loop.

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
            "agents": _Budget("agents", CapacityLedger(agents), clock),
            "digital_humans": _Budget("digital_humans", CapacityLedger(digital_humans), clock),
            "streams": _Budget("streams", CapacityLedger(streams), clock),
        }
        self._loop: asyncio.AbstractEventLoop | None = None

    async def acquire(self, kind: Kind, *, wait: bool = True, background: bool = False) -> LocalReservation:
        """A place for an instance that is about to be made.

        Args:
            kind: which budget.
            wait: whether to wait for a place while there is none. Cancelling the wait takes none.
            background: whether others may go first.

        Raises:
            QuotaExceeded: there is no place, or others wait for one, and `wait` is false. Nothing was sent.
            ConfigurationError: another event loop is using this quota.
            ValueError: no such kind.
        """
        budget = self._budget(kind)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            rebind_to_loop("quota", self._loop, [each.queue for each in self._budgets.values() if each.queue])
            for each in self._budgets.values():
                each.queue = _BudgetQueue(loop, each)
            self._loop = loop
        queue = budget.queue
        assert queue is not None
        if (reservation := queue.take_at_once(background=background)) is not None:
            return reservation
        if wait:
            return await queue.wait(background=background)
        raise quota_refusal(kind, self.usage(kind), others=f", {budget.waiting} waiting")

    def ended(self, instance_id: str) -> bool:
        """An instance was deleted or has ended by itself: its place is free. Saying so twice is harmless.

        Returns:
            whether the instance held a place. The ending of one that is not known yet is kept in mind, since a callback may
            be faster than the answer of the creation.
        """
        # Every kind is asked: only one knows the id, or none does yet, and then each keeps it in mind.
        return sum(budget.ended(instance_id) for budget in self._budgets.values()) > 0

    def adopt(self, kind: Kind, instance_id: str, *, expires_in: float = math.inf) -> LocalReservation:
        """Count an instance that lives already, such as one that an earlier process made. The budget may be overdrawn by it.

        Args:
            kind: which budget.
            instance_id: its AgentInstanceId or TaskId.
            expires_in: seconds after which it has ended by itself, if that is certain.
        """
        budget = self._budget(kind)
        now = budget.clock()
        return LocalReservation(budget, budget.ledger.adopt(instance_id, now, now + expires_in))

    def full(self, kind: Kind) -> None:
        """The service refused a creation because the account is full. :meth:`LocalReservation.full` says it of one's own."""
        budget = self._budget(kind)
        budget.ledger.full(budget.clock())
        budget.dispatch()

    def usage(self, kind: Kind) -> Usage:
        """How a budget is used at the moment."""
        budget = self._budget(kind)
        return budget.ledger.usage(budget.clock())

    def waiting(self, kind: Kind) -> int:
        """How many callers wait for a place."""
        return self._budget(kind).waiting

    def _budget(self, kind: str) -> _Budget:
        try:
            return self._budgets[kind]
        except KeyError:
            raise ValueError(f"no such kind: {kind!r}; there are {', '.join(map(repr, self._budgets))}") from None

    def __repr__(self) -> str:
        budgets = ", ".join(f"{kind}={budget.ledger.limit}" for kind, budget in self._budgets.items())
        return f"LocalQuota({budgets})"


class LocalReservation:
    """A place in a :class:`LocalQuota`: for an instance being made, then for its life. See :class:`~zego_aigc.Reservation`."""

    __slots__ = ("_budget", "_slot")

    def __init__(self, budget: _Budget, slot: Slot) -> None:
        self._budget = budget
        self._slot = slot

    @property
    def kind(self) -> Kind:
        """Which budget it draws on."""
        return self._budget.kind

    @property
    def state(self) -> ReservationState:
        """What is known of the instance; ``gone`` when the place was given back or has expired."""
        return self._slot.state.value

    @property
    def instance_id(self) -> str | None:
        """The instance's id, once it is known."""
        return self._slot.instance_id

    def live(self, instance_id: str, *, expires_in: float = math.inf) -> None:
        """The instance was made, and holds the place until ``quota.ended(instance_id)`` or :meth:`release`.

        It may be said of one that was unknown, too, even if its place has expired: it lives, and counts.

        Args:
            instance_id: its AgentInstanceId or TaskId.
            expires_in: seconds after which it has ended by itself, if that is certain (a stream task's TTL).
        """
        budget = self._budget
        now = budget.clock()
        budget.ledger.confirm(self._slot, instance_id, now, now + expires_in)
        budget.dispatch()

    def unknown(self, *, expires_in: float) -> None:
        """It is not known whether the instance was made, or whether it still lives, as after a delete that failed.

        The place stays taken until that is resolved, or for so many seconds.

        Args:
            expires_in: seconds after which the instance has surely ended, if it was made: MaxIdleTime where its user is not
                in the room.
        """
        budget = self._budget
        budget.ledger.unknown(self._slot, budget.clock() + expires_in)
        budget.dispatch()

    def full(self) -> None:
        """The service refused to make the instance because the account is full: gives the place back, and takes note."""
        budget = self._budget
        if self._slot.state is SlotState.MAKING:
            budget.ledger.full(budget.clock())
        self.release()

    def release(self) -> None:
        """No instance was made, or it has ended: the place is free. Calling it again does nothing."""
        budget = self._budget
        budget.ledger.release(self._slot, budget.clock())
        budget.dispatch()

    def __repr__(self) -> str:
        return f"<LocalReservation {self.kind} {self.state} {self.instance_id or ''}".rstrip() + ">"


class _Budget:
    """One kind's ledger, and the queue of callers for it."""

    __slots__ = ("clock", "kind", "ledger", "queue")

    def __init__(self, kind: Kind, ledger: CapacityLedger, clock: Callable[[], float]) -> None:
        self.kind: Kind = kind
        self.ledger: CapacityLedger = ledger
        self.clock: Callable[[], float] = clock
        self.queue: _BudgetQueue | None = None

    @property
    def waiting(self) -> int:
        return self.queue.waiting if self.queue else 0

    def take(self) -> LocalReservation | None:
        """A place, if one may be given out now."""
        slot = self.ledger.take(self.clock())
        return None if slot is None else LocalReservation(self, slot)

    def ended(self, instance_id: str) -> bool:
        """An instance is gone; True if it held a place here."""
        known = self.ledger.ended(instance_id, self.clock())
        self.dispatch()
        return known

    def dispatch(self) -> None:
        """Places may have come free: hand them to the callers in the queue."""
        if self.queue is not None and self.queue.waiting:
            self.queue.dispatch()


class _BudgetQueue(WaitQueue[LocalReservation]):
    """The callers that wait for a place of one kind."""

    __slots__ = ("budget",)

    def __init__(self, loop: asyncio.AbstractEventLoop, budget: _Budget) -> None:
        super().__init__(loop)
        self.budget: _Budget = budget

    def take(self, *, background: bool) -> LocalReservation | None:  # noqa: ARG002 - a place is as good for either line
        """A place for the first in a line, if one may be given out now."""
        return self.budget.take()

    def delay(self, *, background: bool) -> float | None:  # noqa: ARG002 - a place is as good for either line
        """Seconds until it is worth trying again; None if only an event can tell."""
        now = self.budget.clock()
        when = self.budget.ledger.next_time(now)
        return None if when is None else max(0.0, when - now)
