"""The arithmetic of a budget of live instances: who holds a slot, until when, and how to probe a server that says "full".

Nothing here waits or reads a clock: time is an argument, in seconds, and never runs backwards from call to call.

The count kept here is a belief. Others may use the same account, and instances end unheard. So the server's refusal is the
truth: after it, one creation at a time is tried, after pauses that double; each success doubles how many may be under way
at a time, until they are as free as before.
"""

from __future__ import annotations

import enum
import heapq
import math
from collections import OrderedDict
from itertools import count

import msgspec

__all__ = ["CapacityLedger", "Slot", "SlotState", "Usage", "pause"]

_INITIAL_PAUSE = 1.0
_MAX_PAUSE = 15.0
_WIDE_OPEN = 64
"""When so many creations may be under way at a time again, a server that was full counts as open."""
_REMEMBERED_ENDINGS = 1024
"""How many endings of instances that are not known (yet) are kept in mind."""


def pause(refusals: int) -> float:
    """Seconds until the next try after so many refusals in a row, from 1: 1, 2, 4, 8, 15, 15, ..."""
    return min(_MAX_PAUSE, math.ldexp(_INITIAL_PAUSE, min(refusals, 10) - 1))


class SlotState(enum.Enum):
    """What is known about the instance that a slot is for."""

    MAKING = "making"
    LIVE = "live"
    UNKNOWN = "unknown"
    """It may have been made."""
    FREE = "gone"
    """It was not made, or has ended: the slot is free."""


class Slot:
    """One slot in the budget. :class:`CapacityLedger` alone changes it."""

    __slots__ = ("expires_at", "instance_id", "state")

    def __init__(self, state: SlotState) -> None:
        self.state: SlotState = state
        self.expires_at: float = math.inf
        self.instance_id: str | None = None


class Usage(msgspec.Struct, frozen=True):
    """How a budget is used."""

    limit: int | None
    """How many instances there may be; None where there is no budget."""
    making: int
    """Creations under way."""
    live: int
    """Instances that have been made and have not ended."""
    unknown: int
    """Creations whose outcome is not known."""
    full: bool
    """Whether the server said "full", and creations are tried with care since."""

    @property
    def used(self) -> int:
        """Slots that are taken."""
        return self.making + self.live + self.unknown


class CapacityLedger:
    """At most `limit` instances; None for as many as the server takes."""

    def __init__(self, limit: int | None) -> None:
        if limit is not None and limit < 0:
            raise ValueError(f"a budget of instances must be 0 or more, or None for no budget, not {limit}")
        self.limit = limit
        self._counts = dict.fromkeys(SlotState, 0)
        self._expiring: list[tuple[float, int, Slot]] = []
        self._order = count()
        self._living: dict[str, Slot] = {}
        self._ended_early: OrderedDict[str, None] = OrderedDict()
        # Not full: the width is infinite. Full: so many creations may be under way, from _try_at on.
        self._width = math.inf
        self._refusals = 0
        self._try_at = -math.inf

    def usage(self, now: float) -> Usage:
        """How the budget is used."""
        self._expire(now)
        counts = self._counts
        return Usage(
            self.limit, counts[SlotState.MAKING], counts[SlotState.LIVE], counts[SlotState.UNKNOWN], self._width < math.inf
        )

    def take(self, now: float) -> Slot | None:
        """A slot for an instance that is about to be made, if there is one."""
        self._expire(now)
        if self._is_used_up() or self._counts[SlotState.MAKING] >= self._width or now < self._try_at:
            return None
        self._counts[SlotState.MAKING] += 1
        return Slot(SlotState.MAKING)

    def adopt(self, instance_id: str, now: float, expires_at: float) -> Slot:
        """The slot of an instance that lives already, whether there is room for it or not."""
        if (known := self._living.get(instance_id)) is not None:
            return known
        self._counts[SlotState.UNKNOWN] += 1
        slot = Slot(SlotState.UNKNOWN)
        self.confirm(slot, instance_id, now, expires_at)
        return slot

    def next_time(self, now: float) -> float | None:
        """When :meth:`take` may next succeed by the passing of time alone; None if it never will."""
        self._expire(now)
        if self._is_used_up():
            return self._expiring[0][0] if self._expiring else None
        if self._counts[SlotState.MAKING] >= self._width:
            return None
        return max(now, self._try_at)

    def confirm(self, slot: Slot, instance_id: str, now: float, expires_at: float) -> None:
        """The instance was made. It ends by `expires_at` at the latest."""
        if slot.state is SlotState.MAKING and self._width < math.inf:
            self._refusals = 0
            self._try_at = now
            self._width *= 2
            if self._width >= (_WIDE_OPEN if self.limit is None else min(self.limit, _WIDE_OPEN)):
                self._width = math.inf
        self._move(slot, SlotState.LIVE, expires_at)
        slot.instance_id = instance_id
        if self._living.setdefault(instance_id, slot) is not slot:
            self.release(slot, now)  # it is counted already
        elif instance_id in self._ended_early:
            del self._ended_early[instance_id]
            self.release(slot, now)

    def ended(self, instance_id: str, now: float) -> bool:
        """A living instance has ended. One that is not known is kept in mind, since its end may be heard of first."""
        slot = self._living.get(instance_id)
        if slot is None:
            self._ended_early[instance_id] = None
            if len(self._ended_early) > _REMEMBERED_ENDINGS:
                self._ended_early.popitem(last=False)
            return False
        self.release(slot, now)
        return True

    def unknown(self, slot: Slot, expires_at: float) -> None:
        """It is not known whether the instance was made, or whether it still lives; it has ended by `expires_at`."""
        if slot.state in {SlotState.MAKING, SlotState.LIVE}:
            self._move(slot, SlotState.UNKNOWN, expires_at)

    def release(self, slot: Slot, now: float) -> None:
        """The instance was not made, or it has ended."""
        if slot.state is SlotState.LIVE and self._width < math.inf:
            self._try_at = now  # the server has a slot again, most likely
        self._move(slot, SlotState.FREE, math.inf)
        if slot.instance_id is not None and self._living.get(slot.instance_id) is slot:
            del self._living[slot.instance_id]

    def full(self, now: float) -> None:
        """The server said that it has no slot left. Refusals of tries that began before the last one add nothing."""
        if self._width == math.inf or now >= self._try_at:
            self._width = 1
            self._refusals += 1
            self._try_at = now + pause(self._refusals)

    def _is_used_up(self) -> bool:
        counts = self._counts
        taken = counts[SlotState.MAKING] + counts[SlotState.LIVE] + counts[SlotState.UNKNOWN]
        return self.limit is not None and taken >= self.limit

    def _move(self, slot: Slot, state: SlotState, expires_at: float) -> None:
        self._counts[slot.state] -= 1
        self._counts[state] += 1
        slot.state = state
        slot.expires_at = expires_at
        if expires_at < math.inf:
            expiring = self._expiring
            heapq.heappush(expiring, (expires_at, next(self._order), slot))
            if len(expiring) > 64 + 2 * (self._counts[SlotState.LIVE] + self._counts[SlotState.UNKNOWN]):
                expiring[:] = [entry for entry in expiring if entry[2].expires_at == entry[0]]
                heapq.heapify(expiring)

    def _expire(self, now: float) -> None:
        expiring = self._expiring
        while expiring:
            expires_at, _, slot = expiring[0]
            if slot.expires_at == expires_at:  # else it was settled otherwise since
                if expires_at > now:
                    return
                self.release(slot, now)
            heapq.heappop(expiring)
