"""Putting the events of one subject back in order. Pure: time is an argument, in seconds.

Sequence numbers grow with gaps that mean nothing, so it cannot be known whether an earlier event is still on its way. An event
therefore waits a bounded time for earlier ones. It waits less where waiting cannot help: when it follows the last one directly,
when it has no Sequence, or when it comes too late anyway.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Reorder"]

T = TypeVar("T")

MAX_REMEMBERED = 64
"""How many of the events handed out last are remembered, to know a second copy by."""


class Reorder(Generic[T]):
    """A bounded wait for earlier events.

    Args:
        wait: seconds that an event waits at most for earlier ones.
    """

    __slots__ = ("_arrivals", "_counter", "_heap", "_keys", "_last", "_ready", "_recent", "_wait")

    def __init__(self, wait: float) -> None:
        self._wait = wait
        self._ready: deque[T] = deque()
        self._heap: list[tuple[int, int, T]] = []  # Sequence, arrival, event
        self._arrivals: deque[tuple[float, int]] = deque()  # when each in the heap is due, and its Sequence
        self._counter = 0
        self._last: int | None = None
        self._keys: set[tuple[object, int]] = set()
        self._recent: deque[tuple[object, int]] = deque()

    def __len__(self) -> int:
        return len(self._ready) + len(self._heap)

    def push(self, event: T, sequence: int | None, now: float, *, kind: object = None) -> bool:
        """Take an event in.

        Args:
            event: the event.
            sequence: its place, or ``None`` if it has none: then it keeps the place of its arrival.
            now: the time.
            kind: what tells two events with the same Sequence apart.

        Returns:
            False for a second copy of an event that is here or was handed out lately; it is not taken.
        """
        if sequence is None:
            self._ready.append(event)
            return True
        if (kind, sequence) in self._keys:
            return False
        self._remember((kind, sequence))
        if self._wait <= 0 or (self._last is not None and sequence <= self._last):
            self._ready.append(event)  # no waiting, or too late for its place
            self._last = sequence if self._last is None else max(sequence, self._last)
            return True
        self._counter += 1
        heapq.heappush(self._heap, (sequence, self._counter, event))
        self._arrivals.append((now + self._wait, sequence))
        self._release_successors()
        return True

    def pop(self, now: float) -> T | None:
        """The next event whose turn has come by `now`."""
        if not self._ready and (due := self.next_due()) is not None and due <= now:
            self._hand_out()
            self._release_successors()
        return self._ready.popleft() if self._ready else None

    def next_due(self) -> float | None:
        """When the next event's turn comes, if nothing else arrives; ``None`` with none here. In the past if one is ready."""
        if self._ready:
            return float("-inf")
        arrivals = self._arrivals
        while arrivals and (self._last is not None and arrivals[0][1] <= self._last):
            arrivals.popleft()  # handed out before its time, in front of a later one
        return arrivals[0][0] if arrivals else None

    def _hand_out(self) -> None:
        self._last, _, event = heapq.heappop(self._heap)
        self._ready.append(event)

    def _release_successors(self) -> None:
        """Nothing can come between a number and the next, nor between two events with the same one."""
        while self._heap and self._last is not None and self._heap[0][0] <= self._last + 1:
            self._hand_out()

    def _remember(self, key: tuple[object, int]) -> None:
        self._keys.add(key)
        self._recent.append(key)
        while len(self._recent) > MAX_REMEMBERED + len(self):
            self._keys.discard(self._recent.popleft())
