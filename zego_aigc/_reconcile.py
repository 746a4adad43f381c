"""Finding out whether a create whose answer was lost did its work.

Only two kinds can be looked up: registered agents, by id, and stream tasks, by room and stream. The vendor has no
look-up for agent instances.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (what the service keeps is compared as the JSON that it is)
from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from zego_aigc._calling import Call, Response
from zego_aigc._clock import http_date
from zego_aigc.aiagent import QueryAgents, RegisterAgent
from zego_aigc.digitalhuman import CreateDigitalHumanStreamTask, QueryDigitalHumanStreamTasks, StreamTask
from zego_aigc.errors import AlreadyExists, ApiError, NotFound, TimedOut, ZegoError

if TYPE_CHECKING:
    from zego_aigc.actions import Action
    from zego_aigc.client import Client

__all__ = ["SETTLE", "Reconciler"]

SETTLE = 2.0
"""Seconds that a lost create is given to be carried out late, before it is sent again."""

SLACK = 2.0
"""Seconds that a task may seem older than our request: both the service's times are in whole seconds."""


class Reconciler:
    """Looks up what a client's lost creates made. One look-up serves all that wait for one."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tasks = _Shared(self._query_tasks)

    def for_action(self, action: Action[Any]) -> Callable[[Call, ZegoError], Awaitable[Response[Any] | None]] | None:
        """The look-up for an Action; None where there is none."""
        match action:
            case RegisterAgent():
                return self._lost_agent
            case CreateDigitalHumanStreamTask():
                return self._lost_task
            case _:
                return None

    async def find_agent(self, action: RegisterAgent, *, timeout: float | None = None) -> bool | None:
        """Whether the agent that is registered under the id is the one that `action` describes; None if there is none."""
        try:
            response = await self._client.call_with_response(QueryAgents(agent_ids=[action.agent_id]), timeout=timeout)
        except NotFound:
            return None
        for agent in (response.data or {}).get("Agents") or ():
            if agent.get("AgentId") == action.agent_id:
                return _is_as_sent(action.to_wire(), agent)
        return None

    async def find_task(self, action: CreateDigitalHumanStreamTask, *, sent: float) -> StreamTask | None:
        """The running task on the Action's room and stream, made no earlier than `sent` (monotonic); None if there is none."""
        asked = time.monotonic()
        response = await self._tasks.get()
        now = http_date(response.headers.get("Date"))
        for task in response.result.task_list:
            if (task.room_id, task.stream_id) == (action.rtc_config.room_id, action.rtc_config.stream_id):
                age = (time.time() if now is None else now) - (task.create_time or 0)
                if age <= asked - sent + (time.monotonic() - asked) + SLACK:
                    return StreamTask(task_id=task.task_id)
        return None

    async def _lost_agent(self, call: Call, failure: ZegoError) -> Response[Any] | None:
        ours = await self.find_agent(call.request.action, timeout=_remaining(call))
        if ours is None:
            return None
        if not ours:
            raise _taken(call, failure)
        return _found(None, call)

    async def _lost_task(self, call: Call, failure: ZegoError) -> Response[Any] | None:
        assert call.first_sent is not None
        try:
            async with asyncio.timeout(_remaining(call)):
                task = await self.find_task(call.request.action, sent=call.first_sent)
        except TimeoutError as error:
            if isinstance(error, ZegoError):
                raise
            raise TimedOut("the look-up took longer than the call may", waited_for="retry") from None
        if task is not None:
            return _found(task, call)
        if isinstance(failure, ApiError) and failure.name == "StreamIdExists":
            raise _taken(call, failure)
        if _remaining(call) <= SETTLE:
            raise TimedOut("the call's time is too short to find out whether it was carried out late", waited_for="retry")
        await asyncio.sleep(SETTLE)
        return None

    async def _query_tasks(self, departing: Callable[[int], Awaitable[None]]) -> Response[Any]:
        return await self._client.call_with_response(QueryDigitalHumanStreamTasks(), before_send=departing)


class _Shared:
    """A question that many ask at once is asked once: whoever comes before it leaves for the wire shares its answer."""

    def __init__(self, ask: Callable[[Callable[[int], Awaitable[None]]], Awaitable[Response[Any]]]) -> None:
        self._ask = ask
        self._boarding: asyncio.Task[Response[Any]] | None = None

    async def get(self) -> Response[Any]:
        task = self._boarding
        if task is None:
            task = self._boarding = asyncio.ensure_future(self._run())
            # Everybody may have left by the time that it fails.
            task.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        return await asyncio.shield(task)

    async def _run(self) -> Response[Any]:
        me = asyncio.current_task()

        async def departing(_: int) -> None:
            if self._boarding is me:
                self._boarding = None

        try:
            return await self._ask(departing)
        finally:
            await departing(0)


def _remaining(call: Call) -> float:
    return max(0.001, (call.deadline or time.monotonic()) - time.monotonic())


def _found(result: Any, call: Call) -> Response[Any]:
    return Response(result, None, None, call.attempts, time.monotonic() - call.started)


def _taken(call: Call, failure: ZegoError) -> AlreadyExists:
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
