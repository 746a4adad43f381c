"""What a client makes that bills: how it is made, how it is ended, and what becomes of it in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from zego_aigc.aiagent import CreateAgentInstance
from zego_aigc.calls.cleanup import Cleanup
from zego_aigc.calls.creations import Birth, Creation, Creations, result_of
from zego_aigc.calls.register import Sweeper
from zego_aigc.calls.request import not_an_action
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask, TaskStatus
from zego_aigc.errors import ConfigurationError, QuotaExceeded, TimedOut, ZegoError
from zego_aigc.schema.actions import Action
from zego_aigc.schema.codes import api_error
from zego_aigc.schema.lifecycle import LIFECYCLES, makers_of
from zego_aigc.transport.deadlines import QueueDeadline
from zego_aigc.transport.shielding import wait_shielded

if TYPE_CHECKING:
    from zego_aigc.callbacks.events import Event
    from zego_aigc.calls.create_guard import Creates
    from zego_aigc.calls.endpoint import Endpoints
    from zego_aigc.calls.event_hub import EventHub
    from zego_aigc.calls.orphans import Orphan
    from zego_aigc.calls.register import Register
    from zego_aigc.calls.retry import RetryPolicy
    from zego_aigc.limits.quota import Quota, Reservation
    from zego_aigc.schema.lifecycle import Lifecycle, QuotaKind
    from zego_aigc.transport.audio import DriveSSL

__all__ = ["Inventory", "Life", "Lifetimes"]

T = TypeVar("T")

LEAVING = 10.0
"""Seconds that leaving the registry may take, beside what ending takes."""

MAX_NAMED = 5
"""Ids of live instances that an error message names."""


class Life(Creation):
    """Something that a client makes and ends: from before its first byte to its end.

    It holds a place in the quota, and is one of its client's until it has ended.

    Args:
        inventory: of the client.
        action: the create; None for what was made before.
        life: how it lives and ends.
        made: its id and what is known of the result, for what was made before.
    """

    def __init__(
        self, inventory: Inventory, action: Action[Any] | None, life: Lifecycle, *, made: tuple[str, Any] | None = None
    ) -> None:
        super().__init__(inventory.creations, action, None if action is None else life)
        self.life: Lifecycle = life
        """How it lives and ends."""
        self.made_id: str | None = made[0] if made else None
        """The AgentInstanceId or TaskId, once it is known."""
        self.result: Any = made[1] if made else None
        """What its create returned."""
        self.reservation: Reservation | None = None
        """Its place in the quota."""
        self._inventory = inventory

    @classmethod
    def of(cls, inventory: Inventory, action: Action[Any]) -> Life:
        """The life of what an Action is to make.

        Raises:
            ConfigurationError: it makes nothing that could be ended.
        """
        if not isinstance(action, Action):  # pyright: ignore[reportUnnecessaryIsInstance] - a class, a map or a name comes, too
            raise not_an_action(action)
        if action.lifecycle is None:
            raise ConfigurationError(f"{type(action).__name__} makes nothing that could be ended: await client.call(...) it")
        return cls(inventory, action, action.lifecycle)

    def other(self, action: Action[Any]) -> Life:
        """A life that may begin in the place of this one.

        Raises:
            ConfigurationError: it is of another kind, which could not be handled alike.
        """
        other = Life.of(self._inventory, action)
        if other.life.id_field != self.life.id_field:
            names = type(action).__name__, type(self.action).__name__
            raise ConfigurationError(f"{names[0]} cannot be the fallback of {names[1]}: its handle has other methods")
        return other

    def begin(self, action: Any = None) -> Life:  # noqa: ARG002 - it is this one's own
        """See :class:`~zego_aigc.calls.create_guard.Creates`."""
        self._inventory.creations.add(self)
        return self

    def made(self, result: Any) -> None:
        """See :class:`Creation`."""
        super().made(result)
        self.result = result
        self.made_id = self.life.id_of(self.action, result)
        if self.reservation is not None:
            self.reservation.live(self.made_id, expires_in=self.life.longest_life(self.action))
        self._inventory.lives[self.made_id] = self

    def unknown(self) -> None:
        """See :class:`Creation`. Its place stays taken until it must have ended."""
        if self.reservation is not None:
            self.reservation.unknown(expires_in=self.lives_unseen)
        super().unknown()  # which may find it

    def orphaned(self, orphan: Orphan) -> None:
        """See :class:`Creation`. What was made is ended: nobody else needs to know."""
        if orphan.certain:
            self.made(orphan.result)
        else:
            super().orphaned(orphan)

    def found(self, result: Any) -> None:
        """See :class:`Creation`."""
        if self.reservation is not None:
            made_id = self.life.id_of(self.action, result)
            self.reservation.live(made_id, expires_in=self.life.longest_life(self.action))
        super().found(result)


class Inventory:
    """What lives and belongs to a client, and the places that it holds.

    Args:
        quota: the budget of live instances, if there is one.
        creations: what joins callbacks to creates.
    """

    def __init__(self, quota: Quota | None, creations: Creations) -> None:
        self.quota: Quota | None = quota
        self.creations: Creations = creations
        self.lives: dict[str, Life] = {}
        """What lives, by its id."""

    def ended(self, made_id: str) -> None:
        """Something is gone: its place is free."""
        self.lives.pop(made_id, None)
        self.creations.ended(made_id)
        if self.quota is not None:
            self.quota.ended(made_id)

    def not_ended(self, made_id: str) -> None:
        """Something could not be ended in time. Its place comes free when it must have ended by itself, if it is unused."""
        life = self.lives.get(made_id)
        if life is not None and life.reservation is not None:
            life.reservation.unknown(expires_in=life.lives_unseen)


class Lifetimes:
    """Makes and ends things for handles.

    Args:
        endpoints: what makes its calls.
        policy: how long endings may take.
        inventory: what lives.
        register: what notes all that is live, if there is one.
        drive_ssl: how the certificates of audio WebSockets are checked.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        policy: RetryPolicy,
        inventory: Inventory,
        register: Register | None = None,
        drive_ssl: DriveSSL = True,
    ) -> None:
        self.caller: Endpoints = endpoints
        """What makes calls."""
        self.inventory: Inventory = inventory
        self.drive_ssl: DriveSSL = drive_ssl
        """How the certificates of audio WebSockets are checked."""
        self._cleanup = Cleanup(endpoints, policy.delete_timeout, inventory, None if register is None else register.ended)
        self.register: Register | None = register
        """What notes all that is live, if there is a registry."""
        self.sweeper: Sweeper | None = None if register is None else Sweeper(register, endpoints, self._cleanup.end)
        """What ends what dead processes left, where there is a register."""
        self._events: EventHub | None = None
        self._waiting: set[QueueDeadline] = set()  # for a place in the quota
        # What is being made: a future that is done when it is made, or is ended again, and the task that makes it.
        self._making: dict[asyncio.Future[None], asyncio.Task[Any] | None] = {}
        self._closed = False
        self._ends_all = False  # the client closes, and nothing that it made may live on

    # --- making

    async def start(self, life: Life, *, timeout: float | None = None, owner: str | None = None, wait: bool = True) -> None:
        """Make something. Waiting for a place in the quota is part of the time.

        Args:
            life: what to make.
            timeout: deadline in seconds, instead of the client's.
            owner: for whom it is made, where there is a registry.
            wait: whether to wait for a place in the quota while there is none.

        Raises:
            QuotaExceeded: there was no place for it in time, or the service says that the account is full.
            ZegoError: as :meth:`zego_aigc.Client.call` does.
        """
        endpoint = self.caller[life.action.service]
        until = time.monotonic() + (endpoint.timeout if timeout is None else timeout)
        await self._reserve(life, until, wait=wait)
        making: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._making[making] = asyncio.current_task()
        try:
            await self._make(life, until, owner)
            if self._ends_all:
                await self.end(life)
                raise ConfigurationError(
                    f"the client was closed while {type(life.action).__name__} was under way. What it made is ended, or is "
                    "among what aclose() returns: close a client when nobody makes anything with it any more"
                )
        finally:
            del self._making[making]
            making.set_result(None)

    async def _make(self, life: Life, until: float, owner: str | None) -> None:
        """Make something that has its place in the quota."""
        try:
            await self.create(life.action, life, timeout=max(0.001, until - time.monotonic()), owner=owner)
        except BaseException as error:
            if life.made_id is not None:
                await self.end(life)  # it was made, and the caller was cancelled
            elif (place := life.reservation) is not None and place.state == "making":
                place.full() if isinstance(error, QuotaExceeded) else place.release()
            if self._ends_all and isinstance(error, TimedOut) and error.waited_for == "limiter":
                raise self._closed_error(life) from None
            raise

    async def create(
        self,
        action: Action[T],
        creates: Creates,
        *,
        timeout: float | None = None,
        deadline_from: Literal["call", "grant"] = "call",
        background: bool = False,
        owner: str | None = None,
    ) -> T:
        """Call a create. What bills is noted in the registry, if there is one.

        Args:
            action: the create.
            creates: what takes care of it.
            timeout: deadline in seconds, instead of the client's.
            deadline_from: see :meth:`zego_aigc.Client.call`.
            background: see :meth:`zego_aigc.Client.call`.
            owner: for whom it is made.
        """
        endpoint = self.caller.of(action)
        if self.register is None or self.sweeper is None or action.lifecycle is None or action.lifecycle.quota is None:
            return await endpoint.prepare(
                action, timeout=timeout, deadline_from=deadline_from, background=background, creates=creates
            ).run()

        async def make(before_send: Callable[[int], Awaitable[None]], note: Callable[[Orphan], object]) -> T:
            return await endpoint.prepare(
                action,
                timeout=timeout,
                before_send=before_send,
                deadline_from=deadline_from,
                background=background,
                creates=_Noted(creates, note),
            ).run()

        await self.sweeper.start()
        return await self.register.create(action, owner, make, self._cleanup.end)

    async def _reserve(self, life: Life, until: float, *, wait: bool) -> None:
        """Wait for a place in the quota."""
        kind = life.life.quota
        pool = self.caller.pool
        pool.bind()
        if self._closed:
            raise self._closed_error(life)
        if (quota := self.inventory.quota) is None or kind is None:
            return
        deadline = QueueDeadline(pool.deadlines, until - time.monotonic())
        self._waiting.add(deadline)
        try:
            life.reservation = await quota.acquire(kind, wait=wait)
        except asyncio.CancelledError:
            if not deadline.stop():
                raise
            if self._closed or pool.closed:
                raise self._closed_error(life) from None
            raise self._no_place(quota, kind, life) from None
        finally:
            deadline.stop()
            self._waiting.discard(deadline)

    def _no_place(self, quota: Quota, kind: QuotaKind, life: Life) -> ZegoError:
        """What a caller gets who has waited for a place in vain: it says who holds them."""
        usage = quota.usage(kind)
        ours = [made_id for made_id, other in self.inventory.lives.items() if other.life.quota == kind]
        named = ", ".join(ours[:MAX_NAMED]) + (f" and {len(ours) - MAX_NAMED} more" if len(ours) > MAX_NAMED else "")
        held = f"{usage.live} live, {usage.making} being made, {usage.unknown} unknown, {quota.waiting(kind)} waiting"
        message = (
            f"no place in quota.{kind} came free in time ({held}"
            f"{f'; this client holds {named}' if ours else ''}). Nothing was sent: end one of them, or raise the timeout"
        )
        code = next(other.full_codes[0] for _, other in makers_of(kind))
        return api_error(code, message, action=type(life.action).__name__, attempts=0, status=0)

    @staticmethod
    def _closed_error(life: Life) -> ConfigurationError:
        name = type(life.action).__name__
        return ConfigurationError(f"the client was closed before {name} was sent: close it when its calls are over")

    # --- ending

    async def end(self, life: Life) -> ZegoError | None:
        """End something; see :meth:`Cleanup.end`. What has ended already is not asked about."""
        assert life.made_id is not None
        if life.action is not None and self.inventory.lives.get(life.made_id) is not life:
            return None  # it has ended
        return await self._cleanup.end(life.made_id, life.life.end(life.made_id))

    async def end_by_id(self, made_id: str, action: Action[None]) -> ZegoError | None:
        """End something that need not have been made by this client; see :meth:`Cleanup.end`."""
        return await self._cleanup.end(made_id, action)

    def attach(self, made_id: str, made_by: type[Action[Any]] | None = None) -> Life:
        """What has an id, whichever process made it. Where there is a registry, it is this process's from now on.

        Args:
            made_id: the AgentInstanceId or TaskId.
            made_by: the Action that made it; known from the form of the id unless given.

        Raises:
            ConfigurationError: `made_by` makes nothing that could be ended.
        """
        if not isinstance(made_id, str) or not made_id:  # pyright: ignore[reportUnnecessaryIsInstance] - a handle comes, too
            raise ConfigurationError(f"attach() takes the id of what lives, such as client.attach(agent.id), not {made_id!r}")
        if (known := self.inventory.lives.get(made_id)) is not None:
            return known
        if made_by is None:  # TaskIds are UUIDs, AgentInstanceIds are numbers
            made_by = CreateDigitalHumanStreamTask if "-" in made_id else CreateAgentInstance
        if made_by.lifecycle is None:
            raise ConfigurationError(
                f"{made_by.__name__} makes nothing that could be ended: pass the create that made it, or leave made_by out"
            )
        if self.register is not None and self.sweeper is not None:
            self.caller.pool.bind()
            self.caller.pool.spawn(self._take_over(made_id, self.sweeper))
        return Life(self.inventory, None, made_by.lifecycle, made=(made_id, result_of(made_by, made_id)))

    async def _take_over(self, made_id: str, sweeper: Sweeper) -> None:
        """Make what another process has this one's own, and count it in this one's quota."""
        record = await sweeper.take(made_id)
        if record is not None and (quota := self.inventory.quota) is not None and made_id not in self.inventory.lives:
            life = LIFECYCLES[record.action]
            assert life.quota is not None
            quota.adopt(life.quota, made_id, expires_in=life.longest_life(None))

    # --- callbacks

    @property
    def events(self) -> EventHub:
        """What callbacks said, for those who wait for it or follow it."""
        if self._events is None:
            from zego_aigc.calls.event_hub import EventHub

            self._events = EventHub()
        return self._events

    async def observe(self, event: Event) -> None:
        """Take note of a callback; see :meth:`zego_aigc.Client.observe`."""
        from zego_aigc.callbacks.events import AgentInstanceCreated, AgentInstanceDeleted, StreamTaskEvent

        ended: str | None = None
        birth: Birth | None = None
        match event:
            case AgentInstanceCreated(agent_instance_id=str(made_id)):
                birth = Birth(made_id, event.room_id, agent_id=event.agent_id, agent_user_id=event.agent_user_id)
            case AgentInstanceDeleted(agent_instance_id=str(made_id)):
                ended = made_id
            case StreamTaskEvent(task_id=str(made_id)) if event.detail.status in {TaskStatus.INIT_FAILED, TaskStatus.STOPPED}:
                ended = made_id
            case StreamTaskEvent(task_id=str(made_id)):
                birth = Birth(made_id, event.detail.room_id, stream_id=event.detail.stream_id)
            case _:
                pass
        if birth is not None:
            self.inventory.creations.observe(birth)
            if self.register is not None and birth.stream_id is None:  # stream tasks are looked up
                await self.register.created(birth.made_id, birth.may_be_of)
        if ended is not None:
            self._cleanup.ended(ended)
            if self.register is not None:
                await self.register.ended(ended)
        self.events.note(event)

    # --- closing

    async def finish(self, drain: float, *, end: bool = True) -> asyncio.CancelledError | None:
        """The client closes: refuse what waits for a place, and end all that lives.

        Args:
            drain: seconds for each ending, beside the time in the limiter's queue.
            end: whether to end what lives and what is being made, or to end only what is being ended.

        Returns:
            the cancellation that came meanwhile.
        """
        self._closed, self._ends_all = True, end
        for deadline in [*self._waiting]:
            self.caller.pool.deadlines.expire(deadline)
        if self._events is not None:
            self._events.close()
        if self.caller.pool.closed:
            return None
        cancelled: asyncio.CancelledError | None = None
        if self.sweeper is not None:
            leaving = asyncio.ensure_future(self._leave_registry(self.sweeper, drain, end=end))
            cancelled = await wait_shielded(leaving, drain + LEAVING)
        if not end:
            self.inventory.lives.clear()  # they are the next process's
        for made_id, life in self.inventory.lives.items():
            self._cleanup.begin(made_id, life.life.end(made_id))
        if end and self._making:
            cancelled = await self._finish_making(drain) or cancelled
        return await self._cleanup.finish(drain) or cancelled

    async def _finish_making(self, drain: float) -> asyncio.CancelledError | None:
        """Refuse what waits for the limiter, and let what is under way come to its end."""
        deadlines = self.caller.pool.deadlines
        tasks = {*self._making.values()}
        for deadline in [*deadlines]:
            if deadline.at_close == "expire" and deadline.task in tasks:
                deadlines.expire(deadline)
        made = asyncio.ensure_future(asyncio.wait([*self._making], timeout=drain))
        return await wait_shielded(made, drain + LEAVING)

    @staticmethod
    async def _leave_registry(sweeper: Sweeper, drain: float, *, end: bool) -> None:
        await sweeper.stop()
        await sweeper.leave(end=end, within=drain)

    @property
    def unended(self) -> list[str]:
        """The ids of what lives, is not ended, or not yet."""
        return list(dict.fromkeys([*self.inventory.lives, *self._cleanup.unended]))


class _Noted:
    """A create of which orphans are noted in the register, too."""

    def __init__(self, creates: Creates, note: Callable[[Orphan], object]) -> None:
        self._creates = creates
        self._note = note

    def begin(self, action: Any) -> _Noted:
        self._creation = self._creates.begin(action)
        self.made = self._creation.made
        self.not_made = self._creation.not_made
        self.unknown = self._creation.unknown
        return self

    def orphaned(self, orphan: Orphan) -> None:
        self._note(orphan)
        self._creation.orphaned(orphan)
