"""What a client makes that bills: how it is made, how it is ended, and what becomes of it in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from zego_aigc.calls.cleanup import Cleanup
from zego_aigc.calls.hooks import call_hook, logger
from zego_aigc.calls.orphans import Observer, is_created, may_be_of
from zego_aigc.calls.register import Sweeper
from zego_aigc.calls.request import RawAction

if TYPE_CHECKING:
    from zego_aigc.callbacks.events import Event
    from zego_aigc.calls.create_guard import Orphan
    from zego_aigc.calls.endpoint import Endpoints
    from zego_aigc.calls.event_hub import EventHub
    from zego_aigc.calls.register import Register
    from zego_aigc.calls.retry import RetryPolicy
    from zego_aigc.errors import ZegoError
    from zego_aigc.limits.quota import Quota, Reservation
    from zego_aigc.schema.actions import Action
    from zego_aigc.transport.audio import DriveSSL

__all__ = ["Lifetimes", "report_orphan"]

T = TypeVar("T")


class Lifetimes:
    """Makes and ends things for handles.

    Args:
        endpoints: what makes its calls.
        quota: the budget of live instances, if there is one.
        policy: how long endings may take.
        report: called with what is left behind.
        register: what notes all that is live, if there is one.
        drive_ssl: how the certificates of audio WebSockets are checked.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        quota: Quota | None,
        policy: RetryPolicy,
        report: Callable[[Orphan], object],
        register: Register | None = None,
        drive_ssl: DriveSSL = True,
    ) -> None:
        self.caller: Endpoints = endpoints
        """What makes calls."""
        self.quota: Quota | None = quota
        self.report: Callable[[Orphan], object] = report
        self.drive_ssl: DriveSSL = drive_ssl
        """How the certificates of audio WebSockets are checked."""
        self._policy = policy
        self._register = register
        self.sweeper: Sweeper | None = None if register is None else Sweeper(register, endpoints, self.end)
        """What ends what dead processes left, where there is a register."""
        self._cleanup = Cleanup(endpoints, quota, None if register is None else register.ended)
        self._observer = Observer(report)
        self._events: EventHub | None = None

    async def create(
        self,
        action: Action[T],
        *,
        on_orphan: Callable[[Orphan], object],
        owner: str | None = None,
        timeout: float | None = None,
    ) -> T:
        """Call a create whose caller takes care of what a cancellation leaves behind. It is noted in the register."""
        endpoint = self.caller.of(action)
        if self._register is None or self.sweeper is None or action.lifecycle is None or action.lifecycle.quota is None:
            with endpoint.prepare(action, timeout=timeout, on_orphan=on_orphan) as call:
                return await call.run()

        async def make(before_send: Callable[[int], Awaitable[None]], note: Callable[[Orphan], object]) -> T:
            def orphaned(orphan: Orphan) -> None:
                note(orphan)
                on_orphan(orphan)

            with endpoint.prepare(action, timeout=timeout, before_send=before_send, on_orphan=orphaned) as call:
                return await call.run()

        await self.sweeper.start()
        return await self._register.create(action, owner, make, self.end)

    @property
    def events(self) -> EventHub:
        """What callbacks said, for those who wait for it or follow it."""
        if self._events is None:
            from zego_aigc.calls.event_hub import EventHub

            self._events = EventHub()
        return self._events

    async def end(self, identity: str, action: Action[None]) -> ZegoError | None:
        """Delete or stop something, whatever happens to the caller meanwhile; what is gone already counts as ended.

        What cannot be ended is tried once more by :meth:`finish`.

        Args:
            identity: the AgentInstanceId or TaskId.
            action: what ends it.

        Returns:
            Why it could not be ended, or None.
        """
        return await self._cleanup.end(identity, action, self._policy.delete_timeout)

    async def observe(self, event: Event) -> None:
        """Take note of a callback; see :meth:`zego_aigc.Client.observe`."""
        if (ended := self._observer.note(event)) is not None:
            self._cleanup.ended(ended)
            if self._register is not None:
                await self._register.ended(ended)
        elif self._register is not None and is_created(event):
            await self._register.created(event.agent_instance_id, partial(may_be_of, event))
        self.events.note(event)

    def expect_callback(self, action: Action[Any], hold: Reservation | None) -> None:
        """A create has an unknown outcome: a callback may settle it."""
        self._observer.expect_callback(action, hold)

    async def finish(self, drain: float) -> asyncio.CancelledError | None:
        """Let what is being ended be ended, and try once more what could not be.

        Args:
            drain: seconds that it may take.

        Returns:
            the cancellation that came meanwhile.
        """
        if self._events is not None:
            self._events.close()
        return await self._cleanup.finish(drain)

    @property
    def unended(self) -> list[str]:
        """The ids of what is not ended, or not yet."""
        return self._cleanup.unended


def report_orphan(on_orphan: Callable[[Orphan], object] | None, orphan: Orphan) -> None:
    """Report what a cancelled create left behind: as a warning, and to the ``on_orphan`` hook."""
    name = orphan.action.name if isinstance(orphan.action, RawAction) else type(orphan.action).__name__
    if not orphan.certain:
        logger.warning("%s was cancelled without an answer: what it makes may exist, and then bills", name)
    elif isinstance(orphan.result, msgspec.Struct):
        logger.warning("%s was cancelled, but made %r: end it, or it goes on billing", name, orphan.result)
    else:
        logger.warning("%s was cancelled, but was carried out", name)
    call_hook(on_orphan, orphan)
