"""What callbacks said about this client's instances, tasks and drives, for those who wait for it or follow it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from zego_aigc.callbacks.events import AgentInstanceCreated, AgentInstanceDeleted, DriveEvent, DriveStatus, Event
from zego_aigc.callbacks.subscriptions import MAX_WAITING, Subscription, Subscriptions
from zego_aigc.errors import TimedOut, ZegoError

__all__ = ["EventHub"]

MAX_REMEMBERED = 10_000
"""Instances and drives whose news is remembered, for those who ask after it has come."""


class EventHub:
    """Fed by :meth:`zego_aigc.Client.observe`.

    A callback may come before the answer of the call that it follows from, so what it said is remembered for a while.
    """

    def __init__(self) -> None:
        self._subscriptions = Subscriptions()
        self._remembered: OrderedDict[str, Event] = OrderedDict()  # by instance and by drive
        self._waiting: dict[str, set[asyncio.Future[Event]]] = {}
        self._heard = False

    def note(self, event: Event) -> None:
        """Take note of an event."""
        self._heard = True
        match event:
            case AgentInstanceCreated() | AgentInstanceDeleted():
                self._remember(event.agent_instance_id, event)
            case DriveEvent() if event.detail.drive_id and event.detail.status in {DriveStatus.FAILED, DriveStatus.ENDED}:
                self._remember(event.detail.drive_id, event)
            case _:
                pass
        self._subscriptions.publish(event)

    def follow(self, subject: str, max_waiting: int = MAX_WAITING) -> Subscription:
        """The events of an instance or task from now on, and before them the one that says that the instance came up."""
        subscription = self._subscriptions.open(subject, max_waiting)
        if (known := self._remembered.get(subject)) is not None:
            subscription.push(known)
        return subscription

    async def joined(self, instance_id: str, timeout: float) -> AgentInstanceCreated:
        """Wait until an instance is in the room.

        Raises:
            TimedOut: no callback says so in time.
            ZegoError: it ended before.
        """
        event = await self._wait(instance_id, timeout, f"AgentInstanceCreated of {instance_id}", "AgentInstanceCreated")
        if isinstance(event, AgentInstanceCreated):
            return event
        known = getattr(getattr(event, "data", None), "known", None)
        why = f": {known.name}. {known.advice}" if known is not None else ""
        raise ZegoError(f"the agent instance {instance_id} has ended{why}")

    async def drive_over(self, drive_id: str, timeout: float) -> DriveEvent:
        """Wait until a drive has been spoken.

        Raises:
            TimedOut: no callback says so in time.
            ZegoError: it failed.
        """
        event = await self._wait(drive_id, timeout, f"the end of drive {drive_id}", "DriveEvent")
        assert isinstance(event, DriveEvent)
        if event.detail.status is DriveStatus.FAILED:
            raise ZegoError(f"drive {drive_id} of stream task {event.task_id} failed: start a new drive")
        return event

    def close(self) -> None:
        """End all that follow."""
        self._subscriptions.close()

    def _remember(self, key: str, event: Event) -> None:
        self._remembered[key] = event
        self._remembered.move_to_end(key)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        for waiter in self._waiting.pop(key, ()):
            if not waiter.done():
                waiter.set_result(event)

    async def _wait(self, key: str, timeout: float, what: str, kind: str) -> Event:
        if (known := self._remembered.get(key)) is not None:
            return known
        waiter: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, set()).add(waiter)
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except TimeoutError:
            advice = (
                "look at the service's exceptions, or wait longer"
                if self._heard
                else "no callback has reached this client at all: register their address with the vendor, and hand them on "
                f"with router.on({kind})(client.observe), or router.on(Event)(client.observe) for all"
            )
            raise TimedOut(f"no callback said {what} within {timeout:g} s: {advice}", waited_for="callback") from None
        finally:
            if (waiters := self._waiting.get(key)) is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiting[key]
