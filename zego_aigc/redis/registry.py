"""A register of what is live in Redis, for the processes of many machines."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self

import msgspec
from msgspec.structs import replace

from zego_aigc.errors import RegistryError
from zego_aigc.redis import _registry_scripts as scripts
from zego_aigc.redis._script_runner import RedisUnavailable, ScriptRunner
from zego_aigc.storage.registry import LiveRecord, too_many_live

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

__all__ = ["RedisRegistry"]

MAX_SERVERS = 5
"""How many times in a row another server may answer before a script counts as unanswered."""

LATELY = 600.0
"""Seconds for which a process tells a server that takes over what it struck off, and what it took from others."""

_decode = msgspec.json.Decoder(LiveRecord).decode
_encode = msgspec.json.Encoder().encode


class RedisRegistry:
    """A register in Redis, for all processes that share it, on the Redis server's clock.

    It may be built before a fork and outside of an event loop; each process that uses it becomes a member of its own. While
    Redis is gone nothing can be made (the error says that nothing was sent), and no process is taken for dead: after an outage
    each process has a whole lease to show that it lives. When a server takes over without the newest records, or comes back
    without its data, each process tells it what that process has, within a third of a lease. Lost are only the records of a
    process that died at the same time.

    Args:
        redis: a ``redis.asyncio.Redis`` or ``RedisCluster``, which stays the caller's, or a URL, for a connection of our own.
        lease: seconds without a heartbeat after which a process counts as dead.
        timeout: seconds that Redis may take to answer before it counts as gone.
        prefix: what the keys begin with.

    Raises:
        ValueError: `lease` is less than a second.
        ConfigurationError: the extra ``redis`` is not installed.
    """

    def __init__(
        self, redis: Redis | RedisCluster | str, *, lease: float = 15.0, timeout: float = 1.0, prefix: str = "zego_aigc"
    ) -> None:
        if not lease >= 1.0:
            raise ValueError(f"lease must be at least 1 second, not {lease}")
        self.lease: float = lease
        self.clock: Callable[[], float] = time.monotonic
        self._redis = redis
        self._timeout = timeout
        self._prefix = prefix
        self._account: str | None = None
        self._keys: tuple[str, ...] = ()
        self._member = ""
        self._server: Any = ""  # which one has answered last
        self._held: dict[str, LiveRecord] = {}  # this process's records by their keys, as that server knows them
        self._lately: dict[str, float] = {}  # when this process struck a record off, or took it from another, by its key
        self._restoring = asyncio.Lock()
        self._home: tuple[int, asyncio.AbstractEventLoop] | None = None  # the process and the loop that use it
        self._runner = ScriptRunner(redis, timeout, prefix)

    @property
    def member(self) -> str:
        """See :class:`~zego_aigc.Registry`."""
        return self._member

    async def join(self, account: str) -> None:
        """See :class:`~zego_aigc.Registry`."""
        if self._account not in {None, account}:
            raise RegistryError("the register is in use for another account in this process: give each AppId one of its own")
        self._account = account
        # In a cluster all keys of an account live on one node, for the braces.
        tag = f"{self._prefix}:registry:{sha256(account.encode()).hexdigest()[:16]}"
        self._keys = tuple(f"{{{tag}}}:{name}" for name in scripts.KEYS)
        await self.beat()

    async def add(self, record: LiveRecord, *, per_owner: int | None = None) -> None:
        """See :class:`~zego_aigc.Registry`."""
        most = -1 if per_owner is None else per_owner
        count = await self._run(
            scripts.ADD,
            self._lease_us,
            self._me,
            record.key,
            _encode(record),
            record.owner or "",
            most,
            sent="Nothing was sent",
        )
        if count >= 0:
            raise too_many_live(record.owner, per_owner)
        self._held[record.key] = record

    async def made(self, record: LiveRecord, instance_id: str) -> None:
        """See :class:`~zego_aigc.Registry`."""
        await self._run(scripts.MADE, self._lease_us, self._me, record.key, _encode(record), record.owner or "", instance_id)
        self._held[record.key] = replace(record, state="live", instance_id=instance_id)

    async def identify(self, key: str, instance_id: str) -> None:
        """See :class:`~zego_aigc.Registry`."""
        await self._run(scripts.IDENTIFY, key, instance_id)
        if (held := self._held.get(key)) is not None and held.instance_id is None:
            self._held[key] = replace(held, instance_id=instance_id)

    async def unknown(self, key: str) -> None:
        """See :class:`~zego_aigc.Registry`."""
        await self._run(scripts.UNKNOWN, key)
        if (held := self._held.get(key)) is not None:
            self._held[key] = replace(held, state="unknown")

    async def remove(self, key: str) -> None:
        """See :class:`~zego_aigc.Registry`."""
        await self._run(scripts.REMOVE, key)
        self._held.pop(key, None)
        self._note_lately(key)

    async def ended(self, instance_id: str) -> bool:
        """See :class:`~zego_aigc.Registry`."""
        key = _text(await self._run(scripts.ENDED, instance_id))
        if key:
            self._held.pop(key, None)
            self._note_lately(key)
        return bool(key)

    async def take(self, instance_id: str) -> LiveRecord | None:
        """See :class:`~zego_aigc.Registry`."""
        found = _read(await self._run(scripts.TAKE, self._lease_us, self._me, instance_id))
        self._have_taken(found)
        return found[0] if found else None

    async def leave(self) -> Sequence[LiveRecord]:
        """See :class:`~zego_aigc.Registry`."""
        found = _read(await self._run(scripts.LEAVE, self._me))
        self._home = None  # what may be noted from now on is another member's
        return found

    async def live(self) -> Sequence[LiveRecord]:
        """See :class:`~zego_aigc.Registry`."""
        before = dict(self._held)
        found = _read(await self._run(scripts.LIVE))
        # Others may have taken or ended what this process had. What has changed here meanwhile is newer than the answer.
        mine = {record.key: record for record in found if record.member == self._member}
        for key in before.keys() | mine.keys():
            if self._held.get(key) is before.get(key):
                if key in mine:
                    self._held[key] = mine[key]
                else:
                    self._held.pop(key, None)
        for record in found:
            if record.member != self._member:
                self._lately.pop(record.key, None)  # it has gone on to others since
        return found

    async def beat(self) -> bool:
        """See :class:`~zego_aigc.Registry`."""
        return bool(await self._run(scripts.BEAT, self._lease_us, self._me))

    async def take_abandoned(self, *, grace: float) -> Sequence[LiveRecord]:
        """See :class:`~zego_aigc.Registry`."""
        found = _read(await self._run(scripts.TAKE_ABANDONED, self._lease_us, self._me, round(grace * 1e6)))
        self._have_taken(found)
        return found

    async def aclose(self) -> None:
        """See :class:`~zego_aigc.Registry`."""
        await self._runner.idle()
        await self._runner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def _lease_us(self) -> int:
        return round(self.lease * 1e6)

    @property
    def _me(self) -> str:
        """This process's id as a member: drawn at its first use, and anew after a fork or with another event loop."""
        home = os.getpid(), asyncio.get_running_loop()
        if home != self._home:
            if self._home is not None:
                forked = self._home[0] != os.getpid()
                self._runner = ScriptRunner(self._redis, self._timeout, self._prefix, forked=forked)
            self._home = home
            self._member = uuid.uuid4().hex
            self._held = {}
            self._lately = {}
            self._restoring = asyncio.Lock()
        return self._member

    async def _run(self, script: str, *args: Any, sent: str = "") -> Any:
        if self._account is None:
            raise RegistryError("the register is not in use yet: give it to a client, Client(registry=...), or join() first")
        _ = self._me
        try:
            return await self._ask(script, args)
        except RedisUnavailable as error:
            raise RegistryError(
                f"the register's Redis does not answer ({error}). {sent or 'What it knows is older than this'}: "
                "see that it runs and can be written to"
            ) from error

    async def _ask(self, script: str, args: Sequence[Any]) -> Any:
        """Run a script on a server that knows what this process has."""
        for _ in range(MAX_SERVERS):
            heard_of = self._server
            server, *answer = await self._runner.run(script, self._keys, (heard_of, *args))
            if answer:
                self._server = server
                return answer[0]
            await self._restore(heard_of, server)
        raise RedisUnavailable(f"another server took over {MAX_SERVERS} times in a row")

    async def _restore(self, before: Any, server: Any) -> None:
        """Tell another server what this process has. Until then that server does nothing for this process."""
        async with self._restoring:
            if self._server != before:
                return  # done meanwhile
            gone = self._lately.keys() - self._held.keys()
            rows: list[Any] = [len(gone), *gone]
            for key, record in self._held.items():
                counts_for = (record.owner or "") if record.state != "unknown" else ""
                taken = "1" if key in self._lately else ""
                rows += (key, _encode(record), record.state, counts_for, record.instance_id or "", taken)
            known, *done = await self._runner.run(scripts.RESTORE, self._keys, (server, self._lease_us, self._member, *rows))
            if done:
                self._server = known

    def _have_taken(self, records: Sequence[LiveRecord]) -> None:
        for record in records:
            self._held[record.key] = record
            self._note_lately(record.key)

    def _note_lately(self, key: str) -> None:
        now = self.clock()
        self._lately.pop(key, None)
        self._lately[key] = now
        while now - next(iter(self._lately.values())) > LATELY:
            del self._lately[next(iter(self._lately))]

    def __repr__(self) -> str:
        return f"RedisRegistry(lease={self.lease:g})"


def _read(rows: Sequence[Sequence[Any]]) -> list[LiveRecord]:
    found = [
        replace(_decode(record), state=_text(state), member=_text(member), instance_id=_text(instance_id) or None)
        for record, state, member, instance_id in rows
    ]
    return sorted(found, key=lambda record: (record.since, record.key))


def _text(value: bytes | str) -> Any:
    return value.decode() if isinstance(value, bytes) else value
