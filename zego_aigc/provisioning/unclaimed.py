"""What lives at the service and stands in no journal."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from zego_aigc.errors import ApiError
from zego_aigc.provisioning.journal_reader import Reading, read_journal
from zego_aigc.schema.codes import is_over
from zego_aigc.schema.lifecycle import LIFECYCLES, Lifecycle

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["Unclaimed", "end", "find_unclaimed"]


class Unclaimed(NamedTuple):
    """Something that lives and that no journal knows."""

    action: str
    """The Action that makes such things."""
    id: str
    """The AgentId or TaskId."""
    name: str = ""
    """The agent's."""
    room_id: str = ""
    """The room of a stream task."""
    stream_id: str = ""
    """The stream of a stream task."""
    created: float | None = None
    """Unix time of its creation, where the service says it."""


async def find_unclaimed(client: Client, journals: Sequence[str | os.PathLike[str]] = ()) -> AsyncIterator[Unclaimed]:
    """Agents and stream tasks at the service that none of the journals knows; the service lists no agent instances.

    What an entry may have made counts as known by its agent id, or by its stream and room. Without journals that is
    everything.

    Args:
        client: of the account.
        journals: paths of journals of the same account, which may be in use.

    Raises:
        JournalError: a journal cannot be read, or is of another account.
        ZegoError: the service could not be asked.
    """
    known = _Known()
    for path in journals:
        with read_journal(path) as reading:
            reading.require(client)
            known.add(reading)
    for action, life in LIFECYCLES.items():
        if life.listing is None:
            continue
        async for found in _listed(client, action, life):
            if not known.claims(found):
                yield found


async def _listed(client: Client, action: str, life: Lifecycle) -> AsyncIterator[Unclaimed]:
    assert life.listing is not None
    if life.listing.ids is not None:  # it lists by ids only: what lists all of them has pages
        async for agent in client.list_agents():
            yield Unclaimed(action, agent.agent_id, agent.name or "")
        return
    for item in life.listing.of(await client.call(life.listing.ask())):
        yield Unclaimed(
            action,
            getattr(item, life.id_field),
            room_id=_text(item, "room_id"),
            stream_id=_text(item, "stream_id"),
            created=getattr(item, "create_time", None),
        )


def _text(item: Any, name: str) -> str:
    return getattr(item, name, None) or ""


class _Known:
    """What journals know, by ids and by names."""

    def __init__(self) -> None:
        self._ids: set[tuple[str, str]] = set()
        self._places: set[tuple[str, str]] = set()

    def add(self, reading: Reading) -> None:
        for row in reading.rows("status <> 'removed'"):
            if row.made_id is not None:
                self._ids.add((row.action, row.made_id))
            life = LIFECYCLES.get(row.action)
            if life is not None and life.id_in_request and row.agent_id is not None:
                self._ids.add((row.action, row.agent_id))
            if row.stream_id is not None and row.room_id is not None:
                self._places.add((row.stream_id, row.room_id))

    def claims(self, found: Unclaimed) -> bool:
        return (found.action, found.id) in self._ids or (found.stream_id, found.room_id) in self._places


async def end(client: Client, found: Unclaimed) -> None:
    """End it. What has ended meanwhile counts as ended.

    Raises:
        ZegoError: it could not be ended.
    """
    try:
        await client.call(LIFECYCLES[found.action].end(found.id), background=True)
    except ApiError as error:
        if not is_over(error):
            raise
