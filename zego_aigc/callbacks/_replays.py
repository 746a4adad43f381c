"""Which signatures have been used, and for what: so that none is used twice, in one process or in many.

A signature is *claimed* when its callback comes, and *taken* once the callback is safely in hand. A claim that is not made good
expires, since its process may have been killed: then the sender's next attempt is as good as the first.
"""

from __future__ import annotations

import enum
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple, Protocol

__all__ = ["Claim", "LocalSeen", "Replays", "Seen", "Standing"]


class Seen(Protocol):
    """A memory of the callbacks that were seen: :class:`LocalSeen`, or one that several processes share.

    :class:`zego_aigc.redis.RedisSeen` is one; any store that can compare and set will do.
    """

    async def swap(self, key: str, value: str, *, expected: str | None, ttl: float) -> str | None:
        """Store `value` under `key` for `ttl` seconds if what is stored there now is `expected`; in one step.

        Args:
            key: 32 hex digits.
            value: up to 100 ASCII characters.
            expected: what must be there for the value to be stored; None for nothing.
            ttl: seconds after which the value is forgotten.

        Returns:
            What was there before; None for nothing.

        Raises:
            Exception: the memory cannot be reached. The callback is then answered with 503, and comes again.
        """
        ...


class LocalSeen:
    """The memory of one process.

    Args:
        max_size: how many callbacks are remembered; with more, the oldest are forgotten before their time.
        clock: seconds.
    """

    __slots__ = ("_clock", "_max_size", "_values")

    def __init__(self, max_size: int = 50_000, *, clock: Callable[[], float] = time.time) -> None:
        self._max_size = max_size
        self._clock = clock
        self._values: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    async def swap(self, key: str, value: str, *, expected: str | None, ttl: float) -> str | None:
        """See :meth:`Seen.swap`. It never waits."""
        now = self._clock()
        while self._values and next(iter(self._values.values()))[1] < now:
            self._values.popitem(last=False)
        held, until = self._values.get(key, (None, now))
        if until < now:
            held = None
        if held == expected:
            self._values[key] = value, now + ttl
            self._values.move_to_end(key)
            if len(self._values) > self._max_size:
                self._values.popitem(last=False)
        return held


class Standing(enum.Enum):
    """What is known of a callback that has come."""

    NEW = "new"
    """Its signature was not used before, and is claimed now."""
    COPY = "copy"
    """It was taken before, byte for byte: the vendor missed our answer, or a third party sent it again."""
    UNDER_WAY = "under way"
    """It is being taken right now, here or in another process."""
    REPLAY = "replay"
    """Its signature was used before, for another body: a forgery."""


class Claim(NamedTuple):
    """A signature that is claimed for a body."""

    key: str
    body: str
    """The body's digest."""
    value: str
    """What is stored while the claim lasts."""


class Replays:
    """Claims signatures in a memory.

    The signature itself is the key and not nonce and timestamp, since it is made over both without a separator: a digit moved
    from one to the other gives a second pair that it fits.

    Args:
        memory: where the claims stand.
        keep: seconds for which a signature that was taken is remembered.
        lease: seconds for which a claim holds.
    """

    def __init__(self, memory: Seen, *, keep: float, lease: float) -> None:
        self._memory = memory
        self._keep = keep
        self._lease = lease

    async def claim(self, signature: str, body: bytes) -> tuple[Standing, Claim]:
        """Claim a signature, in lower case, for a body, unless it is claimed or taken."""
        digest = _digest(body)
        claim = Claim(_digest(signature.encode()), digest, f"claimed {digest} {os.urandom(8).hex()}")
        held = await self._memory.swap(claim.key, claim.value, expected=None, ttl=self._lease)
        if held is not None and held == _free(claim):
            held = await self._memory.swap(claim.key, claim.value, expected=held, ttl=self._lease)
            held = None if held == _free(claim) else held
        if held is None:
            return Standing.NEW, claim
        state, of, *_ = held.split()
        if of != digest:
            return Standing.REPLAY, claim
        return (Standing.COPY if state == "taken" else Standing.UNDER_WAY), claim

    async def take(self, claim: Claim) -> None:
        """The callback is in hand: its copies are answered as it was, until the signature is stale."""
        await self._memory.swap(claim.key, f"taken {claim.body}", expected=claim.value, ttl=self._keep)

    async def release(self, claim: Claim) -> None:
        """The callback could not be taken: the same body may come again, and no other under this signature."""
        await self._memory.swap(claim.key, _free(claim), expected=claim.value, ttl=self._keep)


def _free(claim: Claim) -> str:
    return f"free {claim.body}"


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()
