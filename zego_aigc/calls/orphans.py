"""What callbacks say about lifetimes: that an instance has ended, or that a lost create did make one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec

from zego_aigc.aiagent import CreatedAgentInstance
from zego_aigc.calls.create_guard import Orphan
from zego_aigc.digitalhuman import TaskStatus

if TYPE_CHECKING:
    from zego_aigc.callbacks.events import AgentInstanceCreated, Event
    from zego_aigc.limits.quota import Reservation
    from zego_aigc.storage.registry import LiveRecord

__all__ = ["Observer", "is_created", "may_be_of"]

MAX_UNKNOWN = 1000
"""Unknown outcomes that are remembered."""


class _Unknown(msgspec.Struct, frozen=True):
    action: Any
    hold: Reservation | None


class Observer:
    """Settles a client's unknown outcomes by callbacks.

    Args:
        report: called with an :class:`~zego_aigc.Orphan` for each that turned out to live.
    """

    def __init__(self, report: Callable[[Orphan], object]) -> None:
        self._report = report
        self._unknown: OrderedDict[int, _Unknown] = OrderedDict()

    def expect_callback(self, action: Any, hold: Reservation | None) -> None:
        """A handle's create has an unknown outcome."""
        self._unknown[id(action)] = _Unknown(action, hold)
        if len(self._unknown) > MAX_UNKNOWN:
            self._unknown.popitem(last=False)

    def note(self, event: Event) -> str | None:
        """Take note of an event.

        Returns:
            the id of what has ended, if something has.
        """
        from zego_aigc.callbacks.events import AgentInstanceCreated, AgentInstanceDeleted, StreamTaskEvent

        match event:
            case AgentInstanceDeleted():
                return event.agent_instance_id
            case StreamTaskEvent() if event.detail.status in {TaskStatus.INIT_FAILED, TaskStatus.STOPPED}:
                return event.task_id
            case AgentInstanceCreated():
                self._resolve(event)
            case _:
                pass
        return None

    def _resolve(self, event: AgentInstanceCreated) -> None:
        ours = [key for key, unknown in self._unknown.items() if _is_of(event, unknown.action)]
        if len(ours) != 1:
            return
        unknown = self._unknown.pop(ours[0])
        if unknown.hold is not None:
            unknown.hold.live(event.agent_instance_id)
        self._report(Orphan(unknown.action, CreatedAgentInstance(agent_instance_id=event.agent_instance_id), certain=True))


def is_created(event: Event) -> TypeGuard[AgentInstanceCreated]:
    """Whether a callback says that an agent instance was made."""
    from zego_aigc.callbacks.events import AgentInstanceCreated

    return isinstance(event, AgentInstanceCreated)


def may_be_of(event: AgentInstanceCreated, record: LiveRecord) -> bool:
    """Whether a callback may speak of what a record is of."""
    return (
        event.room_id == record.room_id
        and event.agent_id in {None, "", record.agent_id}
        # The client pages call the room's user of a digital human ai_agent_<AgentInstanceId>, whatever was asked for.
        and event.agent_user_id in {None, "", record.agent_user_id, f"ai_agent_{event.agent_instance_id}"}
    )


def _is_of(event: AgentInstanceCreated, action: Any) -> bool:
    rtc = getattr(action, "rtc", None)
    if rtc is None or event.room_id != rtc.room_id or getattr(action, "agent_id", None) != (event.agent_id or action.agent_id):
        return False
    # The client pages call the room's user of a digital human ai_agent_<AgentInstanceId>, whatever was asked for.
    return event.agent_user_id in {None, "", rtc.agent_user_id, f"ai_agent_{event.agent_instance_id}"}
