"""Events in hand: bounded, in order for each subject, and each subject on its own."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from zego_aigc.callbacks._order import Reorder
from zego_aigc.callbacks.events import Event
from zego_aigc.transport.task_scope import TaskScope

__all__ = ["Bounds", "Dispatcher", "Place"]

MAX_IDLE_SUBJECTS = 10_000
"""Of how many instances and tasks the last Sequence is remembered while nothing is in hand for them."""

RESERVE = 0.1
"""The share of each bound that is kept for subjects that have nothing in hand: handlers that hang fill the rest only."""


class Bounds:
    """How much may be in hand.

    Args:
        events: events, all together.
        size: bytes of bodies, all together.
        per_subject: events of one subject.
    """

    def __init__(self, *, events: int, size: int, per_subject: int) -> None:
        self.events: int = events
        self.size: int = size
        self.per_subject: int = per_subject

    def __str__(self) -> str:
        return f"capacity={self.events}, capacity_bytes={self.size}, per_subject={self.per_subject}"


class Place:
    """Room for one event, from before it is certain that it will be handled until it has been."""

    __slots__ = ("event", "since", "size", "subject")

    def __init__(self, subject: str, event: Event, size: int) -> None:
        self.subject = subject
        self.event = event
        self.size = size
        self.since = time.monotonic()  # statistics are read from other threads, where there is no loop to ask


class _Subject:
    """The events in hand for one instance or task."""

    __slots__ = ("count", "events", "more", "task")

    def __init__(self, wait: float) -> None:
        self.events: Reorder[Place] = Reorder(wait)
        self.count = 0
        self.more = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Dispatcher:
    """Hands events out: those of one subject one after another, those of different subjects at the same time.

    Args:
        hand_out: what is done with an event; it raises nothing.
        bounds: how much may be in hand.
        reorder_wait: seconds that an event waits for earlier ones.
    """

    def __init__(self, hand_out: Callable[[Event], Awaitable[None]], bounds: Bounds, reorder_wait: float) -> None:
        self._hand_out = hand_out
        self._bounds = bounds
        self._reorder_wait = reorder_wait
        self._subjects: OrderedDict[str, _Subject] = OrderedDict()
        self._places: dict[Place, None] = {}  # the oldest first
        self._size = 0
        self._busy = 0
        self._tasks: TaskScope | None = None
        self._closing = False
        self._quiet = asyncio.Event()
        self._quiet.set()

    # --- what is in hand

    def __len__(self) -> int:
        return len(self._places)

    @property
    def size(self) -> int:
        """Bytes in hand."""
        return self._size

    @property
    def busy_subjects(self) -> int:
        """Subjects that have something in hand."""
        return self._busy

    @property
    def has_room(self) -> bool:
        """Whether a subject with nothing in hand would find room."""
        return len(self._places) < self._bounds.events and self._size < self._bounds.size

    def oldest(self) -> float:
        """Seconds for which the oldest event has been in hand."""
        oldest = next(iter(self._places), None)
        return 0.0 if oldest is None else max(0.0, time.monotonic() - oldest.since)

    async def settled(self) -> None:
        """Wait until nothing is in hand."""
        await self._quiet.wait()

    # --- taking in

    def reserve(self, event: Event, size: int) -> Place | None:
        """Room for an event, or None."""
        bounds, subject = self._bounds, self._subjects.get(event.subject)
        count = subject.count if subject is not None else 0
        share = 1 - RESERVE if count else 1
        if (
            count >= bounds.per_subject
            or len(self._places) >= math.ceil(bounds.events * share)
            or (self._places and self._size + size > bounds.size * share)
        ):
            return None
        if subject is None:
            subject = self._subjects[event.subject] = _Subject(self._reorder_wait)
        place = Place(event.subject, event, size)
        self._places[place] = None
        self._quiet.clear()
        self._size += size
        subject.count += 1
        self._busy += subject.count == 1
        return place

    def release(self, place: Place) -> None:
        """Give room back."""
        if place in self._places:
            del self._places[place]
            self._size -= place.size
            subject = self._subjects[place.subject]
            subject.count -= 1
            self._busy -= subject.count == 0
            if not self._places:
                self._quiet.set()

    def put(self, place: Place) -> bool:
        """Let the event of a reserved place be handed out when its turn comes; a copy of an earlier one is not.

        Returns:
            False where the dispatcher was closed meanwhile.
        """
        event = place.event
        if self._tasks is None or self._closing or place not in self._places:
            self.release(place)
            return False
        subject = self._subjects[place.subject]
        if not subject.events.push(place, event.order, asyncio.get_running_loop().time(), kind=type(event)):
            self.release(place)
            return True
        self._subjects.move_to_end(place.subject)
        if subject.task is None:
            subject.task = self._tasks.start(self._serve(subject))
        else:
            subject.more.set()
        self._forget_idle()
        return True

    def _forget_idle(self) -> None:
        if len(self._subjects) > MAX_IDLE_SUBJECTS:
            name, subject = next(iter(self._subjects.items()))
            if subject.count == 0 and subject.task is None:
                del self._subjects[name]
            else:
                self._subjects.move_to_end(name)

    # --- handing out

    async def _serve(self, subject: _Subject) -> None:
        """Hand a subject's events out in order until there are none."""
        loop = asyncio.get_running_loop()
        events = subject.events
        try:
            while True:
                # On the way out no event waits for earlier ones any more.
                place = events.pop(math.inf if self._closing else loop.time())
                if place is not None:
                    await self._hand_out(place.event)
                    self.release(place)
                elif (due := events.next_due()) is not None:
                    subject.more.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout_at(due):
                            await subject.more.wait()
                else:
                    return
        finally:
            subject.task = None

    # --- life

    async def open(self) -> None:
        """Begin."""
        tasks = TaskScope("zego_aigc callbacks")
        await tasks.open()
        self._tasks, self._closing = tasks, False
        self._quiet = asyncio.Event()  # of this event loop
        self._quiet.set()

    async def close(self, grace: float) -> int:
        """Hand out what is in hand, for up to `grace` seconds, then cancel.

        Returns:
            How many events are left.
        """
        tasks = self._tasks
        self._closing = True
        for subject in self._subjects.values():
            subject.more.set()
        try:
            if tasks is not None:
                await tasks.close(grace)
        finally:
            left = len(self._places)
            self._tasks = None
            self._subjects.clear()
            self._places.clear()
            self._size = self._busy = 0
            self._quiet.set()
        return left
