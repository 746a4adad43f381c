"""Lists that page themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from zego_aigc.aiagent import ListAgents, RegisteredAgent
from zego_aigc.digitalhuman import DigitalHumanInfo, GetDigitalHumanList, GetTimbreList, Timbre

if TYPE_CHECKING:
    from zego_aigc.calls.caller import Caller

__all__ = ["agents", "digital_humans", "timbres"]


async def agents(caller: Caller, page: int | None) -> AsyncIterator[RegisteredAgent]:
    """Every registered agent, by cursor."""
    cursor = ""
    while True:
        found = await caller.call(ListAgents(limit=page, cursor=cursor or None))
        for agent in found.agents:
            yield agent
        # An unchanged cursor would ask for the same page for ever.
        if not found.cursor or found.cursor == cursor:
            return
        cursor = found.cursor


async def digital_humans(caller: Caller, fetch_mode: int | None, page: int | None) -> AsyncIterator[DigitalHumanInfo]:
    """Every digital human, by offset."""
    offset, total = 0, 1
    while offset < total:
        found = await caller.call(GetDigitalHumanList(fetch_mode=fetch_mode, offset=offset, limit=page))
        for digital_human in found.digital_humans:
            yield digital_human
        offset, total = offset + len(found.digital_humans), found.total if found.digital_humans else 0


async def timbres(caller: Caller, digital_human_id: str | None, page: int | None) -> AsyncIterator[Timbre]:
    """Every timbre, by offset."""
    offset, total = 0, 1
    while offset < total:
        found = await caller.call(GetTimbreList(digital_human_id=digital_human_id, offset=offset, limit=page))
        for timbre in found.timbres:
            yield timbre
        offset, total = offset + len(found.timbres), found.total if found.timbres else 0
