"""Lists of what lives at the service: one request serves all that ask meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from zego_aigc.provisioning.service_clock import ServiceClock
from zego_aigc.schema.lifecycle import Lifecycle, Listing, Names

if TYPE_CHECKING:
    from zego_aigc.provisioning.run_calls import RunCalls

__all__ = ["Found", "Listings", "unsure", "whose"]

SLACK = 2.0
"""Seconds that what our request made may seem older than it: the service's times are in whole seconds."""


class Found(NamedTuple):
    """What lives under the names of a request of ours that was not answered."""

    made_id: str
    ours: bool
    """Whether it is what our request made. Otherwise that is unknown: it seems to be older."""
    older: float = 0.0
    """Seconds that it seems to be older than our first attempt."""


def whose(created: float | None, first_sent: float | None) -> float:
    """By how many seconds something seems to be older than our first attempt; 0 if our attempt can have made it.

    Args:
        created: Unix time of its creation, by the service's clock.
        first_sent: Unix time of our first attempt, by the service's clock as far as that was known.
    """
    if created is None or first_sent is None or created >= first_sent - SLACK:
        return 0.0
    return first_sent - created


def unsure(life: Lifecycle, found: Found) -> str:
    """Why it is not known whether what was found is ours, and what to do."""
    return (
        f"the {life.makes} {found.made_id} lives on its stream in its room, but seems to be {found.older:.0f} s older than the "
        f"first attempt: whether it is this fleet's is unknown. If it is this fleet's, end it with {life.ended_by.__name__}"
    )


class Listings:
    """Asks for lists.

    Args:
        calls: to the service.
        clock: learns the service's time from the answers.
    """

    def __init__(self, calls: RunCalls, clock: ServiceClock | None = None) -> None:
        self._calls = calls
        self._clock = clock
        self._locks: dict[Listing, anyio.Lock] = {}
        self._listed: dict[Listing, tuple[float, Sequence[Any]]] = {}

    async def get(self, listing: Listing, *, since: float | None = None, max_age: float = 0.0) -> Sequence[Any]:
        """A list of everything of a kind.

        Args:
            listing: what lists it, without ids.
            since: it must be as of then or later, monotonic seconds; by default, as of now.
            max_age: seconds that it may be old, if that is later.

        Raises:
            ZegoError: the service could not be asked.
        """
        came = time.monotonic() if since is None else since
        async with self._locks.setdefault(listing, anyio.Lock()):
            asked, items = self._listed.get(listing, (float("-inf"), ()))
            now = time.monotonic()
            if asked < came or (since is not None and now - asked >= max_age):
                response = await self._calls.call_with_response(listing.ask())
                if self._clock is not None:
                    self._clock.observe(response.headers.get("Date"))
                items = listing.of(response.result)
                self._listed[listing] = now, items
            return items

    async def find(
        self,
        life: Lifecycle,
        names: Names,
        first_sent: float | None,
        *,
        since: float | None = None,
        max_age: float = 0.0,
    ) -> Found | None:
        """What lives on the stream and in the room of a request of ours; None if nothing does.

        Args:
            life: what the request makes.
            names: the request's.
            first_sent: Unix time of our first attempt, by the service's clock.
            since: as in :meth:`get`.
            max_age: as in :meth:`get`.

        Raises:
            ZegoError: the service could not be asked.
        """
        assert life.listing is not None
        for item in await self.get(life.listing, since=since, max_age=max_age):
            # One on our stream in another room is somebody else's for sure, and then ours was refused.
            if item.stream_id == names.stream_id and item.room_id == names.room_id:
                older = whose(item.create_time, first_sent)
                return Found(getattr(item, life.id_field), not older, older)
        return None
