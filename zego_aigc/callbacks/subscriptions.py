"""Following one instance or task as its events come: ``async for event in router.subscribe(instance_id)``."""

from __future__ import annotations

import asyncio
import math
import weakref
from collections import deque
from typing import Self

from zego_aigc.callbacks.events import AgentInstanceDeleted, Event, StreamTaskEvent
from zego_aigc.digitalhuman import TaskStatus

__all__ = ["MAX_WAITING", "Subscription", "Subscriptions"]

MAX_WAITING = 256
"""Events that a subscription keeps for a reader that is slower than they come."""


class Subscription:
    """The events of one subject, from the moment it is made until the subject has ended.

    It is an asynchronous iterator. It ends after the event that says that the subject has ended, when it is closed, and when
    what it follows is closed. ``async with`` closes it; one that is dropped is closed too.

    A reader that is slower than the events come loses the oldest: :attr:`missed` counts them.
    """

    def __init__(self, subject: str, max_waiting: int) -> None:
        self.subject: str = subject
        """The AgentInstanceId or TaskId."""
        self.missed: int = 0
        """Events that were dropped since the reader was too slow."""
        self._waiting: deque[Event] = deque()
        self._max_waiting = max_waiting
        self._more = asyncio.Event()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether no further event will be added."""
        return self._closed

    def push(self, event: Event) -> None:
        """Add an event; called by what is subscribed to."""
        if self._closed:
            return
        if len(self._waiting) >= self._max_waiting:
            self._waiting.popleft()
            self.missed += 1
        self._waiting.append(event)
        if is_last(event):
            self._closed = True
        self._more.set()

    def close(self) -> None:
        """End it: what waits is still read, nothing more is added."""
        self._closed = True
        self._more.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._more.clear()
            await self._more.wait()
        return self._waiting.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._waiting)} waiting"
        return f"<Subscription to {self.subject}, {state}>"


class Subscriptions:
    """Who follows which subject. Subscriptions are held weakly: one that its reader drops is gone."""

    def __init__(self) -> None:
        self._of: dict[str, weakref.WeakSet[Subscription]] = {}

    def __len__(self) -> int:
        return sum(not found.closed for group in list(self._of.values()) for found in list(group))

    def open(self, subject: str, max_waiting: int = MAX_WAITING) -> Subscription:
        """Follow a subject from now on.

        Args:
            subject: an AgentInstanceId or TaskId.
            max_waiting: events that are kept for a slow reader.

        Raises:
            ValueError: `subject` is empty, or `max_waiting` is no positive number.
        """
        if not subject:
            raise ValueError("subscribe to an AgentInstanceId or a TaskId; it is empty")
        if not 1 <= max_waiting < math.inf:
            raise ValueError(f"max_waiting must be a finite number from 1 up, not {max_waiting}")
        subscription = Subscription(subject, max_waiting)
        self._prune()
        self._of.setdefault(subject, weakref.WeakSet()).add(subscription)
        return subscription

    def wants(self, subject: str) -> bool:
        """Whether a subject is followed."""
        return bool(self._of) and any(not found.closed for found in self._of.get(subject, ()))

    def publish(self, event: Event) -> None:
        """Hand an event to those who follow its subject."""
        for subscription in list(self._of.get(event.subject, ())):
            subscription.push(event)
        if is_last(event):
            self._of.pop(event.subject, None)

    def close(self) -> None:
        """End all subscriptions."""
        groups, self._of = self._of, {}
        for group in groups.values():
            for subscription in list(group):
                subscription.close()

    def _prune(self) -> None:
        """Forget subjects that are not followed any more; now and then, since it looks at all of them."""
        if len(self._of) & (len(self._of) - 1) == 0:
            self._of = {subject: group for subject, group in self._of.items() if any(not found.closed for found in group)}


def is_last(event: Event) -> bool:
    """Whether an event says that what it is about has ended."""
    match event:
        case AgentInstanceDeleted():
            return True
        case StreamTaskEvent():
            return event.detail.status in {TaskStatus.INIT_FAILED, TaskStatus.STOPPED}
        case _:
            return False
