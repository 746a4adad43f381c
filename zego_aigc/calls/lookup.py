"""Finding out whether a create whose answer was lost did its work.

Only two kinds can be looked up: registered agents, by id, and stream tasks, by room and stream. The vendor has no
look-up for agent instances.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (what the service keeps is compared as the JSON that it is)
from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec

from zego_aigc.calls.call import Call
from zego_aigc.calls.endpoint import LookUp
from zego_aigc.calls.response import Response
from zego_aigc.calls.retry import Ending
from zego_aigc.errors import (
    AlreadyExists,
    ConfigurationError,
    NotFound,
    TimedOut,
    ZegoError,
)
from zego_aigc.schema.lifecycle import Recovery
from zego_aigc.schema.naming import wire
from zego_aigc.transport.clock import http_date
from zego_aigc.transport.shielding import join

if TYPE_CHECKING:
    from zego_aigc.client import Client
    from zego_aigc.schema.actions import Action
    from zego_aigc.schema.lifecycle import Lifecycle, Listing, Names

__all__ = ["Reconciler"]

SLACK = 2.0
"""Seconds that a task may seem older than our request: both the service's times are in whole seconds."""


class Reconciler:
    """Looks up what a client's lost creates made. One look-up serves all that wait for one."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lists: dict[Listing, _SharedListing] = {}

    def look_ups(self) -> dict[Recovery, LookUp]:
        """The look-ups that there are, by what an Action's lifecycle declares."""
        return {Recovery.COMPARE: self._compare, Recovery.FIND: self._find}

    async def is_as_sent(self, action: Action[Any], *, timeout: float | None = None) -> bool | None:
        """Whether what stands under the id that an Action chose is what it describes; None if nothing does."""
        life = action.lifecycle
        assert life is not None
        assert life.listing is not None
        chosen = life.id_of(action, None)
        try:
            response = await self._client.call_with_response(life.listing.ask([chosen]), timeout=timeout)
        except NotFound:
            return None
        for kept in (response.data or {}).get(wire(life.listing.items)) or ():
            if kept.get(wire(life.id_field)) == chosen:
                # Fields newer than this library are compared where the answer has them: it may not tell them all.
                untold = (action.extra or {}).keys() - kept.keys()
                return _is_as_sent({key: value for key, value in action.to_wire().items() if key not in untold}, kept)
        return None

    async def find(self, life: Lifecycle, names: Names, *, sent: float) -> str | None:
        """The id of what lives under the request's names, made no earlier than `sent` (monotonic); None if nothing does."""
        holder = await self._holder(life, names)
        return holder.made_id if holder is not None and holder.is_of(names, sent) else None

    async def _holder(self, life: Lifecycle, names: Names) -> _Holder | None:
        """What lives and has the request's stream id."""
        assert life.listing is not None
        shared = self._lists.setdefault(life.listing, _SharedListing(self._client, life.listing))
        response = await shared.get()
        now = http_date(response.headers.get("Date"))
        if now is None:
            now = time.time()
        for item in life.listing.of(response.result):
            if item.stream_id == names.stream_id:
                made = time.monotonic() - (now - (item.create_time or 0))
                return _Holder(getattr(item, life.id_field), item.room_id, made)
        return None

    async def _compare(self, call: Call[Any], failure: ZegoError, _: Ending) -> bool:
        ours = await self.is_as_sent(call.action, timeout=max(0.001, call.remaining()))
        if ours is None:
            return False
        if not ours:
            raise _taken(call, failure)
        call.found(None)
        return True

    async def _find(self, call: Call[Any], failure: ZegoError, ending: Ending) -> bool:
        assert call.first_sent is not None
        late = TimedOut("there was no time left to find out whether the first attempt was carried out", waited_for="retry")
        life: Lifecycle = call.action.lifecycle
        names = life.names(call.action)
        try:
            async with asyncio.timeout(call.remaining()):
                holder = await self._holder(life, names)
        except TimeoutError as error:
            raise error if isinstance(error, ZegoError) else late from None
        if holder is not None:
            if not holder.is_of(names, call.first_sent):
                raise _taken(call, failure)
            call.found(call.request.result(**{life.id_field: holder.made_id}))
            return True
        if ending is Ending.TAKEN:
            # Somebody has the StreamId, and the list of running tasks does not say who.
            raise call.unknown(failure) from failure
        if ending is Ending.LOST:
            settle = call.route.policy.lookup_delay
            if call.remaining() <= settle:
                raise late
            await asyncio.sleep(settle)
        return False


class _Holder(msgspec.Struct, frozen=True):
    """Something that lives and has a name that a request wanted."""

    made_id: str
    room_id: str
    made: float  # monotonic, within a second

    def is_of(self, names: Names, sent: float) -> bool:
        return self.room_id == names.room_id and self.made >= sent - SLACK


class _SharedListing:
    """A list of what lives. What many ask at once is asked once: whoever comes before it leaves shares its answer."""

    def __init__(self, client: Client, listing: Listing) -> None:
        self._client = client
        self._listing = listing
        self._boarding: asyncio.Task[Response[Any]] | None = None

    async def get(self) -> Response[Any]:
        task = self._boarding
        if task is None:
            task = self._boarding = self._client.pool.spawn(self._run())
            task.add_done_callback(lambda run: run.cancelled() or run.exception())  # whoever asked may be cancelled by then
        await join(task)
        if task.cancelled():
            raise ConfigurationError("the client was closed during a look-up")
        return task.result()

    async def _run(self) -> Response[Any]:
        me = asyncio.current_task()

        async def departing(_: int) -> None:
            if self._boarding is me:
                self._boarding = None

        await asyncio.sleep(0)  # or an eager task would depart before get() knows that it is boarding
        try:
            return await self._client.call_with_response(self._listing.ask(), before_send=departing)
        finally:
            await departing(0)


def _taken(call: Call[Any], failure: ZegoError) -> AlreadyExists:
    if isinstance(failure, AlreadyExists):
        return failure
    error = AlreadyExists(
        code=0,
        name="AlreadyExists",
        advice="Its answer was lost, and what stands under the id now is not what was asked for: choose another id.",
        action=call.request.name,
        attempts=call.attempts,
    )
    error.__cause__ = failure
    return error


def _is_as_sent(sent: Any, kept: Any) -> bool:
    """Whether everything that was sent stands in what the service keeps.

    It may hold more (its defaults), leave out what is empty, and mask secrets.
    """
    if isinstance(sent, dict):
        return isinstance(kept, dict) and all(_is_as_sent(value, kept.get(key)) for key, value in sent.items())
    if isinstance(sent, list):
        return isinstance(kept, list) and len(sent) == len(kept) and all(map(_is_as_sent, sent, kept))
    if isinstance(kept, str) and "***" in kept:
        return True
    return bool(sent == kept) or (kept is None and not sent)
