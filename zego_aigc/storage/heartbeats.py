"""Who has died, judged by heartbeats that others count. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

__all__ = ["Heartbeats"]


class _Observed(msgspec.Struct, frozen=True):
    """A member's number of heartbeats, and when this process first saw it."""

    beats: int
    since: float


class Heartbeats:
    """What one process sees of the others' heartbeats.

    A member is dead when its number of heartbeats has not changed for a lease, by this process's own clock: clocks of other
    machines, and clocks that are set, do not matter.

    Args:
        lease: seconds without a new heartbeat after which a member has died.
    """

    def __init__(self, lease: float) -> None:
        self.lease: float = lease
        self._seen: dict[str, _Observed] = {}

    def dead(self, beats: Mapping[str, int], now: float) -> list[str]:
        """The members whose number of heartbeats has not changed for a lease.

        Args:
            beats: each member's number of heartbeats. One that is missing is forgotten.
            now: seconds, of a clock that never runs backwards.
        """
        seen: dict[str, _Observed] = {}
        for member, count in beats.items():
            known = self._seen.get(member)
            seen[member] = known if known is not None and known.beats == count else _Observed(count, now)
        self._seen = seen
        return [member for member, known in seen.items() if now - known.since >= self.lease]
