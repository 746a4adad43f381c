"""Asking the service what of a journal is still there."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import anyio

from zego_aigc.errors import ApiError, ZegoError
from zego_aigc.provisioning.endings import INSTANCES, is_over
from zego_aigc.provisioning.journal import Reading, Row

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["Presence", "look"]

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
    tasks: dict[str, str] | None = None
    rows = reading.rows("made_id IS NOT NULL AND status <> 'removed'")
    while chunk := list(itertools.islice(rows, AT_A_TIME)):
        if tasks is None and any(row.action == "CreateDigitalHumanStreamTask" for row in chunk):
            tasks = await _running_tasks(client)
        found = await _ask(client, chunk, tasks or {})
        for row in chunk:
            yield row, found[row.seq]


async def _running_tasks(client: Client) -> dict[str, str]:
    from zego_aigc.digitalhuman import QueryDigitalHumanStreamTasks

    answer = await client.call(QueryDigitalHumanStreamTasks())
    return {task.task_id: task.status.name for task in answer.task_list}


async def _ask(client: Client, rows: Sequence[Row], tasks: dict[str, str]) -> dict[int, Presence]:
    found: dict[int, Presence] = {}
    agents = [row for row in rows if row.action == "RegisterAgent"]
    async with anyio.create_task_group() as group:
        for start in range(0, len(agents), 10):
            group.start_soon(_agents, client, agents[start : start + 10], found)
        for row in rows:
            assert row.made_id is not None
            if row.action == "CreateDigitalHumanStreamTask":
                if row.made_id in tasks:
                    found[row.seq] = Presence(there=True, state=tasks[row.made_id])
                else:
                    group.start_soon(_task, client, row, found)
            elif row.action in INSTANCES:
                group.start_soon(_instance, client, row, found)
            elif row.action != "RegisterAgent":
                found[row.seq] = Presence(there=None, detail="nothing is left of it that could be asked about")
    return found


async def _agents(client: Client, rows: Sequence[Row], found: dict[int, Presence]) -> None:
    from zego_aigc.aiagent import QueryAgents

    try:
        answer = await client.call(QueryAgents(agent_ids=[row.made_id or "" for row in rows]), deadline_from="grant")
    except ZegoError as error:
        found.update({row.seq: _trouble(error) for row in rows})
        return
    there = {agent.agent_id for agent in answer.agents}
    found.update({row.seq: Presence(there=row.made_id in there) for row in rows})


async def _instance(client: Client, row: Row, found: dict[int, Presence]) -> None:
    from zego_aigc.aiagent import QueryAgentInstanceStatus

    try:
        answer = await client.call(QueryAgentInstanceStatus(agent_instance_id=row.made_id or ""), deadline_from="grant")
    except ZegoError as error:
        found[row.seq] = _trouble(error)
    else:
        found[row.seq] = Presence(there=True, state=str(answer.status))


async def _task(client: Client, row: Row, found: dict[int, Presence]) -> None:
    """A task that is not among the running ones: perhaps the service remembers why."""
    from zego_aigc.digitalhuman import GetDigitalHumanStreamTaskStatus

    try:
        answer = await client.call(GetDigitalHumanStreamTaskStatus(task_id=row.made_id or ""), deadline_from="grant")
    except ZegoError as error:
        found[row.seq] = _trouble(error)
        return
    there = answer.status.name in {"INITIALIZING", "STREAMING"}
    found[row.seq] = Presence(there=there, state=answer.status.name, detail=answer.fail_reason or "")


def _trouble(error: ZegoError) -> Presence:
    if isinstance(error, ApiError) and is_over(error):
        return Presence(there=False)
    return Presence(there=None, detail=" ".join(str(error).split()), error=error)
