"""Asking the service what of a journal is still there."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from zego_aigc.errors import ApiError, ZegoError
from zego_aigc.provisioning.journal_file import Row
from zego_aigc.provisioning.journal_reader import Reading
from zego_aigc.provisioning.run_calls import RunCalls
from zego_aigc.schema.codes import is_over
from zego_aigc.schema.lifecycle import LIFECYCLES, Lifecycle, Listing, StatusQuery

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["Presence", "Presences", "look"]

Call = Callable[[Any], Awaitable[Any]]
"""Sends a request and returns its result."""

AT_A_TIME = 100
"""Rows that are asked about together."""


class Presence(NamedTuple):
    """What the service says about something that was made."""

    there: bool | None
    """None when it could not be asked."""
    state: str = ""
    """IDLE, LISTENING, ... of an instance; INITIALIZING, STREAMING, ... of a stream task."""
    detail: str = ""
    error: ZegoError | None = None

    @property
    def word(self) -> str:
        """``live``, ``gone`` or ``not known``."""
        return {True: "live", False: "gone", None: "not known"}[self.there]

    @property
    def notable(self) -> bool:
        """Whether there is more to say than that it is there."""
        return bool(self.detail)


async def look(client: Client, reading: Reading) -> AsyncIterator[tuple[Row, Presence]]:
    """What was made and not removed, with what the service says about it, in the journal's order."""
    presences = Presences(RunCalls(client, background=True))
    rows = reading.rows("made_id IS NOT NULL AND status <> 'removed'")
    while chunk := list(itertools.islice(rows, AT_A_TIME)):
        found = await presences.of(chunk)
        for row in chunk:
            yield row, found[row.seq]


class Presences:
    """Asks about rows of a journal. What lists everything is asked once; what it does not list is asked about by its id.

    Args:
        calls: to the service.
    """

    def __init__(self, calls: RunCalls) -> None:
        self._call = calls.call
        self._running: dict[Listing, dict[str, str]] = {}

    async def of(self, rows: Sequence[Row]) -> dict[int, Presence]:
        """What the service says about each of some rows, by the row's number."""
        for life in _lives(rows):
            if life.listing is not None and life.listing.ids is None and life.listing not in self._running:
                self._running[life.listing] = await _statuses(self._call, life, life.listing)
        return await _ask(self._call, rows, self._running)


def _lives(rows: Sequence[Row]) -> list[Lifecycle]:
    """What the Actions of rows declare, each once."""
    return [LIFECYCLES[action] for action in dict.fromkeys(row.action for row in rows) if action in LIFECYCLES]


async def _statuses(call: Call, life: Lifecycle, listing: Listing) -> dict[str, str]:
    """The status of everything that lives, by its id."""
    answer = await call(listing.ask())
    return {getattr(item, life.id_field): _name(item.status) for item in listing.of(answer)}


def _name(status: Any) -> str:
    return str(getattr(status, "name", status))


async def _ask(call: Call, rows: Sequence[Row], running: Mapping[Listing, Mapping[str, str]]) -> dict[int, Presence]:
    found = dict.fromkeys(
        (row.seq for row in rows), Presence(there=None, detail="nothing is left of it that could be asked about")
    )
    async with anyio.create_task_group() as group:
        for life in _lives(rows):
            mine = [row for row in rows if LIFECYCLES.get(row.action) is life]
            if life.listing is not None and life.listing.ids is not None:
                for start in range(0, len(mine), life.listing.batch):
                    some = mine[start : start + life.listing.batch]
                    group.start_soon(_listed, call, life, life.listing, some, found)
                continue
            listed: Mapping[str, str] = {} if life.listing is None else running[life.listing]
            for row in mine:
                if row.made_id is not None and row.made_id in listed:
                    found[row.seq] = Presence(there=True, state=listed[row.made_id])
                elif life.status is not None:
                    group.start_soon(_one, call, life, life.status, row, found)
                else:
                    found[row.seq] = Presence(there=False)
    return found


async def _listed(call: Call, life: Lifecycle, listing: Listing, rows: Sequence[Row], found: dict[int, Presence]) -> None:
    """Ask about some by their ids."""
    try:
        answer = await call(listing.ask([row.made_id or "" for row in rows]))
    except ZegoError as error:
        found.update({row.seq: _trouble(error) for row in rows})
        return
    there = {getattr(item, life.id_field) for item in listing.of(answer)}
    found.update({row.seq: Presence(there=row.made_id in there) for row in rows})


async def _one(call: Call, life: Lifecycle, query: StatusQuery, row: Row, found: dict[int, Presence]) -> None:
    """Ask about one. Of what is not among the running ones, the service perhaps remembers why."""
    try:
        answer = await call(life.ask(row.made_id or ""))
    except ZegoError as error:
        found[row.seq] = _trouble(error)
        return
    state = _name(answer.status)
    found[row.seq] = Presence(there=query.lives(state), state=state, detail=getattr(answer, "fail_reason", ""))


def _trouble(error: ZegoError) -> Presence:
    if isinstance(error, ApiError) and is_over(error):
        return Presence(there=False)
    return Presence(there=None, detail=" ".join(str(error).split()), error=error)
