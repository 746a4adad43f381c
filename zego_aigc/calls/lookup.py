"""Finding out whether a create whose answer was lost did its work.

What an Action's lifecycle declares decides how: what stands under the id that the request chose is compared with it
(``Recovery.COMPARE``: registered agents), or what lives under the names in the request is found in a list
(``Recovery.FIND``: stream tasks). The vendor has no look-up for agent instances.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (what the service keeps is compared as the JSON that it is)
from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from zego_aigc.calls.caller import Caller
from zego_aigc.calls.retry import AttemptOutcome
from zego_aigc.errors import AlreadyExists, ConfigurationError, NotFound, TimedOut, ZegoError
from zego_aigc.schema.lifecycle import Recovery
from zego_aigc.schema.naming import wire
from zego_aigc.transport.clock import http_date
from zego_aigc.transport.shielding import wait_done

if TYPE_CHECKING:
    from zego_aigc.calls.call import LostCreate
    from zego_aigc.calls.response import Response
    from zego_aigc.schema.actions import Action
    from zego_aigc.schema.lifecycle import Lifecycle, Listing, Names

__all__ = ["BoundLookUp", "Finder", "is_as_sent", "is_same", "kept_under", "look_ups"]

SLACK = 2.0
"""Seconds that something may seem older than our request: both the service's times are in whole seconds."""

BoundLookUp = Callable[[Caller, "LostCreate", ZegoError, AttemptOutcome], Awaitable[bool]]
"""A :data:`~zego_aigc.calls.call.LookUp` before it is bound to what makes its calls."""


def look_ups(finder: Finder) -> dict[Recovery, BoundLookUp]:
    """The look-ups that there are, by what an Action's lifecycle declares."""
    return {Recovery.COMPARE: _compare, Recovery.FIND: finder.look_up}


# --- by the id that the request chose


async def _compare(caller: Caller, lost: LostCreate, error: ZegoError, _: AttemptOutcome) -> bool:
    ours = await is_as_sent(caller, lost.action, timeout=max(0.001, lost.remaining()), background=lost.background)
    if ours is None:
        return False
    if not ours:
        raise _taken(lost, error)
    lost.resolve(None)
    return True


async def is_as_sent(
    caller: Caller, action: Action[Any], *, timeout: float | None = None, background: bool = False
) -> bool | None:
    """Whether what stands under the id that an Action chose is what it describes; None if nothing does."""
    life = action.lifecycle
    assert life is not None
    assert life.listing is not None
    chosen = life.id_of(action, None)
    try:
        response = await caller.call_with_response(life.listing.ask([chosen]), timeout=timeout, background=background)
    except NotFound:
        return None
    if (kept := kept_under(life, chosen, response.data)) is None:
        return None
    # Fields newer than this library are compared where the answer has them: it may leave some out.
    missing = (action.extra or {}).keys() - kept.keys()
    return is_same({key: value for key, value in action.to_wire().items() if key not in missing}, kept)


def kept_under(life: Lifecycle, chosen: str, data: Any) -> dict[str, Any] | None:
    """What the service keeps under an id, of the ``Data`` of a list, as it came; None if nothing."""
    assert life.listing is not None
    for kept in (data or {}).get(wire(life.listing.items)) or ():
        if kept.get(wire(life.id_field)) == chosen:
            return dict(kept)
    return None


def is_same(sent: Any, kept: Any, *, same_text: Callable[[str, str], bool] = str.__eq__) -> bool:
    """Whether everything that was sent stands in what the service keeps.

    It may hold more (its defaults), leave out what is empty, and mask secrets.

    Args:
        sent: in wire form.
        kept: in wire form.
        same_text: compares a text that was sent with one that is kept.
    """
    if isinstance(sent, dict):
        return isinstance(kept, dict) and all(is_same(value, kept.get(key), same_text=same_text) for key, value in sent.items())
    if isinstance(sent, list):
        return (
            isinstance(kept, list)
            and len(sent) == len(kept)
            and all(is_same(one, other, same_text=same_text) for one, other in zip(sent, kept, strict=True))
        )
    if isinstance(kept, str) and "***" in kept:
        return True
    if isinstance(sent, str) and isinstance(kept, str):
        return same_text(sent, kept)
    return bool(sent == kept) or (kept is None and not sent)


# --- by the names in the request


class Finder:
    """Finds what lost creates made in the lists of what lives. Concurrent look-ups share one request."""

    def __init__(self) -> None:
        self._lists: dict[tuple[Listing, bool], _SingleFlight] = {}  # by whether it is asked for in the background

    async def find(self, caller: Caller, life: Lifecycle, names: Names, *, sent: float) -> str | None:
        """The id of what lives under the request's names, made no earlier than `sent` (monotonic); None if nothing does."""
        holder = await self._holder(caller, life, names, background=False)
        return holder.made_id if holder is not None and holder.is_of(names, sent) else None

    async def look_up(self, caller: Caller, lost: LostCreate, error: ZegoError, outcome: AttemptOutcome) -> bool:
        """Whether a lost create was carried out. If not, it had the time to be carried out late.

        Raises:
            AlreadyExists: something else has its stream id.
            OutcomeUnknown: its stream id is taken, and the list does not show by what.
            TimedOut: there is not enough time left.
        """
        assert lost.first_sent is not None
        late = TimedOut("there was no time left to find out whether the first attempt was carried out", waited_for="retry")
        life: Lifecycle = lost.action.lifecycle
        names = life.names(lost.action)
        try:
            async with asyncio.timeout(lost.remaining()):
                holder = await self._holder(caller, life, names, background=lost.background)
        except TimeoutError as trouble:
            raise trouble if isinstance(trouble, ZegoError) else late from None
        if holder is not None:
            if not holder.is_of(names, lost.first_sent):
                raise _taken(lost, error)
            lost.resolve(type(lost.action).result(**{life.id_field: holder.made_id}))
            return True
        if outcome is AttemptOutcome.ALREADY_EXISTS:
            raise lost.as_unknown(error) from error
        if outcome is AttemptOutcome.AMBIGUOUS:
            if lost.remaining() <= lost.lookup_delay:
                raise late
            await asyncio.sleep(lost.lookup_delay)
        return False

    async def _holder(self, caller: Caller, life: Lifecycle, names: Names, *, background: bool) -> _Holder | None:
        """What lives and has the request's stream id."""
        assert life.listing is not None
        shared = self._lists.setdefault((life.listing, background), _SingleFlight(life.listing, background=background))
        response = await shared.get(caller)
        now = http_date(response.headers.get("Date"))
        if now is None:
            now = time.time()
        for item in life.listing.of(response.result):
            if item.stream_id == names.stream_id:
                made = time.monotonic() - (now - (item.create_time or 0))
                return _Holder(getattr(item, life.id_field), item.room_id, made)
        return None


class _Holder(msgspec.Struct, frozen=True):
    """Something that lives and has a name that a request wanted."""

    made_id: str
    room_id: str
    made: float  # monotonic, within a second

    def is_of(self, names: Names, sent: float) -> bool:
        return self.room_id == names.room_id and self.made >= sent - SLACK


class _SingleFlight:
    """A list of what lives. Concurrent callers share one request, until it leaves."""

    def __init__(self, listing: Listing, *, background: bool) -> None:
        self._listing = listing
        self._background = background
        self._pending: asyncio.Task[Response[Any]] | None = None  # not sent yet

    async def get(self, caller: Caller) -> Response[Any]:
        task = self._pending
        if task is None:
            task = self._pending = caller.pool.spawn(self._run(caller))
            # An exception counts as retrieved: all that wait for it may be cancelled by then.
            task.add_done_callback(lambda run: run.cancelled() or run.exception())
        await wait_done(task)
        if task.cancelled():
            raise ConfigurationError("the client was closed during a look-up: close it when its calls are over")
        return task.result()

    async def _run(self, caller: Caller) -> Response[Any]:
        me = asyncio.current_task()

        async def leaves(_: int) -> None:
            if self._pending is me:
                self._pending = None

        await asyncio.sleep(0)  # or an eager task would be sent before get() has made it known
        try:
            return await caller.call_with_response(self._listing.ask(), before_send=leaves, background=self._background)
        finally:
            await leaves(0)


def _taken(lost: LostCreate, error: ZegoError) -> AlreadyExists:
    if isinstance(error, AlreadyExists):
        return error
    taken = AlreadyExists(
        code=0,
        name="AlreadyExists",
        advice="Its answer was lost, and what stands under the id now is not what was asked for: choose another id.",
        action=type(lost.action).__name__,
        attempts=lost.attempts,
    )
    taken.__cause__ = error
    return taken
