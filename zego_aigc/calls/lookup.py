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

from zego_aigc.aiagent import QueryAgents, RegisterAgent
from zego_aigc.calls.call import Call
from zego_aigc.calls.endpoint import LookUp
from zego_aigc.calls.response import Response
from zego_aigc.calls.retry import Ending
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask, QueryDigitalHumanStreamTasks, StreamTask
from zego_aigc.errors import (
    AlreadyExists,
    ConfigurationError,
    NotFound,
    TimedOut,
    ZegoError,
)
from zego_aigc.transport.clock import http_date
from zego_aigc.transport.shielding import join

if TYPE_CHECKING:
    from zego_aigc.client import Client

__all__ = ["Reconciler"]

SLACK = 2.0
"""Seconds that a task may seem older than our request: both the service's times are in whole seconds."""


class Reconciler:
    """Looks up what a client's lost creates made. One look-up serves all that wait for one."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tasks = _TaskList(client)

    def look_ups(self) -> dict[type[Any], LookUp]:
        """The look-ups that there are, by the Action's class."""
        return {RegisterAgent: self._lost_agent, CreateDigitalHumanStreamTask: self._lost_task}

    async def find_agent(self, action: RegisterAgent, *, timeout: float | None = None) -> bool | None:
        """Whether the agent that is registered under the id is the one that `action` describes; None if there is none."""
        try:
            response = await self._client.call_with_response(QueryAgents(agent_ids=[action.agent_id]), timeout=timeout)
        except NotFound:
            return None
        for agent in (response.data or {}).get("Agents") or ():
            if agent.get("AgentId") == action.agent_id:
                # Fields newer than this library are compared where the answer has them: it may not tell them all.
                untold = (action.extra or {}).keys() - agent.keys()
                return _is_as_sent({key: value for key, value in action.to_wire().items() if key not in untold}, agent)
        return None

    async def find_task(self, action: CreateDigitalHumanStreamTask, *, sent: float) -> StreamTask | None:
        """The running task on the Action's room and stream, made no earlier than `sent` (monotonic); None if there is none."""
        holder = await self._holder(action)
        return StreamTask(task_id=holder.task_id) if holder is not None and holder.is_of(action, sent) else None

    async def _holder(self, action: CreateDigitalHumanStreamTask) -> _Holder | None:
        """The running task that has the Action's StreamId."""
        response = await self._tasks.get()
        now = http_date(response.headers.get("Date"))
        if now is None:
            now = time.time()
        for task in response.result.task_list:
            if task.stream_id == action.rtc_config.stream_id:
                made = time.monotonic() - (now - (task.create_time or 0))
                return _Holder(task.task_id, task.room_id, made)
        return None

    async def _lost_agent(self, call: Call[Any], failure: ZegoError, _: Ending) -> bool:
        ours = await self.find_agent(call.action, timeout=max(0.001, call.remaining()))
        if ours is None:
            return False
        if not ours:
            raise _taken(call, failure)
        call.found(None)
        return True

    async def _lost_task(self, call: Call[Any], failure: ZegoError, ending: Ending) -> bool:
        assert call.first_sent is not None
        late = TimedOut("there was no time left to find out whether the first attempt was carried out", waited_for="retry")
        try:
            async with asyncio.timeout(call.remaining()):
                holder = await self._holder(call.action)
        except TimeoutError as error:
            raise error if isinstance(error, ZegoError) else late from None
        if holder is not None:
            if not holder.is_of(call.action, call.first_sent):
                raise _taken(call, failure)
            call.found(StreamTask(task_id=holder.task_id))
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
    """A running stream task."""

    task_id: str
    room_id: str
    made: float  # monotonic, within a second

    def is_of(self, action: CreateDigitalHumanStreamTask, sent: float) -> bool:
        return self.room_id == action.rtc_config.room_id and self.made >= sent - SLACK


class _TaskList:
    """The running stream tasks. What many ask at once is asked once: whoever comes before it leaves shares its answer."""

    def __init__(self, client: Client) -> None:
        self._client = client
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
            return await self._client.call_with_response(QueryDigitalHumanStreamTasks(), before_send=departing)
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
