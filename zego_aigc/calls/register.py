"""Keeping a registry of what a client makes, and ending what dead processes left."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from zego_aigc.calls.hooks import logger
from zego_aigc.calls.orphans import Orphan
from zego_aigc.errors import ConfigurationError, OutcomeUnknown, RegistryError, ZegoError
from zego_aigc.schema.actions import Action
from zego_aigc.schema.lifecycle import LIFECYCLES, Lifecycle, Recovery
from zego_aigc.storage.registry import LiveRecord
from zego_aigc.transport.shielding import wait_shielded

if TYPE_CHECKING:
    from zego_aigc.calls.caller import Caller
    from zego_aigc.storage.registry import Registry

__all__ = ["Register", "Sweeper"]

T = TypeVar("T")

BeforeSend: TypeAlias = Callable[[int], Awaitable[None]]
Make: TypeAlias = Callable[[BeforeSend, Callable[[Orphan], object]], Awaitable[T]]
End: TypeAlias = Callable[[str, Action[None]], Awaitable[ZegoError | None]]

NOTING = 5.0
"""Seconds that noting what came of a create may take, through cancellation."""

LATE = 60.0
"""Seconds after which a create whose process died before its answer is not carried out any more: a call's deadline, twice."""

MARGIN = 40.0
"""Seconds on top of MaxIdleTime before an instance without its user counts as gone: the vendor counts it in its own way."""

MAX_ENDING = 8
"""Endings of a sweep that run at the same time: a slow one holds nothing up, and people who hang up find the limiter free."""


class Register:
    """What one client notes in a registry.

    Args:
        registry: where.
        account: whose instances are meant.
        per_owner: how many an owner may have at a time; None for any number.
        clock: seconds of Unix time, for people.
    """

    def __init__(
        self, registry: Registry, account: str, *, per_owner: int | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.registry: Registry = registry
        self._account = account
        self._per_owner = per_owner
        self._clock = clock
        self._behind: dict[str, Callable[[], Awaitable[object]]] = {}  # what could not be noted yet, by what it speaks of

    async def join(self) -> None:
        """Become a member. Doing so again does nothing.

        Raises:
            RegistryError: the registry cannot be used.
        """
        if not self.registry.member:
            await self.registry.join(self._account)

    # --- a create

    async def create(self, action: Action[T], owner: str | None, make: Make[T], end: End) -> T:
        """Make something that is noted from before its first byte leaves.

        Args:
            action: the create.
            owner: for whom.
            make: calls it, with a ``before_send`` and an ``on_orphan``.
            end: deletes or stops something.

        Raises:
            ConfigurationError: owners are bounded, and none is named.
            TooManyLive: the owner has as many as it may have. Nothing was sent.
            RegistryError: it could not be noted. Nothing was sent, or what was made has been ended.
            ZegoError: as the call does.
        """
        if not owner and self._per_owner is not None:
            raise ConfigurationError(
                f"live_per_owner bounds what each owner has: say for whom {type(action).__name__} is, such as owner='user-17'"
            )
        entry = _Entry(action)

        async def note_intent(_: int) -> None:
            if entry.record is None:
                entry.record = await self._intend(action, owner)

        try:
            result = await make(note_intent, entry.orphans.append)
        except BaseException as error:
            if entry.record is not None:
                # In a task of its own: the caller may be cancelled, and once more meanwhile.
                noting = asyncio.ensure_future(self._note_failure(entry, entry.record, error))
                await wait_shielded(noting, NOTING)
            raise
        if entry.record is not None:
            await self._note_success(entry.record, _id_of(action, result), end)
        return result

    async def _intend(self, action: Action[Any], owner: str | None) -> LiveRecord:
        life = action.lifecycle
        assert life is not None
        names = life.names(action)
        record = LiveRecord(
            key=uuid.uuid4().hex,
            action=type(action).__name__,
            owner=owner,
            agent_id=names.agent_id,
            room_id=names.room_id,
            stream_id=names.stream_id,
            agent_user_id=names.agent_user_id,
            since=self._clock(),
            lives_unseen=float(life.idle_time(action) or 0),
        )
        await self.join()
        try:
            await self.registry.add(record, per_owner=self._per_owner)
        except (RegistryError, asyncio.CancelledError):
            # Perhaps it was noted, or is, and nobody waits for the answer: then it must not count against its owner.
            self._behind[record.key] = lambda: self.registry.remove(record.key)
            raise
        return record

    async def _note_success(self, record: LiveRecord, made_id: str, end: End) -> None:
        noting = asyncio.ensure_future(self.registry.made(record, made_id))
        cancelled = await wait_shielded(noting, NOTING)
        error = noting.exception() if noting.done() and not noting.cancelled() else RegistryError("the register is too slow")
        if error is not None:
            # An instance that no other process would find after a crash must not live on.
            life = LIFECYCLES[record.action]
            left = await end(made_id, life.end(made_id))
            await self._note(record.key, lambda: self.registry.remove(record.key))
            fate = (
                "it was ended again" if left is None else f"it could not be ended ({left}), and bills until it ends by itself"
            )
            raise RegistryError(f"{record.action} made {made_id}, which could not be noted ({error}): {fate}") from error
        if cancelled is not None:
            raise cancelled

    async def _note_failure(self, entry: _Entry, record: LiveRecord, error: BaseException) -> None:
        certain = next((orphan for orphan in entry.orphans if orphan.certain), None)
        if certain is not None:
            made_id = _id_of(entry.action, certain.result)
            await self._note(record.key, lambda: self.registry.made(record, made_id))
        elif entry.orphans or isinstance(error, OutcomeUnknown):
            await self.unknown(record)
        else:
            await self.forget(record)

    # --- what becomes of it

    async def take(self, instance_id: str) -> LiveRecord | None:
        """Make a record this process's own, whichever process had it; None where there is none, or that is not known now."""
        taken: LiveRecord | None = None

        async def take() -> None:
            nonlocal taken
            taken = await self.registry.take(instance_id)

        await self._note(instance_id, take)
        return taken

    async def unknown(self, record: LiveRecord) -> None:
        """It may or may not have been made."""
        await self._note(record.key, lambda: self.registry.unknown(record.key))

    async def forget(self, record: LiveRecord) -> None:
        """It was not made, or has ended."""
        await self._note(record.key, lambda: self.registry.remove(record.key))

    async def ended(self, instance_id: str) -> None:
        """An instance or a task has ended, whichever process made it."""
        await self._note(instance_id, lambda: self.registry.ended(instance_id))

    async def created(self, instance_id: str, is_of: Callable[[LiveRecord], bool]) -> None:
        """A callback says that an instance was made: it may be what a create made whose answer was lost, in any process.

        Args:
            instance_id: its AgentInstanceId.
            is_of: whether a record may speak of it.
        """

        async def identify() -> None:
            live = await self.registry.live()
            candidates = [record for record in live if record.instance_id is None and is_of(record)]
            # Of two creates for one room it is not known which one it was, so neither gets the id.
            if len(candidates) == 1 and all(record.instance_id != instance_id for record in live):
                await self.registry.identify(candidates[0].key, instance_id)

        await self._note(instance_id, identify)

    async def _note(self, subject: str, note: Callable[[], Awaitable[object]]) -> None:
        """Note something that must not fail; what cannot be noted now is by :meth:`catch_up`."""
        try:
            await self.join()
            await note()
        except RegistryError as error:
            logger.warning("the register of what is live is behind, and is brought up to date later: %s", error)
            self._behind[subject] = note
        else:
            self._behind.pop(subject, None)

    async def catch_up(self) -> None:
        """Note what could not be noted before.

        Raises:
            RegistryError: it still cannot be.
        """
        for subject, note in list(self._behind.items()):
            await note()
            self._behind.pop(subject, None)


class _Entry(msgspec.Struct):
    """A create on its way."""

    action: Action[Any]
    record: LiveRecord | None = None
    orphans: list[Orphan] = msgspec.field(default_factory=list[Any])


def _id_of(action: Action[Any], result: Any) -> str:
    life = action.lifecycle
    assert life is not None
    return life.id_of(action, result)


class Sweeper:
    """Shows that this process lives, and ends what dead processes left.

    Args:
        register: what is live.
        caller: what makes its calls.
        end: deletes or stops something; returns why it could not, or None.
        grace: seconds for which what a closing process left may be attached to.
    """

    def __init__(
        self,
        register: Register,
        caller: Caller,
        end: End,
        *,
        grace: float = 60.0,
    ) -> None:
        self._register = register
        self._caller = caller
        self._end = end
        self._grace = grace
        self._abandoned: set[str] = set()  # keys of records that were taken over from others
        self._since: dict[str, float] = {}  # when a record that is to be settled was first seen, by its key
        self._turn = asyncio.Lock()
        self._room = asyncio.Semaphore(MAX_ENDING)
        self._failing = False  # and that was logged
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Become a member, and sweep now and then from now on, until :meth:`stop`. Doing so again does nothing.

        Raises:
            RegistryError: the registry cannot be used.
        """
        await self._register.join()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="zego_aigc register")

    async def take(self, instance_id: str) -> LiveRecord | None:
        """Make what another process has this one's own, if the registry knows it: then this is its record."""
        try:
            await self.start()
        except RegistryError as error:
            logger.warning("%s could not be taken over from the process that has it: %s", instance_id, error)
            return None
        return await self._register.take(instance_id)

    async def stop(self) -> None:
        """Sweep no more."""
        if (task := self._task) is not None:
            self._task = None
            task.cancel()
            await asyncio.wait({task}, timeout=1.0)

    async def _run(self) -> None:
        # Each on its own: while a service is slow to end what was left, this process must not be taken for dead.
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self._beat))
            group.create_task(self._repeat(self._sweep))

    async def _repeat(self, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await work()
                self._failing = False
            except RegistryError as error:
                if not self._failing:
                    logger.warning("the register of what is live cannot be kept: %s", error)
                self._failing = True
            await asyncio.sleep(self._register.registry.lease / 3)

    async def _beat(self) -> None:
        registry = self._register.registry
        if not await registry.beat():
            logger.warning("this process gave no sign of life for %g s: others may have ended what it made", registry.lease)

    async def live(self) -> Sequence[LiveRecord]:
        """All that is live or not known to have ended, of every process.

        Raises:
            RegistryError: the registry cannot be read.
        """
        await self._register.join()
        return await self._register.registry.live()

    async def leave(self, *, end: bool, within: float) -> None:
        """Stop being a member, as the client closes: end what is this process's, or leave it to the next one.

        What cannot be ended is left as well, and so is everything if the registry cannot be used: others find it dead.

        Args:
            end: whether to end it.
            within: seconds that it may take.
        """
        registry = self._register.registry
        if not registry.member:
            return
        try:
            if end:
                mine = [record for record in await registry.live() if record.member == registry.member]
                ending = {asyncio.ensure_future(self._end_record(record)) for record in mine if record.instance_id}
                if ending:
                    _, late = await asyncio.wait(ending, timeout=within)
                    for task in late:
                        task.cancel()
            await registry.leave()
        except RegistryError as error:
            logger.warning("what is live could not be left in the register, and is ended by others after a lease: %s", error)

    async def sweep(self) -> Sequence[LiveRecord]:
        """End what dead processes left, as far as that is known now.

        Returns:
            the records of what was ended.

        Raises:
            RegistryError: the registry cannot be used.
        """
        await self._register.join()
        await self._beat()
        return await self._sweep()

    async def _sweep(self) -> Sequence[LiveRecord]:
        async with self._turn:
            registry = self._register.registry
            await self._register.catch_up()
            taken = await registry.take_abandoned(grace=self._grace)
            self._abandoned.update(record.key for record in taken)
            mine = [record for record in await registry.live() if record.member == registry.member]
            self._abandoned.intersection_update(record.key for record in mine)
            unsettled = [record for record in mine if record.key in self._abandoned or record.state == "unknown"]
            now = registry.clock()
            self._since = {record.key: self._since.get(record.key, now) for record in unsettled}
            # The maker of what is not abandoned may still be looking for it.
            due = [record for record in unsettled if record.key in self._abandoned or self._age(record) >= LATE]
            lost = {record.action for record in due if record.instance_id is None}
            listed = {action: await self._list(LIFECYCLES[action]) for action in lost}
            settled = await asyncio.gather(*(self._settle(record, listed.get(record.action)) for record in due))
            return [record for record in settled if record is not None]

    def _age(self, record: LiveRecord) -> float:
        return self._register.registry.clock() - self._since[record.key]

    async def _settle(self, record: LiveRecord, listed: Sequence[Any] | None) -> LiveRecord | None:
        """End what a record speaks of, or find out that there is nothing to end. Returns what was ended."""
        life, found = LIFECYCLES[record.action], record
        if record.instance_id is None and life.recovery is Recovery.FIND:
            if listed is None:
                return None  # not known now
            found = msgspec.structs.replace(record, instance_id=_found(record, life, listed))
        if found.instance_id is not None:
            async with self._room:
                if await self._end_record(found) is not None:
                    return None
            if record.key in self._abandoned:
                logger.warning("%s, made by %s in a process that has died, was ended", found.instance_id, record.action)
            await self._register.forget(record)
            return found
        if self._age(record) >= (LATE if life.recovery is Recovery.FIND else record.lives_unseen + MARGIN):
            await self._register.forget(record)  # it was never made, or has ended by itself
        elif record.state != "unknown":
            await self._register.unknown(record)
        return None

    async def _end_record(self, record: LiveRecord) -> ZegoError | None:
        assert record.instance_id is not None
        return await self._end(record.instance_id, LIFECYCLES[record.action].end(record.instance_id))

    async def _list(self, life: Lifecycle) -> Sequence[Any] | None:
        """What runs, where the service can be asked and answers."""
        if life.recovery is not Recovery.FIND:
            return None
        assert life.listing is not None
        try:
            return life.listing.of(await self._caller.call(life.listing.ask()))
        except ZegoError as error:
            logger.warning("what dead processes left cannot be looked up now, and is later: %s", error)
            return None


def _found(record: LiveRecord, life: Lifecycle, listed: Sequence[Any]) -> str | None:
    """The id of what a record speaks of. Stream ids are unique in an account, and this one is ours."""
    for item in listed:
        if (item.room_id, item.stream_id) == (record.room_id, record.stream_id):
            made_id: str = getattr(item, life.id_field)
            return made_id
    return None
